//! Audits Monitorable endpoints: what they claim beside what witnesses saw.

use std::process::ExitCode;

fn main() -> ExitCode {
    monitor_service::run()
}
