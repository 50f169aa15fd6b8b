//! Several components whose claims go wrong while time goes by, with a scheduled audit every 30 s.

use std::collections::BTreeMap;
use std::time::Duration;

use service_kit::clock::{Clock, Now};

use super::teller::{identity, target};
use crate::audit::testing::{health_claim, metrics_claim};
use crate::domain::{
    Answer, ClaimedState, Finding, HealthClaim, MetricsClaim, ProbeEvent, Probed, WatchMessage,
    WatchReason,
};
use crate::fleet::settings::FleetSettings;
use crate::fleet::state::{Effect, FleetState};

const STEP: Duration = Duration::from_millis(100);

/// What a component does to its claims at a step.
type Lie = fn(&mut HealthClaim, &mut MetricsClaim, u64);

/// One component, and how it behaves.
struct Actor {
    generation: u64,
    sequence: u64,
    /// How long its calls take.
    latency: Duration,
    /// What the calls say, and what the stream says.
    calls: Lie,
    stream: Lie,
    /// When the call under way was sent.
    called: Option<Now>,
    audits: u32,
}

struct Stage {
    fleet: FleetState,
    now: Now,
    step: u64,
    actors: BTreeMap<String, Actor>,
    opened: Vec<(Duration, Finding)>,
    resolved: u32,
    began: Now,
}

impl Stage {
    fn with(names: &[&str]) -> Self {
        let now = Clock::system().now().later(Duration::from_secs(100_000));
        let mut stage = Self {
            fleet: FleetState::new(FleetSettings::default(), identity(), now),
            now,
            step: 0,
            actors: BTreeMap::new(),
            opened: Vec::new(),
            resolved: 0,
            began: now,
        };
        for name in names {
            let actor = Actor {
                generation: 0,
                sequence: 0,
                latency: Duration::from_millis(2),
                calls: |_, _, _| {},
                stream: |_, _, _| {},
                called: None,
                audits: 0,
            };
            stage.actors.insert((*name).to_owned(), actor);
            stage.fleet.register(target(name), now).unwrap();
        }
        stage.perform();
        stage.pass(70);
        assert_eq!(stage.opened, [], "before anything goes wrong");
        stage.began = stage.now;
        stage
    }

    fn of(&mut self, name: &str) -> &mut Actor {
        self.actors.get_mut(name).unwrap()
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            self.now = self.now.later(STEP);
            self.step += 1;
            self.fleet.turn(self.now);
            let names: Vec<String> = self.actors.keys().cloned().collect();
            for (place, name) in (0_u64..).zip(&names) {
                self.answers(name);
                if (self.step + place * 3).is_multiple_of(10) {
                    self.beats(name, WatchReason::Heartbeat);
                }
                if (self.step + place * 70).is_multiple_of(300) {
                    self.calls(name);
                }
            }
            if self.step.is_multiple_of(5) {
                self.fleet.tick(Duration::ZERO, self.now);
            }
            self.perform();
        }
    }

    fn perform(&mut self) {
        for effect in self.fleet.take_effects() {
            match effect {
                Effect::StartProbe { target, generation } => {
                    self.of(&target.component_id).generation = generation;
                    self.calls(&target.component_id);
                }
                Effect::AuditNow(id) => self.calls(&id),
                Effect::Publish(finding) if finding.resolve_time.is_none() => {
                    let after = self.now.since(self.began.monotonic);
                    self.opened.push((after, finding));
                }
                Effect::Publish(_) => self.resolved += 1,
                _ => {}
            }
        }
    }

    fn calls(&mut self, name: &str) {
        let now = self.now;
        self.of(name).called.get_or_insert(now);
    }

    /// The call under way is answered when its time has come.
    fn answers(&mut self, name: &str) {
        let (now, step) = (self.now, self.step);
        let actor = self.of(name);
        let Some(sent) = actor.called else { return };
        if now.since(sent.monotonic) < actor.latency {
            return;
        }
        actor.called = None;
        actor.audits += 1;
        let sent = sent.later(now.since(sent.monotonic).saturating_sub(actor.latency));
        let (health, metrics) = actor.claims(name, actor.calls, now, step);
        let generation = actor.generation;
        let probed = Probed {
            health: Ok(Answer {
                value: health.into(),
                sent,
                received: now,
            }),
            nonce_echoed: true,
            metrics: Ok(Answer {
                value: metrics.into(),
                sent,
                received: now,
            }),
        };
        let event = ProbeEvent::Probed(Box::new(probed));
        self.fleet.probe(name, generation, event, now);
    }

    fn beats(&mut self, name: &str, reason: WatchReason) {
        let (now, step) = (self.now, self.step);
        let actor = self.of(name);
        let (health, _) = actor.claims(name, actor.stream, now, step);
        let generation = actor.generation;
        let message = WatchMessage {
            health,
            reason,
            next_within: Some(Duration::from_secs(1)),
        };
        let event = ProbeEvent::Watched(message);
        self.fleet.probe(name, generation, event, now);
    }

    /// The rules of the findings that opened, and the seconds until the first of them.
    #[track_caller]
    fn assert_found(&self, rule: &str, within: Duration) {
        let found: Vec<_> = self.opened.iter().map(|(_, found)| found.rule_id).collect();
        assert_eq!(found, [rule], "{:?}", self.opened);
        let (after, finding) = &self.opened[0];
        assert!(*after <= within, "{rule} took {after:?}: {finding:?}");
        println!("{rule} after {after:?}: {}", finding.message);
    }
}

