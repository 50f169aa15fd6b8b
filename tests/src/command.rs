//! Commands that run to their end: the services' subcommands, and strangers' programs.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::process;

/// How long a command may take; none here has a reason to come near it.
const DEADLINE: Duration = Duration::from_secs(120);

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code; absent where a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it printed on the other output.
    pub stderr: String,
}

impl Ended {
    /// The output, where the exit code is the one expected.
    pub fn expect(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self}");
        self.stdout
    }

    /// The output as JSON, where the exit code is the one expected.
    #[must_use]
    pub fn expect_json(self, code: i32) -> serde_json::Value {
        let text = self.expect(code);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON: {error}: {text}"))
    }

    /// Both outputs.
    #[must_use]
    pub fn both(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "exit {:?}\n--- stdout\n{}--- stderr\n{}---",
            self.code, self.stdout, self.stderr
        )
    }
}

/// Runs a subcommand of the bridge's binary.
pub async fn bridge(arguments: &[&str]) -> Ended {
    run(process::command("bridge-service").args(arguments)).await
}

/// Runs a subcommand of the monitor's binary.
pub async fn monitor(arguments: &[&str]) -> Ended {
    run(process::command("monitor-service").args(arguments)).await
}

/// Runs a subcommand of the monitor's binary with variables set.
pub async fn monitor_with(variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let mut command = process::command("monitor-service");
    run(command.args(arguments).envs(variables.iter().copied())).await
}

/// Runs a subcommand of the bridge's binary with variables set.
pub async fn bridge_with(variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let mut command = process::command("bridge-service");
    run(command.args(arguments).envs(variables.iter().copied())).await
}

/// Runs any program.
pub async fn program(path: &Path, arguments: &[&str]) -> Ended {
    run(Command::new(path).args(arguments)).await
}

/// Runs a command to its end, nothing on its input.
pub async fn run(command: &mut Command) -> Ended {
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output: Output = match tokio::time::timeout(DEADLINE, running).await {
        Ok(output) => output.unwrap_or_else(|error| panic!("{command:?} cannot start: {error}")),
        Err(_) => panic!("{command:?} did not end within {DEADLINE:?}"),
    };
    ended(&output)
}

/// How a command ended whose outputs were kept.
#[must_use]
pub fn ended(output: &Output) -> Ended {
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
