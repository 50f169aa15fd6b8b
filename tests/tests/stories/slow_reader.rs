//! A reader that stalls is cut with 4008; the others do not notice.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use monitorable::bridge::v1::{AgentEvent, EventType};
use monitorable_tests::http;
use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::pair::SOON;

const BATCHES: usize = 60;
const EVENTS_OF_A_BATCH: usize = 10;
const DATA_BYTES: usize = 32 * 1024;

/// Connects with a small receive buffer, and does not read.
async fn stalled(address: SocketAddr, thread_id: &str) -> WebSocketStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let url = format!("ws://{address}/v1/events?thread_id={thread_id}");
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    socket
}

fn heavy_batch(run: &mut Run) -> Vec<AgentEvent> {
    let data = Bytes::from(format!("\"{}\"", "x".repeat(DATA_BYTES)));
    let event = |_| {
        let mut event = run.event(EventType::AgentThinking);
        event.data = data.clone();
        event
    };
    (0..EVENTS_OF_A_BATCH).map(event).collect()
}

/// A reader of server-sent events that stops to read after the head of the answer, and for whom
/// more comes than any socket holds.
async fn stalled_stream(bridge: &Service) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut stream = socket.connect(bridge.http).await.unwrap();
    let request = "GET /v1/events?thread_id=heavy HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let publisher = Publisher::new(&bridge.uri());
    let mut run = Run::new("heavy", "run-heavy");
    for _ in 0..BATCHES {
        publisher.publish(&heavy_batch(&mut run)).await;
    }
    stream
}

#[tokio::test]
async fn the_connection_of_a_stalled_stream_is_cut() {
    let bridge = Service::bridge(&["--http-max-connections", "1", "--hub-goodbye", "300ms"]).await;
    let mut stalled = stalled_stream(&bridge).await;
    // Its place is the only one.
    assert_eq!(http::get(bridge.http, "/livez").await.status, 200);
    let mut rest = Vec::new();
    let read = tokio::time::timeout(SOON, stalled.read_to_end(&mut rest)).await;
    // A reset is an end too.
    let _ = read.expect("the connection stays open");
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it ended in order");
}

#[tokio::test]
async fn a_stalled_stream_holds_up_no_drain() {
    let leaving = ["--hub-goodbye", "300ms", "--drain-spread", "100ms"];
    let patient = [
        "--hub-reader-lag-bytes",
        "268435456",
        "--drain-deadline",
        "1m",
    ];
    let window = ["--hub-window-thread-bytes", "268435456"];
    let mut bridge = Service::bridge(&[&leaving[..], &patient, &window].concat()).await;
    let _stalled = stalled_stream(&bridge).await;
    bridge.terminate();
    assert_eq!(bridge.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_stalled_reader_is_cut_and_slows_nobody() {
    let bridge = Service::bridge(&["--hub-goodbye", "15s", "--drain-deadline", "20s"]).await;
    let mut slow = stalled(bridge.http, "heavy").await;
    let mut fast = Reader::connect(bridge.http, Options::thread("heavy")).await;
    let mut other = Reader::connect(bridge.http, Options::thread("light")).await;
    let publisher = Publisher::new(&bridge.uri());
    let mut run = Run::new("heavy", "run-heavy");
    for batch in 1..=BATCHES {
        publisher.publish(&heavy_batch(&mut run)).await;
        // The fast reader keeps up all the time, so nobody waits for the slow one.
        fast.until_events(SOON, batch * EVENTS_OF_A_BATCH).await;
    }
    publisher
        .publish(&Run::whole("light", "run-light", 1))
        .await;
    other.until_events(SOON, 6).await;
    let record = fast.record();
    assert!(
        record.closed.is_none(),
        "the fast reader was closed: {:?}",
        record.closed
    );
    let sequences: Vec<_> = record.events().map(|event| event.sequence()).collect();
    let gapless: Vec<_> = (1..=(BATCHES * EVENTS_OF_A_BATCH) as u64).collect();
    assert_eq!(sequences, gapless);

    let (goodbye, code, last) = read_to_the_end(&mut slow).await;
    assert_eq!(goodbye["code"], 4008, "{goodbye}");
    assert_eq!(code, 4008);
    assert!(
        last < (BATCHES * EVENTS_OF_A_BATCH) as u64,
        "it never was too slow"
    );
}

/// Reads everything that is left: the goodbye, the close code and the last event's sequence.
async fn read_to_the_end(slow: &mut WebSocketStream<TcpStream>) -> (Value, u16, u64) {
    let (mut goodbye, mut code, mut last) = (Value::Null, 0, 0);
    let reading = async {
        while let Some(Ok(message)) = slow.next().await {
            match message {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    match frame["type"].as_str() {
                        Some("event") => {
                            let sequence = frame["seq"].as_u64().unwrap();
                            assert!(last == 0 || sequence == last + 1, "{sequence} after {last}");
                            last = sequence;
                        }
                        Some("goodbye") => goodbye = frame,
                        _ => {}
                    }
                }
                Message::Close(Some(frame)) => code = frame.code.into(),
                _ => {}
            }
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(20), reading).await;
    read.expect("the connection ends");
    (goodbye, code, last)
}