impl Actor {
    fn claims(&mut self, name: &str, lie: Lie, now: Now, step: u64) -> (HealthClaim, MetricsClaim) {
        self.sequence += 1;
        let mut health = health_claim(self.sequence, now);
        let mut metrics = metrics_claim(now);
        name.clone_into(&mut health.component_id);
        name.clone_into(&mut metrics.component_id);
        lie(&mut health, &mut metrics, step);
        (health, metrics)
    }
}

const SEVEN: Duration = Duration::from_secs(7);

#[test]
fn an_honest_fleet_is_asked_no_more_than_its_schedule() {
    let mut stage = Stage::with(&["a", "b", "c"]);
    let before = stage.of("a").audits;
    // One for the start, one for the stream, one more to know what is usual; then every 30 s.
    assert!((4..=6).contains(&before), "{before} audits");
    stage.pass(300);
    assert_eq!(stage.of("a").audits - before, 10);
    assert_eq!(stage.opened, []);
}

#[test]
fn a_limping_component_is_found_beside_peers_and_alone() {
    for names in [&["a"][..], &["a", "b"], &["a", "b", "c", "d"]] {
        let mut stage = Stage::with(names);
        stage.of("a").latency = Duration::from_millis(800);
        // Observable from the first call on.
        stage.calls("a");
        stage.pass(7);
        stage.assert_found("limping", SEVEN);
        stage.pass(600);
        stage.assert_found("limping", SEVEN);
        stage.of("a").latency = Duration::from_millis(2);
        stage.pass(20);
        assert_eq!(stage.resolved, 1);
    }
}

#[test]
fn a_fleet_that_slows_down_together_is_nobodys_fault() {
    let mut stage = Stage::with(&["a", "b", "c", "d"]);
    for name in ["a", "b", "c", "d"] {
        stage.of(name).latency = Duration::from_millis(900);
    }
    stage.pass(300);
    assert_eq!(stage.opened, []);
}

