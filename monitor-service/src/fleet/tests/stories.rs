use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::teller::{Calls, Teller, target};
use crate::domain::{
    Agreement, CallError, ClaimedState, Posting, ProbeEvent, Vantage, Verdict, WatchReason,
    WitnessReport,
};
use crate::fleet::api::FleetError;

/// Producer and consumer report, and everything arrives.
fn flowing() -> Teller {
    let mut teller = Teller::new();
    teller.reading = Some(vec!["t"]);
    teller.pass(3.0);
    for number in 1..=5 {
        teller.produced("t", number..=number);
        teller.consumed("t", number..=number);
        teller.pass(0.5);
    }
    teller
}

#[test]
fn idle_is_unverified_and_never_healthy() {
    let mut teller = Teller::new();
    teller.pass(120.0);
    assert_eq!(teller.verdict(), Verdict::Unverified);
    assert_eq!(teller.history(), [""; 0]);
    let audit = teller.newest();
    assert!(!audit.assessment.component_scores.contains_key("evidence"));
    assert!((audit.assessment.score - 100.0).abs() < 1e-9, "{audit:?}");
}

#[test]
fn events_that_arrive_confirm_the_claim() {
    let mut teller = flowing();
    teller.pass(30.0);
    let audit = teller.newest();
    assert_eq!(
        audit.assessment.verdict,
        Verdict::Healthy,
        "{}",
        audit.assessment.message
    );
    let validation = audit.validation.as_ref().unwrap();
    assert_eq!(
        (validation.produced, validation.consumed, validation.unseen),
        (5, 5, 0)
    );
    assert_eq!(validation.agreement, Agreement::Confirmed);
    assert_eq!(teller.history(), [""; 0]);
}

#[test]
fn a_black_hole_is_found_and_heals() {
    let mut teller = flowing();
    teller.produced("t", 6..=6);
    teller.pass(0.5);
    teller.produced("t", 7..=7);
    teller.pass(3.0);
    assert_eq!(teller.open(), ["black_hole"]);
    let audit = teller.newest();
    assert_eq!(audit.assessment.verdict, Verdict::SilentFailure);
    assert!(audit.assessment.score < 25.0, "{}", audit.assessment.score);
    assert_eq!(audit.findings[0].evidence.len(), 2);
    teller.consumed("t", 6..=7);
    teller.produced("t", 8..=8);
    teller.consumed("t", 8..=8);
    teller.pass(3.0);
    assert_eq!(teller.open(), [""; 0]);
    assert_eq!(teller.verdict(), Verdict::Healthy);
    assert_eq!(teller.history(), ["black_hole"]);
}

#[test]
fn a_lost_event_is_found_and_a_resume_heals_it() {
    let mut teller = flowing();
    teller.produced("t", 6..=8);
    teller.consumed("t", 6..=6);
    teller.consumed("t", 8..=8);
    teller.pass(3.0);
    assert_eq!(teller.open(), ["event_loss"]);
    assert_eq!(teller.verdict(), Verdict::SilentFailure);
    teller.consumed("t", 7..=7);
    teller.pass(3.0);
    assert_eq!(teller.open(), [""; 0]);
    assert_eq!(teller.history(), ["event_loss"]);
}

#[test]
fn a_killed_process_is_down_and_one_finding_in_the_history() {
    let mut teller = flowing();
    teller.produced("t", 6..=9);
    teller.dies();
    assert_eq!(teller.verdict(), Verdict::Down);
    assert_eq!(teller.open(), ["unreachable"]);
    // The witnesses' complaints have the same cause.
    teller.pass(60.0);
    assert_eq!(teller.open(), ["unreachable"]);
    teller.reading = Some(vec![]);
    teller.pass(1.0);
    teller.epoch = "second";
    teller.comes_back_as("instance-b");
    teller.reading = Some(vec!["t"]);
    teller.pass(3.0);
    for number in 1..=3 {
        teller.produced("t", number..=number);
        teller.consumed("t", number..=number);
        teller.pass(0.5);
    }
    teller.probe();
    assert_eq!(teller.open(), [""; 0]);
    assert_eq!(
        teller.verdict(),
        Verdict::Healthy,
        "{}",
        teller.newest().assessment.message
    );
    assert_eq!(teller.history(), ["unreachable"]);
}

