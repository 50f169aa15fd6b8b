//! From the wire to the hub: every rule of `proto/bridge/v1/bridge.proto` for one event.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use monitorable::bridge::v1::{AgentEvent, EventType as WireType};
use prost_types::Timestamp;
use service_kit::trace_context::TraceContext;

use super::json::check_json;
use crate::hub::event::{Event, EventType};

/// Longest identifier or name, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 128;
/// Characters of a refused value that an error shows.
const SHOWN_CHARACTERS: usize = 48;
/// Names of the bridge's own threads begin with it.
const RESERVED: char = '$';
/// Synthetic traffic that an auditor sends in itself.
const CANARY: &str = "$canary/";
/// Seconds from 1970 to the first moment of year 1 and to the last of year 9999.
const TIMESTAMP_SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Checks every field.
///
/// # Errors
/// One sentence with the field, its value and what is allowed.
pub(crate) fn check_event(event: AgentEvent, max_data_bytes: usize) -> Result<Event, String> {
    check_identifier("event_id", &event.event_id)?;
    check_optional("user_id", &event.user_id)?;
    check_thread_id(&event.thread_id)?;
    check_identifier("run_id", &event.run_id)?;
    check_name("agent_name", &event.agent_name)?;
    let event_type = check_type(event.r#type)?;
    let create_time = event.create_time.map(check_time).transpose()?;
    check_name("tool_name", &event.tool_name)?;
    check_optional("tool_call_id", &event.tool_call_id)?;
    check_tool(event_type, &event.tool_name, &event.tool_call_id)?;
    check_data(&event.data, max_data_bytes)?;
    let trace = trace(&event);
    Ok(Event {
        event_id: event.event_id,
        user_id: event.user_id,
        thread_id: event.thread_id,
        run_id: event.run_id,
        agent_name: event.agent_name,
        event_type,
        create_time,
        tool_name: event.tool_name,
        tool_call_id: event.tool_call_id,
        data: event.data,
        trace,
    })
}

/// The event's own trace. One that is not valid is none, and no error: tracing loses no event.
fn trace(event: &AgentEvent) -> Option<Arc<TraceContext>> {
    let (traceparent, tracestate) = (&event.traceparent, &event.tracestate);
    if traceparent.is_empty() {
        return None;
    }
    let context = TraceContext::parse(traceparent, tracestate);
    if context.is_none() {
        let traceparent = shown(traceparent);
        tracing::debug!(traceparent, "ignored: no W3C trace context");
    }
    context.map(Arc::new)
}

/// A thread's name: an identifier that is not one of the bridge's own.
///
/// # Errors
/// One sentence with the value and what is allowed.
pub(crate) fn check_thread_id(thread_id: &str) -> Result<(), String> {
    check_identifier("thread_id", thread_id)?;
    if thread_id.starts_with(RESERVED) && !is_synthetic(thread_id) {
        let shown = shown(thread_id);
        return Err(format!(
            "thread_id: {shown} is not allowed; names that begin with {RESERVED} are the bridge's own"
        ));
    }
    Ok(())
}

/// Whether the thread carries an auditor's synthetic traffic.
pub(crate) fn is_synthetic(thread_id: &str) -> bool {
    thread_id.len() > CANARY.len() && thread_id.starts_with(CANARY)
}

/// An identifier that must be there.
///
/// # Errors
/// One sentence with the field, its value and what is allowed.
pub(crate) fn check_identifier(field: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!(
            "{field}: it is empty; allowed are 1 to {MAX_NAME_BYTES} bytes of printable ASCII without spaces"
        ));
    }
    check_optional(field, value)
}

fn check_optional(field: &str, value: &str) -> Result<(), String> {
    if value.len() <= MAX_NAME_BYTES && value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(format!(
        "{field}: {} is not allowed; allowed are 1 to {MAX_NAME_BYTES} bytes of printable ASCII without spaces",
        shown(value)
    ))
}

fn check_name(field: &str, value: &str) -> Result<(), String> {
    if value.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    Err(format!(
        "{field}: {} is not allowed; allowed are up to {MAX_NAME_BYTES} bytes of UTF-8",
        shown(value)
    ))
}

