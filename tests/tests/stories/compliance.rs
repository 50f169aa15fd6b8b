//! Both services keep the Monitorable contract.

use std::time::{Duration, SystemTime};

use monitorable::monitorable::v1::{HealthStatus, Metrics, Reason, State};
use monitorable_tests::calls::Target;
use monitorable_tests::process::Service;
use tonic::Code;

use crate::pair::{BRIDGE, SOON};

fn seconds(seconds: i64, nanos: i32) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos }
}

#[tokio::test]
async fn monitorable_interface_compliance() {
    let (bridge, monitor) = tokio::join!(Service::bridge(&[]), Service::monitor(&[]));
    for (service, id) in [(&bridge, BRIDGE), (&monitor, "monitor-service")] {
        let target = Target::at(&service.uri());
        target.until_healthy(SOON).await;
        health_is_fresh(&target, id).await;
        metrics_add_up(&target, id).await;
        the_watch_keeps_its_promises(&target).await;
        bad_requests_are_refused(&target).await;
    }
}

async fn health_is_fresh(target: &Target, id: &str) {
    let first = target.answer("nonce-1").await.unwrap();
    let second = target.answer("nonce-2").await.unwrap();
    assert_eq!(
        (first.nonce.as_str(), second.nonce.as_str()),
        ("nonce-1", "nonce-2")
    );
    let (first, second) = (first.health.unwrap(), second.health.unwrap());
    for health in [&first, &second] {
        assert_eq!(health.component_id, id);
        assert!(!health.instance_id.is_empty());
        assert_eq!(health.state(), State::Active);
        assert!(health.healthy && !health.checks.is_empty(), "{health:?}");
        assert!(
            health.checks.iter().all(|check| check.healthy),
            "{health:?}"
        );
        assert_eq!(health.consecutive_failures, 0);
        assert!(health.last_health_check_time.is_some(), "{health:?}");
        is_recent(health.observe_time);
    }
    assert_eq!(first.instance_id, second.instance_id);
    assert!(
        second.sequence > first.sequence,
        "{} {}",
        first.sequence,
        second.sequence
    );
    assert!(uptime(&second) >= uptime(&first));
}

fn uptime(health: &HealthStatus) -> Duration {
    Duration::try_from(health.uptime.unwrap()).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "compares another process's clock"
)]
fn is_recent(time: Option<prost_types::Timestamp>) {
    let time = SystemTime::try_from(time.unwrap()).unwrap();
    let age = SystemTime::now().duration_since(time).unwrap_or_default();
    assert!(age < Duration::from_secs(10), "{age:?} old");
}

async fn metrics_add_up(target: &Target, id: &str) {
    let metrics = target.metrics().await.unwrap();
    assert_eq!(metrics.component_id, id);
    is_recent(metrics.observe_time);
    let lifecycle = metrics.lifecycle.unwrap();
    let finished = lifecycle.successful_initializations + lifecycle.failed_initializations;
    assert_eq!(lifecycle.total_initializations, finished);
    assert!(lifecycle.successful_initializations >= 1, "{lifecycle:?}");
    assert!(lifecycle.health_checks_performed >= 1, "{lifecycle:?}");
    assert!(lifecycle.successful_recoveries <= lifecycle.recovery_attempts);
    assert!((lifecycle.success_rate - 1.0).abs() < 1e-9, "{lifecycle:?}");
    assert_eq!(metrics.delivery.is_some(), id == BRIDGE);
    assert_conserved(&metrics);
}

/// Panics where the delivery counters break the conservation law.
pub(crate) fn assert_conserved(metrics: &Metrics) {
    let Some(delivery) = &metrics.delivery else {
        return;
    };
    let dropped: u64 = delivery.events_dropped.values().sum();
    let stages = delivery.events_delivered + delivery.events_expired + dropped;
    assert_eq!(
        delivery.events_accepted,
        stages + delivery.events_pending,
        "{delivery:?}"
    );
    let known = delivery.connections_open + delivery.connections_closed;
    assert_eq!(delivery.connections_opened, known, "{delivery:?}");
    assert!(delivery.events_acknowledged <= delivery.events_delivered);
}

async fn the_watch_keeps_its_promises(target: &Target) {
    let mut stream = target.watch(Some(seconds(0, 200_000_000))).await.unwrap();
    let mut last = 0;
    let mut promise = SOON;
    for turn in 0..5 {
        let message = tokio::time::timeout(promise, stream.message()).await;
        let message = message.expect("the promise is kept").unwrap().unwrap();
        let health = message.health.as_ref().unwrap();
        let expected = if turn == 0 {
            Reason::Initial
        } else {
            Reason::Heartbeat
        };
        assert_eq!(message.reason(), expected, "message {turn}: {message:?}");
        assert!(
            health.sequence > last,
            "message {turn}: {} after {last}",
            health.sequence
        );
        last = health.sequence;
        let next_within = Duration::try_from(message.next_within.unwrap()).unwrap();
        assert!(
            next_within <= Duration::from_secs(1),
            "asked for 200 ms: {next_within:?}"
        );
        promise = next_within + SOON;
    }
}

async fn bad_requests_are_refused(target: &Target) {
    let long = "n".repeat(257);
    let refused = target.answer(&long).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("nonce"), "{}", refused.message());
    assert_eq!(
        target.answer(&"n".repeat(256)).await.unwrap().nonce.len(),
        256
    );
    for bad in [
        seconds(0, 0),
        seconds(-1, 0),
        seconds(86_401, 0),
        seconds(1, -5),
    ] {
        let refused = target.watch(Some(bad)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{bad:?}");
        assert!(
            refused.message().contains("max_interval"),
            "{}",
            refused.message()
        );
    }
    let mut floor = target.watch(Some(seconds(0, 1))).await.unwrap();
    let first = floor.message().await.unwrap().unwrap();
    let promise = Duration::try_from(first.next_within.unwrap()).unwrap();
    assert!(
        promise >= Duration::from_millis(100),
        "under the floor: {promise:?}"
    );
}
