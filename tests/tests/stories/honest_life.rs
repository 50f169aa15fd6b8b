//! Honest life between real processes: everything that looks like a failure and is none, one
//! after the other, with witnesses on both sides and the canary on. Nothing may be found, at any
//! time. The long spans of it are simulated beside the rules; this is the short, real one.

use std::time::Duration;

use monitorable::monitor::v1::Verdict;
use monitorable_tests::calls::Target;
use monitorable_tests::process::Service;

use crate::chat::{Chat, Place};
use crate::pair::{BRIDGE, Pair, SOON};

#[tokio::test]
async fn nothing_is_found_in_honest_life() {
    let pair = Pair::unregistered(&[], &[]).await;
    let place = Place::of(&pair.bridge).await;
    pair.auditor.register(BRIDGE, &place.calls.uri()).await;
    let (producers, consumers) = (pair.producer_witness(), pair.consumer_witness());
    let mut chat = Chat::start(place, "chat", &producers, &consumers).await;
    chat.goes_on(10).await;

    // A reconnect storm.
    for pause in [0, 50, 300, 1_000, 0, 2_500] {
        chat.user_resumes(Duration::from_millis(pause)).await;
    }
    // A burst inside the limits.
    for _ in 0..80 {
        chat.run().await;
    }
    // Nothing at all.
    tokio::time::sleep(Duration::from_secs(6)).await;
    chat.goes_on(5).await;

    // The monitor stands still for 20 s, and life goes on.
    pair.monitor.pause();
    chat.goes_on(100).await;
    pair.monitor.resume();
    Target::at(&pair.monitor.uri()).until_healthy(SOON).await;
    chat.goes_on(20).await;

    // A rolling restart: the next one is there before the old one says that it drains.
    let next = Service::bridge(&[]).await;
    Target::at(&next.uri()).until_healthy(SOON).await;
    chat.place.taken_by(&next);
    let mut old = pair.bridge;
    old.terminate();
    let status = old.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
    chat.user_resumes(Duration::from_millis(200)).await;
    chat.goes_on(25).await;

    pair.auditor
        .until_audited(BRIDGE, Verdict::Healthy, SOON)
        .await;
    let findings = pair.auditor.findings(BRIDGE).await;
    assert!(findings.is_empty(), "{findings:#?}");
    let own = pair.auditor.findings("monitor-service").await;
    assert!(own.is_empty(), "of the monitor itself: {own:#?}");
}
