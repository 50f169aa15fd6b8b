//! What the monitor says of itself. Every answer goes through the working loop, so that a loop
//! that hangs cannot look healthy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use service_kit::clock::Clock;
use service_kit::health_protocol::{HealthSource, LIVENESS};
use service_kit::reload::ReloadStatus;
use service_kit::{panics, traces};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::{
    CheckClaim, ClaimedState, HealthClaim, LifecycleClaim, MetricsClaim, Posting, Vantage,
    WitnessReport,
};
use crate::fleet::api::{Command, ComponentView, FleetError, FleetHandle, SelfReport};
use crate::fleet::settings::Identity;

/// How often a change of the monitor's own state is looked for.
const CHANGE_INTERVAL: Duration = Duration::from_millis(250);
/// Who reports where the monitor checks its own intake.
const SELF_OBSERVER: &str = "monitor-self-check";

/// The monitor as a component.
pub(crate) struct SelfMonitor {
    fleet: FleetHandle,
    identity: Identity,
    clock: Clock,
    draining: CancellationToken,
    /// How the last reading of the settings went.
    pub(crate) reloads: ReloadStatus,
    /// Whether the loop was ever proven: before, the monitor is still initializing.
    initialized: AtomicBool,
    rounds: AtomicU64,
    consecutive_failures: AtomicU32,
    recovery_attempts: AtomicU64,
    successful_recoveries: AtomicU64,
}

/// The part of a status whose change is told at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    state: Option<ClaimedState>,
    checks: Vec<(String, bool)>,
}

impl SelfMonitor {
    pub(crate) fn new(
        fleet: FleetHandle,
        identity: Identity,
        clock: Clock,
        draining: CancellationToken,
        reloads: ReloadStatus,
    ) -> Arc<Self> {
        Arc::new(Self {
            fleet,
            identity,
            clock,
            draining,
            reloads,
            initialized: AtomicBool::new(false),
            rounds: AtomicU64::new(0),
            consecutive_failures: AtomicU32::new(0),
            recovery_attempts: AtomicU64::new(0),
            successful_recoveries: AtomicU64::new(0),
        })
    }

    /// The loop's own report.
    ///
    /// # Errors
    /// Where the loop does not answer.
    pub(crate) async fn report(&self) -> Result<SelfReport, FleetError> {
        self.fleet.ask(|reply| Command::SelfReport { reply }).await
    }

    /// Every component as it stands.
    ///
    /// # Errors
    /// Where the loop does not answer.
    pub(crate) async fn components(&self) -> Result<Vec<ComponentView>, FleetError> {
        self.fleet.ask(|reply| Command::List { reply }).await
    }

    /// A fresh status, made by the loop for this call, after a round of both checks.
    ///
    /// # Errors
    /// Where the loop does not answer.
    pub(crate) async fn health(&self) -> Result<HealthClaim, FleetError> {
        let intake = self.check_intake().await;
        let report = self.report().await?;
        let mut checks = vec![audit_loop(&report), intake];
        checks.extend(own_findings(&report));
        self.count_round(&checks);
        checks.extend(self.configuration());
        Ok(self.claim(&report, checks))
    }

    /// Whoever changed the settings wants to know; the monitor itself is as well as before.
    fn configuration(&self) -> Option<CheckClaim> {
        Some(CheckClaim {
            name: "configuration".to_owned(),
            healthy: true,
            message: self.reloads.trouble()?,
            latency: None,
        })
    }

    fn claim(&self, report: &SelfReport, checks: Vec<CheckClaim>) -> HealthClaim {
        let failed = checks.iter().find(|check| !check.healthy);
        let state = self.state(failed.is_none());
        let error_message = match failed {
            Some(check) if state == ClaimedState::Degraded => check.message.clone(),
            _ => String::new(),
        };
        HealthClaim {
            component_id: self.identity.component_id.clone(),
            instance_id: self.identity.instance_id.clone(),
            sequence: report.sequence,
            observe_time: Some(report.observe_time),
            state,
            healthy: state == ClaimedState::Active,
            checks,
            consecutive_failures: self.consecutive_failures.load(Ordering::Relaxed),
            uptime: Some(report.uptime),
            last_health_check_time: Some(report.observe_time),
            error_message,
        }
    }

    fn state(&self, passed: bool) -> ClaimedState {
        if self.draining.is_cancelled() {
            ClaimedState::Draining
        } else if !self.initialized.load(Ordering::Relaxed) {
            ClaimedState::Initializing
        } else if passed {
            ClaimedState::Active
        } else {
            ClaimedState::Degraded
        }
    }

