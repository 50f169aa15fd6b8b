//! What the monitor's doors take: which method, and of witnesses which thread.

use service_kit::access::{Action, Identity, Role, Rule};
use tonic::Status;

use crate::domain::{Vantage, WitnessReport};

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

/// A witness's report in its own name; `None` is everybody. What it may not write to it cannot have
/// sent, and what it may not read cannot have come to it. An observer of the same name that somebody
/// else speaks for is another one.
///
/// # Errors
/// `PERMISSION_DENIED` with the side or the first thread that is not allowed.
pub(crate) fn in_its_name(
    identity: Option<&Identity>,
    mut report: WitnessReport,
) -> Result<WitnessReport, Status> {
    let Some(identity) = identity else {
        return Ok(report);
    };
    let role = match report.vantage {
        Vantage::Producer => Role::Agent,
        Vantage::Consumer => Role::Reader,
    };
    let seen = report.sightings.iter().map(|sighting| &sighting.thread_id);
    let threads = seen.chain(&report.reading);
    let witnessed = threads.map(|thread_id| Action::Witness(role, thread_id));
    for action in [Action::ReportAs(role)].into_iter().chain(witnessed) {
        identity.may(action).map_err(|denied| {
            tracing::info!(%denied, "refused: not allowed");
            Status::permission_denied(denied.to_string())
        })?;
    }
    report.observer_id = format!("{}/{}", identity.name, report.observer_id);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use monitorable::monitor::v1 as wire;
    use service_kit::access::{Credential, Grants, Threads};

    use super::*;
    use crate::edge::validate::report::report;

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

    fn identity(name: &str, roles: &[Role], read: Threads, write: Threads) -> Identity {
        Identity {
            name: name.into(),
            credential: Credential::Certificate,
            grants: Grants {
                roles: roles.to_vec(),
                read,
                write,
            },
            expires: None,
        }
    }

    /// One that saw an event of a thread, one that reads it, and one that leaves.
    fn reports(vantage: wire::Vantage) -> [WitnessReport; 3] {
        let event = wire::ObservedEvent {
            event_id: "e".to_owned(),
            thread_id: "chat".to_owned(),
            run_id: "r".to_owned(),
            r#type: "agent_started".to_owned(),
            ..wire::ObservedEvent::default()
        };
        let of = |request: wire::ReportEventsRequest| {
            let request = wire::ReportEventsRequest {
                observer_id: "o".to_owned(),
                component_id: "bridge".to_owned(),
                vantage: vantage.into(),
                ..request
            };
            report(request).unwrap()
        };
        let reading = match vantage {
            wire::Vantage::Consumer => vec!["chat".to_owned()],
            _ => Vec::new(),
        };
        [
            of(wire::ReportEventsRequest {
                events: vec![event],
                ..wire::ReportEventsRequest::default()
            }),
            of(wire::ReportEventsRequest {
                reading,
                ..wire::ReportEventsRequest::default()
            }),
            of(wire::ReportEventsRequest {
                sign_off: true,
                ..wire::ReportEventsRequest::default()
            }),
        ]
    }

    #[test]
    fn a_witness_speaks_for_its_own_side_and_its_own_threads() {
        let (producer, consumer) = (wire::Vantage::Producer, wire::Vantage::Consumer);
        let all = Threads::all;
        let agent = identity("a", &[Role::Agent], all(), all());
        let reader = identity("r", &[Role::Reader], all(), all());
        let other = identity("r", &[Role::Reader], Threads::default(), all());
        let refusals = |identity: Option<&Identity>, vantage| {
            reports(vantage).map(|report| in_its_name(identity, report).is_err())
        };
        assert_eq!(refusals(Some(&agent), producer), [false; 3]);
        assert_eq!(refusals(Some(&agent), consumer), [true; 3]);
        assert_eq!(refusals(Some(&reader), consumer), [false; 3]);
        assert_eq!(refusals(Some(&reader), producer), [true; 3]);
        assert_eq!(refusals(Some(&other), consumer), [true, true, false]);
        assert_eq!(refusals(None, consumer), [false; 3]);
    }

    #[test]
    fn nobody_speaks_for_an_observer_of_somebody_else() {
        let [_, _, leaves] = reports(wire::Vantage::Consumer);
        let names = ["one", "two"].map(|name| {
            let reader = identity(name, &[Role::Reader], Threads::all(), Threads::default());
            in_its_name(Some(&reader), leaves.clone())
                .unwrap()
                .observer_id
        });
        assert_eq!(names, ["one/o", "two/o"]);
        assert_eq!(in_its_name(None, leaves).unwrap().observer_id, "o");
    }
}
