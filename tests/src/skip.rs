//! Tests that cannot run on this machine say so loudly and are counted, never silently passed.

use std::io::Write;

/// Set to 1: what would be skipped fails instead.
pub const REQUIRE: &str = "MONITORABLE_REQUIRE_STRANGERS";
/// A file to which each skip adds a line, for the runner's count.
pub const LEDGER: &str = "MONITORABLE_SKIPS";

/// Notes that a test is skipped, and why; the test returns right after.
pub fn skip(test: &str, why: &str) {
    assert!(
        std::env::var(REQUIRE).as_deref() != Ok("1"),
        "{test} may not be skipped, as {REQUIRE}=1: {why}"
    );
    note(test, why);
}

/// The same for what is optional everywhere, such as data that is not part of the project.
pub fn skip_optional(test: &str, why: &str) {
    note(test, why);
}

fn note(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {why}\n");
    // Past the test runner's capture, which would hide it.
    let _ = std::io::stderr().write_all(line.as_bytes());
    let Some(path) = std::env::var_os(LEDGER) else {
        return;
    };
    let ledger = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path);
    ledger
        .and_then(|mut ledger| ledger.write_all(line.as_bytes()))
        .unwrap_or_else(|error| panic!("the skip of {test} could not be counted: {error}"));
}
