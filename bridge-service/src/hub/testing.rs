//! Events, moments and a small world for the hub's own tests.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use service_kit::clock::{Clock, Now};

use super::batch::Batch;
use super::event::{Encoding, Event, EventType, Outcome, Position, Subprotocol, Transport};
use super::limits::HubLimits;
use super::reader::ConnectionId;
use super::state::Hub;

/// What the tests' readers read.
pub(crate) const ENCODING: Encoding = Encoding {
    subprotocol: Subprotocol::Json,
    transport: Transport::WebSocket,
};

/// A moment so many milliseconds after a fixed start.
pub(crate) fn moment(milliseconds: u64) -> Now {
    static START: OnceLock<Now> = OnceLock::new();
    START
        .get_or_init(|| Clock::system().now())
        .later(Duration::from_millis(milliseconds))
}

/// An agent's message.
pub(crate) fn event(thread: &str, run: &str, id: &str) -> Event {
    Event {
        event_id: id.to_owned(),
        user_id: "user-1".to_owned(),
        thread_id: thread.to_owned(),
        run_id: run.to_owned(),
        agent_name: "agent".to_owned(),
        event_type: EventType::AgentMessage,
        create_time: None,
        tool_name: String::new(),
        tool_call_id: String::new(),
        data: Bytes::from_static(br#"{"text":"hello"}"#),
        trace: None,
    }
}

/// A hub whose readers' sockets take what the test lets them take.
pub(crate) struct World {
    pub(crate) hub: Hub,
    pub(crate) now: Now,
}

impl World {
    pub(crate) fn new(limits: HubLimits) -> Self {
        Self {
            hub: Hub::new(limits, 1),
            now: moment(0),
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now.later(time);
        self.hub.tick(self.now);
    }

    pub(crate) fn publish(&mut self, thread: &str, run: &str, ids: &[&str]) -> Vec<Outcome> {
        let events = ids.iter().map(|id| event(thread, run, id)).collect();
        self.hub.publish(events, 0, self.now)
    }

    pub(crate) fn join(&mut self, thread: &str, position: Option<&Position>) -> ConnectionId {
        let now = self.now.monotonic;
        self.hub
            .subscribe(thread, position, ENCODING, false, now)
            .unwrap()
    }

    /// Everything that a reader with an open socket gets now, as text.
    pub(crate) fn read(&mut self, id: ConnectionId) -> String {
        let (mut batch, mut bytes) = (Batch::default(), Vec::new());
        loop {
            self.hub.gather(id, &mut batch, self.now.monotonic);
            if batch.chunks().is_empty() {
                return String::from_utf8_lossy(&bytes).into_owned();
            }
            bytes.extend_from_slice(&batch.chunks().concat());
            let taken = batch.bytes();
            if self.hub.wrote(id, &batch, taken, self.now.monotonic) {
                self.hub.remove_reader(id, self.now.monotonic);
                return String::from_utf8_lossy(&bytes).into_owned();
            }
        }
    }

    /// The socket of a reader is full.
    pub(crate) fn stall(&mut self, id: ConnectionId) {
        let mut batch = Batch::default();
        self.hub.gather(id, &mut batch, self.now.monotonic);
        self.hub.wrote(id, &batch, 0, self.now.monotonic);
    }

    pub(crate) fn balanced(&mut self) {
        self.hub.inspect().unwrap();
        let report = self.hub.report(self.now);
        assert!(report.stages.balanced(), "{:?}", report.stages);
    }
}
