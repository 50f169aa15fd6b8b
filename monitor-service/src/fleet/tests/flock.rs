//! Several components and the monitor itself: what they have in common is not theirs.

use std::collections::BTreeSet;
use std::time::Duration;

use service_kit::clock::{Clock, Now};

use super::teller::{identity, target};
use crate::audit::testing::{answer, health_claim, metrics_claim};
use crate::domain::{
    Alert, AlertEvent, AlertKind, CallError, ClaimedState, Finding, ProbeEvent, Probed, Verdict,
    WatchMessage, WatchReason,
};
use crate::fleet::api::{FindingFilter, FleetError, Suspicions};
use crate::fleet::settings::FleetSettings;
use crate::fleet::state::{Effect, FleetState};

const MONITOR: &str = "monitor";

/// Components `c0`, `c1` …, each with its probe.
struct Flock {
    fleet: FleetState,
    now: Now,
    size: usize,
    /// Those that nobody reaches.
    cut_off: BTreeSet<usize>,
    sequence: u64,
    steps: u64,
    published: Vec<Finding>,
    alerts: Vec<Alert>,
    stretched: Vec<u32>,
}

impl Flock {
    fn of(size: usize) -> Self {
        Self::with(size, FleetSettings::default())
    }

    fn with(size: usize, settings: FleetSettings) -> Self {
        let now = Clock::system().now().later(Duration::from_secs(100_000));
        let mut flock = Self {
            fleet: FleetState::new(settings, identity(), now),
            now,
            size,
            cut_off: BTreeSet::new(),
            sequence: 0,
            steps: 0,
            published: Vec::new(),
            alerts: Vec::new(),
            stretched: Vec::new(),
        };
        for index in 0..size {
            let registered = flock.fleet.register(target(&name(index)), now);
            assert_eq!(registered, Ok(false));
        }
        flock.fleet.take_effects();
        (0..size).for_each(|index| flock.probe(index));
        flock.pass(3.0);
        flock
    }

    /// Time goes by in steps of 100 ms: beats each second, ticks each half.
    fn pass(&mut self, seconds: f64) {
        for _ in 0..(seconds * 10.0).round() as u64 {
            self.now = self.now.later(Duration::from_millis(100));
            self.fleet.turn(self.now);
            self.steps += 1;
            if self.steps.is_multiple_of(10) {
                (0..self.size).for_each(|index| self.beat(index));
            }
            if self.steps.is_multiple_of(5) {
                self.fleet.tick(Duration::ZERO, self.now);
            }
            self.perform();
        }
    }

