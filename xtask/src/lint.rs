//! `cargo xtask lint`: everything that can be said of the code without running it.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::shell::{Failure, cargo, command, root, step};
use crate::tools::{self, CARGO_DENY, CARGO_MACHETE};

/// Folders whose modules a macro declares: cargo does not find their files.
const DECLARED_BY_MACRO: [&str; 2] = [
    "monitor-service/src/audit/rules",
    "monitor-service/src/audit/fleet_rules",
];
/// Where the advisory database is kept.
const ADVISORIES: &str = "github.com:443";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs every check; the first that fails ends it.
pub(crate) fn run() -> Result<(), Failure> {
    format()?;
    let mut clippy = cargo("clippy --workspace --all-targets -- -D warnings");
    step("clippy", &mut clippy)?;
    for (what, features) in [
        (
            "the fault points",
            "-p bridge-service --features fault-injection",
        ),
        (
            "the hot paths",
            "-p bridge-service -p monitor-service --features hot-paths",
        ),
    ] {
        let mut more = cargo("clippy --all-targets");
        more.args(features.split(' '))
            .args(["--", "-D", "warnings"]);
        step(&format!("clippy of {what}"), &mut more)?;
    }
    let mut documentation = cargo("doc --workspace --no-deps --document-private-items");
    documentation.env("RUSTDOCFLAGS", "-D warnings");
    step("documentation", &mut documentation)?;
    let machete = tools::cargo_tool(CARGO_MACHETE)?;
    step(
        "unused dependencies",
        command(machete).arg("--skip-target-dir"),
    )?;
    deny()
}

fn format() -> Result<(), Failure> {
    step("format", &mut cargo("fmt --all --check"))?;
    let mut rustfmt = command("rustfmt");
    rustfmt.args(["--check", "--edition", "2024"]);
    for folder in DECLARED_BY_MACRO {
        for entry in std::fs::read_dir(root().join(folder))? {
            rustfmt.arg(entry?.path());
        }
    }
    step("format of the rules", &mut rustfmt)
}

/// Licences, sources and duplicate versions; advisories where their database can be had.
fn deny() -> Result<(), Failure> {
    let deny = tools::cargo_tool(CARGO_DENY)?;
    let mut checks = vec!["bans", "licenses", "sources"];
    if reachable(ADVISORIES) {
        checks.push("advisories");
    } else {
        println!(
            "SKIPPED advisories: their database at {ADVISORIES} cannot be reached; {} are checked",
            checks.join(", ")
        );
    }
    let mut check = command(deny);
    check.args(["--log-level", "error", "check"]).args(checks);
    step("licences and sources", &mut check)
}

fn reachable(host: &str) -> bool {
    let Ok(addresses) = host.to_socket_addrs() else {
        return false;
    };
    let mut addresses = addresses;
    addresses.any(|address| TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok())
}