#[test]
fn a_crash_too_quick_to_be_seen_as_an_outage_is_a_silent_restart() {
    let mut teller = Teller::new();
    teller.pass(5.0);
    teller.event(ProbeEvent::WatchEnded);
    teller.comes_back_as("instance-b");
    teller.pass(5.0);
    assert_eq!(teller.open(), ["silent_restart"]);
    // It works again: a note, not a failure.
    assert_eq!(teller.verdict(), Verdict::Unverified);
    teller.pass(60.0);
    assert_eq!(teller.open(), [""; 0]);
    assert_eq!(teller.history(), ["silent_restart"]);
}

#[test]
fn a_restart_in_order_leaves_no_finding() {
    let mut teller = flowing();
    teller.change = |health, _| {
        health.state = ClaimedState::Draining;
        health.healthy = false;
    };
    teller.beat(WatchReason::Draining);
    teller.perform();
    assert_eq!(teller.verdict(), Verdict::Degraded);
    teller.event(ProbeEvent::WatchEnded);
    teller.dies();
    teller.pass(4.0);
    assert_eq!(teller.verdict(), Verdict::Down);
    teller.change = |_, _| {};
    teller.comes_back_as("instance-b");
    teller.pass(30.0);
    assert_eq!(teller.history(), [""; 0]);
}

#[test]
fn a_hung_process_is_found_within_seven_seconds() {
    let mut teller = flowing();
    // SIGSTOP: the ports accept, nothing answers; each call runs into its deadline of 2 s.
    teller.beats = false;
    teller.calls = Calls::Failing(CallError::TimedOut(Duration::from_secs(2)));
    teller.pass(5.0);
    assert_eq!(teller.verdict(), Verdict::Down);
    assert_eq!(teller.open(), ["unreachable"]);
    teller.calls = Calls::Answered;
    teller.beats = true;
    teller.pass(3.0);
    assert_eq!(teller.open(), [""; 0]);
    assert_eq!(teller.history(), ["unreachable"]);
}

#[test]
fn a_half_open_stream_is_found_while_calls_answer() {
    let mut teller = flowing();
    teller.beats = false;
    teller.pass(4.0);
    assert_eq!(teller.open(), ["watch_silence"]);
    assert_eq!(teller.verdict(), Verdict::SilentFailure);
    teller.beats = true;
    teller.pass(4.0);
    assert_eq!(teller.open(), [""; 0]);
}

#[test]
fn a_paused_monitor_blames_nobody() {
    let mut teller = flowing();
    teller.now = teller.now.later(Duration::from_secs(20));
    teller.fleet.turn(teller.now);
    // Its own call ran into the deadline while it slept.
    teller.calls = Calls::Failing(CallError::TimedOut(Duration::from_secs(2)));
    teller.probe();
    assert_eq!(teller.verdict(), Verdict::NoData);
    teller.calls = Calls::Answered;
    teller.fleet.tick(Duration::from_secs(19), teller.now);
    let late = teller.fleet.self_report(teller.now);
    assert!(!late.proven);
    teller.pass(10.0);
    assert_eq!(teller.history(), [""; 0]);
    assert!(teller.fleet.self_report(teller.now).proven);
}

#[test]
fn a_component_that_admits_it_is_degraded_is_not_silent() {
    let mut teller = flowing();
    teller.change = |health, _| {
        health.state = ClaimedState::Degraded;
        health.healthy = false;
        health.checks[0].healthy = false;
        health.error_message = "the registry does not answer".into();
    };
    teller.beat(WatchReason::Changed);
    teller.pass(1.0);
    let audit = teller.newest();
    assert_eq!(audit.assessment.verdict, Verdict::Degraded);
    assert!(
        audit
            .assessment
            .message
            .contains("the registry does not answer")
    );
    teller.change = |health, _| {
        health.state = ClaimedState::Failed;
        health.healthy = false;
    };
    teller.beat(WatchReason::Changed);
    teller.pass(1.0);
    assert_eq!(teller.verdict(), Verdict::Down);
    assert_eq!(teller.history(), [""; 0]);
}

