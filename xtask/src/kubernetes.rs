//! `cargo xtask kubernetes`: manifests, chart and discovery before a real API server.

use crate::shell::{Failure, answers, cargo, step};
use crate::test::target_directory;
use crate::tools;

/// Builds what is needed (the API server takes some minutes, once) and runs the tests that need it.
pub(crate) fn run() -> Result<(), Failure> {
    if !answers("etcd", "--version") {
        return Err(Failure::new(
            "etcd is not on this machine, and the API server keeps everything in it (Debian: \
             apt-get install etcd-server)",
        ));
    }
    tools::install_kubernetes()?;
    let mut build = cargo("build -p bridge-service -p monitor-service");
    let features = ["--features", "monitor-service/kubernetes"];
    step("build both services", build.args(features))?;
    let mut unit = cargo("test -p monitor-service --features kubernetes --lib");
    step("test the discovery", unit.args(["--quiet", "discovery"]))?;
    let mut tests = cargo("test -p monitorable-tests --test deploy");
    tests
        .args(["kubernetes::", "--", "--nocapture"])
        .env("MONITORABLE_KUBERNETES", "1")
        .env("MONITORABLE_BIN_DIR", target_directory()?.join("debug"));
    step("test manifests, chart and discovery", &mut tests)
}
