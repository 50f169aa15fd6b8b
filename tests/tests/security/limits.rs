//! Limits: one over gets the documented answer, and the rest are untouched.

use std::time::Duration;

use monitorable::bridge::v1::Status;
use monitorable_tests::calls::Target;
use monitorable_tests::certificates::Authority;
use monitorable_tests::eventually::{eventually, holds};
use monitorable_tests::http;
use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::SOON;
use crate::guarded::{ADMIN, AGENT, Files, closed, logged, publish};

async fn still_reads(bridge: &Service, reader: &mut Reader, run_id: &str) {
    let before = reader.record().events().count();
    let events = Run::whole("chat-1", run_id, 0);
    Publisher::new(&bridge.uri()).publish(&events).await;
    reader.until_events(SOON, before + events.len()).await;
}

/// What a connection on which nothing is said comes to.
async fn silent(address: std::net::SocketAddr) -> Vec<u8> {
    silent_after(b"", address).await
}

/// What a connection on which this is said, and nothing more, comes to.
async fn silent_after(said: &[u8], address: std::net::SocketAddr) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(said).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await;
    // A reset is an end too.
    let _ = read.expect("the connection stays open");
    answer
}

#[tokio::test]
async fn connections_of_one_address() {
    let bridge = Service::bridge(&["--http-max-connections-per-address", "2"]).await;
    let mut first = Reader::connect(bridge.http, Options::thread("chat-1")).await;
    let second = Reader::connect(bridge.http, Options::thread("chat-1")).await;
    assert!(
        Reader::try_connect(bridge.http, Options::thread("chat-1"))
            .await
            .is_err()
    );
    still_reads(&bridge, &mut first, "run-1").await;
    second.close().await;
    let again = async {
        while Reader::try_connect(bridge.http, Options::thread("chat-1"))
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, again).await.unwrap();
    still_reads(&bridge, &mut first, "run-2").await;
}

#[tokio::test]
async fn grpc_connections_of_one_address() {
    let bridge = Service::bridge(&["--grpc-max-connections-per-address", "1"]).await;
    let first = Publisher::new(&bridge.uri());
    first.publish(&Run::whole("chat-1", "run-1", 0)).await;
    let second = Publisher::new(&bridge.uri());
    let refused = second.try_publish(&Run::whole("chat-1", "run-2", 0)).await;
    assert!(refused.is_err(), "two connections were taken");
    first.publish(&Run::whole("chat-1", "run-3", 0)).await;
}

#[tokio::test]
async fn http_connections_beyond_the_limit_wait_and_readers_count_no_more() {
    let bridge = Service::bridge(&["--http-max-connections", "1"]).await;
    let mut reader = Reader::connect(bridge.http, Options::thread("chat-1")).await;
    reader.welcome().await;
    // Kept alive after its answer.
    let mut first = TcpStream::connect(bridge.http).await.unwrap();
    first
        .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let second = tokio::spawn(http::get(bridge.http, "/livez"));
    still_reads(&bridge, &mut reader, "run-1").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!second.is_finished(), "two connections were taken");
    drop(first);
    let second = tokio::time::timeout(SOON, second).await.unwrap().unwrap();
    assert_eq!(second.status, 200, "{second:?}");
}

#[tokio::test]
async fn one_reader_too_many_is_told_and_one_that_leaves_makes_room() {
    let bridge = Service::bridge(&["--hub-connections", "1"]).await;
    let mut first = Reader::connect(bridge.http, Options::thread("chat-1")).await;
    first.welcome().await;
    let mut second = Reader::connect(bridge.http, Options::thread("chat-1")).await;
    assert_eq!(
        closed(&mut second).await,
        (4010, "too_many_connections".to_owned())
    );
    let events = "/v1/events?thread_id=chat-1";
    let headers = [("accept", "text/event-stream")];
    let stream = http::request(bridge.http, ::http::Method::GET, events, &headers, "").await;
    assert_eq!(stream.status, 429, "{stream:?}");
    assert_eq!(stream.header("connection"), "close", "{stream:?}");
    still_reads(&bridge, &mut first, "run-1").await;
    first.close().await;
    eventually(SOON, "there is room again", || async {
        let mut next = Reader::connect(bridge.http, Options::thread("chat-1")).await;
        let record = next
            .until(SOON, "a word", |record| !record.frames.is_empty())
            .await;
        let first = record.frames[0].kind().to_owned();
        holds(first == "welcome", first)
    })
    .await;
}

