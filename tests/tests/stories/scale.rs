//! A thousand readers on one thread, and a thousand components.

use std::time::Duration;

use monitorable::monitor::v1::Verdict;
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::eventually::{eventually, holds};
use monitorable_tests::fake::Fake;
use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run, assert_balanced};
use monitorable_tests::reader::{Options, Reader};

use crate::pair::SOON;

const READERS: usize = 1_000;
const COMPONENTS: usize = 1_000;
const THROUGH: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_thousand_readers_share_a_thread() {
    let bridge = Service::bridge(&[]).await;
    let before = bridge.resident_kib();
    let mut readers = Vec::with_capacity(READERS);
    for _ in 0..READERS {
        readers.push(Reader::connect(bridge.http, Options::thread("crowd")).await);
    }
    let publisher = Publisher::new(&bridge.uri());
    let mut expected = Vec::new();
    for run in 0..3 {
        let events = Run::whole("crowd", &format!("run-{run}"), 3);
        publisher.publish(&events).await;
        expected.extend(events.into_iter().map(|event| event.event_id));
    }
    for reader in &mut readers {
        let record = reader.until_events(THROUGH, expected.len()).await;
        let ids: Vec<_> = record
            .events()
            .map(|event| event.text("event_id"))
            .collect();
        assert_eq!(ids, expected);
    }
    assert_balanced(&publisher.ledger("run-0").await.unwrap());
    let metrics = Target::at(&bridge.uri()).metrics().await.unwrap();
    assert_eq!(metrics.delivery.unwrap().connections_open, READERS as u64);
    println!(
        "{READERS} readers: {} KiB resident, {before} KiB without them",
        bridge.resident_kib()
    );
}

#[tokio::test]
async fn a_thousand_components_are_audited() {
    let monitor = Service::monitor(&["--probe-audit-interval", "5s"]).await;
    let auditor = Auditor::at(&monitor.uri());
    let before = monitor.resident_kib();
    let mut targets = Vec::with_capacity(COMPONENTS);
    for number in 0..COMPONENTS {
        let id = format!("target-{number}");
        let target = Fake::start(&id).await;
        auditor.register(&id, &target.uri()).await;
        targets.push(target);
    }
    let verdict = Verdict::Unverified.as_str_name();
    let all = [(verdict.to_owned(), COMPONENTS as u32)].into();
    eventually(THROUGH, "all are audited", || async {
        let summary = auditor.summary().await;
        holds(summary.verdicts == all, &summary.verdicts)
    })
    .await;
    // One among a thousand is found as fast as one alone.
    targets[500].change(|answers| answers.frozen = true);
    auditor
        .until_finding("target-500", "frozen_health", SOON * 2, |_| true)
        .await;
    assert_eq!(auditor.summary().await.open_findings, 1);
    println!(
        "{COMPONENTS} components: {} KiB resident, {before} KiB without them",
        monitor.resident_kib()
    );
}
