//! The world: what happens when, and to whom. One clock, one queue, and no thread but this one.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::SystemTime;

use super::bridge::{Bridge, Nature};
use super::canary::{CanaryStep, Runs};
use super::dice::{Dice, MILLI, SECOND};
use super::life::{BridgeStep, Troubles};
use super::monitor::{Heard, Message, Monitor};
use super::probe::{Link, Probe, ProbeStep};
use super::session::{Session, SessionStep};
use crate::domain::WatchReason;
use crate::fleet::settings::FleetSettings;

/// A moment: microseconds since the world began.
pub(super) type At = u64;

/// What can happen.
pub(super) enum What {
    Tick,
    Pause,
    Wake,
    ClockStep,
    RollingRestart,
    Life(usize),
    Probe(usize, ProbeStep),
    Canary(usize, CanaryStep),
    Bridge(usize, BridgeStep),
    /// The number of the session, so that nothing reaches the next one.
    Session(usize, u64, SessionStep),
    Heard(Box<Heard>),
}

struct Planned {
    at: At,
    order: u64,
    what: What,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    /// The heap gives its greatest first: the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// Everything but the components.
pub(super) struct Core {
    pub(super) at: At,
    pub(super) dice: Dice,
    pub(super) monitor: Monitor,
    pub(super) troubles: Troubles,
    queue: BinaryHeap<Planned>,
    planned: u64,
    /// What the monitor's own timers would have done while it stood still.
    stalled: Vec<What>,
    tick: At,
}

impl Core {
    pub(super) fn plan(&mut self, at: At, what: What) {
        self.planned += 1;
        self.queue.push(Planned {
            at: at.max(self.at),
            order: self.planned,
            what,
        });
    }

    pub(super) fn later(&mut self, span: At, what: What) {
        self.plan(self.at + span, what);
    }

    pub(super) fn true_time(&self) -> SystemTime {
        self.monitor.true_time(self.at)
    }
}

/// One component, the way to it, and all who deal with it.
pub(super) struct Place {
    pub(super) bridge: Bridge,
    /// Whether a process is there.
    pub(super) up: bool,
    /// The process that hands over to the one that is there already.
    pub(super) leaving: Option<Bridge>,
    pub(super) link: Link,
    pub(super) probe: Probe,
    /// The monitor's own runs through it.
    pub(super) runs: Runs,
    pub(super) session: Option<Session>,
    pub(super) sessions: u64,
    pub(super) instances: u64,
    /// Whether it has traffic, and not only a life.
    pub(super) lively: bool,
    /// One trouble at a time.
    pub(super) busy_until: At,
}

/// How much there is of it.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) components: usize,
    /// One component in this many has traffic.
    pub(super) lively: usize,
}

pub(super) struct World {
    pub(super) core: Core,
    pub(super) places: Vec<Place>,
}

