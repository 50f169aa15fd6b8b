//! Two monitors that watch each other: who watches the watcher.

use std::time::Duration;

use monitorable::monitor::v1::Verdict;
use monitorable_tests::calls::{self, Auditor, Target};
use monitorable_tests::eventually::{eventually, holds};
use monitorable_tests::process::Service;

use crate::pair::{FOUND_WITHIN, SOON};

const A: &str = "monitor-a";
const B: &str = "monitor-b";
const PAUSE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn two_monitors_watch_each_other() {
    let (a, b) = tokio::join!(
        Service::monitor(&["--component-id", A]),
        Service::monitor(&["--component-id", B])
    );
    let (at_a, at_b) = (Auditor::at(&a.uri()), Auditor::at(&b.uri()));
    at_a.register(B, &b.uri()).await;
    at_b.register(A, &a.uri()).await;
    // Each claims health, and neither has a witness: that is what can be said.
    at_a.until_standing(B, Verdict::Unverified, SOON).await;
    at_b.until_standing(A, Verdict::Unverified, SOON).await;

    a.pause();
    let paused = tokio::time::sleep(PAUSE);
    let outage = |rule: &str| ["unreachable", "watch_silence"].contains(&rule);
    let found = eventually(FOUND_WITHIN, "the paused monitor is found", || async {
        let findings = at_b.findings(A).await;
        let found = findings.iter().find(|finding| outage(&finding.rule_id));
        found.cloned().ok_or_else(|| {
            format!(
                "{:?}",
                findings.iter().map(calls::summary).collect::<Vec<_>>()
            )
        })
    })
    .await;
    println!("found: {}", calls::summary(&found));
    paused.await;
    a.resume();

    Target::at(&a.uri()).until_healthy(SOON).await;
    at_a.until_standing(B, Verdict::Unverified, SOON).await;
    at_b.until_standing(A, Verdict::Unverified, SOON).await;
    eventually(SOON, "the finding resolves", || async {
        let open = at_b.standing(A).await?.open_findings;
        holds(open == 0, open)
    })
    .await;
    the_paused_one_blames_nobody(&at_a).await;
    let findings = at_b.findings(A).await;
    assert_eq!(findings.len(), 1, "one cause: {findings:?}");
}

async fn the_paused_one_blames_nobody(at_a: &Auditor) {
    let findings = at_a.findings("").await;
    assert!(findings.is_empty(), "{findings:?}");
    let trend = at_a.audits(B, 0).await.unwrap().trend.unwrap();
    assert!(trend.no_data >= 1, "{trend:?}");
    assert_eq!(trend.failed, 0, "{trend:?}");
    assert_eq!(trend.healthy + trend.no_data, trend.audits, "{trend:?}");
}