fn check_type(number: i32) -> Result<EventType, String> {
    let allowed = "allowed are EVENT_TYPE_AGENT_STARTED (1) to EVENT_TYPE_CUSTOM (8)";
    match WireType::try_from(number) {
        Ok(WireType::AgentStarted) => Ok(EventType::AgentStarted),
        Ok(WireType::AgentThinking) => Ok(EventType::AgentThinking),
        Ok(WireType::ToolExecuting) => Ok(EventType::ToolExecuting),
        Ok(WireType::ToolCompleted) => Ok(EventType::ToolCompleted),
        Ok(WireType::AgentMessage) => Ok(EventType::AgentMessage),
        Ok(WireType::AgentCompleted) => Ok(EventType::AgentCompleted),
        Ok(WireType::AgentError) => Ok(EventType::AgentError),
        Ok(WireType::Custom) => Ok(EventType::Custom),
        Ok(WireType::Unspecified) => Err(format!("type: it is not set; {allowed}")),
        Err(_) => Err(format!("type: {number} is not known; {allowed}")),
    }
}

fn check_time(time: Timestamp) -> Result<SystemTime, String> {
    let Timestamp { seconds, nanos } = time;
    let refused = || {
        format!(
            "create_time: {seconds} s and {nanos} ns is not allowed; allowed are the years 1 to 9999 and 0 to 999999999 ns"
        )
    };
    let fraction = u32::try_from(nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)
        .ok_or_else(refused)?;
    if !TIMESTAMP_SECONDS.contains(&seconds) {
        return Err(refused());
    }
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    };
    second
        .and_then(|second| second.checked_add(Duration::from_nanos(u64::from(fraction))))
        .ok_or_else(refused)
}

fn check_tool(event_type: EventType, tool_name: &str, tool_call_id: &str) -> Result<(), String> {
    let executing = event_type == EventType::ToolExecuting;
    let completed = event_type == EventType::ToolCompleted;
    if executing && tool_name.is_empty() {
        return Err(format!(
            "tool_name: it is empty; {} needs one",
            event_type.name()
        ));
    }
    if (executing || completed) && tool_call_id.is_empty() {
        return Err(format!(
            "tool_call_id: it is empty; {} needs one",
            event_type.name()
        ));
    }
    Ok(())
}

fn check_data(data: &[u8], max_data_bytes: usize) -> Result<(), String> {
    if data.len() > max_data_bytes {
        return Err(format!(
            "data: {} bytes are not allowed; allowed are up to {max_data_bytes}",
            data.len()
        ));
    }
    if data.is_empty() {
        return Ok(());
    }
    check_json(data).map_err(|why| {
        let start: String = String::from_utf8_lossy(data)
            .chars()
            .take(SHOWN_CHARACTERS)
            .collect();
        format!(
            "data: {} is not allowed: {why}; allowed is one JSON value in UTF-8",
            shown(&start)
        )
    })
}