impl World {
    pub(super) fn new(settings: FleetSettings, size: Size, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let lively = |number: usize| number.is_multiple_of(size.lively);
        let place = |number: usize, dice: &mut Dice| Place {
            bridge: Bridge::new(Nature::new(number, lively(number), dice), 0, 0, dice),
            up: true,
            leaving: None,
            link: Link::default(),
            probe: Probe::default(),
            runs: Runs::default(),
            session: None,
            sessions: 0,
            instances: 0,
            lively: lively(number),
            busy_until: 0,
        };
        let places: Vec<_> = (0..size.components)
            .map(|number| place(number, &mut dice))
            .collect();
        let tick = u64::try_from(settings.tick.as_micros()).unwrap();
        let monitor = Monitor::new(settings, size.components);
        let mut world = Self {
            core: Core {
                at: 0,
                dice,
                monitor,
                troubles: Troubles::default(),
                queue: BinaryHeap::new(),
                planned: 0,
                stalled: Vec::new(),
                tick,
            },
            places,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.core.later(0, What::Tick);
        self.plan_monitor_troubles();
        for number in 0..self.places.len() {
            let ready = self.core.dice.millis(100, 2_000);
            self.core
                .plan(ready, What::Bridge(number, BridgeStep::Ready));
            let opens = self.core.dice.millis(1, 4_000);
            self.core.plan(opens, What::Probe(number, ProbeStep::Open));
            self.core
                .plan(opens, What::Probe(number, ProbeStep::LookDue(0)));
            self.plan_life(number);
            if self.places[number].lively {
                self.plan_session(number);
            }
            self.core
                .plan(opens, What::Canary(number, CanaryStep::Round));
        }
    }

    /// Runs until a moment, or until there were that many false alarms.
    pub(super) fn run(&mut self, until: At, alarms: usize) {
        while self.core.monitor.alarms.len() < alarms
            && let Some(next) = self.core.queue.pop()
            && next.at <= until
        {
            self.core.at = next.at;
            self.happens(next.what);
        }
    }

    fn happens(&mut self, what: What) {
        match what {
            What::Tick => self.ticks(),
            What::Pause => self.pauses(),
            What::Wake => self.wakes(),
            What::ClockStep => self.clock_steps(),
            What::RollingRestart => self.rolling_restart(),
            What::Life(number) => self.lives(number),
            What::Probe(..) | What::Canary(..) if self.core.monitor.paused => {
                self.core.stalled.push(what);
            }
            What::Probe(number, step) => self.probe_step(number, step),
            What::Canary(number, step) => self.canary_step(number, step),
            What::Bridge(number, step) => self.bridge_step(number, step),
            What::Session(number, session, step) => self.session_step(number, session, step),
            What::Heard(heard) => self.hears(heard),
        }
    }

    fn ticks(&mut self) {
        let lateness = self.core.dice.number(0, 20 * MILLI);
        if self.core.monitor.paused {
            return;
        }
        self.core.later(self.core.tick, What::Tick);
        let wanted = self.core.monitor.tick(lateness, self.core.at);
        self.audit(&wanted);
    }

    fn pauses(&mut self) {
        self.core.monitor.paused = true;
        self.core.troubles.count("pauses", 1);
        self.core.later(20 * SECOND, What::Wake);
    }

    /// Everything that waited comes at once.
    fn wakes(&mut self) {
        let core = &mut self.core;
        core.monitor.paused = false;
        let next = core.dice.seconds(60, 500);
        core.later(next, What::Pause);
        // The tick is first in the real loop's order, and may yet come a moment later.
        let tick = if core.dice.chance(0.7) { 0 } else { 30 * MILLI };
        core.later(tick, What::Tick);
        let mut at = core.at;
        for heard in core.monitor.waited(&mut core.dice) {
            at += 20;
            core.plan(at, What::Heard(Box::new(heard)));
        }
        core.monitor.reading_until = at;
        for what in std::mem::take(&mut core.stalled) {
            let moment = core.dice.millis(0, 20);
            core.later(moment, what);
        }
    }

    fn clock_steps(&mut self) {
        self.core.troubles.count("clock_steps", 1);
        self.core.monitor.steps(&mut self.core.dice);
        let next = self.core.dice.seconds(600, 3_600);
        self.core.later(next, What::ClockStep);
    }

    /// A message arrives, where the monitor's process takes it in.
    pub(super) fn hears(&mut self, heard: Box<Heard>) {
        if self.core.monitor.paused {
            if let Message::Posted(post) = &heard.message {
                self.core.plan(post.given_up_at(), post.given_up());
            }
            self.core.monitor.keep(*heard);
            return;
        }
        let at = self.core.at;
        if at < self.core.monitor.reading_until && !heard.waited {
            // It is behind what waited.
            self.core
                .plan(self.core.monitor.reading_until, What::Heard(heard));
            return;
        }
        let number = heard.place;
        match heard.message {
            Message::Watched(stream, message) => self.watched(number, stream, message),
            Message::Ended(stream) => self.stream_over(number, stream, None),
            Message::Broken(stream, error) => self.stream_over(number, stream, Some(error)),
            Message::Called(calls) => self.called(number, calls),
            Message::Posted(post) => {
                let report = post.report(&self.core.monitor);
                let (outcome, wanted) = self.core.monitor.report(&report, at);
                self.core
                    .troubles
                    .count("repeats", u64::from(outcome.repeated));
                self.core
                    .troubles
                    .count("sightings", u64::from(outcome.recorded));
                self.audit(&wanted);
                self.posted(number, &post);
            }
        }
    }

    /// Sends a message that keeps its place behind those before it.
    pub(super) fn deliver(&mut self, arrives: At, heard: Heard) {
        self.core.plan(arrives, What::Heard(Box::new(heard)));
    }

    pub(super) fn tells(&mut self, number: usize, reason: WatchReason) {
        let leaving = self.places[number].leaving.is_some();
        self.sends(number, leaving, reason);
    }
}
