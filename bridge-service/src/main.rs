//! Delivers agents' events to chat users, and accounts for every one.

use std::process::ExitCode;

/// An event costs a handful of small allocations: this one takes a seventh off the whole. Without
/// huge pages, which stall for tens of milliseconds where they are first touched
/// (docs/PERFORMANCE.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bridge_service::run()
}
