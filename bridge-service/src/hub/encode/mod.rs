//! How a reader sees the hub: each object as one frame, encoded once and shared.

mod ag_ui;
mod cloud_events;
mod frame;
mod json;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use service_kit::trace_context;

use super::event::{CloseReason, Encoding, EventType, Subprotocol, Transport};

pub(crate) use frame::ping;

/// What the members' names, the numbers and the time of an event take, rounded up.
const MEMBERS_BYTES: usize = 240;
/// What anything else takes, rounded up.
const CONTROL_BYTES: usize = 240;

/// An event and its place, to be shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) event_id: &'a str,
    pub(crate) event_type: EventType,
    pub(crate) thread_id: &'a str,
    pub(crate) run_id: &'a str,
    pub(crate) agent_name: &'a str,
    pub(crate) tool_name: &'a str,
    pub(crate) tool_call_id: &'a str,
    /// One JSON value. Empty: none.
    pub(crate) data: &'a [u8],
    /// Both texts of a trace context as one. Empty: none.
    pub(crate) trace: &'a str,
    pub(crate) time: SystemTime,
    pub(crate) sequence: u64,
    pub(crate) epoch: &'a str,
}

impl Shown<'_> {
    /// About what a frame of it takes, so that few have to grow.
    fn expected_bytes(&self) -> usize {
        let texts = [
            self.event_id,
            self.thread_id,
            self.run_id,
            self.agent_name,
            self.tool_name,
            self.tool_call_id,
            self.epoch,
        ];
        MEMBERS_BYTES + texts.map(str::len).iter().sum::<usize>() + self.data.len()
    }
}

/// The first object that a reader gets.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Welcome<'a> {
    pub(crate) thread_id: &'a str,
    pub(crate) epoch: &'a str,
    /// Sequence of the newest event; 0 before the first.
    pub(crate) seq: u64,
    /// False: events between the asked position and the first one sent are gone.
    pub(crate) recovered: bool,
    pub(crate) heartbeat_ms: u64,
}

/// An event's frame.
pub(crate) fn event(encoding: Encoding, shown: Shown<'_>) -> Bytes {
    let mut frame = frame::Builder::new(encoding.transport, shown.expected_bytes());
    if encoding.transport == Transport::ServerSentEvents {
        frame.event_id(shown.epoch, shown.sequence);
    }
    match encoding.subprotocol {
        Subprotocol::Json => json::event(frame.payload(), shown),
        Subprotocol::AgUi => ag_ui::event(frame.payload(), shown),
        Subprotocol::CloudEvents => cloud_events::event(frame.payload(), shown),
    }
    frame.finish()
}

/// The welcome's frame.
pub(crate) fn welcome(encoding: Encoding, welcome: Welcome<'_>) -> Bytes {
    control(encoding, "welcome", &welcome)
}

/// A heartbeat's frame; over WebSocket with a ping, whose pong shows that the reader lives.
pub(crate) fn heartbeat(encoding: Encoding, last: u64) -> Bytes {
    #[derive(Serialize)]
    struct Heartbeat {
        seq: u64,
    }
    let beat = control(encoding, "heartbeat", &Heartbeat { seq: last });
    match encoding.transport {
        Transport::ServerSentEvents => beat,
        Transport::WebSocket => [beat.as_ref(), ping()].concat().into(),
    }
}

/// The goodbye's frame, over WebSocket with the close frame behind it.
pub(crate) fn goodbye(encoding: Encoding, reason: CloseReason, retry_after: Duration) -> Bytes {
    #[derive(Serialize)]
    struct Goodbye {
        code: u16,
        reason: &'static str,
        retry_after_ms: u64,
    }
    let goodbye = Goodbye {
        code: reason.code(),
        reason: reason.name(),
        retry_after_ms: milliseconds(retry_after),
    };
    let farewell = control(encoding, "goodbye", &goodbye);
    match encoding.transport {
        Transport::ServerSentEvents => farewell,
        Transport::WebSocket => [
            farewell.as_ref(),
            &frame::close(reason.code(), reason.name()),
        ]
        .concat()
        .into(),
    }
}

/// A duration as whole milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn control(encoding: Encoding, kind: &'static str, body: &impl Serialize) -> Bytes {
    let mut frame = frame::Builder::new(encoding.transport, CONTROL_BYTES);
    match encoding.subprotocol {
        Subprotocol::Json => json::control(frame.payload(), kind, body),
        Subprotocol::AgUi => ag_ui::control(frame.payload(), kind, body),
        Subprotocol::CloudEvents => cloud_events::control(frame.payload(), kind, body),
    }
    frame.finish()
}

