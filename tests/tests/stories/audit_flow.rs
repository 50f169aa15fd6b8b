//! From a claim and a sighting to an audit, its history and its summary.

use monitorable::monitor::v1::finding::State as FindingState;
use monitorable::monitor::v1::{Finding, Verdict, WatchFindingsRequest, WatchFindingsResponse};
use monitorable::monitorable::v1::DeliveryMetrics;
use monitorable_tests::calls::{self, Auditor};
use monitorable_tests::command;
use monitorable_tests::eventually::{eventually, holds};
use monitorable_tests::fake::Fake;
use monitorable_tests::process::Service;
use monitorable_tests::publisher::Run;

use crate::pair::{BRIDGE, NO_CANARY, Pair, SOON};

#[tokio::test]
async fn end_to_end_audit_flow() {
    let pair = Pair::start(&[], NO_CANARY).await;
    let (producers, consumers) = (pair.producer_witness(), pair.consumer_witness());
    let publisher = pair.witnessed_publisher(&producers);
    let mut reader = pair.witnessed_reader("flow", &consumers).await;
    // Coverage counts from the first audit on.
    pair.auditor
        .until_standing(BRIDGE, Verdict::Unverified, SOON)
        .await;
    let events = Run::whole("flow", "run-1", 2);
    publisher.publish(&events).await;
    reader.until_events(SOON, events.len()).await;
    let count = events.len() as u64;
    eventually(SOON, "both witnesses told everything", || async {
        let thread = pair.auditor.thread("flow").await;
        let thread = thread.map_err(|status| status.to_string())?;
        holds((thread.produced, thread.consumed) == (count, count), thread)
    })
    .await;
    let audit = pair
        .auditor
        .until_audited(BRIDGE, Verdict::Healthy, SOON)
        .await;
    every_part_is_there(&audit);
    thread_status(&pair, events.len() as u64).await;
    history_and_summary(&pair).await;
    the_command_line_agrees(&pair).await;
    producers.sign_off().await;
    consumers.sign_off().await;
}

fn every_part_is_there(audit: &monitorable::monitor::v1::Audit) {
    assert_eq!(audit.component_id, BRIDGE);
    assert!(audit.audit_time.is_some());
    let health = audit
        .internal_health
        .as_ref()
        .unwrap()
        .health
        .as_ref()
        .unwrap();
    assert!(health.healthy);
    let metrics = audit.internal_metrics.as_ref().unwrap();
    assert!(metrics.metrics.as_ref().unwrap().delivery.is_some());
    let validation = audit.event_monitor_validation.as_ref().unwrap();
    assert_eq!(
        (validation.producers, validation.consumers),
        (1, 1),
        "{validation:?}"
    );
    assert!(!validation.message.is_empty());
    let integration = audit.integration_health.as_ref().unwrap();
    assert_eq!(integration.witness_coverage, Some(1.0), "{integration:?}");
    assert!(integration.history >= 1);
    let assessment = audit.overall_assessment.as_ref().unwrap();
    assert!((assessment.score - 100.0).abs() < 1e-6, "{assessment:?}");
    let mut parts: Vec<_> = assessment.component_scores.keys().cloned().collect();
    parts.sort_unstable();
    assert_eq!(parts, ["claims", "evidence", "integration"]);
    assert!(!assessment.message.is_empty());
}

async fn thread_status(pair: &Pair, events: u64) {
    let thread = pair.auditor.thread("flow").await.unwrap();
    assert_eq!(
        (thread.produced, thread.consumed),
        (events, events),
        "{thread:?}"
    );
    assert_eq!(thread.component_id, BRIDGE);
    assert_eq!(thread.last_event_type, "agent_completed");
    assert_eq!(thread.counts_by_type["tool_executing"], 2);
    assert_eq!(thread.consumers, 1);
    // No word about the delay: a reader may have an event before its producer has the receipt.
    let run = &thread.runs[0];
    assert!(run.finished && run.open_tools.is_empty(), "{run:?}");
}

