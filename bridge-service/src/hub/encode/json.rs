//! `monitorable.v1.json`: one flat object an event.

use serde::Serialize;

use super::{Shown, append, append_with_data, rfc3339};

#[derive(Serialize)]
struct EventObject<'a> {
    r#type: &'static str,
    seq: u64,
    epoch: &'a str,
    event_id: &'a str,
    event: &'static str,
    thread_id: &'a str,
    run_id: &'a str,
    agent_name: &'a str,
    tool_name: &'a str,
    tool_call_id: &'a str,
    time: String,
}

pub(super) fn event(payload: &mut Vec<u8>, shown: Shown<'_>) {
    let object = EventObject {
        r#type: "event",
        seq: shown.sequence,
        epoch: shown.epoch,
        event_id: shown.event_id,
        event: shown.event_type.name(),
        thread_id: shown.thread_id,
        run_id: shown.run_id,
        agent_name: shown.agent_name,
        tool_name: shown.tool_name,
        tool_call_id: shown.tool_call_id,
        time: rfc3339(shown.time),
    };
    append_with_data(payload, &object, "data", shown);
}

pub(super) fn control(payload: &mut Vec<u8>, kind: &'static str, body: &impl Serialize) {
    #[derive(Serialize)]
    struct Control<'a, B> {
        r#type: &'static str,
        #[serde(flatten)]
        body: &'a B,
    }
    append(payload, &Control { r#type: kind, body });
}