/// A value in quotes, escaped, and shortened where it is long.
pub(crate) fn shown(value: &str) -> String {
    if value.chars().count() <= SHOWN_CHARACTERS {
        return format!("{value:?}");
    }
    let start: String = value.chars().take(SHOWN_CHARACTERS).collect();
    format!("{start:?}… ({} bytes)", value.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> AgentEvent {
        AgentEvent {
            event_id: "e1".to_owned(),
            thread_id: "t1".to_owned(),
            run_id: "r1".to_owned(),
            r#type: WireType::AgentMessage.into(),
            ..AgentEvent::default()
        }
    }

    fn refusal(change: impl FnOnce(&mut AgentEvent)) -> String {
        let mut event = event();
        change(&mut event);
        check_event(event, 64).expect_err("it must be refused")
    }

    #[test]
    fn a_full_event_passes_untouched() {
        let mut wire = event();
        wire.create_time = Some(Timestamp {
            seconds: 1,
            nanos: 5,
        });
        wire.data = r#"{"text": "hé"}"#.as_bytes().to_vec().into();
        wire.tool_name = "outil à part".to_owned();
        wire.tool_call_id = "call-1".to_owned();
        wire.thread_id = "$canary/7".to_owned();
        let checked = check_event(wire.clone(), 64).unwrap();
        assert_eq!(checked.data, wire.data);
        assert_eq!(
            checked.create_time,
            Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(1_000_000_005))
        );
        assert_eq!(checked.event_type, EventType::AgentMessage);
    }

    #[test]
    fn a_refusal_names_field_value_and_what_is_allowed() {
        let long = "x".repeat(129);
        type Case<'a> = (Box<dyn FnOnce(&mut AgentEvent) + 'a>, [&'a str; 3]);
        let cases: Vec<Case<'_>> = vec![
            (
                Box::new(|e| e.event_id.clear()),
                ["event_id", "empty", "1 to 128"],
            ),
            (
                Box::new(|e| e.run_id = "a b".into()),
                ["run_id", "\"a b\"", "1 to 128"],
            ),
            (
                Box::new(|e| e.thread_id.clone_from(&long)),
                ["thread_id", "(129 bytes)", "1 to 128"],
            ),
            (
                Box::new(|e| e.thread_id = "$self/1".into()),
                ["thread_id", "$self/1", "bridge's own"],
            ),
            (
                Box::new(|e| e.thread_id = "$canary/".into()),
                ["thread_id", "$canary/", "bridge's own"],
            ),
            (
                Box::new(|e| e.user_id = "é".into()),
                ["user_id", "é", "printable ASCII"],
            ),
            (
                Box::new(|e| e.agent_name.clone_from(&long)),
                ["agent_name", "(129 bytes)", "up to 128"],
            ),
            (
                Box::new(|e| e.tool_name.clone_from(&long)),
                ["tool_name", "(129 bytes)", "up to 128"],
            ),
            (
                Box::new(|e| e.tool_call_id = "\n".into()),
                ["tool_call_id", "\\n", "printable ASCII"],
            ),
            (
                Box::new(|e| e.r#type = 0),
                ["type", "not set", "EVENT_TYPE_CUSTOM"],
            ),
            (
                Box::new(|e| e.r#type = 99),
                ["type", "99", "EVENT_TYPE_CUSTOM"],
            ),
            (
                Box::new(|e| e.r#type = 3),
                ["tool_name", "empty", "tool_executing"],
            ),
            (
                Box::new(|e| e.r#type = 4),
                ["tool_call_id", "empty", "tool_completed"],
            ),
            (
                Box::new(|e| e.data = vec![b'1'; 65].into()),
                ["data", "65", "up to 64"],
            ),
            (
                Box::new(|e| e.data = "{} x".into()),
                ["data", "{} x", "one JSON value"],
            ),
            (
                Box::new(|e| e.data = vec![0xff].into()),
                ["data", "UTF-8", "one JSON value"],
            ),
        ];
        for (change, parts) in cases {
            let error = refusal(change);
            for part in parts {
                assert!(error.contains(part), "{part} is missing from {error}");
            }
        }
    }

    #[test]
    fn times_outside_the_calendar_are_refused() {
        for (seconds, nanos) in [
            (-62_135_596_801, 0),
            (253_402_300_800, 0),
            (0, -1),
            (0, 1_000_000_000),
            (i64::MIN, i32::MIN),
        ] {
            let error = refusal(|e| e.create_time = Some(Timestamp { seconds, nanos }));
            assert!(error.starts_with("create_time: "), "{error}");
        }
        for seconds in [-62_135_596_800, 253_402_300_799] {
            let time = Timestamp { seconds, nanos: 0 };
            assert!(check_time(time).is_ok(), "{seconds}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in ".*", data: Vec<u8>, number: i32, seconds: i64, nanos: i32) {
            let wire = AgentEvent {
                event_id: text.clone(),
                thread_id: text.clone(),
                tool_name: text,
                r#type: number,
                create_time: Some(Timestamp { seconds, nanos }),
                ..event()
            };
            let _ = check_event(wire, 64);
            let _ = check_data(&data, 64);
        }
    }
}