/// Appends a value as JSON. Our own plain structs have no way to fail.
fn append(payload: &mut Vec<u8>, value: &impl Serialize) {
    if let Err(error) = serde_json::to_writer(payload, value) {
        tracing::error!(%error, "a frame could not be encoded");
    }
}

/// Appends an event's object, its trace where it has one, and as its last member its data as it came;
/// null where it is empty.
fn append_with_data(
    payload: &mut Vec<u8>,
    object: &impl Serialize,
    member: &str,
    shown: Shown<'_>,
) {
    append(payload, object);
    payload.pop();
    if !shown.trace.is_empty() {
        append_trace(payload, shown.trace);
    }
    payload.extend_from_slice(b",\"");
    payload.extend_from_slice(member.as_bytes());
    payload.extend_from_slice(b"\":");
    let data = shown.data;
    payload.extend_from_slice(if data.is_empty() { b"null" } else { data });
    payload.push(b'}');
}

/// The members of CloudEvents' extension for distributed tracing, the same in every subprotocol.
#[cold]
fn append_trace(payload: &mut Vec<u8>, trace: &str) {
    let (parent, state) = trace_context::split(trace);
    payload.extend_from_slice(b",\"traceparent\":");
    append(payload, &parent);
    if !state.is_empty() {
        payload.extend_from_slice(b",\"tracestate\":");
        append(payload, &state);
    }
}