#[test]
fn a_contradiction_is_a_silent_failure() {
    let mut teller = Teller::new();
    teller.change = |health, _| health.checks[1].healthy = false;
    teller.pass(2.0);
    assert_eq!(teller.open(), ["inconsistent_claims"]);
    assert_eq!(teller.verdict(), Verdict::SilentFailure);
}

#[test]
fn an_answer_without_the_nonce_is_not_the_components() {
    let mut teller = flowing();
    assert_eq!(teller.verdict(), Verdict::Healthy);
    let mut probed = teller.newest().probed.clone().unwrap();
    probed.nonce_echoed = false;
    if let Ok(answer) = &mut probed.health {
        Arc::make_mut(&mut answer.value).sequence += 1;
    }
    teller.event(ProbeEvent::Probed(Box::new(probed)));
    assert_eq!(teller.open(), ["stale_replay"]);
    assert_eq!(teller.verdict(), Verdict::SilentFailure);
    // The next answer has it.
    teller.pass(8.0);
    assert_eq!(teller.open(), [""; 0]);
}

#[test]
fn evidence_of_an_unregistered_component_waits_for_its_registration() {
    let mut teller = Teller::new();
    let report = WitnessReport {
        observer_id: "early".into(),
        vantage: Vantage::Producer,
        component_id: "late".into(),
        sightings: vec![{
            let mut seen = crate::audit::testing::sighting("t", 1, "e", teller.now);
            seen.component_id = "late".into();
            seen
        }],
        reading: Vec::new(),
        sign_off: false,
        posting: Posting::default(),
    };
    assert_eq!(teller.fleet.report(&report, teller.now).recorded, 1);
    assert!(matches!(
        teller.fleet.thread("late", "t", teller.now),
        Err(FleetError::NotRegistered(_))
    ));
    teller.fleet.register(target("late"), teller.now).unwrap();
    let status = teller.fleet.thread("late", "t", teller.now).unwrap();
    assert_eq!(status.produced, 1);
    // Reported again, it is known.
    assert_eq!(teller.fleet.report(&report, teller.now).repeated, 1);
}

#[test]
fn callers_get_their_audit_and_strangers_get_not_monitored() {
    let mut teller = Teller::new();
    teller.fleet.audit("bridge", 7, teller.now);
    teller.fleet.audit("nobody", 8, teller.now);
    teller.perform();
    let verdicts: Vec<_> = teller
        .answers
        .iter()
        .map(|(waiter, audit)| (*waiter, audit.assessment.verdict))
        .collect();
    assert!(verdicts.contains(&(8, Verdict::NotMonitored)));
    assert!(verdicts.contains(&(7, Verdict::Unverified)), "{verdicts:?}");
}

#[test]
fn a_finding_survives_a_reconnect() {
    let mut teller = flowing();
    teller.produced("t", 6..=8);
    teller.consumed("t", 6..=6);
    teller.consumed("t", 8..=8);
    teller.change = |health, _| health.checks[1].healthy = false;
    teller.beat(WatchReason::Changed);
    teller.pass(3.0);
    let open = teller.open();
    assert_eq!(open.len(), 2, "{open:?}");
    for _ in 0..3 {
        teller.event(ProbeEvent::WatchEnded);
        teller.pass(0.3);
        teller.beat(WatchReason::Initial);
        teller.pass(2.0);
        let error = CallError::Unreachable("connection reset".into());
        teller.event(ProbeEvent::WatchFailed(error));
        teller.pass(0.3);
        teller.beat(WatchReason::Initial);
        teller.pass(2.0);
    }
    assert_eq!(teller.open(), open);
    assert_eq!(teller.history().len(), 2, "neither resolved in between");
}

