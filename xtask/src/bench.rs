//! `cargo xtask bench`: measures; nothing here passes or fails by time.

use crate::shell::{Failure, cargo, command, step};
use crate::test::target_directory;

/// What `bench` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Passed on to the benchmark, such as `--rounds 2 --seconds 5`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds release binaries and measures the cost of being monitored.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let packages = "-p bridge-service -p monitor-service -p monitorable-tests";
    let mut build = cargo(&format!("build --release {packages} --bins"));
    step(
        "build with every optimization (the first time takes minutes)",
        &mut build,
    )?;
    let binaries = target_directory()?.join("release");
    let mut cost = command(binaries.join("cost"));
    cost.env("MONITORABLE_BIN_DIR", &binaries)
        .args(&options.arguments);
    step("the cost of being monitored", &mut cost)
}
