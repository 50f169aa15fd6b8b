//! Any number of observers hear of the bridge's health, and none can hold it up.

use std::time::Duration;

use monitorable::monitorable::v1::{Reason, State};
use monitorable_tests::calls::Target;
use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};

use crate::pair::SOON;

const OBSERVERS: usize = 20;
const INTERVAL: Option<prost_types::Duration> = Some(prost_types::Duration {
    seconds: 0,
    nanos: 200_000_000,
});

#[tokio::test]
async fn bridge_health_broadcast_to_observers() {
    let bridge = Service::bridge(&[]).await;
    let target = Target::at(&bridge.uri());
    target.until_healthy(SOON).await;
    // One that opens its stream and never reads, on a connection of its own.
    let _deaf = Target::at(&bridge.uri()).watch(INTERVAL).await.unwrap();
    let mut observers = Vec::new();
    for _ in 0..OBSERVERS {
        let stream = Target::at(&bridge.uri()).watch(INTERVAL).await.unwrap();
        observers.push(tokio::spawn(observe(stream)));
    }
    let publisher = Publisher::new(&bridge.uri());
    for run in 0..20 {
        let run_id = format!("run-{run}");
        publisher.publish(&Run::whole("busy", &run_id, 2)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let status = bridge.stop().await;
    assert_eq!(status.code(), Some(0), "{status}");
    for observer in observers {
        let heard = observer.await.unwrap();
        assert!(heard >= 3, "heard only {heard} messages in a second");
    }
}

/// Listens to the end, which must be a DRAINING without a promise; counts the messages.
async fn observe(
    mut stream: tonic::Streaming<monitorable::monitorable::v1::WatchHealthResponse>,
) -> usize {
    let (mut heard, mut last_sequence, mut last_reason) = (0, 0, Reason::Unspecified);
    loop {
        let message = tokio::time::timeout(SOON, stream.message()).await;
        let Some(message) = message.expect("a message in time").unwrap_or_default() else {
            break;
        };
        let health = message.health.clone().unwrap();
        assert!(
            health.sequence > last_sequence,
            "{} after {last_sequence}",
            health.sequence
        );
        assert_eq!(message.reason() == Reason::Initial, heard == 0);
        if message.reason() == Reason::Draining {
            assert_eq!(health.state(), State::Draining);
            assert!(
                message.next_within.is_none() && !health.healthy,
                "{message:?}"
            );
        }
        heard += 1;
        last_sequence = health.sequence;
        last_reason = message.reason();
    }
    assert_eq!(
        last_reason,
        Reason::Draining,
        "the last of {heard} messages"
    );
    heard
}
