//! What the fleet makes of the monitor's own runs.

use std::time::Duration;

use super::teller::{Calls, Teller, target};
use crate::domain::{
    CallError, CanaryOutcome, CanaryRun, ClaimedState, ProbeEvent, Verdict, WatchReason,
};

const INTERVAL: Duration = Duration::from_secs(3);
const LATE: &str = "0 of 5 events came back within 2 s";

fn run(teller: &mut Teller, key: u32, outcome: CanaryOutcome) {
    let run = CanaryRun {
        key: format!("$canary/m/1-{key}"),
        began: teller.now,
        ended: teller.now,
        interval: INTERVAL,
        outcome,
    };
    teller.event(ProbeEvent::Canary(Box::new(run)));
    teller.perform();
}

fn whole(teller: &mut Teller, key: u32) {
    run(teller, key, CanaryOutcome::Whole(Duration::from_millis(4)));
}

fn fails(teller: &mut Teller, key: u32) {
    run(teller, key, CanaryOutcome::Failed(LATE.to_owned()));
}

/// An idle component whose runs come back.
fn proven() -> Teller {
    let mut teller = Teller::new();
    teller.pass(1.0);
    whole(&mut teller, 0);
    teller.pass(1.0);
    teller
}

#[test]
fn an_idle_component_is_healthy_once_a_run_came_back() {
    let mut teller = Teller::new();
    teller.pass(1.0);
    assert_eq!(teller.verdict(), Verdict::Unverified);
    assert_eq!(teller.newest().canary, None);
    let asked = teller.audits_asked;
    whole(&mut teller, 0);
    teller.pass(1.0);
    let audit = teller.newest();
    let message = &audit.assessment.message;
    assert_eq!(audit.assessment.verdict, Verdict::Healthy, "{message}");
    assert!(message.contains("after 4 ms"), "{message}");
    assert!((audit.assessment.score - 100.0).abs() < 1e-9);
    assert_eq!(audit.assessment.component_scores["evidence"], 100.0);
    let canary = audit.canary.as_ref().unwrap();
    assert_eq!((canary.succeeded, canary.failed), (1, 0));
    assert_eq!(canary.delay_median, Some(Duration::from_millis(4)));
    // One audit is enough to say so.
    for key in 1..10 {
        teller.pass(3.0);
        whole(&mut teller, key);
    }
    assert_eq!(teller.audits_asked, asked + 1);
    assert_eq!(teller.verdict(), Verdict::Healthy);
    assert_eq!(teller.history(), [""; 0]);
}

#[test]
fn an_old_run_proves_nothing() {
    let mut teller = proven();
    teller.pass(7.9);
    teller.probe();
    assert_eq!(teller.verdict(), Verdict::Healthy);
    teller.pass(0.5);
    teller.probe();
    assert_eq!(teller.verdict(), Verdict::Unverified);
}

#[test]
fn a_run_of_an_earlier_instance_proves_nothing() {
    let mut teller = proven();
    teller.event(ProbeEvent::WatchEnded);
    teller.comes_back_as("instance-b");
    teller.pass(1.0);
    assert_eq!(teller.verdict(), Verdict::Unverified);
    whole(&mut teller, 1);
    teller.pass(1.0);
    assert_eq!(teller.verdict(), Verdict::Healthy);
}

#[test]
fn two_failures_are_a_silent_failure_and_a_whole_run_heals_it() {
    let mut teller = proven();
    fails(&mut teller, 1);
    teller.pass(1.0);
    assert_eq!(teller.open(), [""; 0], "one failure is no alarm");
    fails(&mut teller, 2);
    let told = teller.now;
    teller.pass(1.1);
    assert_eq!(teller.open(), ["canary_failed"]);
    let audit = teller.newest();
    assert_eq!(audit.assessment.verdict, Verdict::SilentFailure);
    assert_eq!(audit.assessment.component_scores["evidence"], 0.0);
    assert_eq!(audit.canary.as_ref().unwrap().error, LATE);
    let opened = teller.published.last().unwrap().open_time;
    let took = opened.duration_since(told.wall).unwrap();
    assert!(took <= Duration::from_millis(1_000), "{took:?}");
    for key in 3..6 {
        teller.pass(3.0);
        fails(&mut teller, key);
    }
    assert_eq!(teller.open(), ["canary_failed"]);
    whole(&mut teller, 6);
    teller.pass(3.0);
    assert_eq!(teller.open(), [""; 0]);
    assert_eq!(teller.verdict(), Verdict::Healthy);
    assert_eq!(teller.history(), ["canary_failed"]);
}

