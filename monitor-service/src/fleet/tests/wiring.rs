//! The loop itself, on paused time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use service_kit::clock::Clock;

use super::teller::{identity, target};
use crate::alert::Outbox;
use crate::audit::testing::{answer, health_claim, metrics_claim};
use crate::domain::{ProbeEvent, Probed, Verdict};
use crate::fleet::api::{Command, FindingFilter, FleetError, FleetHandle, Probes, Target};
use crate::fleet::settings::FleetSettings;
use crate::fleet::start;

/// Answers each request for an audit at once, without fault, as a component with one failed
/// check would not.
struct Echo {
    clock: Clock,
    running: Arc<Mutex<Vec<(Target, u64, FleetHandle)>>>,
}

impl Probes for Echo {
    fn start(&mut self, target: Target, generation: u64, fleet: FleetHandle) {
        self.running
            .lock()
            .unwrap()
            .push((target, generation, fleet));
    }

    fn audit_now(&mut self, component_id: &str) {
        let now = self.clock.now();
        let running = self.running.lock().unwrap();
        let found = running
            .iter()
            .find(|(target, ..)| *target.component_id == *component_id);
        let Some((target, generation, fleet)) = found else {
            return;
        };
        let mut health = health_claim(1, now);
        health.checks[0].healthy = false;
        let command = Command::Probe {
            component_id: target.component_id.clone(),
            generation: *generation,
            event: ProbeEvent::Probed(Box::new(Probed {
                health: Ok(answer(health, now)),
                nonce_echoed: true,
                metrics: Ok(answer(metrics_claim(now), now)),
            })),
        };
        let fleet = fleet.clone();
        tokio::spawn(async move { fleet.tell(command).await });
    }

    fn stop(&mut self, component_id: &str) {
        self.running
            .lock()
            .unwrap()
            .retain(|(target, ..)| *target.component_id != *component_id);
    }

    fn stretch(&mut self, _factor: u32) {}
}

#[tokio::test(start_paused = true)]
async fn the_mailbox_is_answered_and_findings_are_heard() {
    let clock = Clock::simulated();
    let running = Arc::default();
    let probes = Echo {
        clock,
        running: Arc::clone(&running),
    };
    let (fleet, run) = start(
        FleetSettings::default(),
        identity(),
        clock,
        probes,
        Outbox::closed(),
    );
    let task = tokio::spawn(run);
    let registered = fleet
        .ask(|reply| Command::Register {
            target: target("bridge"),
            reply,
        })
        .await;
    assert_eq!(registered, Ok(Ok(false)));
    let (open, mut changes) = fleet
        .ask(|reply| Command::WatchFindings { reply })
        .await
        .unwrap();
    assert!(open.is_empty());

    let audit = fleet
        .ask(|reply| Command::Audit {
            component_id: "bridge".into(),
            reply,
        })
        .await
        .unwrap();
    assert_eq!(audit.assessment.verdict, Verdict::SilentFailure);
    assert_eq!(changes.recv().await.unwrap().rule_id, "inconsistent_claims");
    let filter = FindingFilter::default();
    let findings = fleet
        .ask(|reply| Command::Findings { filter, reply })
        .await
        .unwrap();
    assert_eq!(findings.len(), 1);

    tokio::time::sleep(Duration::from_secs(3)).await;
    let report = fleet
        .ask(|reply| Command::SelfReport { reply })
        .await
        .unwrap();
    assert!(report.proven);
    assert_eq!(report.components, 1);

    fleet.tell(Command::Drain).await;
    let list = fleet.ask(|reply| Command::List { reply }).await.unwrap();
    assert_eq!(list.len(), 1);
    assert!(running.lock().unwrap().is_empty());
    task.abort();
    let _ = task.await;
    let asked = fleet.ask(|reply| Command::List { reply }).await;
    assert_eq!(asked.map(|list| list.len()), Err(FleetError::Ended));
}
