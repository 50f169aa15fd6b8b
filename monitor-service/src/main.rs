//! Audits Monitorable endpoints: what they claim beside what witnesses saw.

mod alert;
mod audit;
mod canary;
mod cli;
mod config;
mod domain;
mod edge;
mod evidence;
mod fleet;
mod incident;
mod json;
mod probe;
mod serve;
mod web;

use std::process::ExitCode;

use cli::Invocation;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().collect()) {
        Ok(Invocation::Serve(flags)) => serve::run(&flags),
        Ok(Invocation::Client(client)) => cli::run(client),
        Err(exit) => exit,
    }
}
