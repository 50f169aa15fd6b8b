//! `cargo xtask image`: static programs, images of them, and the proof that these work.

use std::path::Path;

use crate::shell::{Failure, answers, cargo, command, root, step};
use crate::test::target_directory;

const TARGET: &str = "x86_64-unknown-linux-musl";
const SERVICES: [&str; 2] = ["bridge-service", "monitor-service"];
/// Where systems keep the roots of public authorities.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// How images are kept and run inside a container or a small machine, too.
const STORAGE: &str = "--storage-driver vfs";
const RUNTIME: &str = "--cgroup-manager cgroupfs --runtime runc";

/// Compiles, builds and proves.
pub(crate) fn run() -> Result<(), Failure> {
    for (program, package) in [
        ("buildah", "buildah"),
        ("podman", "podman"),
        ("runc", "runc"),
        ("musl-gcc", "musl-tools"),
    ] {
        if !answers(program, "--version") {
            return Err(Failure::new(format!(
                "{program} is not on this machine (Debian: apt-get install {package})"
            )));
        }
    }
    let mut compile = cargo("build --profile image --locked -p bridge-service -p monitor-service");
    compile
        .args([
            "--no-default-features",
            "--features",
            "monitor-service/kubernetes",
        ])
        .args(["--target", TARGET])
        .env("CC_x86_64_unknown_linux_musl", "musl-gcc");
    step("compile static programs", &mut compile)?;
    let context = root().join(".tools/image");
    gather(&context)?;
    for service in SERVICES {
        let mut build = command("buildah");
        build
            .args(STORAGE.split(' '))
            .args(["build", "--isolation", "chroot", "--file"])
            .arg(root().join("deploy/container/prebuilt.Containerfile"))
            .args(["--target", service, "--tag", service])
            .arg(&context);
        step(&format!("build the image of {service}"), &mut build)?;
    }
    let mut tests = cargo("test -p monitorable-tests --test deploy");
    tests
        .args(["image::", "--", "--nocapture"])
        .env("MONITORABLE_PODMAN", format!("podman {STORAGE} {RUNTIME}"));
    step("prove both images", &mut tests)
}

/// The programs and what they need, and nothing else: it is all sent to the build.
fn gather(context: &Path) -> Result<(), Failure> {
    let out = context.join("out");
    std::fs::create_dir_all(&out)?;
    let built = target_directory()?.join(TARGET).join("image");
    for service in SERVICES {
        std::fs::copy(built.join(service), out.join(service))?;
    }
    std::fs::copy(AUTHORITIES, out.join("ca-certificates.crt"))
        .map_err(|error| Failure::new(format!("{AUTHORITIES}: {error}")))?;
    Ok(())
}
