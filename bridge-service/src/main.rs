//! Delivers agents' events to chat users, and accounts for every one.

mod cli;
mod config;
mod edge;
#[cfg(feature = "fault-injection")]
mod fault_control;
mod health;
mod healthcheck;
mod hub;
mod replay;
mod serve;

use std::process::ExitCode;

use cli::Task;

/// An event costs a handful of small allocations: this one takes a seventh off the whole. Without
/// huge pages, which stall for tens of milliseconds where they are first touched
/// (docs/PERFORMANCE.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
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
            Task::Serve(settings) => serve::run(*settings).await,
            Task::Replay(options) => replay::run(*options).await,
            Task::Healthcheck(options) => healthcheck::run(&options).await,
        }
    })
}