    /// A round that passes after one that failed is a recovery; one that fails after one that
    /// passed begins to need one. Before the first round that passes nothing counts as failed.
    fn count_round(&self, checks: &[CheckClaim]) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        if checks.iter().all(|check| check.healthy) {
            self.initialized.store(true, Ordering::Relaxed);
            if self.consecutive_failures.swap(0, Ordering::Relaxed) > 0 {
                self.successful_recoveries.fetch_add(1, Ordering::Relaxed);
            }
        } else if self.initialized.load(Ordering::Relaxed)
            && self.consecutive_failures.fetch_add(1, Ordering::Relaxed) == 0
        {
            self.recovery_attempts.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands in a report without events, the way that every witness takes, and signs off.
    async fn check_intake(&self) -> CheckClaim {
        let report = WitnessReport {
            observer_id: SELF_OBSERVER.to_owned(),
            vantage: Vantage::Producer,
            component_id: self.identity.component_id.clone(),
            sightings: Vec::new(),
            reading: Vec::new(),
            sign_off: true,
            posting: Posting::default(),
        };
        let before = self.clock.now();
        let taken = self
            .fleet
            .ask(|reply| Command::Report { report, reply })
            .await;
        let latency = self.clock.now().since(before.monotonic);
        CheckClaim {
            name: "evidence_intake".to_owned(),
            healthy: taken.is_ok(),
            message: match taken {
                Ok(_) => "a report was taken".to_owned(),
                Err(error) => format!("a report was not taken: {error}"),
            },
            latency: Some(latency),
        }
    }

    /// The counters, by the loop.
    ///
    /// # Errors
    /// Where the loop does not answer.
    pub(crate) async fn metrics(&self) -> Result<MetricsClaim, FleetError> {
        let report = self.report().await?;
        let initializations = u64::from(self.initialized.load(Ordering::Relaxed));
        Ok(MetricsClaim {
            component_id: self.identity.component_id.clone(),
            instance_id: self.identity.instance_id.clone(),
            observe_time: Some(report.observe_time),
            lifecycle: LifecycleClaim {
                total_initializations: initializations,
                successful_initializations: initializations,
                failed_initializations: 0,
                recovery_attempts: self.recovery_attempts.load(Ordering::Relaxed),
                successful_recoveries: self.successful_recoveries.load(Ordering::Relaxed),
                health_checks_performed: self.rounds.load(Ordering::Relaxed),
                success_rate: if initializations > 0 { 1.0 } else { 0.0 },
            },
            delivery: None,
            gauges: gauges(&report),
        })
    }

    /// Looks for changes for ever and publishes them, so that any number of watchers costs one
    /// question. It is also the first to prove the loop after a start.
    pub(crate) async fn watch_changes(self: Arc<Self>, changes: watch::Sender<Fingerprint>) {
        loop {
            let fingerprint = match self.health().await {
                Ok(health) => Fingerprint::of(&health),
                Err(_) => Fingerprint::default(),
            };
            changes.send_if_modified(|known| {
                let changed = *known != fingerprint;
                *known = fingerprint;
                changed
            });
            tokio::time::sleep(CHANGE_INTERVAL).await;
        }
    }
}

impl Fingerprint {
    pub(crate) fn of(health: &HealthClaim) -> Self {
        let check = |check: &CheckClaim| (check.name.clone(), check.healthy);
        Self {
            state: Some(health.state),
            checks: health.checks.iter().map(check).collect(),
        }
    }
}

fn audit_loop(report: &SelfReport) -> CheckClaim {
    let lateness = report.tick_lateness;
    CheckClaim {
        name: "audit_loop".to_owned(),
        healthy: report.proven,
        message: match report.last_tick {
            None => "the loop has not ticked yet".to_owned(),
            Some(_) if report.proven => format!("the last tick was {lateness:?} late"),
            Some(_) => format!("the last tick was {lateness:?} late, which is too late"),
        },
        latency: Some(lateness),
    }
}

/// What the monitor found about itself: it does not look well while it cannot see, nor while it
/// would not be heard.
fn own_findings(report: &SelfReport) -> [CheckClaim; 2] {
    let check = |name: &str, broken: bool, well: &str, ill: &str| CheckClaim {
        name: name.to_owned(),
        healthy: !broken,
        message: if broken { ill } else { well }.to_owned(),
        latency: None,
    };
    [
        check(
            "sight",
            report.blind,
            "components fail one at a time, if they do",
            "observer_blind is open: the monitor cannot trust what it sees",
        ),
        check(
            "alert_path",
            report.alerts.dead,
            "no alert is known to be lost",
            "alert_path_dead is open: alerts reach nobody",
        ),
    ]
}

fn gauges(report: &SelfReport) -> BTreeMap<String, f64> {
    let open: u64 = report.findings_open.values().sum();
    // Counts fit a double exactly up to 2^53.
    let counts = [
        ("alerts_delivered_count", report.alerts.delivered),
        ("alerts_dropped_count", report.alerts.dropped),
        ("alerts_failed_count", report.alerts.failed),
        ("audits_count", report.audits),
        ("components_count", report.components),
        ("evidence_evicted_count", report.evidence_evicted),
        ("events_repeated_count", report.events_repeated),
        ("events_witnessed_count", report.events_witnessed),
        ("findings_open_count", open),
        ("findings_opened_count", report.findings_opened),
        ("findings_resolved_count", report.findings_resolved),
        ("observers_count", report.observers),
        ("panics_count", panics::count()),
        ("trace_spans_lost_count", traces::lost()),
        ("runs_witnessed_count", report.runs_witnessed),
        ("threads_witnessed_count", report.threads_witnessed),
    ];
    let mut gauges: BTreeMap<String, f64> = counts
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count as f64))
        .collect();
    gauges.insert("local_stretch_factor".to_owned(), f64::from(report.stretch));
    gauges.insert(
        "tick_lateness_seconds".to_owned(),
        report.tick_lateness.as_secs_f64(),
    );
    gauges
}