#[tokio::test]
async fn one_thread_too_many_is_refused_and_the_bridge_stays_well() {
    let often = [
        "--health-check-interval",
        "500ms",
        "--health-verification-timeout",
        "500ms",
    ];
    let flags = [&["--hub-threads", "1"][..], &often].concat();
    let bridge = Service::bridge(&flags).await;
    Target::at(&bridge.uri()).until_healthy(SOON).await;
    let mut reader = Reader::connect(bridge.http, Options::thread("chat-1")).await;
    reader.welcome().await;
    let publisher = Publisher::new(&bridge.uri());
    let refused = publisher
        .try_publish(&Run::whole("chat-2", "run-2", 0))
        .await;
    let receipt = &refused.unwrap()[0];
    assert_eq!(receipt.status(), Status::Rejected, "{receipt:?}");
    assert!(receipt.error.contains("threads are held"), "{receipt:?}");
    let mut second = Reader::connect(bridge.http, Options::thread("chat-2")).await;
    assert_eq!(closed(&mut second).await.0, 4010);
    still_reads(&bridge, &mut reader, "run-1").await;
    let checks = async || Target::at(&bridge.uri()).metrics().await.unwrap();
    let done = async || checks().await.lifecycle.unwrap().health_checks_performed;
    let before = done().await;
    eventually(SOON, "two more rounds of checks", || async {
        let done = done().await;
        holds(done >= before + 2, done)
    })
    .await;
    // A slow machine may fail one round; strangers' threads would fail every one.
    Target::at(&bridge.uri()).until_healthy(SOON).await;
}

#[tokio::test]
async fn what_is_under_way_is_cut_at_the_drain_deadline() {
    let short = ["--drain-deadline", "500ms", "--http-header-timeout", "5m"];
    let bridge_alone = ["--drain-spread", "100ms", "--hub-goodbye", "100ms"];
    let bridge = Service::bridge(&[&short[..], &bridge_alone].concat()).await;
    let monitor = Service::monitor(&short).await;
    for mut service in [bridge, monitor] {
        // Half a request, and never the rest.
        let mut half = TcpStream::connect(service.http).await.unwrap();
        half.write_all(b"GET /livez HTTP/1.1\r\nhost:")
            .await
            .unwrap();
        assert_eq!(http::get(service.http, "/livez").await.status, 200);
        service.terminate();
        assert!(service.ended().await.success());
        logged(&service, &["cut at the drain deadline"]).await;
    }
}

