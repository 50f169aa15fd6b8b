//! The monitor under test: the real fleet, and the process around it, which may stand still.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use service_kit::clock::{Clock, Now};

use super::dice::{Dice, SECOND};
use super::probe::Calls;
use super::witness::Post;
use super::world::At;
use crate::domain::{
    Answer, CallError, Finding, ProbeEvent, Probed, ReportOutcome, WatchMessage, WitnessReport,
};
use crate::fleet::settings::FleetSettings;
use crate::fleet::state::{Effect, FleetState};
use crate::fleet::tests::teller::{identity, target};

/// How far the monitor's wall clock may run away, in parts of a million.
const DRIFT_PPM: i64 = 50;
/// The largest step of its wall clock.
const STEP_MAX_SECONDS: u64 = 30;

/// What reaches the monitor from outside.
pub(super) enum Message {
    Watched(u64, WatchMessage),
    Ended(u64),
    Broken(u64, CallError),
    Called(Box<Calls>),
    Posted(Post),
}

/// A message, and the way on which it keeps its place.
pub(super) struct Heard {
    pub(super) place: usize,
    /// Messages from one source never overtake each other.
    pub(super) source: u64,
    /// It waited while the process stood still.
    pub(super) waited: bool,
    pub(super) message: Message,
}

/// A finding that opened.
pub(super) struct Alarm {
    pub(super) at: At,
    pub(super) finding: Finding,
}

pub(super) struct Monitor {
    pub(super) fleet: FleetState,
    start: Now,
    /// The wall clock's error, in microseconds.
    wall_error: i64,
    pub(super) paused: bool,
    /// Until when what waited is being read: what comes meanwhile waits behind it.
    pub(super) reading_until: At,
    waiting: BTreeMap<u64, VecDeque<Heard>>,
    pub(super) alarms: Vec<Alarm>,
    generations: Vec<u64>,
}

impl Monitor {
    pub(super) fn new(settings: FleetSettings, components: usize) -> Self {
        let start = Clock::system().now().later(Duration::from_secs(100_000));
        let mut monitor = Self {
            fleet: FleetState::new(settings, identity(), start),
            start,
            wall_error: 0,
            paused: false,
            reading_until: 0,
            waiting: BTreeMap::new(),
            alarms: Vec::new(),
            generations: vec![0; components],
        };
        for place in 0..components {
            let registered = monitor.fleet.register(target(&name(place)), start);
            assert_eq!(registered, Ok(false));
        }
        monitor.effects(0);
        monitor
    }

    /// A moment on the monitor's own clocks.
    pub(super) fn now(&self, at: At) -> Now {
        let drift = i64::try_from(at).unwrap() / 1_000_000 * DRIFT_PPM;
        Now {
            monotonic: self.start.monotonic + Duration::from_micros(at),
            wall: shifted(self.true_time(at), self.wall_error + drift),
        }
    }

    /// What a clock without fault shows.
    pub(super) fn true_time(&self, at: At) -> SystemTime {
        self.start.wall + Duration::from_micros(at)
    }

    /// The wall clock is set to another time.
    pub(super) fn steps(&mut self, dice: &mut Dice) {
        let microseconds = dice.number(0, 2 * STEP_MAX_SECONDS * SECOND);
        self.wall_error = i64::try_from(microseconds).unwrap()
            - i64::try_from(STEP_MAX_SECONDS * SECOND).unwrap();
    }

    pub(super) fn tick(&mut self, lateness: At, at: At) -> Vec<usize> {
        let now = self.now(at);
        self.fleet.turn(now);
        self.fleet.tick(Duration::from_micros(lateness), now);
        self.effects(at)
    }

    /// Tells the fleet what a component's probe saw; returns whom the fleet wants audited.
    pub(super) fn probe(&mut self, place: usize, event: ProbeEvent, at: At) -> Vec<usize> {
        let now = self.now(at);
        self.fleet.turn(now);
        self.fleet
            .probe(&name(place), self.generations[place], event, now);
        self.effects(at)
    }

    pub(super) fn report(&mut self, report: &WitnessReport, at: At) -> (ReportOutcome, Vec<usize>) {
        let now = self.now(at);
        self.fleet.turn(now);
        let outcome = self.fleet.report(report, now);
        (outcome, self.effects(at))
    }

    /// What the two calls of an audit brought.
    pub(super) fn probed(&self, calls: Calls, at: At) -> ProbeEvent {
        let received = self.now(at);
        let sent = calls.sent;
        let told = if calls.audit {
            ProbeEvent::Probed
        } else {
            ProbeEvent::Glanced
        };
        told(Box::new(Probed {
            nonce_echoed: calls.health.is_ok(),
            health: calls.health.map(|value| Answer {
                value: value.into(),
                sent,
                received,
            }),
            metrics: calls.metrics.map(|value| Answer {
                value: value.into(),
                sent,
                received,
            }),
        }))
    }

    /// Keeps what comes while the process stands still.
    pub(super) fn keep(&mut self, mut heard: Heard) {
        heard.waited = true;
        self.waiting
            .entry(heard.source)
            .or_default()
            .push_back(heard);
    }

    /// Everything that waited: the sources mixed, each one's messages in order.
    pub(super) fn waited(&mut self, dice: &mut Dice) -> Vec<Heard> {
        let mut sources: Vec<_> = std::mem::take(&mut self.waiting).into_values().collect();
        let mut mixed = Vec::new();
        while !sources.is_empty() {
            let chosen = dice.index(sources.len());
            match sources[chosen].pop_front() {
                Some(heard) => mixed.push(heard),
                None => drop(sources.swap_remove(chosen)),
            }
        }
        mixed
    }

    /// Does what the fleet asked for; returns whom it wants audited.
    fn effects(&mut self, at: At) -> Vec<usize> {
        let mut audits = Vec::new();
        for effect in self.fleet.take_effects() {
            match effect {
                Effect::StartProbe { target, generation } => {
                    self.generations[place(&target.component_id)] = generation;
                }
                Effect::AuditNow(id) => audits.push(place(&id)),
                Effect::Publish(finding) if finding.resolve_time.is_none() => {
                    self.alarms.push(Alarm { at, finding });
                }
                _ => {}
            }
        }
        audits
    }
}

/// The id of the component at a place.
pub(super) fn name(place: usize) -> String {
    format!("bridge-{place}")
}

fn place(name: &str) -> usize {
    let number = name.strip_prefix("bridge-");
    number.and_then(|number| number.parse().ok()).unwrap()
}

/// A time moved by microseconds, either way.
pub(super) fn shifted(time: SystemTime, microseconds: i64) -> SystemTime {
    let span = Duration::from_micros(microseconds.unsigned_abs());
    if microseconds < 0 {
        time - span
    } else {
        time + span
    }
}
