//! Audits Monitorable endpoints: what they claim beside what witnesses saw.

use std::process::ExitCode;

/// Audits are many small allocations, and thousands of components many that stay
/// (docs/PERFORMANCE.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    monitor_service::run()
}