    fn perform(&mut self) {
        loop {
            let effects = self.fleet.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::AuditNow(id) => self.probe(id[1..].parse().unwrap()),
                    Effect::Publish(finding) => self.published.push(finding),
                    Effect::Alert(alert) => self.alerts.push(alert),
                    Effect::Stretch(factor) => self.stretched.push(factor),
                    _ => {}
                }
            }
        }
    }

    fn event(&mut self, index: usize, event: ProbeEvent) {
        let generation = index as u64 + 1;
        self.fleet.probe(&name(index), generation, event, self.now);
    }

    fn beat(&mut self, index: usize) {
        if self.cut_off.contains(&index) {
            return;
        }
        self.says(index, ClaimedState::Active, WatchReason::Heartbeat);
    }

    fn says(&mut self, index: usize, state: ClaimedState, reason: WatchReason) {
        self.sequence += 1;
        let mut health = health_claim(self.sequence, self.now);
        health.component_id = name(index);
        health.state = state;
        health.healthy = state == ClaimedState::Active;
        let message = WatchMessage {
            health,
            reason,
            next_within: Some(Duration::from_secs(1)),
        };
        self.event(index, ProbeEvent::Watched(message));
    }

    fn probe(&mut self, index: usize) {
        self.sequence += 1;
        let error = CallError::Unreachable("connection refused".into());
        let probed = if self.cut_off.contains(&index) {
            Probed {
                health: Err(error.clone()),
                nonce_echoed: false,
                metrics: Err(error),
            }
        } else {
            let mut health = health_claim(self.sequence, self.now);
            let mut metrics = metrics_claim(self.now);
            health.component_id = name(index);
            metrics.component_id = name(index);
            Probed {
                health: Ok(answer(health, self.now)),
                nonce_echoed: true,
                metrics: Ok(answer(metrics, self.now)),
            }
        };
        self.event(index, ProbeEvent::Probed(Box::new(probed)));
    }

    /// The network to a component breaks.
    fn cut(&mut self, index: usize) {
        self.cut_off.insert(index);
        let error = CallError::Unreachable("connection reset".into());
        self.event(index, ProbeEvent::WatchFailed(error));
        self.perform();
    }

    fn heal(&mut self, index: usize) {
        self.cut_off.remove(&index);
        self.says(index, ClaimedState::Active, WatchReason::Initial);
        self.perform();
    }

    /// SIGSTOP, and on again.
    fn sleep(&mut self, seconds: u64) {
        self.now = self.now.later(Duration::from_secs(seconds));
        self.fleet.turn(self.now);
        let lateness = Duration::from_secs(seconds);
        self.fleet.tick(lateness, self.now);
        self.perform();
    }

    fn findings(&self, open: Option<bool>) -> Vec<(String, &'static str)> {
        let filter = FindingFilter {
            open,
            ..FindingFilter::default()
        };
        let findings = self.fleet.findings(&filter);
        findings
            .into_iter()
            .map(|finding| (finding.component_id.to_string(), finding.rule_id))
            .collect()
    }

    fn open(&self) -> Vec<(String, &'static str)> {
        self.findings(Some(true))
    }

    fn verdict(&self, index: usize) -> Verdict {
        self.fleet.components[name(index).as_str()].verdict()
    }
}

fn name(index: usize) -> String {
    format!("c{index}")
}

fn found(component_id: &str, rule_id: &'static str) -> (String, &'static str) {
    (component_id.to_owned(), rule_id)
}

#[test]
fn most_that_fail_together_are_one_finding_on_the_monitor() {
    let mut flock = Flock::of(5);
    (0..4).for_each(|index| flock.cut(index));
    flock.pass(1.5);
    assert_eq!(flock.open(), [found(MONITOR, "observer_blind")]);
    flock.pass(60.0);
    assert_eq!(flock.open(), [found(MONITOR, "observer_blind")]);
    // Nothing was said of the single ones, now or before.
    assert_eq!(flock.findings(None), [found(MONITOR, "observer_blind")]);
    assert_eq!(flock.verdict(0), Verdict::NoData);
    let suspicions = FindingFilter {
        suspicions: Suspicions::Only,
        ..FindingFilter::default()
    };
    assert_eq!(flock.fleet.findings(&suspicions).len(), 4);
    assert!(flock.fleet.self_report(flock.now).blind);

    (0..4).for_each(|index| flock.heal(index));
    flock.pass(3.0);
    assert_eq!(flock.open(), []);
    assert_eq!(flock.verdict(0), Verdict::Unverified);
    let alerts: Vec<_> = flock.alerts.iter().map(|alert| alert.kind).collect();
    assert_eq!(alerts, [AlertKind::Opened, AlertKind::Resolved]);
}

#[test]
fn one_bad_target_is_its_own_finding_within_a_second() {
    let mut flock = Flock::of(5);
    flock.cut(0);
    flock.pass(1.0);
    assert_eq!(flock.open(), [found("c0", "unreachable")]);
    assert_eq!(flock.verdict(0), Verdict::Down);
}

#[test]
fn two_targets_have_nothing_to_share() {
    let mut flock = Flock::of(2);
    (0..2).for_each(|index| flock.cut(index));
    assert_eq!(flock.open().len(), 2, "at once");
}

