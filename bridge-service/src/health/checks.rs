//! The self-checks. Each one exercises the path that users depend on; none asks whether something
//! merely exists.

use std::time::Duration;

use bytes::Bytes;
use monitorable::bridge::v1::{AgentEvent, EventType};
use service_kit::clock::Clock;
use service_kit::reload::ReloadStatus;
use tokio::sync::mpsc;

use super::report::{CheckResult, CheckRound};
use crate::edge::ingest::validate::check_event;
use crate::hub::api::{Command, HubHandle, Outlet};
use crate::hub::event::{Encoding, Event, Outcome, Subprotocol, Transport};

/// The check that sends an event through ingest and hub to a reader.
const WEBSOCKET_MANAGER: &str = "websocket_manager";
/// The check that holds the hub's indexes and ledgers against each other.
const REGISTRY: &str = "registry";
/// There only where the last reading of the settings was refused.
const CONFIGURATION: &str = "configuration";
/// The internal event's thread: synthetic, so that it is in nobody's statistics, and the service's
/// own, so that nobody else can use it up.
const THREAD: &str = "$self/check";
/// The thread under which the event passes the door, which lets nobody name one of our own.
const THREAD_AT_THE_DOOR: &str = "$canary/self-check";
/// The internal event's data, in bytes, at the most.
const MAX_DATA_BYTES: usize = 64;
/// Frames that the internal reader may leave waiting.
const MAX_WAITING_FRAMES: usize = 256;

/// Runs every check once, each inside the timeout.
pub(crate) async fn run_all(
    hub: &HubHandle,
    reloads: &ReloadStatus,
    timeout: Duration,
    clock: Clock,
) -> CheckRound {
    let delivery = timed(WEBSOCKET_MANAGER, loop_back(hub), timeout, clock).await;
    let registry = timed(REGISTRY, inspect(hub), timeout, clock).await;
    // Whoever changed the settings wants to know; the service itself is as well as before.
    let configuration = reloads.trouble().map(|message| CheckResult {
        name: CONFIGURATION,
        healthy: true,
        message,
        latency: Duration::ZERO,
    });
    CheckRound {
        results: [delivery, registry]
            .into_iter()
            .chain(configuration)
            .collect(),
    }
}

async fn timed(
    name: &'static str,
    check: impl Future<Output = Result<String, String>>,
    timeout: Duration,
    clock: Clock,
) -> CheckResult {
    let began = clock.now().monotonic;
    let result = tokio::time::timeout(timeout, check)
        .await
        .unwrap_or_else(|_| Err(format!("did not end within {timeout:?}")));
    let latency = clock.now().since(began);
    let healthy = result.is_ok();
    let message = result.unwrap_or_else(|error| error);
    CheckResult {
        name,
        healthy,
        message,
        latency,
    }
}

async fn inspect(hub: &HubHandle) -> Result<String, String> {
    hub.inspect().await.map_err(|error| error.to_string())?
}

/// An event of our own goes in at the door and must come out at a reader, framed for it.
async fn loop_back(hub: &HubHandle) -> Result<String, String> {
    let event = internal_event()?;
    let event_id = event.event_id.clone();
    let (sender, frames) = mpsc::channel(MAX_WAITING_FRAMES);
    let encoding = Encoding {
        subprotocol: Subprotocol::Json,
        transport: Transport::WebSocket,
    };
    let outlet = Box::new(LoopBack { sender });
    let id = hub
        .subscribe(THREAD.to_owned(), None, encoding, outlet, true)
        .await
        .map_err(|error| format!("the internal reader was refused: {error}"))?;
    let result = publish_and_read(hub, event, &event_id, frames).await;
    hub.tell(Command::Disconnected(id)).await;
    result
}

/// An event as an agent would hand it in, checked at the same door.
fn internal_event() -> Result<Event, String> {
    let event = AgentEvent {
        event_id: uuid::Uuid::new_v4().to_string(),
        thread_id: THREAD_AT_THE_DOOR.to_owned(),
        run_id: THREAD.to_owned(),
        r#type: EventType::Custom.into(),
        data: Bytes::from_static(b"{}"),
        ..AgentEvent::default()
    };
    let checked = check_event(event, MAX_DATA_BYTES);
    let checked = checked.map_err(|error| format!("refused at the door: {error}"))?;
    Ok(Event {
        thread_id: THREAD.to_owned(),
        ..checked
    })
}

async fn publish_and_read(
    hub: &HubHandle,
    event: Event,
    event_id: &str,
    mut frames: mpsc::Receiver<Bytes>,
) -> Result<String, String> {
    let outcomes = hub
        .publish(vec![event], 0)
        .await
        .map_err(|error| error.to_string())?;
    let Some(Outcome::Accepted(place)) = outcomes.into_iter().next() else {
        return Err("the internal event was not accepted".to_owned());
    };
    while let Some(frame) = frames.recv().await {
        if contains(&frame, event_id.as_bytes()) {
            return Ok(format!(
                "event {} came back to the internal reader",
                place.sequence
            ));
        }
    }
    Err("the internal reader was closed before its event came".to_owned())
}

fn contains(frame: &[u8], wanted: &[u8]) -> bool {
    frame.windows(wanted.len()).any(|part| part == wanted)
}

/// An internal reader's socket.
struct LoopBack {
    sender: mpsc::Sender<Bytes>,
}

impl Outlet for LoopBack {
    fn try_write(&mut self, chunks: &[Bytes]) -> std::io::Result<usize> {
        for chunk in chunks {
            self.sender
                .try_send(chunk.clone())
                .map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))?;
        }
        Ok(chunks.iter().map(Bytes::len).sum())
    }
}
