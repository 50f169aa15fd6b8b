//! What the bridge says of itself follows what it does.

use std::time::Duration;

use monitorable::monitor::v1::Verdict;
use monitorable_tests::calls::{self, Target};
use monitorable_tests::eventually::{eventually, holds};
use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};

use crate::compliance::assert_conserved;
use crate::pair::{BRIDGE, NO_CANARY, Pair, SOON};

#[tokio::test]
async fn bridge_monitoring_interface() {
    let bridge = Service::bridge(&[
        "--health-check-interval",
        "300ms",
        "--health-verification-timeout",
        "300ms",
    ])
    .await;
    let target = Target::at(&bridge.uri());
    let health = target.until_healthy(SOON).await;
    let mut names: Vec<_> = health
        .checks
        .iter()
        .map(|check| check.name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["registry", "websocket_manager"]);
    assert!(
        health.checks.iter().all(|check| check.latency.is_some()),
        "{health:?}"
    );

    let before = target.metrics().await.unwrap();
    let performed = before.lifecycle.unwrap().health_checks_performed;
    eventually(SOON, "three more rounds of checks", || async {
        let metrics = target
            .metrics()
            .await
            .map_err(|status| status.to_string())?;
        let now = metrics.lifecycle.unwrap().health_checks_performed;
        holds(now >= performed + 3, now)
    })
    .await;
    let delivery = target.metrics().await.unwrap().delivery.unwrap();
    assert_eq!(
        delivery.events_accepted, 0,
        "self-checks are accounted apart: {delivery:?}"
    );
    assert_eq!(delivery.connections_opened, 0, "{delivery:?}");
    counters_follow_the_events(&bridge, &target).await;
}

async fn counters_follow_the_events(bridge: &Service, target: &Target) {
    let publisher = Publisher::new(&bridge.uri());
    let mut reader = Reader::connect(bridge.http, Options::thread("counted")).await;
    reader.welcome().await;
    let run = Run::whole("counted", "run-1", 1);
    publisher.publish(&run).await;
    publisher.publish(&Run::whole("unread", "run-2", 0)).await;
    let mut open = Run::new("unread", "run-3");
    publisher
        .publish(&[open.event(monitorable::bridge::v1::EventType::AgentStarted)])
        .await;
    reader.until_events(SOON, run.len()).await;
    let delivery = eventually(SOON, "every acknowledgement is counted", || async {
        let metrics = target
            .metrics()
            .await
            .map_err(|status| status.to_string())?;
        assert_conserved(&metrics);
        let delivery = metrics.delivery.unwrap();
        holds(delivery.events_acknowledged == run.len() as u64, &delivery).map(|()| delivery)
    })
    .await;
    assert_eq!(delivery.events_delivered, run.len() as u64);
    assert_eq!(delivery.events_pending, 5);
    assert_eq!(delivery.runs_open, 1);
    assert_eq!(
        (delivery.connections_open, delivery.connections_opened),
        (1, 1)
    );
    assert!(
        delivery.oldest_pending_age.is_none(),
        "nobody reads the other thread"
    );
    // A reader that comes later moves the pending ones on.
    let mut late = Reader::connect(bridge.http, Options::thread("unread")).await;
    late.until_events(SOON, 5).await;
    eventually(SOON, "nothing is pending", || async {
        let metrics = target
            .metrics()
            .await
            .map_err(|status| status.to_string())?;
        assert_conserved(&metrics);
        let pending = metrics.delivery.unwrap().events_pending;
        holds(pending == 0, pending)
    })
    .await;
}

#[tokio::test]
async fn monitor_audits_bridge_health() {
    let pair = Pair::start(&[], NO_CANARY).await;
    pair.auditor
        .until_standing(BRIDGE, Verdict::Unverified, SOON)
        .await;
    let audit = pair.auditor.audit(BRIDGE).await;
    let internal = audit.internal_health.as_ref().unwrap();
    assert!(
        internal.nonce_echoed && internal.latency.is_some(),
        "{internal:?}"
    );
    assert!(internal.health.as_ref().unwrap().healthy);
    let metrics = audit.internal_metrics.as_ref().unwrap();
    assert!(
        metrics.ledger_balanced && metrics.ledger_remainder == 0,
        "{metrics:?}"
    );
    let integration = audit.integration_health.as_ref().unwrap();
    assert!(
        integration.watch_alive && integration.calls_answered,
        "{integration:?}"
    );
    let age = Duration::try_from(integration.watch_age.unwrap()).unwrap();
    assert!(age < Duration::from_secs(3), "{age:?}");
    assert!(audit.findings.is_empty(), "{}", calls::shown(&audit));

    // An orderly shutdown is neutral: no silent failure, no restart finding.
    let Pair {
        bridge,
        monitor: _monitor,
        auditor,
    } = pair;
    assert_eq!(bridge.stop().await.code(), Some(0));
    for _ in 0..4 {
        let audit = auditor.audit(BRIDGE).await;
        assert_ne!(
            calls::verdict(&audit),
            Verdict::SilentFailure,
            "{}",
            calls::shown(&audit)
        );
    }
}
