//! Running other programs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// Why a task failed, in one sentence.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// A program that runs in the repository's root, nothing on its input.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// This cargo, with words of its command line.
pub(crate) fn cargo(words: &str) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = command(program);
    command.args(words.split_whitespace());
    command
}

/// Runs a command as one named step, which must succeed.
pub(crate) fn step(name: &str, command: &mut Command) -> Result<(), Failure> {
    println!("==> {name}");
    let watch = Watch::start();
    let status = command
        .status()
        .map_err(|error| Failure::new(format!("{name}: {command:?} cannot start: {error}")))?;
    if !status.success() {
        return Err(Failure::new(format!("{name} failed: {status}")));
    }
    println!("==> {name}: done in {watch}");
    Ok(())
}

/// Whether a program can be started and answers well.
pub(crate) fn answers(program: &str, argument: &str) -> bool {
    let tried = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// What a program says on its output.
pub(crate) fn said(program: &str, argument: &str) -> String {
    let output = command(program).arg(argument).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// How long something took, for people to read.
pub(crate) struct Watch(SystemTime);

impl Watch {
    #[expect(clippy::disallowed_methods, reason = "only shown, decides nothing")]
    pub(crate) fn start() -> Self {
        Self(SystemTime::now())
    }

    #[expect(clippy::disallowed_methods, reason = "only shown, decides nothing")]
    fn passed(&self) -> Duration {
        self.0.elapsed().unwrap_or_default()
    }
}

impl std::fmt::Display for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} s", self.passed().as_secs_f64())
    }
}
