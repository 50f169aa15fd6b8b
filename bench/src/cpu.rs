//! Processor time, as the kernel counts it.

use std::iter::Sum;
use std::ops::{Add, Sub};
use std::time::Duration;

use service_kit::clock::Clock;

use crate::process::Server;

/// Where everything else took more of a core than this, a measurement is made again.
pub(crate) const DISTURBED_PERCENT: f64 = 10.0;
/// So often at the most; what is still disturbed then is said to be.
pub(crate) const AGAIN: usize = 2;

/// Processor time in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cpu {
    /// Outside the kernel.
    pub(crate) user: f64,
    /// Inside it.
    pub(crate) system: f64,
}

impl Cpu {
    /// What a process has used.
    pub(crate) fn of(pid: u32) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The 12th and 13th field after the name, which stands in parentheses and may hold anything.
        Self::from_ticks(stat.rsplit(')').next().unwrap_or_default(), [11, 12], &[])
    }

    /// What this process has used.
    pub(crate) fn own() -> Self {
        Self::of(std::process::id())
    }

    /// What everything on this machine has used, interrupts left out.
    fn of_machine() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        // `cpu user nice system ...`
        Self::from_ticks(stat.lines().next().unwrap_or_default(), [1, 3], &[2])
    }

    /// From the fields of a line: those for user and system, and what else counts as user.
    fn from_ticks(line: &str, fields: [usize; 2], nice: &[usize]) -> Self {
        let found: Vec<&str> = line.split_whitespace().collect();
        let seconds = |field: usize| {
            let ticks = found.get(field).and_then(|ticks| ticks.parse::<u64>().ok());
            ticks.unwrap_or(0) as f64 / rustix::param::clock_ticks_per_second() as f64
        };
        let nice: f64 = nice.iter().map(|field| seconds(*field)).sum();
        Self {
            user: seconds(fields[0]) + nice,
            system: seconds(fields[1]),
        }
    }

    /// Both together.
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }
}

impl Add for Cpu {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            user: self.user + other.user,
            system: self.system + other.system,
        }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            user: self.user - other.user,
            system: self.system - other.system,
        }
    }
}

impl Sum for Cpu {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// Who used how much between two moments.
pub(crate) struct Meter<'a> {
    server: &'a Server,
    began: std::time::Instant,
    of_server: Cpu,
    of_load: Cpu,
    of_machine: Cpu,
}

/// What a meter read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) passed: Duration,
    /// Processor time of the server, in seconds.
    pub(crate) server: f64,
    /// Of one core, like the next.
    pub(crate) server_percent: f64,
    pub(crate) load_percent: f64,
    /// Everybody else's time outside the kernel: what disturbs a measurement.
    pub(crate) others_percent: f64,
}

impl<'a> Meter<'a> {
    /// Begins now.
    pub(crate) fn start(server: &'a Server) -> Self {
        Self {
            server,
            began: Clock::system().now().monotonic,
            of_server: server.cpu(),
            of_load: Cpu::own(),
            of_machine: Cpu::of_machine(),
        }
    }

    /// From the beginning until now.
    pub(crate) fn read(&self) -> Used {
        let passed = Clock::system().now().since(self.began);
        let server = self.server.cpu() - self.of_server;
        let load = Cpu::own() - self.of_load;
        let others = Cpu::of_machine() - self.of_machine - server - load;
        let percent = |seconds: f64| 100.0 * seconds / passed.as_secs_f64();
        Used {
            passed,
            server: server.total(),
            server_percent: percent(server.total()),
            load_percent: percent(load.total()),
            others_percent: percent(others.user).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_from_their_fields() {
        let second = rustix::param::clock_ticks_per_second();
        let line = format!("cpu {second} {second} {} 7", 3 * second);
        let cpu = Cpu::from_ticks(&line, [1, 3], &[2]);
        assert!((cpu.user - 2.0).abs() < 1e-9 && (cpu.system - 3.0).abs() < 1e-9);
    }

    #[test]
    fn the_machine_has_used_more_than_this_process() {
        assert!(Cpu::of_machine().total() >= Cpu::own().total());
        assert!(Cpu::of_machine().total() > 0.0);
    }
}
