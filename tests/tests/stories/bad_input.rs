//! Bad input for every RPC: a clear error that names the field, and nothing lost or crashed.

use bytes::Bytes;
use monitorable::bridge::v1::agent_events_client::AgentEventsClient;
use monitorable::bridge::v1::{
    AgentEvent, EventType, GetRunLedgerRequest, PublishRequest, PublishStreamRequest, Status,
};
use monitorable::monitor::v1::evidence_client::EvidenceClient;
use monitorable::monitor::v1::{
    Component, ListFindingsRequest, ObservedEvent, RegisterComponentRequest, ReportEventsRequest,
    Vantage,
};
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};
use tonic::Code;

use crate::pair::SOON;

type Spoil = fn(&mut AgentEvent);

/// What is done to a good event, and the field that the refusal must name.
const SPOILED: &[(&str, Spoil)] = &[
    ("event_id", |event| event.event_id.clear()),
    ("event_id", |event| event.event_id = "e".repeat(129)),
    ("event_id", |event| event.event_id = "two words".to_owned()),
    ("event_id", |event| event.event_id = "né".to_owned()),
    ("user_id", |event| event.user_id = "a\nb".to_owned()),
    ("thread_id", |event| event.thread_id.clear()),
    ("thread_id", |event| event.thread_id = "$own".to_owned()),
    ("run_id", |event| event.run_id.clear()),
    ("run_id", |event| {
        event.run_id = "run-of-another-thread".to_owned();
    }),
    ("agent_name", |event| event.agent_name = "a".repeat(129)),
    ("type", |event| event.r#type = 0),
    ("type", |event| event.r#type = 99),
    ("tool_name", |event| {
        event.r#type = EventType::ToolExecuting.into();
        event.tool_call_id = "call".to_owned();
    }),
    ("tool_call_id", |event| {
        event.r#type = EventType::ToolExecuting.into();
        event.tool_name = "tool".to_owned();
    }),
    ("tool_call_id", |event| {
        event.r#type = EventType::ToolCompleted.into();
    }),
    ("tool_name", |event| event.tool_name = "t".repeat(129)),
    ("data", |event| {
        event.data = Bytes::from_static(b"{\"open\":");
    }),
    ("data", |event| event.data = Bytes::from_static(b"1 2")),
    ("data", |event| event.data = Bytes::from_static(b"\"\xff\"")),
    ("data", |event| {
        event.data = Bytes::from(format!("\"{}\"", "d".repeat(70_000)));
    }),
    ("create_time", |event| {
        event.create_time = Some(prost_types::Timestamp {
            seconds: 0,
            nanos: -1,
        });
    }),
];

#[tokio::test]
async fn a_bad_event_is_refused_by_name_and_its_neighbours_are_taken() {
    let bridge = Service::bridge(&[]).await;
    let publisher = Publisher::new(&bridge.uri());
    let mut elsewhere = Run::new("another-thread", "run-of-another-thread");
    publisher
        .publish(&[elsewhere.event(EventType::AgentStarted)])
        .await;
    let mut reader = Reader::connect(bridge.http, Options::thread("chat")).await;
    let mut run = Run::new("chat", "run-1");
    let mut accepted = 0;
    for (field, spoil) in SPOILED {
        let mut bad = run.event(EventType::AgentThinking);
        spoil(&mut bad);
        let batch = [
            run.event(EventType::AgentThinking),
            bad.clone(),
            run.event(EventType::AgentThinking),
        ];
        let receipts = publisher.try_publish(&batch).await.unwrap();
        assert_eq!(receipts[1].status(), Status::Rejected, "{field}: {bad:?}");
        assert_eq!(receipts[1].event_id, bad.event_id, "echoed as it was sent");
        assert_eq!((receipts[1].sequence, receipts[1].epoch.as_str()), (0, ""));
        let error = &receipts[1].error;
        assert!(error.contains(field), "{field} is not named: {error}");
        assert!(error.len() < 1_000, "{field}: a flood of an error: {error}");
        for good in [&receipts[0], &receipts[2]] {
            assert_eq!(good.status(), Status::Accepted, "{field}: {good:?}");
            accepted += 1;
            assert_eq!(good.sequence, accepted);
        }
    }
    let record = reader.until_events(SOON, accepted as usize).await;
    assert_eq!(record.events().count(), accepted as usize);
    let delivery = Target::at(&bridge.uri())
        .metrics()
        .await
        .unwrap()
        .delivery
        .unwrap();
    assert_eq!(
        delivery.events_rejected,
        SPOILED.len() as u64,
        "{delivery:?}"
    );
    assert_eq!(delivery.events_accepted, accepted + 1, "{delivery:?}");
}

#[tokio::test]
async fn bad_calls_of_the_bridge_are_refused() {
    let bridge = Service::bridge(&[]).await;
    let mut client = AgentEventsClient::new(bridge.channel());
    let empty = client.publish(PublishRequest { events: vec![] }).await;
    let empty = empty.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument);
    assert!(empty.message().contains("events"), "{}", empty.message());
    let mut run = Run::new("chat", "run-1");
    let events: Vec<_> = (0..1_001)
        .map(|_| run.event(EventType::AgentThinking))
        .collect();
    let many = client
        .publish(PublishRequest {
            events: events.clone(),
        })
        .await;
    let many = many.unwrap_err();
    assert_eq!(many.code(), Code::ResourceExhausted);
    assert!(
        many.message().contains("1000") && many.message().contains("1001"),
        "{}",
        many.message()
    );

    // A stream answers what it took, then fails as the call does.
    let good = PublishStreamRequest {
        events: events[..2].to_vec(),
    };
    let bad = PublishStreamRequest { events: vec![] };
    let requests = tokio_stream::iter([good, bad]);
    let mut answers = client.publish_stream(requests).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().receipts.len(), 2);
    let refused = answers.message().await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");

    for (run_id, code) in [
        (String::new(), Code::InvalidArgument),
        ("r".repeat(129), Code::InvalidArgument),
        ("unknown".to_owned(), Code::NotFound),
    ] {
        let refused = client
            .get_run_ledger(GetRunLedgerRequest { run_id })
            .await
            .unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(
            refused.message().contains("run_id"),
            "{}",
            refused.message()
        );
    }
    let ledger = client.get_run_ledger(GetRunLedgerRequest {
        run_id: "run-1".to_owned(),
    });
    let ledger = ledger.await.unwrap().into_inner().ledger.unwrap();
    assert_eq!(
        ledger.events_accepted, 2,
        "what was answered was kept, and no more"
    );
}