#[tokio::test]
async fn grpc_connections_beyond_the_limit_wait() {
    let bridge = Service::bridge(&["--grpc-max-connections", "1"]).await;
    let first = Publisher::new(&bridge.uri());
    first.publish(&Run::whole("chat-1", "run-1", 0)).await;
    let uri = bridge.uri();
    let second = tokio::spawn(async move {
        Publisher::new(&uri)
            .publish(&Run::whole("chat-1", "run-2", 0))
            .await;
    });
    first.publish(&Run::whole("chat-1", "run-3", 0)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!second.is_finished(), "two connections were taken");
    drop(first);
    tokio::time::timeout(SOON, second).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_time_of_a_handshake() {
    let authority = Authority::new("servers");
    let files = Files::new();
    let (certificate, key) = authority.server().write(files.directory.path(), "server");
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let bridge = Service::bridge(&[
        "--http-tls-certificate-file",
        &certificate,
        "--http-tls-key-file",
        &key,
        "--http-handshake-timeout",
        "300ms",
    ])
    .await;
    let options = Options {
        tls: Some(authority.trusted(None)),
        ..Options::thread("chat-1")
    };
    let mut reader = Reader::connect(bridge.http, options).await;
    assert!(silent(bridge.http).await.is_empty());
    still_reads(&bridge, &mut reader, "run-1").await;
    let monitor = Service::monitor(&[
        "--grpc-tls-certificate-file",
        &certificate,
        "--grpc-tls-key-file",
        &key,
        "--grpc-handshake-timeout",
        "300ms",
    ])
    .await;
    assert!(silent(monitor.grpc).await.is_empty());
    assert_eq!(http::get(monitor.http, "/livez").await.status, 200);
    let plain = Service::bridge(&["--http-header-timeout", "300ms"]).await;
    let _ = silent(plain.http).await;
}

#[tokio::test]
async fn who_does_not_say_what_it_speaks_takes_no_place_of_a_grpc_port() {
    let short = [
        "--grpc-handshake-timeout",
        "300ms",
        "--grpc-max-connections",
        "1",
    ];
    let bridge = Service::bridge(&short).await;
    assert!(silent(bridge.grpc).await.is_empty());
    let half = b"PRI * HTTP/2.0\r\n";
    assert!(silent_after(half, bridge.grpc).await.is_empty());
    let publisher = Publisher::new(&bridge.uri());
    publisher.publish(&Run::whole("chat-1", "run-1", 0)).await;
    // Once it has spoken it may be quiet for longer than that.
    tokio::time::sleep(Duration::from_millis(600)).await;
    publisher.publish(&Run::whole("chat-1", "run-2", 0)).await;
}

#[tokio::test]
async fn the_size_of_a_head() {
    let small = [
        "--http-max-header-bytes",
        "8192",
        "--grpc-max-header-bytes",
        "8192",
    ];
    let bridge = Service::bridge(&small).await;
    let mut reader = Reader::connect(bridge.http, Options::thread("chat-1")).await;
    let long = "x".repeat(10_000);
    let answer = http::request(
        bridge.http,
        ::http::Method::GET,
        "/livez",
        &[("x-long", &long)],
        "",
    )
    .await;
    assert_eq!(answer.status, 431, "{answer:?}");
    let mut request = tonic::Request::new(monitorable::bridge::v1::GetEgressRequest {});
    request
        .metadata_mut()
        .insert("x-long", "x".repeat(10_000).parse().unwrap());
    let mut client =
        monitorable::bridge::v1::agent_events_client::AgentEventsClient::new(bridge.channel());
    assert!(client.get_egress(request).await.is_err());
    still_reads(&bridge, &mut reader, "run-1").await;
}

#[tokio::test]
async fn messages_of_one_reader() {
    let bridge = Service::bridge(&["--websocket-max-messages-per-second", "10"]).await;
    let mut quiet = Reader::connect(bridge.http, Options::thread("chat-1")).await;
    let mut loud = Reader::connect(bridge.http, Options::thread("chat-1")).await;
    loud.welcome().await;
    for _ in 0..30 {
        loud.send(r#"{"type":"ack","seq":0}"#);
        // Sent one by one, since what comes together is taken together.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        closed(&mut loud).await,
        (1008, "too_many_messages".to_owned())
    );
    still_reads(&bridge, &mut quiet, "run-1").await;
}

#[tokio::test]
async fn events_of_one_agent() {
    let files = Files::new();
    let bridge = files.bridge(&["--ingest-max-events-per-second", "4"]).await;
    publish(bridge.channel(), AGENT, "chat-1", "run-1")
        .await
        .unwrap();
    let refused = publish(bridge.channel(), AGENT, "chat-1", "run-2")
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("try again in"), "{refused}");
    publish(bridge.channel(), ADMIN, "chat-1", "run-3")
        .await
        .unwrap();
}

#[tokio::test]
async fn pages_that_may_read() {
    let bridge = Service::bridge(&[]).await;
    let listed = Service::bridge(&["--http-allowed-origins", "https://chat.example"]).await;
    let from = |origin: &str| Options {
        origin: Some(origin.to_owned()),
        ..Options::thread("chat-1")
    };
    for (service, origin, allowed) in [
        (&bridge, "http://localhost:3000", true),
        (&bridge, "https://evil.example", false),
        (&bridge, "null", false),
        (&listed, "https://chat.example", true),
        (&listed, "http://localhost:3000", false),
    ] {
        match Reader::try_connect(service.http, from(origin)).await {
            Ok(mut reader) => {
                assert!(allowed, "{origin}");
                reader.welcome().await;
            }
            Err(refused) => {
                assert!(!allowed, "{origin}: {refused:?}");
                assert_eq!(refused.status, 403, "{refused:?}");
                assert!(refused.body.contains(origin), "{refused:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_size_of_a_message() {
    let bridge = Service::bridge(&["--websocket-max-frame-bytes", "128"]).await;
    let mut quiet = Reader::connect(bridge.http, Options::thread("chat-1")).await;
    let mut loud = Reader::connect(bridge.http, Options::thread("chat-1")).await;
    loud.welcome().await;
    loud.send(&"x".repeat(129));
    assert_eq!(closed(&mut loud).await.0, 1009);
    still_reads(&bridge, &mut quiet, "run-1").await;
    let mut raw = TcpStream::connect(bridge.http).await.unwrap();
    raw.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    raw.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
