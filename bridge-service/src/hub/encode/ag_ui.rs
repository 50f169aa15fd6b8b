//! `ag-ui.v1.json`: each event as the AG-UI event that comes nearest (docs.ag-ui.com), with `seq`
//! and `epoch` as extra members. Whole messages go as chunk events, which AG-UI clients expand to
//! start, content and end.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

use super::{Shown, append, append_with_data, milliseconds};
use crate::hub::event::EventType;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventObject<'a> {
    r#type: &'static str,
    timestamp: u64,
    seq: u64,
    epoch: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

pub(super) fn event(payload: &mut Vec<u8>, shown: Shown<'_>) {
    let mut object = EventObject {
        r#type: "CUSTOM",
        timestamp: unix_milliseconds(shown.time),
        seq: shown.sequence,
        epoch: shown.epoch,
        thread_id: None,
        run_id: None,
        message_id: None,
        role: None,
        tool_call_id: None,
        tool_call_name: None,
        delta: None,
        content: None,
        message: None,
        name: None,
    };
    // What the event's data is called: AG-UI has a member of its own only for some.
    let mut data_member = "rawEvent";
    match shown.event_type {
        EventType::AgentStarted => {
            object.r#type = "RUN_STARTED";
            object.thread_id = Some(shown.thread_id);
            object.run_id = Some(shown.run_id);
        }
        EventType::AgentThinking => {
            object.r#type = "REASONING_MESSAGE_CHUNK";
            object.message_id = Some(shown.event_id);
            object.delta = Some(text_of(shown.data, &TEXT_MEMBERS));
        }
        EventType::ToolExecuting => {
            object.r#type = "TOOL_CALL_CHUNK";
            object.tool_call_id = Some(shown.tool_call_id);
            object.tool_call_name = Some(shown.tool_name);
            object.delta = Some(text_of(shown.data, &["arguments"]));
        }
        EventType::ToolCompleted => {
            object.r#type = "TOOL_CALL_RESULT";
            object.message_id = Some(shown.event_id);
            object.role = Some("tool");
            object.tool_call_id = Some(shown.tool_call_id);
            object.content = Some(text_of(shown.data, &TEXT_MEMBERS));
        }
        EventType::AgentMessage => {
            object.r#type = "TEXT_MESSAGE_CHUNK";
            object.message_id = Some(shown.event_id);
            object.role = Some("assistant");
            object.delta = Some(text_of(shown.data, &TEXT_MEMBERS));
        }
        EventType::AgentCompleted => {
            object.r#type = "RUN_FINISHED";
            object.thread_id = Some(shown.thread_id);
            object.run_id = Some(shown.run_id);
            data_member = "result";
        }
        EventType::AgentError => {
            object.r#type = "RUN_ERROR";
            object.message = Some(text_of(shown.data, &["message", "error", "text"]));
        }
        EventType::Custom => {
            object.name = Some("custom");
            data_member = "value";
        }
    }
    append_with_data(payload, &object, data_member, shown);
}

pub(super) fn control(payload: &mut Vec<u8>, kind: &'static str, body: &impl Serialize) {
    #[derive(Serialize)]
    struct Control<'a, B> {
        r#type: &'static str,
        name: String,
        value: &'a B,
    }
    append(
        payload,
        &Control {
            r#type: "CUSTOM",
            name: format!("monitorable.{kind}"),
            value: body,
        },
    );
}

/// Where a text usually stands in an event's data.
const TEXT_MEMBERS: [&str; 3] = ["text", "content", "result"];

/// The data's text: the data itself where it is a string, the first of the members that is there,
/// or the data as JSON.
fn text_of(data: &[u8], members: &[&str]) -> String {
    let parsed = serde_json::from_slice::<Value>(data).ok();
    let found = parsed.as_ref().map(|value| {
        members
            .iter()
            .find_map(|member| value.get(member))
            .unwrap_or(value)
    });
    match found {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn unix_milliseconds(time: SystemTime) -> u64 {
    milliseconds(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}