impl HealthSource for SelfMonitor {
    async fn serving(&self, service: &str) -> bool {
        match self.report().await {
            Err(_) => false,
            Ok(_) if service == LIVENESS => true,
            Ok(report) => report.proven && !self.draining.is_cancelled(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use service_kit::histogram::Histogram;
    use tokio::sync::mpsc;

    use super::*;
    use crate::fleet::api::AlertCounts;

    fn report(proven: bool) -> SelfReport {
        SelfReport {
            sequence: 1,
            observe_time: SystemTime::UNIX_EPOCH,
            uptime: Duration::from_secs(1),
            proven,
            tick_lateness: Duration::ZERO,
            last_tick: Some(SystemTime::UNIX_EPOCH),
            components: 0,
            audits: 0,
            audits_by_verdict: BTreeMap::new(),
            findings_open: BTreeMap::new(),
            findings_in_maintenance: BTreeMap::new(),
            findings_opened: 0,
            findings_resolved: 0,
            events_witnessed: 0,
            events_repeated: 0,
            evidence_evicted: 0,
            threads_witnessed: 0,
            runs_witnessed: 0,
            observers: 0,
            findings_reopened: 0,
            stretch: 1,
            blind: false,
            alerts: AlertCounts::default(),
            reports_missing: 0,
            call_latency: Histogram::default(),
        }
    }

    fn monitor() -> (Arc<SelfMonitor>, CancellationToken) {
        let (sender, _) = mpsc::channel(1);
        let draining = CancellationToken::new();
        let identity = Identity {
            component_id: "monitor-service".to_owned(),
            instance_id: "i1".to_owned(),
        };
        let fleet = FleetHandle::new(sender, Duration::from_secs(1));
        let monitor = SelfMonitor::new(
            fleet,
            identity,
            Clock::system(),
            draining.clone(),
            ReloadStatus::default(),
        );
        (monitor, draining)
    }

    fn round(monitor: &SelfMonitor, proven: bool) -> HealthClaim {
        let report = report(proven);
        let checks = vec![audit_loop(&report)];
        monitor.count_round(&checks);
        monitor.claim(&report, checks)
    }

    #[test]
    fn nothing_is_active_before_the_loop_is_proven() {
        let (monitor, _) = monitor();
        let health = round(&monitor, false);
        assert_eq!(health.state, ClaimedState::Initializing);
        assert!(!health.healthy);
        assert_eq!(health.consecutive_failures, 0);
        assert_eq!(round(&monitor, true).state, ClaimedState::Active);
    }

    #[test]
    fn a_late_loop_is_degraded_and_its_recovery_is_counted() {
        let (monitor, _) = monitor();
        round(&monitor, true);
        round(&monitor, false);
        let health = round(&monitor, false);
        assert_eq!(health.state, ClaimedState::Degraded);
        assert_eq!(health.consecutive_failures, 2);
        assert!(!health.error_message.is_empty());
        assert_eq!(round(&monitor, true).consecutive_failures, 0);
        assert_eq!(monitor.recovery_attempts.load(Ordering::Relaxed), 1);
        assert_eq!(monitor.successful_recoveries.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_monitor_that_would_not_be_heard_is_not_well() {
        let mut report = report(true);
        assert!(own_findings(&report).iter().all(|check| check.healthy));
        report.alerts.dead = true;
        report.blind = true;
        assert!(own_findings(&report).iter().all(|check| !check.healthy));
    }

    #[test]
    fn draining_is_said_whatever_the_checks_say() {
        let (monitor, draining) = monitor();
        round(&monitor, true);
        draining.cancel();
        let health = round(&monitor, true);
        assert_eq!(health.state, ClaimedState::Draining);
        assert!(!health.healthy);
    }

    #[tokio::test]
    async fn a_loop_that_has_ended_serves_nothing() {
        let (monitor, _) = monitor();
        assert!(!monitor.serving(LIVENESS).await);
        assert!(monitor.health().await.is_err());
    }
}
