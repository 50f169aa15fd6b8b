//! The life of the service: UNINITIALIZED → INITIALIZING → ACTIVE ⇄ DEGRADED → FAILED, DRAINING.
//!
//! Nothing is ACTIVE before every check has passed once.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use service_kit::clock::Now;

use super::report::{CheckResult, CheckRound, HealthReport, LifecycleReport, LifecycleStep, State};

/// The state machine. It belongs to the hub, so that an answer about health is an answer of the
/// loop that does the work.
#[derive(Debug)]
pub(crate) struct HealthMachine {
    started: Instant,
    sequence: u64,
    state: State,
    /// Shared with every report until the next round.
    checks: Arc<[CheckResult]>,
    consecutive_failures: u32,
    last_check_time: Option<SystemTime>,
    error_message: String,
    lifecycle: LifecycleReport,
}

impl HealthMachine {
    /// A service that has not begun to start.
    pub(crate) fn new(now: Now) -> Self {
        Self {
            started: now.monotonic,
            sequence: 0,
            state: State::Uninitialized,
            checks: Arc::default(),
            consecutive_failures: 0,
            last_check_time: None,
            error_message: String::new(),
            lifecycle: LifecycleReport::default(),
        }
    }

    /// The status now; each has the next sequence.
    pub(crate) fn report(&mut self, now: Now) -> HealthReport {
        self.sequence += 1;
        HealthReport {
            sequence: self.sequence,
            observe_time: now.wall,
            state: self.state,
            healthy: self.state == State::Active,
            checks: self.checks.clone(),
            consecutive_failures: self.consecutive_failures,
            uptime: now.since(self.started),
            last_check_time: self.last_check_time,
            error_message: self.error_message.clone(),
        }
    }

    /// The counters.
    pub(crate) const fn lifecycle(&self) -> LifecycleReport {
        self.lifecycle
    }

    /// Takes a step of the life cycle. True: the status changed.
    pub(crate) fn step(&mut self, step: LifecycleStep) -> bool {
        let before = (self.state, self.error_message.clone());
        match step {
            LifecycleStep::InitializationBegan { check_interval } => {
                self.lifecycle.check_interval = check_interval;
                self.move_to(State::Initializing);
            }
            LifecycleStep::InitializationEnded { error } => {
                self.lifecycle.total_initializations += 1;
                if error.is_none() {
                    self.lifecycle.successful_initializations += 1;
                    self.consecutive_failures = 0;
                } else {
                    self.lifecycle.failed_initializations += 1;
                }
                self.move_to(if error.is_none() {
                    State::Active
                } else {
                    State::Failed
                });
                self.error_message = error.unwrap_or_default();
            }
            LifecycleStep::RecoveryBegan => self.lifecycle.recovery_attempts += 1,
            LifecycleStep::RecoveryEnded { error: None } => {
                self.lifecycle.successful_recoveries += 1;
                self.consecutive_failures = 0;
                self.error_message.clear();
                self.move_to(State::Active);
            }
            LifecycleStep::RecoveryEnded { error: Some(error) } => self.error_message = error,
            LifecycleStep::GaveUp { error } => {
                self.error_message = error;
                self.move_to(State::Failed);
            }
        }
        before != (self.state, self.error_message.clone())
    }

    /// Takes a round of checks. True: the status changed.
    pub(crate) fn checked(&mut self, round: CheckRound, now: Now) -> bool {
        let before = self.shown();
        self.lifecycle.health_checks_performed += 1;
        self.last_check_time = Some(now.wall);
        let failed = round.results.iter().find(|check| !check.healthy);
        match failed {
            Some(check) => {
                self.consecutive_failures = self.consecutive_failures.saturating_add(1);
                self.error_message = format!("check {}: {}", check.name, check.message);
                if self.state == State::Active {
                    self.move_to(State::Degraded);
                }
            }
            None => {
                self.consecutive_failures = 0;
                self.error_message.clear();
                if matches!(self.state, State::Degraded | State::Failed) {
                    self.move_to(State::Active);
                }
            }
        }
        self.checks = round.results.into();
        before != self.shown()
    }

