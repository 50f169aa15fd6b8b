//! Messages as JSON: the standard mapping of the protos, with the protos' own field names.
//!
//! Field names are in snake case, enums are their names, times are RFC 3339, durations are seconds
//! such as `"1.500s"`, bytes are base64, 64-bit numbers are numbers. Every field without presence
//! is there, whatever its value; an absent message or optional field is left out.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, SerializeOptions};
use serde_json::Value;

static POOL: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(monitorable::DESCRIPTORS).ok());

const WRITING: SerializeOptions = SerializeOptions::new()
    .use_proto_field_name(true)
    .stringify_64_bit_integers(false)
    .skip_default_fields(false);

/// A message with its full name in the protos.
pub(crate) trait Named: Message + Default {
    /// Such as `monitor.v1.Audit`.
    const NAME: &'static str;
}

macro_rules! named {
    ($($message:ident),* $(,)?) => {
        $(impl Named for monitorable::monitor::v1::$message {
            const NAME: &'static str = concat!("monitor.v1.", stringify!($message));
        })*
    };
}

named!(
    Audit,
    Component,
    ComponentStatus,
    Finding,
    GetSummaryResponse,
    GetThreadStatusResponse,
    ListAuditsResponse,
    ListComponentsResponse,
    ListFindingsResponse,
    RegisterComponentResponse,
    ReportEventsRequest,
    ReportEventsResponse,
    ThreadStatus,
    StartMaintenanceResponse,
    EndMaintenanceResponse,
);

fn descriptor<M: Named>() -> Option<prost_reflect::MessageDescriptor> {
    POOL.as_ref()?.get_message_by_name(M::NAME)
}

/// The message as JSON.
pub(crate) fn write<M: Named>(message: &M) -> Value {
    // The descriptors are the build's own, and so are the names; a test writes every message.
    let written = descriptor::<M>().and_then(|descriptor| {
        let dynamic =
            DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).ok()?;
        dynamic
            .serialize_with_options(serde_json::value::Serializer, &WRITING)
            .ok()
    });
    written.unwrap_or(Value::Null)
}

/// Reads a message; fields may have their names in snake case or in camel case.
///
/// # Errors
/// A sentence that begins with the path of the field that is not valid.
pub(crate) fn read<M: Named>(text: &[u8]) -> Result<M, String> {
    let descriptor = descriptor::<M>().ok_or("the descriptors do not decode")?;
    let mut json = serde_json::Deserializer::from_slice(text);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let dynamic =
        DynamicMessage::deserialize_with_options(descriptor, tracked, &DeserializeOptions::new());
    let dynamic = dynamic.map_err(|error| match track.path().to_string().as_str() {
        "." => format!("body: {error}"),
        path => format!("{path}: {error}"),
    })?;
    json.end().map_err(|error| format!("body: {error}"))?;
    dynamic.transcode_to().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use monitorable::monitor::v1 as wire;

    use super::*;

    #[test]
    fn every_named_message_is_written() {
        fn object<M: Named>() {
            assert!(write(&M::default()).is_object(), "{}", M::NAME);
        }
        object::<wire::Audit>();
        object::<wire::Component>();
        object::<wire::ComponentStatus>();
        object::<wire::Finding>();
        object::<wire::GetSummaryResponse>();
        object::<wire::GetThreadStatusResponse>();
        object::<wire::ListAuditsResponse>();
        object::<wire::ListComponentsResponse>();
        object::<wire::ListFindingsResponse>();
        object::<wire::RegisterComponentResponse>();
        object::<wire::ReportEventsRequest>();
        object::<wire::ReportEventsResponse>();
        object::<wire::ThreadStatus>();
        object::<wire::StartMaintenanceResponse>();
        object::<wire::EndMaintenanceResponse>();
    }

    #[test]
    fn names_enums_times_and_durations_are_as_documented() {
        let status = wire::ComponentStatus {
            verdict: wire::Verdict::SilentFailure.into(),
            score: 12.5,
            last_audit_time: Some(prost_types::Timestamp {
                seconds: 0,
                nanos: 0,
            }),
            ..Default::default()
        };
        let written = write(&status);
        assert_eq!(written["verdict"], "VERDICT_SILENT_FAILURE");
        assert_eq!(written["last_audit_time"], "1970-01-01T00:00:00Z");
        assert_eq!(written["open_findings"], 0);
        assert_eq!(written.get("component"), None);
        let summary = wire::GetSummaryResponse {
            events_witnessed: 7,
            ..Default::default()
        };
        assert_eq!(write(&summary)["events_witnessed"], 7);
    }

    #[test]
    fn a_report_is_read_in_either_case() {
        for text in [
            r#"{"observer_id":"b","vantage":"VANTAGE_CONSUMER","events":[{"event_id":"e","sequence":3,"observe_time":"2025-01-01T00:00:00.5Z"}]}"#,
            r#"{"observerId":"b","vantage":2,"events":[{"eventId":"e","sequence":"3","observeTime":"2025-01-01T00:00:00.500Z"}]}"#,
        ] {
            let report: wire::ReportEventsRequest = read(text.as_bytes()).unwrap();
            assert_eq!(report.observer_id, "b");
            assert_eq!(report.vantage(), wire::Vantage::Consumer);
            assert_eq!(report.events[0].sequence, 3);
            assert_eq!(
                report.events[0].observe_time.as_ref().unwrap().nanos,
                500_000_000
            );
        }
    }

    #[test]
    fn a_browser_can_number_its_reports() {
        let text = r#"{"observer_id":"b","session_id":"s","report_number":3,"round_trip":"0.012s",
            "send_time":"2025-01-01T00:00:00Z","next_within":"5s",
            "events":[{"event_id":"e","connection_id":"c","arrival":7,"replayed":true}]}"#;
        let report: wire::ReportEventsRequest = read(text.as_bytes()).unwrap();
        assert_eq!((report.session_id.as_str(), report.report_number), ("s", 3));
        assert_eq!(report.round_trip.unwrap().nanos, 12_000_000);
        assert_eq!(report.next_within.unwrap().seconds, 5);
        let event = &report.events[0];
        assert_eq!((event.connection_id.as_str(), event.arrival), ("c", 7));
        assert!(event.replayed && report.send_time.is_some());
        let response = wire::ReportEventsResponse {
            receive_time: report.send_time,
            ..Default::default()
        };
        assert_eq!(write(&response)["receive_time"], "2025-01-01T00:00:00Z");
    }

    #[test]
    fn what_cannot_be_read_names_the_field() {
        let refused = |text: &str| read::<wire::ReportEventsRequest>(text.as_bytes()).unwrap_err();
        for (text, field) in [
            (r#"{"observer_id":5}"#, "observer_id: "),
            (r#"{"events":[{},{"sequence":-1}]}"#, "events[1].sequence: "),
            (
                r#"{"events":[{"observe_time":"soon"}]}"#,
                "events[0].observe_time: ",
            ),
            (r#"{"nonsense":1}"#, "nonsense"),
            (r#"{"vantage":"VANTAGE_ELSEWHERE"}"#, "vantage: "),
            ("", "body: "),
            ("[]", "body: "),
            ("{} {}", "body: "),
        ] {
            let error = refused(text);
            assert!(error.contains(field), "{text}: {error}");
        }
    }
}