#[test]
fn the_first_of_many_gives_way_to_the_finding_of_all() {
    let mut flock = Flock::of(5);
    flock.cut(0);
    flock.pass(2.0);
    assert_eq!(flock.open(), [found("c0", "unreachable")]);
    (1..5).for_each(|index| flock.cut(index));
    flock.pass(1.0);
    assert_eq!(flock.open(), [found(MONITOR, "observer_blind")]);
    let first = flock
        .published
        .iter()
        .rev()
        .find(|finding| finding.rule_id == "unreachable");
    let message = &first.unwrap().message;
    assert!(message.contains("Explained by observer_blind"), "{message}");
}

#[test]
fn what_still_fails_when_the_others_are_back_is_its_own_fault() {
    let mut flock = Flock::of(5);
    (0..5).for_each(|index| flock.cut(index));
    flock.pass(10.0);
    (0..4).for_each(|index| flock.heal(index));
    flock.pass(4.0);
    assert_eq!(flock.open(), [found("c4", "unreachable")]);
    assert_eq!(flock.verdict(4), Verdict::Down);
}

#[test]
fn a_rolling_restart_of_everything_is_nobodys_fault() {
    let mut flock = Flock::of(4);
    for index in 0..4 {
        flock.says(index, ClaimedState::Draining, WatchReason::Draining);
        flock.event(index, ProbeEvent::WatchEnded);
        flock.cut(index);
    }
    flock.pass(3.0);
    (0..4).for_each(|index| flock.heal(index));
    flock.pass(5.0);
    assert_eq!(flock.findings(None), []);
}

#[test]
fn a_pause_leaves_no_data_and_no_finding() {
    let mut flock = Flock::of(4);
    flock.sleep(20);
    for index in 0..4 {
        let (audits, trend) = flock.fleet.audits(&name(index), 0).unwrap();
        assert_eq!((trend.no_data, trend.failed), (1, 0));
        assert_eq!(trend.healthy + trend.no_data, trend.audits);
        // The newest is the look that was taken at once afterwards.
        let gap = audits[1].message().overall_assessment.unwrap();
        assert_eq!(gap.verdict(), monitorable::monitor::v1::Verdict::NoData);
        assert!(
            gap.message.contains("stood still for 20 s"),
            "{}",
            gap.message
        );
    }
    flock.pass(10.0);
    assert_eq!(flock.findings(None), []);
    assert_eq!(flock.verdict(0), Verdict::Unverified);
}

#[test]
fn a_loop_that_is_late_again_and_again_is_blind() {
    let mut flock = Flock::of(1);
    for _ in 0..2 {
        flock.pass(1.0);
        flock.fleet.tick(Duration::from_millis(1_200), flock.now);
    }
    assert_eq!(flock.open(), [], "it was in time between");
    for _ in 0..3 {
        flock.now = flock.now.later(Duration::from_millis(1_400));
        flock.fleet.turn(flock.now);
        flock.fleet.tick(Duration::from_millis(1_200), flock.now);
    }
    assert_eq!(flock.open(), [found(MONITOR, "observer_blind")]);
    flock.pass(3.0);
    assert_eq!(flock.open(), []);
}

#[test]
fn a_late_monitor_grants_more_time() {
    let mut flock = Flock::of(1);
    flock.fleet.tick(Duration::from_millis(1_100), flock.now);
    flock.perform();
    assert_eq!(flock.stretched, [3]);
    let summary = flock.fleet.summary(flock.now);
    assert_eq!(summary.local_lateness, Duration::from_millis(1_100));
    // Its promise of 1 s and a grace of 1 s passed; now the grace is 3 s.
    flock.cut_off.insert(0);
    flock.now = flock.now.later(Duration::from_millis(1_400));
    flock.fleet.turn(flock.now);
    flock.fleet.tick(Duration::from_millis(800), flock.now);
    flock.perform();
    assert_eq!(flock.open(), []);
    flock.pass(2.0);
    assert_eq!(flock.stretched.last(), Some(&1));
}

