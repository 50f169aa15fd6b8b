//! Limits: one over gets the documented answer, and the rest are untouched.

use std::time::Duration;

use monitorable_tests::certificates::Authority;
use monitorable_tests::http;
use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::SOON;
use crate::guarded::{ADMIN, AGENT, Files, closed, publish};

async fn still_reads(bridge: &Service, reader: &mut Reader, run_id: &str) {
    let before = reader.record().events().count();
    let events = Run::whole("chat-1", run_id, 0);
    Publisher::new(&bridge.uri()).publish(&events).await;
    reader.until_events(SOON, before + events.len()).await;
}

/// What a connection on which nothing is said comes to.
async fn silent(address: std::net::SocketAddr) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
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
    let plain = Service::bridge(&["--http-header-timeout", "300ms"]).await;
    let _ = silent(plain.http).await;
}

#[tokio::test]
async fn the_size_of_a_head() {
    let bridge = Service::bridge(&["--http-max-header-bytes", "8192"]).await;
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
        .insert("x-long", "x".repeat(20_000).parse().unwrap());
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