#[test]
fn a_single_failure_that_the_next_run_takes_back_leaves_no_trace() {
    let mut teller = proven();
    for key in 1..20 {
        fails(&mut teller, key);
        teller.pass(2.5);
        whole(&mut teller, key + 1);
        teller.pass(3.0);
    }
    assert_eq!(teller.history(), [""; 0]);
    assert_eq!(teller.verdict(), Verdict::Healthy);
}

#[test]
fn a_crash_opens_the_outage_alone() {
    let mut teller = proven();
    // The runs are the first to notice.
    let error = CallError::Unreachable("connection refused".into());
    teller.calls = Calls::Failing(error);
    fails(&mut teller, 1);
    fails(&mut teller, 2);
    teller.dies();
    for key in 3..8 {
        teller.pass(3.0);
        fails(&mut teller, key);
    }
    assert_eq!(teller.open(), ["unreachable"]);
    teller.comes_back_as("instance-b");
    teller.pass(3.0);
    whole(&mut teller, 8);
    teller.pass(3.0);
    assert_eq!(teller.verdict(), Verdict::Healthy);
    assert_eq!(teller.history(), ["unreachable"]);
}

#[test]
fn a_drain_is_quiet_through_restart_and_return() {
    let mut teller = proven();
    teller.change = |health, _| {
        health.state = ClaimedState::Draining;
        health.healthy = false;
    };
    teller.beat(WatchReason::Draining);
    fails(&mut teller, 1);
    fails(&mut teller, 2);
    teller.pass(1.0);
    teller.event(ProbeEvent::WatchEnded);
    teller.dies();
    fails(&mut teller, 3);
    teller.pass(4.0);
    teller.change = |_, _| {};
    teller.comes_back_as("instance-b");
    teller.pass(2.0);
    whole(&mut teller, 4);
    teller.pass(5.0);
    assert_eq!(teller.verdict(), Verdict::Healthy);
    assert_eq!(teller.history(), [""; 0]);
}

#[test]
fn runs_that_failed_while_the_monitor_stood_still_say_nothing() {
    let mut teller = proven();
    let began = teller.now;
    teller.now = teller.now.later(Duration::from_secs(20));
    teller.fleet.turn(teller.now);
    for key in 1..4 {
        let run = CanaryRun {
            key: format!("$canary/m/1-{key}"),
            began,
            ended: teller.now,
            interval: INTERVAL,
            outcome: CanaryOutcome::Failed(LATE.to_owned()),
        };
        teller.event(ProbeEvent::Canary(Box::new(run)));
    }
    teller.pass(5.0);
    whole(&mut teller, 4);
    teller.pass(3.0);
    teller.probe();
    let canary = teller.newest().canary.clone().unwrap();
    assert_eq!((canary.succeeded, canary.failed), (2, 0));
    assert_eq!(teller.history(), [""; 0]);
    assert_eq!(teller.verdict(), Verdict::Healthy);
}

#[test]
fn witnesses_that_miss_something_are_not_outvoted() {
    let mut teller = proven();
    teller.reading = Some(vec!["t"]);
    teller.pass(3.0);
    teller.produced("t", 1..=1);
    for key in 1..4 {
        teller.pass(1.0);
        whole(&mut teller, key);
    }
    teller.probe();
    let audit = teller.newest();
    assert_eq!(audit.validation.as_ref().unwrap().unseen, 1);
    assert_eq!(audit.assessment.verdict, Verdict::Unverified);
}

#[test]
fn other_options_begin_anew_and_none_ends_it() {
    let mut teller = proven();
    fails(&mut teller, 1);
    fails(&mut teller, 2);
    teller.pass(1.1);
    assert_eq!(teller.open(), ["canary_failed"]);
    let mut changed = target("bridge");
    changed.canary.disabled = true;
    assert_eq!(teller.fleet.register(changed, teller.now), Ok(true));
    teller.perform();
    teller.pass(3.0);
    assert_eq!(teller.open(), [""; 0]);
    assert_eq!(teller.newest().canary, None);
    assert_eq!(teller.verdict(), Verdict::Unverified);
    whole(&mut teller, 3);
    teller.event(ProbeEvent::NoCanary);
    teller.probe();
    assert_eq!(teller.newest().canary, None);
}