#[test]
fn a_component_that_comes_and_goes_is_one_finding() {
    let mut teller = Teller::new();
    for _ in 0..20 {
        teller.dies();
        teller.pass(2.0);
        teller.comes_back_as("instance-a");
        teller.pass(3.5);
    }
    let rings = |alerts: &[crate::domain::Alert]| {
        let unreachable = alerts.iter();
        unreachable
            .filter(|alert| alert.finding.rule_id == "unreachable")
            .filter(|alert| alert.kind != crate::domain::AlertKind::Resolved)
            .count()
    };
    assert_eq!(rings(&teller.alerts), 3, "{:?}", teller.history());
    assert_eq!(teller.open(), ["unreachable"]);
    let ids: std::collections::BTreeSet<_> = teller
        .published
        .iter()
        .filter(|finding| finding.rule_id == "unreachable")
        .map(|finding| &finding.finding_id)
        .collect();
    assert_eq!(ids.len(), 1, "always the same one");
}

#[test]
fn removing_a_component_ends_its_findings_and_its_waiters() {
    let mut teller = Teller::new();
    teller.dies();
    teller.pass(1.0);
    assert_eq!(teller.open(), ["unreachable"]);
    assert_eq!(
        teller.fleet.self_report(teller.now).findings_open[&("unreachable", "critical")],
        1
    );
    teller.fleet.remove("bridge", teller.now).unwrap();
    teller.perform();
    assert!(teller.published.last().unwrap().resolve_time.is_some());
    assert_eq!(
        teller.fleet.remove("bridge", teller.now),
        Err(FleetError::NotRegistered("bridge".into()))
    );
    assert_eq!(
        teller.fleet.self_report(teller.now).findings_open[&("unreachable", "critical")],
        0
    );
}

#[test]
fn late_words_of_a_replaced_probe_are_nobodys() {
    let mut teller = Teller::new();
    let mut moved = target("bridge");
    moved.endpoint = "http://127.0.0.1:50052".into();
    assert_eq!(teller.fleet.register(moved.clone(), teller.now), Ok(true));
    let audits = teller.fleet.audits("bridge", 0).unwrap().0.len();
    // The old probe's generation is still the teller's.
    teller.probe();
    assert_eq!(teller.fleet.audits("bridge", 0).unwrap().0.len(), audits);
    teller.perform();
    teller.probe();
    assert_eq!(
        teller.fleet.audits("bridge", 0).unwrap().0.len(),
        audits + 1
    );
    // Another label is no reason to disturb the probe.
    moved.labels.insert("stage".into(), "test".into());
    assert_eq!(teller.fleet.register(moved, teller.now), Ok(true));
    assert!(teller.fleet.take_effects().is_empty());
}

#[test]
fn the_history_is_bounded_and_has_a_trend() {
    let mut teller = Teller::new();
    for _ in 0..80 {
        teller.now = teller.now.later(Duration::from_millis(10));
        teller.probe();
    }
    teller.perform();
    let (audits, trend) = teller.fleet.audits("bridge", 0).unwrap();
    assert_eq!(
        (audits.len(), trend.audits, trend.healthy, trend.failed),
        (50, 50, 50, 0)
    );
    let made = |index: usize| SystemTime::try_from(audits[index].message().audit_time.unwrap());
    assert!(made(0).unwrap() > made(1).unwrap());
    let summary = teller.fleet.summary(teller.now);
    assert_eq!(summary.verdicts["VERDICT_UNVERIFIED"], 1);
}

#[test]
fn an_unconfirmed_outage_asks_for_a_second_look() {
    let mut teller = Teller::new();
    teller.calls = Calls::Failing(CallError::TimedOut(Duration::from_secs(2)));
    teller.probe();
    assert_eq!(teller.open(), [""; 0]);
    assert_eq!(teller.verdict(), Verdict::Down);
    teller.pass(2.0);
    assert_eq!(teller.open(), ["unreachable"]);
}

#[test]
fn a_probe_that_ends_is_started_again() {
    let mut teller = Teller::new();
    teller.fleet.audit("bridge", 1, teller.now);
    let effects = teller.fleet.take_effects();
    assert_eq!(effects.len(), 1);
    teller
        .fleet
        .probe_ended("bridge", 1, "out of paper", teller.now);
    teller.perform();
    assert_eq!(teller.answers[0].1.assessment.verdict, Verdict::NoData);
    teller.pass(2.0);
    let before = teller.fleet.audits("bridge", 0).unwrap().0.len();
    teller.probe();
    assert_eq!(
        teller.fleet.audits("bridge", 0).unwrap().0.len(),
        before + 1
    );
}
