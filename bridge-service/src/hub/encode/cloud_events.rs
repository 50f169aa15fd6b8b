//! `cloudevents.json`: CloudEvents 1.0 in JSON format, with the sequence extension.

use serde::Serialize;

use super::{Shown, append, append_with_data, rfc3339};

#[derive(Serialize)]
struct EventObject<'a> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    r#type: String,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    /// The extension wants a text.
    sequence: String,
    epoch: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    agentname: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    toolname: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    toolcallid: &'a str,
}

pub(super) fn event(payload: &mut Vec<u8>, shown: Shown<'_>) {
    let object = EventObject {
        specversion: "1.0",
        id: shown.event_id,
        source: format!("/threads/{}", percent_encoded(shown.thread_id)),
        r#type: format!("monitorable.v1.{}", shown.event_type.name()),
        subject: shown.run_id,
        time: rfc3339(shown.time),
        datacontenttype: "application/json",
        sequence: shown.sequence.to_string(),
        epoch: shown.epoch,
        agentname: shown.agent_name,
        toolname: shown.tool_name,
        toolcallid: shown.tool_call_id,
    };
    append_with_data(payload, &object, "data", shown);
}

pub(super) fn control(payload: &mut Vec<u8>, kind: &'static str, body: &impl Serialize) {
    #[derive(Serialize)]
    struct Control<'a, B> {
        specversion: &'static str,
        id: &'static str,
        source: &'static str,
        r#type: String,
        datacontenttype: &'static str,
        data: &'a B,
    }
    append(
        payload,
        &Control {
            specversion: "1.0",
            id: kind,
            source: "/bridge",
            r#type: format!("monitorable.v1.{kind}"),
            datacontenttype: "application/json",
            data: body,
        },
    );
}

/// A text as one segment of a URI's path (RFC 3986, section 2.3).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
