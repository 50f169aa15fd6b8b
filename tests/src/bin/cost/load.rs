//! Steady traffic: a publish stream on one side, readers that note each delay on the other.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hdrhistogram::Histogram;
use monitorable::bridge::v1::agent_events_client::AgentEventsClient;
use monitorable::bridge::v1::{AgentEvent, EventType, PublishStreamRequest, Status};
use monitorable_tests::process::Service;
use service_kit::clock::Clock;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::tungstenite::Message;

use crate::processor;

/// Payload of an event's data, in bytes.
const DATA_BYTES: usize = 256;
/// Events between two acknowledgements of one reader.
const ACKNOWLEDGE_EVERY: u64 = 8;
/// Between two batches.
const TICK: Duration = Duration::from_millis(2);

/// What one measurement saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) cpu_percent: f64,
    pub(crate) delivered_per_second: f64,
    pub(crate) out_of_order: u64,
}

/// Delays in microseconds, and what came out of order.
struct Notes {
    delays: Histogram<u64>,
    out_of_order: u64,
}

/// The traffic.
pub(crate) struct Load {
    notes: Arc<Mutex<Notes>>,
    readers: JoinSet<()>,
    publisher: JoinHandle<()>,
}

impl Load {
    /// Connects the readers and begins to publish.
    pub(crate) async fn start(bridge: &Service, readers: usize, rate: u64) -> Self {
        let start = Clock::system().now().monotonic;
        let delays = Histogram::new_with_bounds(1, 60_000_000, 3).unwrap();
        let notes = Arc::new(Mutex::new(Notes {
            delays,
            out_of_order: 0,
        }));
        let mut tasks = JoinSet::new();
        for number in 0..readers {
            let url = format!("ws://{}/v1/events?thread_id=cost-{number}", bridge.http);
            let stream = TcpStream::connect(bridge.http).await.unwrap();
            let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
            tasks.spawn(read(socket, start, notes.clone()));
        }
        let client = AgentEventsClient::new(bridge.channel());
        let publisher = tokio::spawn(publish(client, start, readers, rate));
        Self {
            notes,
            readers: tasks,
            publisher,
        }
    }

    /// Measures for a while.
    pub(crate) async fn measure(&mut self, bridge: &Service, span: Duration) -> Measured {
        self.notes.lock().unwrap().delays.reset();
        let used = processor::seconds_used(bridge.pid());
        let began = Clock::system().now().monotonic;
        tokio::time::sleep(span).await;
        let seconds = Clock::system().now().since(began).as_secs_f64();
        let used = processor::seconds_used(bridge.pid()) - used;
        assert!(!self.publisher.is_finished(), "the publisher ended");
        let mut notes = self.notes.lock().unwrap();
        let at = |quantile| notes.delays.value_at_quantile(quantile) as f64 / 1_000.0;
        let measured = Measured {
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            cpu_percent: 100.0 * used / seconds,
            delivered_per_second: notes.delays.len() as f64 / seconds,
            out_of_order: notes.out_of_order,
        };
        notes.out_of_order = 0;
        measured
    }

    /// Ends the traffic.
    pub(crate) async fn stop(mut self) {
        self.publisher.abort();
        self.readers.shutdown().await;
    }
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

async fn read(mut socket: Socket, start: Instant, notes: Arc<Mutex<Notes>>) {
    let mut last = 0;
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else {
            continue;
        };
        let Some(sent) = number(&text, "\"sent_us\":") else {
            continue;
        };
        let sequence = number(&text, "\"seq\":").unwrap_or(0);
        let delay = Clock::system().now().since(start).as_micros() as u64;
        {
            let mut notes = notes.lock().unwrap();
            notes
                .delays
                .saturating_record(delay.saturating_sub(sent).max(1));
            notes.out_of_order += u64::from(sequence != last + 1);
        }
        last = sequence;
        if sequence.is_multiple_of(ACKNOWLEDGE_EVERY) {
            let acknowledge = format!(r#"{{"type":"ack","seq":{sequence}}}"#);
            let _ = socket.send(Message::text(acknowledge)).await;
        }
    }
}

/// The whole number after a key.
fn number(text: &str, key: &str) -> Option<u64> {
    let (_, rest) = text.split_once(key)?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

async fn publish(
    mut client: AgentEventsClient<tonic::transport::Channel>,
    start: Instant,
    threads: usize,
    rate: u64,
) {
    let (sender, requests) = mpsc::channel(64);
    let answers = client.publish_stream(ReceiverStream::new(requests));
    let receipts = async {
        let mut answers = answers.await.unwrap().into_inner();
        while let Some(answer) = answers.message().await.unwrap() {
            let accepted = |status| status == Status::Accepted;
            assert!(
                answer
                    .receipts
                    .iter()
                    .all(|receipt| accepted(receipt.status()))
            );
        }
    };
    let batches = async {
        let mut tick = tokio::time::interval(TICK);
        let per_tick = rate as f64 * TICK.as_secs_f64();
        let (mut due, mut count) = (0.0, 0_u64);
        loop {
            tick.tick().await;
            due += per_tick;
            let mut events = Vec::new();
            while due >= 1.0 {
                due -= 1.0;
                count += 1;
                events.push(event(start, count, threads));
            }
            if !events.is_empty() {
                sender.send(PublishStreamRequest { events }).await.unwrap();
            }
        }
    };
    tokio::select! {
        () = receipts => {}
        () = batches => {}
    }
}

fn event(start: Instant, count: u64, threads: usize) -> AgentEvent {
    let thread = count % threads as u64;
    let sent = Clock::system().now().since(start).as_micros();
    let head = format!(r#"{{"sent_us":{sent},"text":""#);
    let filler = "x".repeat(DATA_BYTES.saturating_sub(head.len() + 2));
    AgentEvent {
        event_id: format!("cost-{count}"),
        thread_id: format!("cost-{thread}"),
        run_id: format!("cost-run-{thread}"),
        r#type: EventType::AgentMessage.into(),
        data: Bytes::from(format!(r#"{head}{filler}"}}"#)),
        ..AgentEvent::default()
    }
}
