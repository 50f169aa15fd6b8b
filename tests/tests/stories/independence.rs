//! Either service lives without the other, and survives its death.

use std::time::Duration;

use monitorable::monitor::v1::{Vantage, Verdict};
use monitorable_tests::calls::{self, Auditor, Target};
use monitorable_tests::command;
use monitorable_tests::eventually::{eventually, holds};
use monitorable_tests::paths;
use monitorable_tests::process::Service;
use monitorable_tests::proxy::Proxy;
use monitorable_tests::publisher::{Publisher, Run, assert_balanced};
use monitorable_tests::reader::{Options, Reader};
use monitorable_tests::witness::Witness;

use crate::compliance::assert_conserved;
use crate::pair::{BRIDGE, FOUND_WITHIN, NO_CANARY, Pair, SOON};

/// Publishes a run to a reader and checks that all of it arrives.
async fn a_run_goes_through(bridge: &Service, thread_id: &str) {
    let mut reader = Reader::connect(bridge.http, Options::thread(thread_id)).await;
    let publisher = Publisher::new(&bridge.uri());
    let run_id = format!("{thread_id}-run");
    let events = Run::whole(thread_id, &run_id, 2);
    publisher.publish(&events).await;
    let record = reader.until_events(SOON, events.len()).await;
    let ids: Vec<_> = record
        .events()
        .map(|event| event.text("event_id"))
        .collect();
    let expected: Vec<_> = events.iter().map(|event| event.event_id.as_str()).collect();
    assert_eq!(ids, expected);
    assert_balanced(&publisher.ledger(&run_id).await.unwrap());
}

#[tokio::test]
async fn monitor_independence() {
    let monitor = Service::monitor(&[]).await;
    Target::at(&monitor.uri()).until_healthy(SOON).await;
    let auditor = Auditor::at(&monitor.uri());
    let audit = auditor.audit(BRIDGE).await;
    assert_eq!(calls::verdict(&audit), Verdict::NotMonitored);
    assert_eq!(auditor.summary().await.components, 0);
    // Witnesses may come before the component is known.
    let witness = Witness::start(&monitor.uri(), "early-bird", BRIDGE, Vantage::Producer);
    eventually(SOON, "an early witness is heard", || async {
        holds(witness.trouble().is_none(), witness.trouble())
    })
    .await;
    witness.sign_off().await;
    let status = monitor.stop().await;
    assert_eq!(status.code(), Some(0), "{status}");
}

#[tokio::test]
async fn bridge_independence() {
    let bridge = Service::bridge(&[]).await;
    Target::at(&bridge.uri()).until_healthy(SOON).await;
    a_run_goes_through(&bridge, "alone").await;
    let metrics = Target::at(&bridge.uri()).metrics().await.unwrap();
    assert_conserved(&metrics);
    let help = command::bridge(&["serve", "--help"]).await.expect(0);
    let settings = help
        .lines()
        .filter(|line| line.trim_start().starts_with("--"));
    for setting in settings {
        let flag = setting.split_whitespace().next().unwrap_or("");
        assert!(
            !flag.contains("monitor"),
            "a setting that ties the bridge: {setting}"
        );
    }
    let status = bridge.stop().await;
    assert_eq!(status.code(), Some(0), "{status}");
}

#[tokio::test]
async fn bridge_operates_without_monitor() {
    let bridge = Service::bridge(&[]).await;
    Target::at(&bridge.uri()).until_healthy(SOON).await;
    let mut reader = Reader::connect(bridge.http, Options::thread("library-1")).await;
    let recording = paths::data("conversations.jsonl");
    // A port that nobody serves: a proxy that cuts everything.
    let nobody = Proxy::start(bridge.grpc).await;
    nobody.set(monitorable_tests::proxy::Fault::Reset);
    let (uri, dead) = (bridge.uri(), nobody.uri());
    let replayed = command::bridge(&[
        "replay",
        recording.to_str().unwrap(),
        "--target",
        &uri,
        "--speed",
        "max",
        "--report-to",
        &dead,
        "--component-id",
        BRIDGE,
    ])
    .await;
    let output = replayed.both();
    let _ = replayed.expect(0);
    assert!(
        output.contains("drop") || output.contains("report"),
        "no word of the reports: {output}"
    );
    reader
        .until(SOON, "the conversation ends", |record| {
            record
                .events()
                .any(|event| event.text("event") == "agent_completed")
        })
        .await;
}

#[tokio::test]
async fn monitoring_independence_on_failure() {
    let mut pair = Pair::start(&[], NO_CANARY).await;
    pair.auditor
        .until_standing(BRIDGE, Verdict::Unverified, SOON)
        .await;
    // The monitor dies without a word: the bridge does not notice.
    let monitor = std::mem::replace(&mut pair.monitor, Service::monitor(NO_CANARY).await);
    monitor.kill().await;
    a_run_goes_through(&pair.bridge, "after-the-monitor").await;
    let health = Target::at(&pair.bridge.uri()).health().await.unwrap();
    assert!(health.healthy, "{health:?}");
    // A new monitor picks up where nobody was.
    let auditor = Auditor::at(&pair.monitor.uri());
    auditor.register(BRIDGE, &pair.bridge.uri()).await;
    auditor
        .until_standing(BRIDGE, Verdict::Unverified, SOON)
        .await;
    // The bridge dies: the monitor says so, and goes on.
    pair.bridge.kill().await;
    auditor
        .until_standing(BRIDGE, Verdict::Down, FOUND_WITHIN)
        .await;
    let own = Target::at(&pair.monitor.uri()).health().await.unwrap();
    assert!(own.healthy, "{own:?}");
    assert_eq!(auditor.components().await.len(), 1);
}

#[tokio::test]
async fn either_starts_first() {
    let monitor = Service::monitor(NO_CANARY).await;
    let auditor = Auditor::at(&monitor.uri());
    let bridge = Service::bridge(&[]).await;
    // The address is taken and answers nothing before the bridge is there.
    let proxy = Proxy::start(bridge.grpc).await;
    proxy.set(monitorable_tests::proxy::Fault::Reset);
    auditor.register(BRIDGE, &proxy.uri()).await;
    auditor
        .until_standing(BRIDGE, Verdict::Down, FOUND_WITHIN)
        .await;
    proxy.set(monitorable_tests::proxy::Fault::Pass);
    auditor
        .until_standing(BRIDGE, Verdict::Unverified, Duration::from_secs(20))
        .await;
}
