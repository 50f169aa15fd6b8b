//! `cargo xtask demo`: the main job, set up and shown.

use crate::shell::{Failure, cargo, command, step};
use crate::test::target_directory;

/// What `demo` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Keep everything up and print every address to try.
    #[arg(long)]
    hold: bool,
}

/// Builds both services and shows the pair at work.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut build = cargo("build -p bridge-service -p monitor-service -p monitorable-tests --bins");
    step("build (the first time takes a few minutes)", &mut build)?;
    let binaries = target_directory()?.join("debug");
    let mut demo = command(binaries.join("demo"));
    demo.env("MONITORABLE_BIN_DIR", &binaries);
    if options.hold {
        demo.arg("--hold");
    }
    step("demo", &mut demo)
}
