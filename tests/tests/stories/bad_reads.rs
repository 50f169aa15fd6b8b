//! Bad input on the HTTP ports: WebSocket, server-sent events, pages.

use http::Method;
use monitorable_tests::calls::Target;
use monitorable_tests::http::{get, request};
use monitorable_tests::process::Service;
use monitorable_tests::reader::{Options, Reader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::pair::SOON;

#[tokio::test]
async fn a_request_for_events_that_makes_no_sense_is_refused() {
    let bridge = Service::bridge(&[]).await;
    let long = format!("/v1/events?thread_id={}", "t".repeat(129));
    let secret = "/v1/events?thread_id=a&token=secret-secret-secret";
    for (path, status, named) in [
        ("/v1/events", 400, "thread_id"),
        ("/v1/events?thread_id=", 400, "thread_id"),
        ("/v1/events?thread_id=a&thread_id=b", 400, "thread_id"),
        ("/v1/events?thread_id=%24own", 403, "thread_id"),
        (long.as_str(), 400, "thread_id"),
        ("/v1/events?thread_id=a&after=1", 400, "epoch"),
        ("/v1/events?thread_id=a&epoch=e", 400, "after"),
        ("/v1/events?thread_id=a&epoch=e&after=-1", 400, "after"),
        ("/v1/events?thread_id=a&epoch=e&after=x", 400, "after"),
        ("/v1/events?thread_id=a&befor=7", 400, "befor"),
        (secret, 400, "token"),
    ] {
        let headers = [("accept", "text/event-stream")];
        let answer = request(bridge.http, Method::GET, path, &headers, "").await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.body.contains(named), "{path}: {}", answer.body);
        assert!(!answer.body.contains("secret-secret"), "{}", answer.body);
    }
    let neither = get(bridge.http, "/v1/events?thread_id=a").await;
    assert!((400..500).contains(&neither.status), "{neither:?}");
    let posted = request(
        bridge.http,
        Method::POST,
        "/v1/events?thread_id=a",
        &[],
        "x",
    )
    .await;
    assert_eq!(posted.status, 405, "{posted:?}");
    still_well(&bridge).await;
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_closed_with_a_reason() {
    let bridge = Service::bridge(&[]).await;
    let big = "x".repeat(5_000);
    for (message, code) in [
        (Message::text("not json"), 1002),
        (Message::text(r#"{"type":"dance"}"#), 1002),
        (Message::text(r#"{"type":"ack","seq":-1}"#), 1002),
        (Message::text(r#"{"type":"ack","seq":99}"#), 1002),
        (Message::text(big), 1009),
    ] {
        let mut reader = Reader::connect(bridge.http, Options::thread("chat")).await;
        reader.welcome().await;
        reader.send_message(message.clone());
        let record = reader.until(SOON, "the close", |record| record.over).await;
        let closed = record.closed.as_ref().map(|closed| closed.0);
        assert_eq!(closed, Some(code), "{message:?}: {record:?}");
        assert_eq!(
            record.frames.last().unwrap().kind(),
            "goodbye",
            "{message:?}"
        );
    }
    still_well(&bridge).await;
}

#[tokio::test]
async fn garbage_on_the_ports_harms_nobody() {
    let (bridge, monitor) = tokio::join!(Service::bridge(&[]), Service::monitor(&[]));
    for service in [&bridge, &monitor] {
        for address in [service.http, service.grpc] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _ = stream
                .write_all(b"\x16\x03\x01garbage\r\n\r\n\x00\xff")
                .await;
            let mut answer = Vec::new();
            let read = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await;
            assert!(read.is_ok(), "{address} keeps a connection of garbage open");
        }
        still_well(service).await;
    }
}

#[tokio::test]
async fn pages_that_are_not_there_and_pages_that_are() {
    let (bridge, monitor) = tokio::join!(Service::bridge(&[]), Service::monitor(&[]));
    for service in [&bridge, &monitor] {
        still_well(service).await;
        for path in ["/livez", "/readyz"] {
            assert_eq!(get(service.http, path).await.status, 200, "{path}");
        }
        let metrics = get(service.http, "/metrics").await;
        assert_eq!(metrics.status, 200);
        assert!(
            metrics.header("content-type").starts_with("text/plain"),
            "{metrics:?}"
        );
        assert!(metrics.body.contains("# TYPE "), "{}", metrics.body);
        let accept = [("accept", "application/openmetrics-text")];
        let open = request(service.http, Method::GET, "/metrics", &accept, "").await;
        assert!(
            open.header("content-type")
                .starts_with("application/openmetrics-text")
        );
        assert!(open.body.ends_with("# EOF\n"), "{}", open.body);
        assert_eq!(get(service.http, "/no/such/page").await.status, 404);
        let deleted = request(service.http, Method::DELETE, "/livez", &[], "").await;
        assert_eq!(deleted.status, 405, "{deleted:?}");
        let long = "h".repeat(40_000);
        let flooded = request(
            service.http,
            Method::GET,
            "/livez",
            &[("x-flood", &long)],
            "",
        )
        .await;
        assert_eq!(flooded.status, 431, "{flooded:?}");
    }
}

#[tokio::test]
async fn receipts_from_browsers_are_checked() {
    let monitor = Service::monitor(&[]).await;
    let json = [("content-type", "application/json")];
    let post =
        |body: &'static str| request(monitor.http, Method::POST, "/api/v1/receipts", &json, body);
    for body in ["", "{", "[]", "{}", r#"{"observer_id":""}"#] {
        let refused = post(body).await;
        assert!(
            (400..500).contains(&refused.status),
            "{body:?}: {refused:?}"
        );
        assert!(!refused.body.is_empty(), "{body:?}: no word of why");
    }
    assert_eq!(get(monitor.http, "/api/v1/receipts").await.status, 405);
    still_well(&monitor).await;
}

async fn still_well(service: &Service) {
    Target::at(&service.uri()).until_healthy(SOON).await;
}
