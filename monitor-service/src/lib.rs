//! Audits Monitorable endpoints: what they claim beside what witnesses saw.
//!
//! All of the program but its allocator. It is a library so that its hot paths can be measured.

mod alert;
mod audit;
mod canary;
mod cli;
mod config;
mod discovery;
mod domain;
mod edge;
mod evidence;
mod fleet;
mod incident;
mod json;
mod probe;
mod reload;
mod serve;
mod web;

use std::process::ExitCode;

use cli::Invocation;

/// The program: does what its command line asks for, and says how it ended.
#[must_use]
pub fn run() -> ExitCode {
    match cli::parse(std::env::args_os().collect()) {
        Ok(Invocation::Serve(flags)) => serve::run(&flags),
        Ok(Invocation::Client(client)) => cli::run(*client),
        Err(exit) => exit,
    }
}

/// What is done for each audit, beat or report.
#[cfg(feature = "hot-paths")]
#[must_use]
pub fn hot_paths() -> Vec<yardstick::HotPath> {
    fleet::hot_paths::PATHS.to_vec()
}
