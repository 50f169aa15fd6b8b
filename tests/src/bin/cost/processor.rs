//! Cores and processor time, as the kernel has them.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Keeps every thread of a process on one core. False: there is no such core.
pub(crate) fn pin(pid: u32, core: usize) -> bool {
    let mut set = CpuSet::new();
    set.set(core);
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let ids = threads.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut all = true;
    for id in ids {
        all &= Pid::from_raw(id).is_some_and(|id| sched_setaffinity(Some(id), &set).is_ok());
    }
    all
}

/// Processor time that a process has used, in seconds.
pub(crate) fn seconds_used(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th after it.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let ticks: u64 = [11, 12]
        .iter()
        .filter_map(|field| fields.get(*field)?.parse::<u64>().ok())
        .sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}
