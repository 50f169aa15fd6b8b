//! Cores, processor time, memory and file descriptors, as the kernel has them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Runs what starts a process with this thread on one core, so that the process counts one
/// processor from its beginning.
pub(crate) async fn on_core<T>(core: usize, start: impl Future<Output = T>) -> T {
    let before = sched_getaffinity(None).unwrap();
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).unwrap();
    let started = start.await;
    sched_setaffinity(None, &before).unwrap();
    started
}

/// Raises the limit of open files to what this process may have; children inherit it.
///
/// # Errors
/// A sentence, where that is less than `needed`.
pub(crate) fn allow_files(needed: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if most < needed {
        return Err(format!(
            "{needed} open files are needed; allowed are {most}"
        ));
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|error| format!("open files: {error}"))
}

/// Processor time that a process has used, in seconds: its own, and the kernel's for it.
pub(crate) fn seconds_used(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th after it.
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}
