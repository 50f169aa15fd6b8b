//! What is posted.

use hyper::body::Bytes;
use serde_json::json;

use crate::audit::summary_of;
use crate::domain::Alert;
use crate::edge::convert;
use crate::fleet::settings::Identity;
use crate::json;

/// An alert: what happened, in one line of text for chats and in full as the API has it.
pub(super) fn alert(alert: &Alert, identity: &Identity) -> Bytes {
    let finding = &alert.finding;
    let subject = match finding.subject.as_str() {
        "" => String::new(),
        subject => format!(" ({subject})"),
    };
    let text = format!(
        "[{}] {} on {}{subject} {}: {}",
        finding.severity.name(),
        finding.rule_id,
        finding.component_id,
        alert.kind.name(),
        finding.message,
    );
    let body = json!({
        "event": alert.kind.name(),
        "text": text,
        "summary": summary_of(finding.rule_id),
        "monitor": monitor(identity),
        "finding": json::write(&convert::finding(finding)),
    });
    body.to_string().into()
}

/// A beat of the dead man's switch.
pub(super) fn beat(identity: &Identity, number: u64) -> Bytes {
    let body = json!({ "event": "alive", "beat": number, "monitor": monitor(identity) });
    body.to_string().into()
}

fn monitor(identity: &Identity) -> serde_json::Value {
    json!({
        "component_id": identity.component_id,
        "instance_id": identity.instance_id,
    })
}
