//! What the monitor's doors take: which method, and of witnesses which thread.

use monitorable::monitor::v1::ReportEventsRequest;
use service_kit::access::{Action, Identity, Rule};
use tonic::Status;

/// What a gRPC method takes of its caller.
pub(crate) fn rule(path: &str) -> Rule {
    match path.trim_start_matches('/').split_once('/') {
        Some(("grpc.health.v1.Health", _)) => Rule::Open,
        Some((
            "monitor.v1.Monitor",
            "RegisterComponent" | "RemoveComponent" | "StartMaintenance" | "EndMaintenance",
        )) => Rule::May(Action::Administer),
        Some(("monitor.v1.Monitor" | "monitorable.v1.Monitorable", _)) => {
            Rule::May(Action::Inspect)
        }
        Some(("monitor.v1.Evidence", _)) => Rule::May(Action::Report),
        _ => Rule::May(Action::Know),
    }
}

/// Whether this witness may report these threads; `None` is everybody. What it may neither read
/// nor write it cannot have seen.
///
/// # Errors
/// `PERMISSION_DENIED` with the first thread that is not allowed.
pub(crate) fn may_report(
    identity: Option<&Identity>,
    report: &ReportEventsRequest,
) -> Result<(), Status> {
    let Some(identity) = identity else {
        return Ok(());
    };
    let events = report.events.iter().map(|event| &event.thread_id);
    for thread_id in events.chain(&report.reading) {
        identity.may(Action::Witness(thread_id)).map_err(|denied| {
            tracing::info!(%denied, "refused: not allowed");
            Status::permission_denied(denied.to_string())
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use monitorable::monitor::v1::ObservedEvent;
    use service_kit::access::{Credential, Grants, Role, Threads};

    use super::*;

    #[test]
    fn looking_is_not_changing() {
        let rule = |method: &str| rule(&format!("/monitor.v1.{method}"));
        assert_eq!(rule("Monitor/ListFindings"), Rule::May(Action::Inspect));
        assert_eq!(rule("Monitor/AuditComponent"), Rule::May(Action::Inspect));
        for method in [
            "RegisterComponent",
            "RemoveComponent",
            "StartMaintenance",
            "EndMaintenance",
        ] {
            assert_eq!(
                rule(&format!("Monitor/{method}")),
                Rule::May(Action::Administer),
                "{method}"
            );
        }
        assert_eq!(rule("Evidence/ReportEvents"), Rule::May(Action::Report));
        assert_eq!(super::rule("/grpc.health.v1.Health/Watch"), Rule::Open);
    }

    #[test]
    fn a_witness_reports_its_own_threads() {
        let identity = |read: Threads| Identity {
            name: "reader".into(),
            credential: Credential::Certificate,
            grants: Grants {
                roles: vec![Role::Reader],
                read,
                write: Threads::default(),
            },
            expires: None,
        };
        let event = ObservedEvent {
            thread_id: "chat".to_owned(),
            ..ObservedEvent::default()
        };
        let saw = ReportEventsRequest {
            events: vec![event],
            ..ReportEventsRequest::default()
        };
        let reads = ReportEventsRequest {
            reading: vec!["chat".to_owned()],
            ..ReportEventsRequest::default()
        };
        for report in [saw, reads] {
            assert!(may_report(Some(&identity(Threads::all())), &report).is_ok());
            let refused = may_report(Some(&identity(Threads::default())), &report).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::PermissionDenied);
            assert!(may_report(None, &report).is_ok());
        }
    }
}
