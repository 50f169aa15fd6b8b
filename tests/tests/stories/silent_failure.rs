//! The failure that nobody reports: the bridge is well, says so, and users see nothing.

use std::time::Duration;

use monitorable::monitor::v1::finding::State as FindingState;
use monitorable::monitor::v1::{Agreement, Severity, Verdict};
use monitorable_tests::calls::{self, Target};
use monitorable_tests::eventually::{eventually, holds, time_until};
use monitorable_tests::proxy::{Fault, Proxy};
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};

use crate::pair::{BRIDGE, FOUND_WITHIN, Pair, SOON};

/// Publishes a small run each 200 ms until dropped.
struct Traffic(tokio::task::JoinHandle<()>);

impl Traffic {
    fn start(publisher: Publisher, thread_id: &str) -> Self {
        let thread_id = thread_id.to_owned();
        Self(tokio::spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_millis(200));
            for number in 0_u64.. {
                beat.tick().await;
                let run_id = format!("{thread_id}-{number}");
                publisher.publish(&Run::whole(&thread_id, &run_id, 1)).await;
            }
        }))
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test]
async fn integrated_silent_failure_detection() {
    let pair = Pair::start(&[], &[]).await;
    let network = Proxy::start(pair.bridge.http).await;
    let (producers, consumers) = (pair.producer_witness(), pair.consumer_witness());
    let options = Options::thread("chat").witnessed_by(consumers.pen());
    let mut reader = Reader::connect(network.address, options).await;
    reader.welcome().await;
    let _traffic = Traffic::start(pair.witnessed_publisher(&producers), "chat");
    // Its own runs let the monitor say HEALTHY at once; here the witnesses have to agree too.
    eventually(SOON, "witnesses confirm the claim", || async {
        let audit = pair.auditor.audit(BRIDGE).await;
        let healthy = calls::verdict(&audit) == Verdict::Healthy;
        let agreement = audit.event_monitor_validation.as_ref();
        let agreement = agreement.map(|validation| validation.agreement());
        let confirmed = agreement == Some(Agreement::Confirmed);
        holds(healthy && confirmed, calls::shown(&audit))
    })
    .await;

    // Deliveries stop behind the bridge's back.
    network.set(Fault::Stall);
    let ((), found_after) = time_until(FOUND_WITHIN, "SILENT_FAILURE", || async {
        let standing = pair.auditor.standing(BRIDGE).await?;
        let verdict = standing.verdict();
        holds(verdict == Verdict::SilentFailure, verdict)
    })
    .await;
    println!("black hole found after {found_after:?}");
    let claims = Target::at(&pair.bridge.uri()).health().await.unwrap();
    assert!(claims.healthy, "the bridge itself sees nothing: {claims:?}");
    let finding = pair
        .auditor
        .until_finding(BRIDGE, "black_hole", SOON, |_| true)
        .await;
    assert_eq!(finding.state(), FindingState::Open, "{finding:?}");
    assert_eq!(finding.severity(), Severity::Critical);
    let sources: Vec<_> = finding
        .evidence
        .iter()
        .map(|item| item.source.as_str())
        .collect();
    assert!(
        sources
            .iter()
            .any(|source| source.starts_with("consumer:consumer-1")),
        "{sources:?}"
    );
    assert!(
        finding
            .evidence
            .iter()
            .all(|item| item.observe_time.is_some()),
        "{finding:?}"
    );

    // It heals: what was held back arrives, and the finding resolves.
    network.set(Fault::Pass);
    pair.auditor
        .until_finding(BRIDGE, "black_hole", Duration::from_secs(20), |finding| {
            finding.state() == FindingState::Resolved && finding.resolve_time.is_some()
        })
        .await;
    pair.auditor
        .until_audited(BRIDGE, Verdict::Healthy, SOON)
        .await;
}

#[tokio::test]
async fn nobody_connected_and_nobody_sending_stay_quiet() {
    let pair = Pair::start(&[], &[]).await;
    let (producers, consumers) = (pair.producer_witness(), pair.consumer_witness());
    let publisher = pair.witnessed_publisher(&producers);
    // Nobody reads this thread; a reader of another one gets nothing, for nothing is sent there.
    publisher.publish(&Run::whole("unread", "run-1", 3)).await;
    let mut reader = pair.witnessed_reader("quiet", &consumers).await;
    reader.welcome().await;
    tokio::time::sleep(FOUND_WITHIN).await;
    let findings = pair.auditor.findings(BRIDGE).await;
    assert!(findings.is_empty(), "{findings:?}");
    let audit = pair.auditor.audit(BRIDGE).await;
    assert_ne!(
        calls::verdict(&audit),
        Verdict::SilentFailure,
        "{}",
        calls::shown(&audit)
    );
}

#[tokio::test]
async fn a_reader_that_leaves_and_resumes_is_no_loss() {
    let pair = Pair::start(&[], &[]).await;
    let (producers, consumers) = (pair.producer_witness(), pair.consumer_witness());
    let publisher = pair.witnessed_publisher(&producers);
    let mut reader = pair.witnessed_reader("mobile", &consumers).await;
    publisher.publish(&Run::whole("mobile", "run-1", 1)).await;
    let record = reader.until_events(SOON, 6).await;
    // The monitor must have heard that the thread is read before it hears that it is not.
    eventually(SOON, "the consumer is known", || async {
        let thread = pair.auditor.thread("mobile").await;
        let thread = thread.map_err(|status| status.to_string())?;
        holds(thread.consumed == 6 && thread.consumers == 1, thread)
    })
    .await;
    let last = record.events().last().unwrap();
    let (epoch, sequence) = (last.text("epoch").to_owned(), last.sequence());
    drop(reader);
    publisher.publish(&Run::whole("mobile", "run-2", 1)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let options = Options::thread("mobile")
        .after(&epoch, sequence)
        .witnessed_by(consumers.pen());
    let mut reader = Reader::connect(pair.bridge.http, options).await;
    reader.until_events(SOON, 6).await;
    pair.auditor
        .until_audited(BRIDGE, Verdict::Healthy, SOON)
        .await;
    let findings = pair.auditor.findings(BRIDGE).await;
    assert!(findings.is_empty(), "{findings:?}");
}