#[test]
fn maintenance_is_shown_and_alerts_nobody_until_it_is_over() {
    let mut flock = Flock::of(1);
    let minute = Duration::from_secs(60);
    let end = flock.fleet.start_maintenance("c0", minute, flock.now);
    assert_eq!(end, Ok(flock.now.wall + minute));
    assert_eq!(flock.fleet.list()[0].maintenance_end, end.ok());
    flock.cut(0);
    flock.pass(50.0);
    assert_eq!(flock.open(), [found("c0", "unreachable")]);
    assert!(flock.published[0].in_maintenance);
    assert_eq!(flock.alerts, []);
    flock.pass(11.0);
    assert_eq!(flock.fleet.list()[0].maintenance_end, None);
    assert_eq!(flock.alerts.len(), 1, "it outlived the maintenance");
    assert!(flock.alerts[0].finding.in_maintenance);
}

#[test]
fn maintenance_ends_early_and_only_where_it_is_open() {
    let mut flock = Flock::of(1);
    let none = FleetError::NoMaintenance("c0".into());
    assert_eq!(flock.fleet.end_maintenance("c0"), Err(none));
    let minute = Duration::from_secs(60);
    flock
        .fleet
        .start_maintenance("c0", minute, flock.now)
        .unwrap();
    flock.cut(0);
    flock.heal(0);
    flock.pass(5.0);
    assert_eq!(flock.open(), []);
    assert_eq!(flock.fleet.end_maintenance("c0"), Ok(()));
    flock.pass(1.0);
    assert_eq!(flock.alerts, [], "it came and went in the window");
    let unknown = FleetError::NotRegistered("nobody".into());
    let asked = flock.fleet.start_maintenance("nobody", minute, flock.now);
    assert_eq!(asked, Err(unknown));
}

#[test]
fn components_in_maintenance_do_not_blind_the_monitor() {
    let mut flock = Flock::of(4);
    let minute = Duration::from_secs(60);
    for index in 0..4 {
        let id = name(index);
        flock
            .fleet
            .start_maintenance(&id, minute, flock.now)
            .unwrap();
        flock.cut(index);
    }
    flock.pass(3.0);
    let marked = flock.open();
    assert_eq!(marked.len(), 4);
    assert!(marked.iter().all(|(_, rule)| *rule == "unreachable"));
    assert_eq!(flock.alerts, []);
}

#[test]
fn an_alert_that_nobody_heard_is_found_and_heals() {
    let mut flock = Flock::of(1);
    let failed = AlertEvent::Failed {
        attempts: 3,
        why: "no connection: refused".into(),
    };
    flock.fleet.alert_event(failed, flock.now);
    flock.perform();
    assert_eq!(flock.open(), [found(MONITOR, "alert_path_dead")]);
    assert_eq!(flock.fleet.summary(flock.now).open_findings, 1);
    assert!(flock.fleet.self_report(flock.now).alerts.dead);
    flock.fleet.alert_event(AlertEvent::Delivered, flock.now);
    flock.pass(2.0);
    assert_eq!(flock.open(), []);
    let report = flock.fleet.self_report(flock.now);
    assert_eq!((report.alerts.delivered, report.alerts.failed), (1, 1));
}

#[test]
fn a_switch_that_nobody_confirms_is_found_but_not_after_a_sleep() {
    let settings = FleetSettings {
        dead_man_interval: Some(Duration::from_secs(2)),
        ..FleetSettings::default()
    };
    let mut flock = Flock::with(1, settings);
    flock
        .fleet
        .alert_event(AlertEvent::BeatConfirmed, flock.now);
    flock.sleep(20);
    flock.pass(3.0);
    assert_eq!(flock.open(), []);
    flock.pass(4.0);
    assert_eq!(flock.open(), [found(MONITOR, "alert_path_dead")]);
    flock
        .fleet
        .alert_event(AlertEvent::BeatConfirmed, flock.now);
    flock.pass(3.0);
    assert_eq!(flock.open(), []);
}
