//! `cargo xtask bench`: measures; nothing here passes or fails by time.

use crate::shell::{Failure, cargo, command, step};
use crate::test::target_directory;

/// A folder with both services' binaries, to measure another build. Absent: this one.
const BINARIES: &str = "MONITORABLE_BIN_DIR";

/// What `bench` takes.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// Passed on to the benchmark, such as `w1 w2 --rounds 2`; `--help` lists everything.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds release binaries and measures them.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let asks = |argument: &String| matches!(argument.as_str(), "-h" | "--help");
    if options.arguments.iter().any(asks) {
        // An answer needs no build that is fit to be measured.
        let mut help = cargo("run -p monitorable-bench -- --help");
        return step("say what can be measured", &mut help);
    }
    let packages = "-p bridge-service -p monitor-service -p monitorable-bench";
    let mut build = cargo(&format!("build --release {packages} --bins"));
    step(
        "build with every optimization (the first time takes minutes)",
        &mut build,
    )?;
    let binaries = target_directory()?.join("release");
    let mut bench = command(binaries.join("bench"));
    if std::env::var_os(BINARIES).is_none() {
        bench.env(BINARIES, &binaries);
    }
    bench.args(&options.arguments);
    step("bench", &mut bench)
}
