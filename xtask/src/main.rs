//! The only commands that a newcomer needs: `cargo xtask demo`, `test`, `lint`, `bench`, `soak`,
//! `drill`, `instructions`, `kubernetes`, `image`.

mod bench;
mod demo;
mod drill;
mod image;
mod instructions;
mod kubernetes;
mod lint;
mod shell;
mod soak;
mod tally;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sets up and runs what the project can do.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Builds both services and shows them at work.
    Demo(demo::Options),
    /// Sets up and runs every test.
    Test(test::Options),
    /// Checks format, lints, documentation, licences and unused dependencies.
    Lint,
    /// Measures both services beside their peers; `bench --help` says what.
    Bench(bench::Options),
    /// Runs a thousand readers and a thousand components for minutes, and prints the memory used.
    Soak(soak::Options),
    /// Injects each silent failure for real, and shows what the monitor found.
    Drill(drill::Options),
    /// Counts the instructions of the hot paths, and fails where one costs or grows more than it may.
    ///
    /// It needs valgrind, and holds the counts against xtask/instructions.toml.
    Instructions(instructions::Options),
    /// Has a real Kubernetes API server judge manifests, chart and discovery.
    ///
    /// It needs Go and etcd, and builds the API server into .tools: some minutes, once.
    Kubernetes,
    /// Builds both images and proves that they work.
    ///
    /// It needs buildah, podman, runc, musl-gcc and Rust's target x86_64-unknown-linux-musl.
    Image,
}

fn main() -> ExitCode {
    let done = match &Arguments::parse().task {
        Task::Demo(options) => demo::run(options),
        Task::Test(options) => test::run(options),
        Task::Lint => lint::run(),
        Task::Bench(options) => bench::run(options),
        Task::Soak(options) => soak::run(options),
        Task::Drill(options) => drill::run(options),
        Task::Instructions(options) => instructions::run(options),
        Task::Kubernetes => kubernetes::run(),
        Task::Image => image::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