/// RFC 3339 in UTC with milliseconds. Times outside 1970–9999 show the nearer end.
fn rfc3339(time: SystemTime) -> String {
    const LAST_SECOND: u64 = 253_402_300_799;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = since.min(Duration::from_secs(LAST_SECOND));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;
    use service_kit::trace_context::TraceContext;

    use super::*;
    use crate::hub::event::Event;
    use crate::hub::testing;

    fn shown(event: &Event) -> Shown<'_> {
        let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        Shown {
            event_id: &event.event_id,
            event_type: event.event_type,
            thread_id: &event.thread_id,
            run_id: &event.run_id,
            agent_name: &event.agent_name,
            tool_name: &event.tool_name,
            tool_call_id: &event.tool_call_id,
            data: &event.data,
            trace: event.trace.as_ref().map_or("", |trace| trace.as_text()),
            time,
            sequence: 7,
            epoch: "ep",
        }
    }

    fn over(subprotocol: Subprotocol, transport: Transport) -> Encoding {
        Encoding {
            subprotocol,
            transport,
        }
    }

    /// The payload of a server's text frame.
    fn payload(frame: &[u8]) -> Value {
        assert_eq!(frame[0], 0x81, "one whole text frame");
        let (start, length) = match frame[1] {
            126 => (4, usize::from(u16::from_be_bytes([frame[2], frame[3]]))),
            127 => panic!("unexpectedly long"),
            short => (2, usize::from(short)),
        };
        serde_json::from_slice(&frame[start..start + length]).unwrap()
    }

    fn tool_event() -> Event {
        Event {
            event_type: EventType::ToolExecuting,
            tool_name: "search".to_owned(),
            tool_call_id: "call-1".to_owned(),
            data: Bytes::from_static(br#"{"arguments":{"city":"Oslo"}}"#),
            ..testing::event("t", "r", "e")
        }
    }

    #[test]
    fn every_subprotocol_shows_a_trace_where_there_is_one() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let traced = |state: &str| Event {
            trace: TraceContext::parse(parent, state).map(Arc::new),
            ..tool_event()
        };
        for subprotocol in [
            Subprotocol::Json,
            Subprotocol::AgUi,
            Subprotocol::CloudEvents,
        ] {
            let encoding = over(subprotocol, Transport::WebSocket);
            let encoded = |event: &Event| payload(&super::event(encoding, shown(event)));
            let state = r#"vendor=a"b\c"#;
            let with = encoded(&traced(state));
            assert_eq!(with["traceparent"], parent, "{with}");
            assert_eq!(with["tracestate"], state, "{with}");
            let alone = encoded(&traced(""));
            assert!(alone.get("tracestate").is_none(), "{alone}");
            let without = encoded(&tool_event());
            assert!(without.get("traceparent").is_none(), "{without}");
        }
    }

    #[test]
    fn the_default_subprotocol_has_every_field() {
        let event = tool_event();
        let frame = super::event(over(Subprotocol::Json, Transport::WebSocket), shown(&event));
        let expected = serde_json::json!({
            "type": "event", "seq": 7, "epoch": "ep", "event_id": "e", "event": "tool_executing",
            "thread_id": "t", "run_id": "r", "agent_name": "agent", "tool_name": "search",
            "tool_call_id": "call-1", "time": "2023-11-14T22:13:20.123Z",
            "data": {"arguments": {"city": "Oslo"}}
        });
        assert_eq!(payload(&frame), expected);
    }

    #[test]
    fn data_passes_through_to_the_letter() {
        let mut event = tool_event();
        event.data = Bytes::from_static(b"{ \"big\": 12345678901234567890.10,\n\"big\": 2 }");
        let frame = super::event(over(Subprotocol::Json, Transport::WebSocket), shown(&event));
        let text = String::from_utf8_lossy(&frame).into_owned();
        assert!(text.contains("\"data\":{ \"big\": 12345678901234567890.10,\n\"big\": 2 }}"));
    }

    #[test]
    fn a_long_payload_has_the_long_header() {
        let mut event = tool_event();
        event.data = format!("\"{}\"", "x".repeat(70_000)).into();
        let frame = super::event(over(Subprotocol::Json, Transport::WebSocket), shown(&event));
        assert_eq!(frame[1], 127);
        let length = u64::from_be_bytes(frame[2..10].try_into().unwrap());
        assert_eq!(length as usize, frame.len() - 10);
    }

    #[test]
    fn every_line_of_data_is_a_data_line() {
        let mut event = tool_event();
        event.data = Bytes::from_static(b"{\n\"a\": 1}");
        let encoding = over(Subprotocol::Json, Transport::ServerSentEvents);
        let frame = super::event(encoding, shown(&event));
        let text = String::from_utf8_lossy(&frame).into_owned();
        assert!(text.starts_with("id: ep:7\ndata: {"), "{text}");
        assert!(text.contains("{\ndata: \"a\": 1}"), "{text}");
        assert!(text.ends_with("\n\n"), "{text}");
    }

    #[test]
    fn ag_ui_has_its_own_event_for_each_type() {
        let cases = [
            (EventType::AgentStarted, "RUN_STARTED"),
            (EventType::AgentThinking, "REASONING_MESSAGE_CHUNK"),
            (EventType::ToolExecuting, "TOOL_CALL_CHUNK"),
            (EventType::ToolCompleted, "TOOL_CALL_RESULT"),
            (EventType::AgentMessage, "TEXT_MESSAGE_CHUNK"),
            (EventType::AgentCompleted, "RUN_FINISHED"),
            (EventType::AgentError, "RUN_ERROR"),
            (EventType::Custom, "CUSTOM"),
        ];
        for (event_type, name) in cases {
            let event = Event {
                event_type,
                ..tool_event()
            };
            let frame = super::event(over(Subprotocol::AgUi, Transport::WebSocket), shown(&event));
            let object = payload(&frame);
            assert_eq!(object["type"], name);
            assert_eq!(object["seq"], 7);
            assert_eq!(object["epoch"], "ep");
        }
    }

    #[test]
    fn ag_ui_passes_tool_arguments_as_text() {
        let event = tool_event();
        let frame = super::event(over(Subprotocol::AgUi, Transport::WebSocket), shown(&event));
        assert_eq!(payload(&frame)["delta"], r#"{"city":"Oslo"}"#);
    }

    #[test]
    fn cloud_events_have_their_required_attributes() {
        let event = tool_event();
        let encoding = over(Subprotocol::CloudEvents, Transport::WebSocket);
        let object = payload(&super::event(encoding, shown(&event)));
        assert_eq!(object["specversion"], "1.0");
        assert_eq!(object["id"], "e");
        assert_eq!(object["source"], "/threads/t");
        assert_eq!(object["type"], "monitorable.v1.tool_executing");
        assert_eq!(object["sequence"], "7");
    }

    #[test]
    fn a_goodbye_is_followed_by_its_close_frame() {
        let encoding = over(Subprotocol::Json, Transport::WebSocket);
        let frame = goodbye(encoding, CloseReason::TooSlow, Duration::from_millis(500));
        let object = payload(&frame);
        assert_eq!(object["code"], 4008);
        assert_eq!(object["retry_after_ms"], 500);
        let close = &frame[2 + usize::from(frame[1])..];
        assert_eq!(close[0], 0x88);
        assert_eq!(u16::from_be_bytes([close[2], close[3]]), 4008);
    }

    #[test]
    fn times_before_1970_do_not_panic() {
        assert_eq!(
            rfc3339(UNIX_EPOCH - Duration::from_secs(9)),
            "1970-01-01T00:00:00.000Z"
        );
        assert_eq!(
            rfc3339(UNIX_EPOCH + Duration::from_secs(u32::MAX.into()) * 1000),
            "9999-12-31T23:59:59.000Z"
        );
    }
}
