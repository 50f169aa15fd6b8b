//! What stands in `deploy/` does what it says: against the real services, and the real programs
//! that it is written for.
#![allow(
    clippy::unwrap_used,
    reason = "a test panics where the world is not as it must be"
)]

mod alerting;
mod discovery;
mod image;
mod kubernetes;
mod metrics;

use std::path::PathBuf;

use monitorable_tests::paths::{installed, repository};
use monitorable_tests::skip::skip_optional;

/// A file of `deploy/`.
fn deployed(path: &str) -> PathBuf {
    repository().join("deploy").join(path)
}

/// Its text.
fn text(path: &str) -> String {
    let path = deployed(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A program of this machine, or a loud skip.
fn program(test: &str, name: &str, package: &str) -> Option<PathBuf> {
    let found = installed(name);
    if found.is_none() {
        let why = format!("{name} is not on this machine (Debian: apt-get install {package})");
        skip_optional(test, &why);
    }
    found
}