fn component(id: &str, endpoint: &str) -> Component {
    Component {
        component_id: id.to_owned(),
        endpoint: endpoint.to_owned(),
        ..Component::default()
    }
}

#[tokio::test]
async fn bad_calls_of_the_monitor_are_refused() {
    let monitor = Service::monitor(&[]).await;
    let auditor = Auditor::at(&monitor.uri());
    let good = "http://127.0.0.1:9";
    let mut many_labels = component("a", good);
    many_labels.labels = (0..33).map(|n| (format!("k{n}"), String::new())).collect();
    let mut bad_metadata = component("a", good);
    bad_metadata
        .metadata
        .insert("not a header".to_owned(), "x".to_owned());
    for (bad, field) in [
        (component("", good), "component_id"),
        (component("two words", good), "component_id"),
        (component(&"a".repeat(129), good), "component_id"),
        (component("a", ""), "endpoint"),
        (component("a", "127.0.0.1:9"), "endpoint"),
        (component("a", "ftp://127.0.0.1:9"), "endpoint"),
        (component("a", "http://"), "endpoint"),
        (component("a", "http://127.0.0.1:99999"), "endpoint"),
        (many_labels, "labels"),
        (bad_metadata, "metadata"),
    ] {
        let refused = auditor.try_register(bad.clone()).await;
        let refused = refused.err().unwrap_or_else(|| panic!("{bad:?} was taken"));
        assert_eq!(refused.code(), Code::InvalidArgument, "{bad:?}: {refused}");
        assert!(
            refused.message().contains(field),
            "{field}: {}",
            refused.message()
        );
    }
    let nothing = RegisterComponentRequest { component: None };
    let refused = auditor
        .client()
        .register_component(nothing)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(auditor.components().await.is_empty());

    assert_eq!(
        auditor.remove("nobody").await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        auditor.remove("").await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(
        auditor.try_audit("").await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(
        auditor.audits("nobody", 0).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        auditor.audits("", 0).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(
        auditor.thread("nobody").await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        auditor.thread("").await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let findings = ListFindingsRequest {
        limit: 1_001,
        ..ListFindingsRequest::default()
    };
    let refused = auditor.client().list_findings(findings).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("limit"), "{}", refused.message());
}

fn report() -> ReportEventsRequest {
    ReportEventsRequest {
        observer_id: "observer".to_owned(),
        vantage: Vantage::Consumer.into(),
        events: vec![observed("event-1")],
        component_id: "a".to_owned(),
        reading: vec!["chat".to_owned()],
        ..ReportEventsRequest::default()
    }
}

fn observed(event_id: &str) -> ObservedEvent {
    ObservedEvent {
        event_id: event_id.to_owned(),
        thread_id: "chat".to_owned(),
        run_id: "run-1".to_owned(),
        r#type: "agent_started".to_owned(),
        ..ObservedEvent::default()
    }
}

type SpoilReport = fn(&mut ReportEventsRequest);

const SPOILED_REPORTS: &[(&str, SpoilReport)] = &[
    ("observer_id", |report| report.observer_id.clear()),
    ("observer_id", |report| report.observer_id = "o".repeat(129)),
    ("vantage", |report| report.vantage = 0),
    ("vantage", |report| report.vantage = 7),
    ("component_id", |report| report.component_id.clear()),
    ("events", |report| {
        report.events = (0..1_001)
            .map(|n| observed(&format!("event-{n}")))
            .collect();
    }),
    ("event_id", |report| report.events[0].event_id.clear()),
    ("thread_id", |report| report.events[0].thread_id.clear()),
    ("run_id", |report| report.events[0].run_id.clear()),
    ("type", |report| report.events[0].r#type.clear()),
    ("reading", |report| {
        report.reading.push("two words".to_owned());
    }),
    ("session_id", |report| {
        report.session_id = "two words".to_owned();
    }),
    ("report_number", |report| report.report_number = 1),
    ("send_time", |report| {
        report.send_time = Some(prost_types::Timestamp {
            seconds: -1,
            nanos: 0,
        });
    }),
    ("round_trip", |report| report.round_trip = seconds(-1)),
    ("next_within", |report| report.next_within = seconds(0)),
    ("next_within", |report| {
        report.next_within = seconds(90_000);
    }),
    ("connection_id", |report| {
        report.events[0].connection_id = "c".repeat(129);
    }),
    ("arrival", |report| report.events[0].arrival = 1),
];

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::test]
async fn a_bad_report_is_refused_whole() {
    let monitor = Service::monitor(&[]).await;
    let mut evidence = EvidenceClient::new(monitor.channel());
    for (field, spoil) in SPOILED_REPORTS {
        let mut bad = report();
        bad.events.push(observed("event-2"));
        spoil(&mut bad);
        let refused = evidence.report_events(bad).await;
        let refused = refused
            .err()
            .unwrap_or_else(|| panic!("a bad {field} was taken"));
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}: {refused}");
        assert!(
            refused.message().contains(field),
            "{field}: {}",
            refused.message()
        );
    }
    let auditor = Auditor::at(&monitor.uri());
    assert_eq!(
        auditor.summary().await.events_witnessed,
        0,
        "nothing of them was kept"
    );
    let taken = evidence.report_events(report()).await.unwrap().into_inner();
    assert_eq!((taken.recorded, taken.repeated_events), (1, 0));
    assert!(taken.receive_time.is_some(), "{taken:?}");
    let again = evidence.report_events(report()).await.unwrap().into_inner();
    assert_eq!((again.recorded, again.repeated_events), (0, 1));
    let own = Target::at(&monitor.uri()).health().await.unwrap();
    assert!(own.healthy, "{own:?}");
}
