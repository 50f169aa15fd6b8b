//! Most components fail in the same instant: the monitor suspects itself.

use monitorable::monitor::v1::Verdict;
use monitorable::monitor::v1::finding::State;
use monitorable_tests::calls::{Auditor, summary};
use monitorable_tests::eventually::{eventually, holds, time_until};
use monitorable_tests::fake::Fake;
use monitorable_tests::process::Service;
use monitorable_tests::proxy::{Fault, Proxy};

use crate::pair::{FOUND_WITHIN, SOON};

const TARGETS: usize = 5;
const MONITOR: &str = "monitor-service";

/// Targets, each behind a network of its own.
struct Fleet {
    monitor: Service,
    auditor: Auditor,
    targets: Vec<(Fake, Proxy)>,
}

fn name(index: usize) -> String {
    format!("target-{index}")
}

impl Fleet {
    async fn start() -> Self {
        let monitor = Service::monitor(&[]).await;
        let auditor = Auditor::at(&monitor.uri());
        let mut targets = Vec::new();
        for index in 0..TARGETS {
            let fake = Fake::start(&name(index)).await;
            let network = Proxy::start(fake.address).await;
            auditor.register(&name(index), &network.uri()).await;
            targets.push((fake, network));
        }
        let fleet = Self {
            monitor,
            auditor,
            targets,
        };
        fleet.until_all_stand_at(Verdict::Unverified).await;
        fleet
    }

    async fn until_all_stand_at(&self, verdict: Verdict) {
        for index in 0..TARGETS {
            self.auditor
                .until_standing(&name(index), verdict, SOON)
                .await;
        }
    }

    fn breaks(&self, count: usize, fault: Fault) {
        for (_, network) in self.targets.iter().take(count) {
            network.set(fault);
        }
    }

    async fn all_findings(&self) -> Vec<String> {
        let findings = self.auditor.findings("").await;
        findings.iter().map(summary).collect()
    }
}

async fn blinded_by(fault: Fault) {
    let fleet = Fleet::start().await;
    fleet.breaks(TARGETS - 1, fault);
    let (finding, after) = time_until(FOUND_WITHIN, "observer_blind", || async {
        let findings = fleet.auditor.findings(MONITOR).await;
        let found = findings
            .iter()
            .find(|finding| finding.rule_id == "observer_blind");
        found.cloned().ok_or_else(|| format!("{findings:?}"))
    })
    .await;
    println!("{fault:?}: after {after:?}: {}", finding.message);
    for index in 0..TARGETS - 1 {
        fleet
            .auditor
            .until_standing(&name(index), Verdict::NoData, SOON)
            .await;
    }
    let findings = fleet.all_findings().await;
    assert_eq!(
        findings.len(),
        1,
        "one finding for one cause: {findings:#?}"
    );

    fleet.breaks(TARGETS, Fault::Pass);
    fleet.until_all_stand_at(Verdict::Unverified).await;
    eventually(SOON, "the monitor trusts itself again", || async {
        let open = fleet.auditor.summary().await.open_findings;
        holds(open == 0, fleet.all_findings().await)
    })
    .await;
    let findings = fleet.all_findings().await;
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(fleet.monitor.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_network_that_is_cut_blinds_the_monitor() {
    blinded_by(Fault::Reset).await;
}

#[tokio::test]
async fn a_network_that_swallows_everything_blinds_the_monitor() {
    blinded_by(Fault::BlackHole).await;
}

#[tokio::test]
async fn one_bad_target_is_its_own_fault() {
    let fleet = Fleet::start().await;
    fleet.breaks(1, Fault::Reset);
    let (finding, after) = time_until(FOUND_WITHIN, "unreachable", || async {
        let findings = fleet.auditor.findings(&name(0)).await;
        let open = findings.iter().find(|found| found.state() == State::Open);
        open.cloned().ok_or_else(|| format!("{findings:?}"))
    })
    .await;
    println!("after {after:?}: {}", summary(&finding));
    assert_eq!(finding.rule_id, "unreachable");
    let own = fleet.auditor.findings(MONITOR).await;
    assert!(own.is_empty(), "{own:?}");
}