async fn history_and_summary(pair: &Pair) {
    for _ in 0..3 {
        pair.auditor.audit(BRIDGE).await;
    }
    let listed = pair.auditor.audits(BRIDGE, 0).await.unwrap();
    let times: Vec<_> = listed
        .audits
        .iter()
        .map(|audit| audit.audit_time.map(|time| (time.seconds, time.nanos)))
        .collect();
    assert!(
        times.is_sorted_by(|newer, older| newer >= older),
        "newest first: {times:?}"
    );
    let trend = listed.trend.unwrap();
    assert_eq!(trend.audits as usize, listed.audits.len());
    assert!(trend.healthy >= 3 && trend.failed == 0, "{trend:?}");
    assert!(
        trend.average_score.is_some_and(|score| score > 0.0),
        "{trend:?}"
    );
    assert_eq!(trend.last_audit_time, listed.audits[0].audit_time);
    let two = pair.auditor.audits(BRIDGE, 2).await.unwrap();
    assert_eq!(two.audits.len(), 2);
    let summary = pair.auditor.summary().await;
    assert_eq!(summary.components, 1);
    assert_eq!(
        summary.verdicts.get("VERDICT_HEALTHY"),
        Some(&1),
        "{summary:?}"
    );
    assert_eq!(summary.observers, 2, "{summary:?}");
    assert_eq!(summary.open_findings, 0);
    assert!(summary.events_witnessed >= 8, "{summary:?}");
}

async fn the_command_line_agrees(pair: &Pair) {
    let uri = pair.monitor.uri();
    for (words, part) in [
        (vec!["audit", BRIDGE], "VERDICT_HEALTHY"),
        (vec!["history", BRIDGE], "VERDICT_HEALTHY"),
        (vec!["list"], BRIDGE),
        (vec!["findings"], ""),
    ] {
        let client = ["--monitor", &uri, "--output"];
        let json: Vec<&str> = words
            .iter()
            .copied()
            .chain(client)
            .chain(["json"])
            .collect();
        let shown = command::monitor(&json).await.expect_json(0).to_string();
        assert!(shown.contains(part), "{words:?}: {shown}");
        let table: Vec<&str> = words
            .iter()
            .copied()
            .chain(client)
            .chain(["table"])
            .collect();
        let _ = command::monitor(&table).await.expect(0);
    }
    let unknown = command::monitor(&["history", "nobody", "--monitor", &uri]).await;
    assert_ne!(unknown.code, Some(0), "{unknown}");
    assert!(unknown.stderr.contains("nobody"), "{unknown}");
    let audit = pair.auditor.audit("nobody").await;
    assert_eq!(calls::verdict(&audit), Verdict::NotMonitored);
}

#[tokio::test]
async fn findings_are_heard_as_they_open_and_resolve() {
    let monitor = Service::monitor(&[]).await;
    let auditor = Auditor::at(&monitor.uri());
    let target = Fake::start("ledger-keeper").await;
    auditor.register("ledger-keeper", &target.uri()).await;
    auditor
        .until_standing("ledger-keeper", Verdict::Unverified, SOON)
        .await;
    let request = WatchFindingsRequest {
        component_id: "ledger-keeper".to_owned(),
    };
    let watched = auditor.client().watch_findings(request).await.unwrap();
    let mut stream = watched.into_inner();
    let lost = DeliveryMetrics {
        events_accepted: 3,
        events_delivered: 1,
        ..DeliveryMetrics::default()
    };
    target.change(|answers| answers.delivery = Some(lost));
    let opened = next_in_state(&mut stream, FindingState::Open).await;
    assert_eq!(opened.rule_id, "unbalanced_ledger", "{opened:?}");
    target.change(|answers| answers.delivery = None);
    let resolved = next_in_state(&mut stream, FindingState::Resolved).await;
    assert_eq!(resolved.finding_id, opened.finding_id);
    assert_eq!(resolved.open_time, opened.open_time);
    assert!(resolved.resolve_time.is_some(), "{resolved:?}");
}

async fn next_in_state(
    stream: &mut tonic::Streaming<WatchFindingsResponse>,
    state: FindingState,
) -> Finding {
    loop {
        let message = tokio::time::timeout(SOON * 2, stream.message()).await;
        let message = message.unwrap_or_else(|_| panic!("no finding in {state:?} in time"));
        let finding = message.unwrap().unwrap().finding.unwrap();
        if finding.state() == state {
            return finding;
        }
    }
}
