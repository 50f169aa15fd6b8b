//! Delivers agents' events to chat users, and accounts for every one.
//!
//! All of the program but its allocator. It is a library so that its hot paths can be measured.

mod cli;
mod config;
mod edge;
#[cfg(feature = "fault-injection")]
mod fault_control;
mod health;
mod healthcheck;
mod hub;
mod reload;
mod replay;
mod serve;

use std::process::ExitCode;

use cli::Task;

/// The program: does what its command line asks for, and says how it ended.
#[must_use]
pub fn run() -> ExitCode {
    let task = match cli::parse(std::env::args_os()) {
        Ok(task) => task,
        Err(stop) => return stop.show(),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return cli::failed(&format!("the runtime cannot start: {error}")),
    };
    runtime.block_on(async {
        match task {
            Task::Serve(settings, flags) => serve::run(*settings, *flags).await,
            Task::Replay(options) => replay::run(*options).await,
            Task::Healthcheck(options) => healthcheck::run(&options).await,
        }
    })
}

/// What is done for each event, reader or question.
#[cfg(feature = "hot-paths")]
#[must_use]
pub fn hot_paths() -> Vec<yardstick::HotPath> {
    [hub::hot_paths::PATHS, edge::websocket::hot_paths::PATHS].concat()
}