#[test]
fn in_a_large_fleet_on_a_full_machine_the_last_to_answer_is_nobody_to_accuse() {
    let names: Vec<String> = (0..120).map(|number| format!("c{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stage = Stage::with(&names);
    for (place, name) in (1_u32..).zip(&names) {
        stage.of(name).latency = place * Duration::from_millis(16);
    }
    stage.pass(200);
    let accused = stage.opened.iter().map(|(_, found)| &*found.component_id);
    assert_eq!(accused.collect::<Vec<_>>(), [""; 0]);
    // Slower than all of them is slow.
    for name in &names[1..] {
        stage.of(name).latency = Duration::from_millis(2);
    }
    stage.pass(60);
    stage.began = stage.now;
    stage.of("c000").latency = Duration::from_millis(900);
    stage.calls("c000");
    stage.pass(7);
    stage.assert_found("limping", SEVEN);
}

#[test]
fn a_contradiction_is_found_from_the_stream_alone() {
    let mut stage = Stage::with(&["a", "b"]);
    stage.of("a").stream = |health, _, _| {
        health.state = ClaimedState::Degraded;
        health.healthy = false;
    };
    stage.beats("a", WatchReason::Changed);
    stage.pass(7);
    stage.assert_found("watch_contradiction", SEVEN);
    stage.of("a").stream = |_, _, _| {};
    stage.pass(20);
    assert_eq!(stage.resolved, 1);
}

#[test]
fn a_skewed_clock_is_found_from_the_stream_alone() {
    let skewed: Lie = |health, _, _| {
        health.observe_time = health.observe_time.map(|at| at + Duration::from_secs(9));
    };
    let mut stage = Stage::with(&["a", "b"]);
    stage.of("a").calls = skewed;
    stage.of("a").stream = skewed;
    stage.pass(7);
    stage.assert_found("clock_skew", SEVEN);
    stage.of("a").calls = |_, _, _| {};
    stage.of("a").stream = |_, _, _| {};
    stage.pass(20);
    assert_eq!(stage.resolved, 1);
}

#[test]
fn a_step_of_the_monitors_clock_accuses_nobody() {
    for ahead in [true, false] {
        let mut stage = Stage::with(&["a"]);
        let honest: Lie = if ahead {
            |health, _, _| {
                health.observe_time = health.observe_time.map(|at| at - Duration::from_secs(60));
            }
        } else {
            |health, _, _| {
                health.observe_time = health.observe_time.map(|at| at + Duration::from_secs(60));
            }
        };
        let minute = Duration::from_secs(60);
        if ahead {
            stage.now.wall += minute;
        } else {
            stage.now.wall -= minute;
        }
        stage.of("a").calls = honest;
        stage.of("a").stream = honest;
        stage.pass(600);
        assert_eq!(stage.opened, []);
    }
}

#[test]
fn a_recovery_loop_is_found_at_the_first_look() {
    let mut stage = Stage::with(&["a"]);
    stage.of("a").calls = |_, metrics, step| metrics.lifecycle.recovery_attempts = step / 10;
    stage.calls("a");
    stage.pass(7);
    stage.assert_found("recovery_loop", SEVEN);
}

#[test]
fn a_recovery_loop_that_just_began_is_followed() {
    let mut stage = Stage::with(&["a"]);
    // One attempt every 2 s, from the first look on.
    stage.of("a").calls = |_, metrics, step| metrics.lifecycle.recovery_attempts = step / 20 - 34;
    stage.calls("a");
    stage.pass(1);
    assert_eq!(stage.opened, []);
    stage.pass(12);
    stage.assert_found("recovery_loop", 6 * Duration::from_secs(2) + SEVEN);
}

#[test]
fn a_flapping_component_is_found() {
    let mut stage = Stage::with(&["a"]);
    let flap: Lie = |health, _, step| {
        if (step / 15).is_multiple_of(2) {
            health.state = ClaimedState::Degraded;
            health.healthy = false;
        }
    };
    stage.of("a").calls = flap;
    stage.of("a").stream = flap;
    // The sixth change comes after 9 s.
    stage.pass(16);
    stage.assert_found("flapping", Duration::from_secs(9) + SEVEN);
}

#[test]
fn counters_that_fell_are_found_once() {
    let mut stage = Stage::with(&["a"]);
    stage.of("a").calls = |_, metrics, _| metrics.lifecycle.health_checks_performed = 70;
    stage.pass(30);
    stage.of("a").calls = |_, metrics, _| metrics.lifecycle.health_checks_performed = 7;
    stage.began = stage.now;
    stage.calls("a");
    stage.pass(40);
    stage.assert_found("counter_regression", SEVEN);
    stage.pass(40);
    assert_eq!(stage.resolved, 1);
}

#[test]
fn another_component_at_the_address_is_one_finding() {
    let mut stage = Stage::with(&["a"]);
    let stranger: Lie = |health, metrics, _| {
        for id in [&mut health.component_id, &mut metrics.component_id] {
            "stranger".clone_into(id);
        }
        for id in [&mut health.instance_id, &mut metrics.instance_id] {
            "instance-s".clone_into(id);
        }
    };
    stage.of("a").calls = stranger;
    stage.of("a").stream = stranger;
    stage.pass(10);
    stage.assert_found("wrong_identity", SEVEN);
}
