//! Events and moments for the hub's own tests.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use service_kit::clock::{Clock, Now};

use super::event::{Event, EventType};

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
    }
}
