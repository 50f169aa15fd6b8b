//! `cargo xtask soak`: does memory stay flat?

use crate::shell::{Failure, cargo, step};

/// What `soak` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How long to run, in minutes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_440))]
    minutes: u32,
    /// WebSocket readers on one thread.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    readers: u32,
    /// Registered components.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    components: u32,
}

/// Builds optimized services and runs the soak, which prints both processes' memory each minute.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut soak = cargo("run --profile quick -p monitorable-tests --bin soak --");
    soak.args(["--minutes", &options.minutes.to_string()])
        .args(["--readers", &options.readers.to_string()])
        .args(["--components", &options.components.to_string()]);
    step("soak", &mut soak)
}
