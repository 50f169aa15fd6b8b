//! Ports that other machines can reach do not stand open by accident.

use std::process::Stdio;

use ::http::Method;
use monitorable_tests::process::{self, Service};
use monitorable_tests::{command, http};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::SOON;
use crate::guarded::Files;

const OPEN: [&str; 4] = ["--grpc-listen", "0.0.0.0:0", "--http-listen", "[::]:0"];

async fn ended(service: &str, flags: &[&str]) -> command::Ended {
    command::run(process::command(service).arg("serve").args(flags)).await
}

/// Starts a service whose own flags say where it listens, and waits for its word.
async fn listens(service: &str, flags: &[&str]) {
    let mut child = process::command(service)
        .arg("serve")
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(SOON, lines.next_line()).await.unwrap();
    let first = first.unwrap().unwrap_or_default();
    assert!(first.starts_with("grpc listening on 0.0.0.0:"), "{first}");
}

#[tokio::test]
async fn an_open_port_is_refused_with_the_way_to_do_it_right() {
    for service in ["bridge-service", "monitor-service"] {
        let refused = ended(service, &OPEN).await;
        assert_eq!(refused.code, Some(64), "{refused}");
        for part in [
            "grpc.listen: 0.0.0.0:0 can be reached from other machines",
            "http.listen: [::]:0 can be reached from other machines",
            "auth.access_file",
            "tls_client_certificates",
            "--insecure",
        ] {
            assert!(
                refused.stderr.contains(part),
                "{part} is missing: {refused}"
            );
        }
    }
}

#[tokio::test]
async fn closed_doors_or_the_word_insecure_open_the_port() {
    let files = Files::new();
    let access = files.shown("access.toml");
    let closed = [&OPEN[..], &["--auth-access-file", &access]].concat();
    let insecure = [&OPEN[..], &["--insecure"]].concat();
    for service in ["bridge-service", "monitor-service"] {
        listens(service, &closed).await;
        listens(service, &insecure).await;
    }
}

#[tokio::test]
async fn tokens_for_readers_alone_leave_the_grpc_port_open() {
    let flags = [&OPEN[..], &["--auth-tokens", "a-token-for-all-readers"]].concat();
    let refused = ended("bridge-service", &flags).await;
    assert_eq!(refused.code, Some(64), "{refused}");
    assert!(refused.stderr.contains("grpc.listen"), "{refused}");
    assert!(!refused.stderr.contains("http.listen: "), "{refused}");
    assert!(!refused.both().contains("a-token-for"), "{refused}");
}

#[tokio::test]
async fn an_open_port_is_not_called_by_a_name_that_a_page_can_have() {
    // A page whose name was made to lead here asks as this machine's own would, but for the name.
    let ask = async |service: &Service, host: &str, path: &str| {
        let headers = [("host", host), ("accept", "text/event-stream")];
        let answer = http::send(service.http, Method::GET, path, &headers, "").await;
        answer.status().as_u16()
    };
    let (bridge, monitor) = ("bridge-service", "monitor-service");
    for (name, path) in [
        (bridge, "/v1/events?thread_id=chat-1"),
        (bridge, "/metrics"),
        (monitor, "/api/v1/components"),
        (monitor, "/metrics"),
    ] {
        let service = Service::start_in(&[], name, &[]).await;
        assert_eq!(
            ask(&service, "evil.example:8080", path).await,
            403,
            "{path}"
        );
        for own in ["127.0.0.1:8080", "localhost:8080"] {
            assert_eq!(ask(&service, own, path).await, 200, "{own} {path}");
        }
        assert_eq!(ask(&service, "evil.example:8080", "/livez").await, 200);
        let insecure = Service::start_in(&[], name, &["--insecure"]).await;
        assert_eq!(
            ask(&insecure, "service.internal", path).await,
            200,
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_operators_see_can_be_switched_off() {
    let bridge = Service::bridge(&["--http-metrics", "false"]).await;
    assert_eq!(http::get(bridge.http, "/metrics").await.status, 404);
    assert_eq!(http::get(bridge.http, "/livez").await.status, 200);
    let monitor = Service::monitor(&["--http-metrics", "false"]).await;
    assert_eq!(http::get(monitor.http, "/metrics").await.status, 404);
}

#[tokio::test]
async fn what_is_half_set_is_refused_by_name() {
    let files = Files::new();
    let (access, key) = (files.shown("access.toml"), files.shown("jwt.key"));
    files.write(
        "access.toml",
        "[[tokens]]\nname = 'x'\ntoken = 'hush'\nroles = ['agent']\n",
    );
    let refused = ended(
        "bridge-service",
        &[
            "--grpc-tls-certificate-file",
            &access,
            "--http-tls-certificate-file",
            &access,
            "--http-tls-key-file",
            &key,
            "--auth-jwt-key-file",
            &key,
            "--auth-access-file",
            &access,
            "--auth-jwks-url",
            "http://elsewhere.example/?key=hush",
        ],
    )
    .await;
    assert_eq!(refused.code, Some(64), "{refused}");
    for part in [
        "grpc.tls_key_file: it is not set",
        "http.tls_certificate_file: ",
        "auth.jwt_audience: it is not set",
        "tokens[0].token: it has 4 bytes",
        "auth.jwks_url: http://elsewhere.example/… is not allowed",
    ] {
        assert!(
            refused.stderr.contains(part),
            "{part} is missing: {refused}"
        );
    }
    assert!(!refused.stderr.contains("hush"), "{refused}");
}
