//! The images that `cargo xtask image` has built: small, without a shell, and at work as nobody.

use std::process::Stdio;
use std::time::Duration;

use monitorable_tests::calls::Target;
use monitorable_tests::command;
use monitorable_tests::eventually::{eventually, holds};
use monitorable_tests::http::get;
use monitorable_tests::skip::skip_optional;
use tokio::process::Command;

use crate::text;

/// Set by `cargo xtask image` to the words that come before podman's own.
const PODMAN: &str = "MONITORABLE_PODMAN";
const MAX_BYTES: u64 = 20_000_000;
const SOON: Duration = Duration::from_secs(30);

/// A podman command.
fn podman(words: &str, arguments: &[&str]) -> Command {
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(arguments);
    command
}

#[tokio::test]
async fn both_images_are_small_and_serve_as_nobody_with_nothing_to_write_on() {
    let test = "both_images_are_small_and_serve_as_nobody_with_nothing_to_write_on";
    let Ok(words) = std::env::var(PODMAN) else {
        return skip_optional(test, "`cargo xtask image` builds the images and runs it");
    };
    for name in ["bridge-service", "monitor-service"] {
        let format = ["image", "inspect", "--format", "{{.Size}} {{.User}}", name];
        let shown = command::run(&mut podman(&words, &format)).await.expect(0);
        let (size, user) = shown.trim().split_once(' ').unwrap();
        let size: u64 = size.parse().unwrap();
        println!("{name}: {:.1} MB", size as f64 / 1e6);
        assert!(size < MAX_BYTES, "{name}: {size} bytes");
        assert_eq!(user, "65532:65532");
        serves(&words, name).await;
    }
}

/// Runs it as the manifests do, probes it, and tells it to end.
async fn serves(words: &str, name: &str) {
    let container = format!("{name}-test-{}", std::process::id());
    // The second and third limit are what a machine without the right to raise them allows.
    let confined = "--read-only --cap-drop all --security-opt no-new-privileges --network host \
                    --ulimit nofile=1024:1024 --ulimit nproc=1024:1024";
    let mut arguments = vec!["run", "--rm", "--name", &container];
    arguments.extend(confined.split_whitespace());
    let ports = [
        "--grpc-listen",
        "127.0.0.1:0",
        "--http-listen",
        "127.0.0.1:0",
        // Without the roots of authorities it does not start with this one.
        "--trace-otlp-endpoint",
        "https://127.0.0.1:1",
    ];
    arguments.push(name);
    arguments.extend(ports);
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut child = podman(words, &arguments)
        .stdin(Stdio::null())
        .stdout(log.reopen().unwrap())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(log.path()).unwrap();
    let address = |port: &str| {
        let line = format!("{port} listening on ");
        let said = said();
        let found = said.lines().find_map(|text| text.strip_prefix(&line));
        found.map(|address| address.parse::<std::net::SocketAddr>().unwrap())
    };
    let (grpc, http) = eventually(SOON, "it listens", || async {
        address("grpc").zip(address("http")).ok_or_else(said)
    })
    .await;
    Target::at(&format!("http://{grpc}"))
        .until_healthy(SOON)
        .await;
    eventually(SOON, "it is ready", || async {
        let answer = get(http, "/readyz").await;
        holds(answer.status == 200, answer.body)
    })
    .await;
    let stop = ["stop", "--time", "20", &container];
    command::run(&mut podman(words, &stop)).await.expect(0);
    let ended = tokio::time::timeout(SOON, child.wait()).await;
    assert!(
        ended.unwrap().unwrap().success(),
        "{name} drains and exits with 0"
    );
}

#[test]
fn each_image_has_the_roots_of_public_authorities() {
    let file = text("container/prebuilt.Containerfile");
    for image in file.split("\nFROM scratch AS ").skip(1) {
        assert!(
            image.contains(" /etc/ssl/certs/ca-certificates.crt\n"),
            "{image}"
        );
    }
}

#[test]
fn the_image_of_built_programs_is_that_of_the_whole_build() {
    let last_stages = |file: &str| {
        let text = text(&format!("container/{file}"));
        let (_, stages) = text.split_once("\n# The images\n").unwrap();
        stages.replace("--from=build ", "")
    };
    assert_eq!(
        last_stages("Containerfile"),
        last_stages("prebuilt.Containerfile")
    );
}
