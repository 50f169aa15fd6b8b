//! SIGTERM: everybody is told, nothing is lost, and the process exits 0.

use monitorable::grpc_health::v1::HealthCheckRequest;
use monitorable::grpc_health::v1::health_check_response::ServingStatus;
use monitorable::grpc_health::v1::health_client::HealthClient;
use monitorable::monitorable::v1::{Reason, State};
use monitorable_tests::calls::Target;
use monitorable_tests::eventually::{eventually, holds};
use monitorable_tests::http;
use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};
use monitorable_tests::sse;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::pair::SOON;

#[tokio::test]
async fn a_draining_bridge_says_goodbye_to_everybody() {
    let mut bridge = Service::bridge(&[]).await;
    let target = Target::at(&bridge.uri());
    target.until_healthy(SOON).await;
    let mut reader = Reader::connect(bridge.http, Options::thread("chat")).await;
    let mut stream = sse::Stream::open(bridge.http, "chat", None).await;
    let mut watch = target.watch(None).await.unwrap();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.reason(), Reason::Initial);
    Publisher::new(&bridge.uri())
        .publish(&Run::whole("chat", "run-1", 2))
        .await;
    bridge.terminate();

    let record = reader.until(SOON, "the close", |record| record.over).await;
    assert_eq!(
        record.events().count(),
        8,
        "what was accepted is delivered first"
    );
    let goodbye = record.frames.last().unwrap();
    assert_eq!(goodbye.kind(), "goodbye", "{goodbye:?}");
    assert_eq!(goodbye.value["code"], 4009, "{goodbye:?}");
    assert!(
        goodbye.value["retry_after_ms"].as_u64().unwrap() > 0,
        "{goodbye:?}"
    );
    assert_eq!(record.closed.as_ref().unwrap().0, 4009);
    let farewell = stream.next_of("goodbye", SOON).await;
    assert_eq!(farewell.data["code"], 4009);
    assert!(
        stream.next(SOON).await.is_none(),
        "the stream ends after the goodbye"
    );

    let mut last = first;
    while let Ok(Some(message)) = tokio::time::timeout(SOON, watch.message()).await.unwrap() {
        last = message;
    }
    assert_eq!(last.reason(), Reason::Draining, "{last:?}");
    assert!(last.next_within.is_none(), "{last:?}");
    let health = last.health.unwrap();
    assert_eq!((health.state(), health.healthy), (State::Draining, false));
    let status = bridge.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
}

#[tokio::test]
async fn a_draining_monitor_ends_its_streams_and_exits_well() {
    let mut monitor = Service::monitor(&[]).await;
    let target = Target::at(&monitor.uri());
    target.until_healthy(SOON).await;
    assert_eq!(http::get(monitor.http, "/readyz").await.status, 200);
    let mut watch = target.watch(None).await.unwrap();
    let mut last = watch.message().await.unwrap().unwrap();
    monitor.terminate();
    while let Ok(Some(message)) = tokio::time::timeout(SOON, watch.message()).await.unwrap() {
        last = message;
    }
    assert_eq!(last.reason(), Reason::Draining, "{last:?}");
    let status = monitor.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
}

/// Whoever has not begun to speak, or only listens, is not waited for.
#[tokio::test]
async fn nobody_who_waits_holds_up_a_drain() {
    let patient = [
        "--drain-deadline",
        "1m",
        "--grpc-handshake-timeout",
        "1m",
        "--http-header-timeout",
        "1m",
    ];
    let closed = [
        "--auth-tokens",
        "a-token-of-sixteen-bytes",
        "--auth-frame-timeout",
        "1m",
    ];
    let bridge = Service::bridge(&[&patient[..], &closed].concat()).await;
    let monitor = Service::monitor(&patient).await;
    let mut reader = Reader::connect(bridge.http, Options::thread("chat")).await;
    for mut service in [bridge, monitor] {
        let _silent = (
            TcpStream::connect(service.grpc).await.unwrap(),
            TcpStream::connect(service.http).await.unwrap(),
        );
        let mut health = HealthClient::new(service.channel());
        let mut watches = Vec::new();
        for name in ["", "liveness", "nobody"] {
            let service = name.to_owned();
            let watch = health.watch(HealthCheckRequest { service }).await;
            let mut watch = watch.unwrap().into_inner();
            let first = watch.message().await.unwrap().unwrap();
            watches.push((name, first.status(), watch));
        }
        service.terminate();
        for (name, mut last, mut watch) in watches {
            while let Some(message) = watch.message().await.unwrap() {
                last = message.status();
            }
            let expected = match name {
                "nobody" => ServingStatus::ServiceUnknown,
                _ => ServingStatus::NotServing,
            };
            assert_eq!(last, expected, "{name}");
        }
        assert_eq!(service.ended().await.code(), Some(0));
    }
    let record = reader.until(SOON, "the close", |record| record.over).await;
    assert_eq!(record.closed.as_ref().unwrap().0, 4009, "{record:?}");
}

/// The signal and the end of each part come in the same instant; whichever is noticed first, the
/// drain is orderly.
#[tokio::test]
async fn every_drain_exits_well() {
    let mut services = Vec::new();
    for _ in 0..6 {
        services.push(("bridge", Service::bridge(&[]).await));
        services.push(("monitor", Service::monitor(&[]).await));
    }
    for (name, service) in services {
        Target::at(&service.uri()).until_healthy(SOON).await;
        let status = service.stop().await;
        assert_eq!(status.code(), Some(0), "a {name}: {status}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let patient = ["--drain-deadline", "1m", "--http-header-timeout", "5m"];
    for mut service in [
        Service::bridge(&patient).await,
        Service::monitor(&patient).await,
    ] {
        // Half a request, which the drain waits for.
        let mut half = TcpStream::connect(service.http).await.unwrap();
        let text = b"GET /livez HTTP/1.1\r\nhost:";
        half.write_all(text).await.unwrap();
        assert_eq!(http::get(service.http, "/livez").await.status, 200);
        service.terminate();
        eventually(SOON, "it drains", || async {
            let log = service.log().join("\n");
            holds(log.contains("draining"), log)
        })
        .await;
        service.terminate();
        assert_eq!(service.ended().await.code(), Some(130));
    }
}
