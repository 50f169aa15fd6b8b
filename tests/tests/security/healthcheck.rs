//! `healthcheck`, as a probe that runs a command asks it: of both services, in every state.

use std::time::Duration;

use monitorable::bridge::v1::EventType;
use monitorable_tests::calls::Target;
use monitorable_tests::certificates::Authority;
use monitorable_tests::command::{self, Ended};
use monitorable_tests::eventually::{eventually, holds};
use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};
use tokio::net::{TcpListener, TcpSocket};

use crate::SOON;
use crate::guarded::Files;

/// The same question in both services' words.
async fn asks(name: &str, uri: &str, more: &[&str]) -> Ended {
    match name {
        "bridge" => command::bridge(&[&["healthcheck", "--target", uri][..], more].concat()).await,
        _ => command::monitor(&[&["healthcheck", "--monitor", uri][..], more].concat()).await,
    }
}

async fn start(name: &str, flags: &[&str]) -> Service {
    match name {
        "bridge" => Service::bridge(flags).await,
        _ => Service::monitor(flags).await,
    }
}

#[tokio::test]
async fn well_unknown_hanging_gone_and_mistaken() {
    for name in ["bridge", "monitor"] {
        let service = start(name, &[]).await;
        Target::at(&service.uri()).until_healthy(SOON).await;
        for more in [&[][..], &["--service", "liveness"], &["--service", ""]] {
            let ended = asks(name, &service.uri(), more).await;
            assert_eq!(ended.code, Some(0), "{name} {more:?}: {ended}");
        }
        let unknown = asks(name, &service.uri(), &["--service", "nobody"]).await;
        assert_eq!(unknown.code, Some(3), "{name}: {unknown}");
        assert!(unknown.stderr.contains("readiness"), "{name}: {unknown}");
        // It hangs: its port takes connections and nobody answers.
        service.pause();
        let hangs = asks(name, &service.uri(), &["--timeout", "500ms"]).await;
        assert_eq!(hangs.code, Some(3), "{name}: {hangs}");
        assert!(
            hangs.both().contains("no answer within 500ms"),
            "{name}: {hangs}"
        );
        service.resume();
        let uri = service.uri();
        assert!(service.stop().await.success());
        let gone = asks(name, &uri, &[]).await;
        assert_eq!(gone.code, Some(2), "{name}: {gone}");
        let bad = asks(name, "nowhere", &[]).await;
        assert_eq!(bad.code, Some(1), "{name}: {bad}");
    }
}

/// What readiness and liveness come to.
async fn codes(name: &str, uri: &str) -> (Option<i32>, Option<i32>) {
    let ready = asks(name, uri, &[]).await;
    let live = asks(name, uri, &["--service", "liveness"]).await;
    (ready.code, live.code)
}

#[tokio::test]
async fn a_bridge_that_drains_is_not_ready_and_not_dead() {
    let patient = ["--hub-goodbye", "15s", "--drain-deadline", "20s"];
    let mut bridge = Service::bridge(&patient).await;
    Target::at(&bridge.uri()).until_healthy(SOON).await;
    // A reader that takes nothing is waited for, and with it the drain.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let stream = socket.connect(bridge.http).await.unwrap();
    let url = format!("ws://{}/v1/events?thread_id=chat", bridge.http);
    let (stalled, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let publisher = Publisher::new(&bridge.uri());
    let mut run = Run::new("chat", "run-1");
    for _ in 0..200 {
        let mut event = run.event(EventType::AgentThinking);
        event.data = format!("\"{}\"", "x".repeat(60_000)).into();
        publisher.publish(&[event]).await;
    }
    assert_eq!(codes("bridge", &bridge.uri()).await, (Some(0), Some(0)));
    bridge.terminate();
    eventually(SOON, "it is not ready, and live", || async {
        let codes = codes("bridge", &bridge.uri()).await;
        holds(codes == (Some(4), Some(0)), codes)
    })
    .await;
    drop(stalled);
    assert!(bridge.ended().await.success());
}

#[tokio::test]
async fn a_monitor_whose_loop_was_late_is_not_ready_and_not_dead() {
    let monitor = Service::monitor(&["--fleet-tick", "3s"]).await;
    Target::at(&monitor.uri()).until_healthy(SOON).await;
    // Whenever the pause begins, a tick is late by more than fleet.stall_tolerance, and proves
    // nothing until the next one.
    monitor.pause();
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    monitor.resume();
    for wanted in [(Some(4), Some(0)), (Some(0), Some(0))] {
        eventually(
            SOON,
            "its readiness changes and its liveness does not",
            || async {
                let codes = codes("monitor", &monitor.uri()).await;
                holds(codes == wanted, codes)
            },
        )
        .await;
    }
}

#[tokio::test]
async fn over_tls_by_name_and_with_a_certificate() {
    let authority = Authority::new("authority");
    let files = Files::new();
    let directory = files.directory.path();
    let (certificate, key) = authority.server().write(directory, "server");
    let (own, own_key) = authority
        .client("spiffe://test/probe")
        .write(directory, "probe");
    files.write("ca.pem", &authority.pem);
    let shown = |path: &std::path::Path| path.display().to_string();
    let (certificate, key) = (shown(&certificate), shown(&key));
    let (own, own_key, ca) = (shown(&own), shown(&own_key), files.shown("ca.pem"));
    let flags = [
        "--grpc-tls-certificate-file",
        &certificate,
        "--grpc-tls-key-file",
        &key,
        "--grpc-tls-client-ca-file",
        &ca,
        "--grpc-tls-client-certificates",
        "required",
    ];
    for (name, prefix) in [("bridge", "--tls"), ("monitor", "--monitor")] {
        let service = start(name, &flags).await;
        let uri = format!("https://{}", service.grpc);
        let flag = |rest: &str| format!("{prefix}-{rest}");
        let (with_ca, with_name) = (flag("ca"), flag("server-name"));
        let (with_certificate, with_key) = (flag("client-certificate"), flag("client-key"));
        let known = [
            &*with_ca,
            &*ca,
            &*with_certificate,
            &*own,
            &*with_key,
            &*own_key,
        ];
        eventually(SOON, "it is serving", || async {
            let ended = asks(name, &uri, &known).await;
            holds(ended.code == Some(0), ended)
        })
        .await;
        let by_name = [&known[..], &[&*with_name, "localhost"]].concat();
        let ended = asks(name, &uri, &by_name).await;
        assert_eq!(ended.code, Some(0), "{name}: {ended}");
        let wrong_name = [&known[..], &[&*with_name, "elsewhere.test"]].concat();
        for mistaken in [&wrong_name[..], &known[2..], &known[..2]] {
            let ended = asks(name, &uri, mistaken).await;
            let code = ended.code;
            assert!(matches!(code, Some(2 | 3)), "{name} {mistaken:?}: {ended}");
        }
    }
}

#[tokio::test]
async fn a_port_that_takes_connections_and_says_nothing_is_not_well() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    for name in ["bridge", "monitor"] {
        let ended = asks(name, &uri, &["--timeout", "300ms"]).await;
        assert!(matches!(ended.code, Some(2 | 3)), "{name}: {ended}");
    }
}
