//! The way to the fault points: lines on standard input, which only whoever started this process
//! can write. Nothing listens on a port for it.

use std::io::BufRead as _;

use crate::cli::say;
use crate::hub::api::HubHandle;
use crate::hub::faults::Fault;

/// Longest line that is read.
const MAX_LINE_BYTES: usize = 512;

/// Reads faults until standard input ends, and answers each with one line on standard output.
/// The thread is left to itself: a blocking read would hold up the end of the runtime.
pub(crate) fn listen(hub: HubHandle) {
    tracing::warn!("built with fault injection: fit for drills, and for nothing else");
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            say(&runtime.block_on(arm(&hub, &line)));
        }
    });
}

async fn arm(hub: &HubHandle, line: &str) -> String {
    if line.len() > MAX_LINE_BYTES {
        return format!("fault refused: the line has more than {MAX_LINE_BYTES} bytes");
    }
    match line.parse::<Fault>() {
        Err(why) => format!("fault refused: {why}"),
        Ok(fault) => match hub.fault(fault).await {
            Err(error) => format!("fault refused: {error}"),
            Ok(()) => {
                tracing::warn!(fault = line, "armed");
                format!("fault armed: {line}")
            }
        },
    }
}