    /// The service shuts down; nothing changes its state after.
    pub(crate) fn drain(&mut self) {
        self.state = State::Draining;
    }

    fn move_to(&mut self, state: State) {
        if self.state != State::Draining {
            self.state = state;
        }
    }

    /// What a watcher is told of at once when it changes: not how long a check took.
    fn shown(&self) -> (State, String, Vec<(&'static str, bool)>) {
        let checks = self
            .checks
            .iter()
            .map(|check| (check.name, check.healthy))
            .collect();
        (self.state, self.error_message.clone(), checks)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use service_kit::clock::Clock;

    use super::*;

    const BEGAN: LifecycleStep = LifecycleStep::InitializationBegan {
        check_interval: Duration::from_secs(60),
    };

    fn machine() -> (HealthMachine, Now) {
        let now = Clock::system().now();
        (HealthMachine::new(now), now)
    }

    fn round(healthy: bool) -> CheckRound {
        let message = if healthy { "fine" } else { "no answer" }.to_owned();
        let latency = Duration::from_millis(1);
        CheckRound {
            results: vec![CheckResult {
                name: "registry",
                healthy,
                message,
                latency,
            }],
        }
    }

    fn active() -> (HealthMachine, Now) {
        let (mut machine, now) = machine();
        machine.step(BEGAN);
        machine.checked(round(true), now);
        machine.step(LifecycleStep::InitializationEnded { error: None });
        (machine, now)
    }

    #[test]
    fn nothing_is_active_before_it_is_proven() {
        let (mut machine, now) = machine();
        assert_eq!(machine.report(now).state, State::Uninitialized);
        machine.step(BEGAN);
        machine.checked(round(true), now);
        assert_eq!(machine.report(now).state, State::Initializing);
        machine.step(LifecycleStep::InitializationEnded { error: None });
        let report = machine.report(now);
        assert_eq!((report.state, report.healthy), (State::Active, true));
    }

    #[test]
    fn every_status_has_a_new_sequence() {
        let (mut machine, now) = machine();
        let sequences: Vec<_> = (0..3).map(|_| machine.report(now).sequence).collect();
        assert_eq!(sequences, [1, 2, 3]);
    }

    #[test]
    fn a_failed_check_degrades_and_a_passed_one_heals() {
        let (mut machine, now) = active();
        assert!(machine.checked(round(false), now));
        let report = machine.report(now);
        assert_eq!(
            (report.state, report.consecutive_failures),
            (State::Degraded, 1)
        );
        assert_eq!(report.error_message, "check registry: no answer");
        assert!(machine.checked(round(true), now));
        let report = machine.report(now);
        assert_eq!(
            (report.state, report.consecutive_failures),
            (State::Active, 0)
        );
        assert_eq!(report.error_message, "");
    }

    #[test]
    fn recovery_is_counted_and_giving_up_is_failure() {
        let (mut machine, now) = active();
        machine.checked(round(false), now);
        machine.step(LifecycleStep::RecoveryBegan);
        machine.step(LifecycleStep::RecoveryEnded {
            error: Some("still no answer".to_owned()),
        });
        machine.step(LifecycleStep::GaveUp {
            error: "still no answer".to_owned(),
        });
        assert_eq!(machine.report(now).state, State::Failed);
        machine.step(LifecycleStep::RecoveryBegan);
        machine.step(LifecycleStep::RecoveryEnded { error: None });
        assert_eq!(machine.report(now).state, State::Active);
        let lifecycle = machine.lifecycle();
        assert_eq!(
            (lifecycle.recovery_attempts, lifecycle.successful_recoveries),
            (2, 1)
        );
    }

    #[test]
    fn nothing_ends_a_drain() {
        let (mut machine, now) = active();
        machine.drain();
        machine.checked(round(false), now);
        machine.step(LifecycleStep::RecoveryEnded { error: None });
        let report = machine.report(now);
        assert_eq!((report.state, report.healthy), (State::Draining, false));
    }

    #[test]
    fn a_round_like_the_last_one_changes_nothing() {
        let (mut machine, now) = active();
        assert!(!machine.checked(round(true), now));
    }
}
