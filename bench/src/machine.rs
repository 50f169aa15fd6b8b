//! The machine: its cores, its limits, and what it is called.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;

use crate::failure::Failure;

/// The core that the server under test has to itself.
pub(crate) const SERVER_CORE: usize = 0;
/// The core of the load, and of whatever is not under test.
pub(crate) const LOAD_CORE: usize = 1;

/// Keeps this thread, and every process and thread that it starts from now on, on one core.
///
/// # Errors
/// Where there is no such core.
pub(crate) fn pin(core: usize) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| {
        Failure::new(format!(
            "core {core} cannot be used: {error}; two cores are needed, 0 and 1"
        ))
    })
}

/// Raises the limit of open files for this process and those that it starts, to `wanted` or as far
/// as it can be raised; returns how many may be open.
pub(crate) fn allow_open_files(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    let raised = |maximum: Option<u64>, current: u64| {
        let limit = Rlimit {
            current: Some(current),
            maximum,
        };
        setrlimit(Resource::Nofile, limit)
            .is_ok()
            .then_some(current)
    };
    if enough(limit.current) {
        return wanted;
    }
    let most = limit.maximum.unwrap_or(wanted).min(wanted);
    let current = limit.current.unwrap_or(wanted);
    // Beyond the hard limit with the rights for it; else up to it.
    let beyond = if enough(limit.maximum) {
        limit.maximum
    } else {
        Some(wanted)
    };
    raised(beyond, wanted)
        .or_else(|| raised(limit.maximum, most))
        .unwrap_or(current)
}

/// What the figures were measured on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    /// UTC, as `YYYY-MM-DD`.
    pub(crate) date: String,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let memory = field("/proc/meminfo", "MemTotal");
        let kib = memory
            .split(' ')
            .next()
            .and_then(|kib| kib.parse::<u64>().ok());
        Self {
            processor: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            memory_gib: kib.unwrap_or(0).div_ceil(1024 * 1024),
            kernel: said("uname", &["-sr"]),
            date: said("date", &["-u", "+%F"]),
        }
    }
}

/// A field's first value in a file of lines such as `name : value`.
fn field(path: &str, name: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or_else(
        || "unknown".to_owned(),
        |(_, value)| value.trim().to_owned(),
    )
}

/// The first line that a program prints on either output; `unknown` where it cannot be started.
pub(crate) fn said(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output();
    let Ok(output) = output else {
        return "unknown".to_owned();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}
