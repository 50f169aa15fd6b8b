//! A server under test: started on its own core, and what the kernel says that it takes.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use service_kit::clock::Clock;

use crate::cpu::Cpu;
use crate::failure::Failure;
use crate::machine;

const START_DEADLINE: Duration = Duration::from_secs(15);
const STOP_DEADLINE: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A running server; ended when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Kept open, so that the server can go on printing.
    _output: Option<BufReader<ChildStdout>>,
}

impl Server {
    /// Starts a server that prints `NAME listening on ADDRESS` for each of these names, on a core;
    /// returns the addresses in the same order.
    ///
    /// # Errors
    /// Where it cannot be started, or ends before it has printed them.
    pub(crate) fn announced(
        command: &mut Command,
        core: usize,
        names: &[&str],
    ) -> Result<(Self, Vec<SocketAddr>), Failure> {
        let mut child = spawn(command.stdout(Stdio::piped()), core)?;
        let output = child.stdout.take().map(BufReader::new);
        let mut server = Self {
            child,
            _output: None,
        };
        let mut output =
            output.ok_or_else(|| Failure::new(format!("{command:?} has no standard output")))?;
        let mut found = vec![None; names.len()];
        let mut line = String::new();
        while found.iter().any(Option::is_none) {
            line.clear();
            if output.read_line(&mut line)? == 0 {
                return Err(Failure::new(format!(
                    "{command:?} ended before it listened"
                )));
            }
            for (name, found) in names.iter().zip(&mut found) {
                if let Some(address) = line.strip_prefix(&format!("{name} listening on ")) {
                    *found = address.trim().parse().ok();
                }
            }
        }
        server._output = Some(output);
        Ok((server, found.into_iter().flatten().collect()))
    }

    /// Starts a server that says nothing, on a core, and waits until its port accepts.
    ///
    /// # Errors
    /// Where it cannot be started, or does not listen in time.
    pub(crate) fn silent(
        command: &mut Command,
        core: usize,
        address: SocketAddr,
    ) -> Result<Self, Failure> {
        let child = spawn(command.stdout(Stdio::null()), core)?;
        let mut server = Self {
            child,
            _output: None,
        };
        let began = Clock::system().now().monotonic;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(Failure::new(format!("{command:?} ended: {status}")));
            }
            if Clock::system().now().since(began) > START_DEADLINE {
                return Err(Failure::new(format!(
                    "{command:?} did not listen on {address} within {START_DEADLINE:?}"
                )));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(server)
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time that it and its children have used, to the kernel's 10 ms.
    pub(crate) fn cpu(&self) -> Cpu {
        family(self.pid()).into_iter().map(Cpu::of).sum()
    }

    /// Resident memory of it and its children, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        family(self.pid()).into_iter().map(resident_kib).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, Signal::TERM);
        let began = Clock::system().now().monotonic;
        while let Ok(None) = self.child.try_wait() {
            if Clock::system().now().since(began) > STOP_DEADLINE {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// A child takes its parent's core with it, so the parent moves there for a moment.
fn spawn(command: &mut Command, core: usize) -> Result<Child, Failure> {
    machine::pin(core)?;
    let spawned = command.stdin(Stdio::null()).spawn();
    machine::pin(machine::LOAD_CORE)?;
    spawned.map_err(|error| Failure::new(format!("{command:?} cannot be started: {error}")))
}

/// An address of the loopback that nobody uses at this moment.
///
/// # Errors
/// Where there is none.
pub(crate) fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A process and all that descends from it.
fn family(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children
        .split_whitespace()
        .filter_map(|child| child.parse().ok());
    std::iter::once(pid)
        .chain(children.flat_map(family))
        .collect()
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory() {
        assert!(resident_kib(std::process::id()) > 100);
        assert_eq!(family(std::process::id())[0], std::process::id());
    }
}
