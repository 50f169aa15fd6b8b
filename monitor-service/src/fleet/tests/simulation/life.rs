//! What happens to honest components, and to the monitor, in the course of their lives.

use std::collections::BTreeMap;

use super::bridge::Bridge;
use super::dice::SECOND;
use super::probe::ProbeStep;
use super::world::{What, World};
use crate::domain::{CallError, ClaimedState, WatchReason};

#[derive(Clone, Copy)]
pub(super) enum BridgeStep {
    /// A heartbeat on a stream.
    Beat(u64),
    /// A drained process ends.
    Stops,
    Starts,
    /// It has begun to work.
    Ready,
    Recovers,
    /// It drained, and goes on after all.
    Returns,
    /// It drained long enough, and goes.
    Leaves,
    /// A successor answers already; the old process says that it goes.
    HandsOver,
    /// It says that it drains, and goes: part of a rolling restart.
    Restarts,
}

/// What happened, so that a run can show that it had something to find.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<&'static str, u64>);

impl Troubles {
    pub(super) fn count(&mut self, kind: &'static str, number: u64) {
        *self.0.entry(kind).or_default() += number;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (kind, number) in &other.0 {
            self.count(kind, *number);
        }
    }

    /// Kinds that never happened.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let happened = |kind: &&str| self.0.get(kind).is_some_and(|number| *number > 0);
        KINDS
            .iter()
            .copied()
            .filter(|kind| !happened(kind))
            .collect()
    }
}

/// Every kind of trouble, and the traffic in it.
const KINDS: &[&str] = &[
    "restarts",
    "drains",
    "handovers",
    "degradations",
    "streams_ended",
    "streams_broken",
    "delays",
    "lost_calls",
    "pauses",
    "clock_steps",
    "storms",
    "resumes",
    "gaps_declared",
    "bursts",
    "runs",
    "sightings",
    "repeats",
    "signed_off",
    "lines_down",
    "drains_without_stream",
    "glances",
    "told_again",
    "canaries_whole",
    "canaries_failed",
    "canaries_drained",
];

impl World {
    pub(super) fn plan_life(&mut self, number: usize) {
        let next = self.core.dice.seconds(60, 900);
        self.core.later(next, What::Life(number));
    }

    pub(super) fn plan_monitor_troubles(&mut self) {
        let pause = self.core.dice.seconds(120, 900);
        self.core.later(pause, What::Pause);
        let step = self.core.dice.seconds(60, 600);
        self.core.later(step, What::ClockStep);
        let rolling = self.core.dice.seconds(60, 600);
        self.core.later(rolling, What::RollingRestart);
    }

    /// One trouble at a time for each component; the monitor's own come on top.
    pub(super) fn lives(&mut self, number: usize) {
        self.plan_life(number);
        if self.core.at < self.places[number].busy_until || !self.places[number].up {
            return;
        }
        let lasts = match self.core.dice.number(0, 99) {
            0..25 => self.restarts(number),
            25..32 => self.drains_and_returns(number),
            32..40 => self.hands_over(number),
            40..52 => self.degrades(number),
            52..67 => {
                self.core.troubles.count("streams_ended", 1);
                self.ends_stream(number, None);
                6 * SECOND
            }
            67..82 => self.breaks_stream(number),
            82..94 => self.delays(number),
            _ => {
                self.core.troubles.count("lost_calls", 1);
                self.places[number].link.loses_call = true;
                60 * SECOND
            }
        };
        self.places[number].busy_until = self.core.at + lasts;
    }

    pub(super) fn bridge_step(&mut self, number: usize, step: BridgeStep) {
        match step {
            BridgeStep::Beat(stream) => self.beats(number, stream),
            BridgeStep::Stops => self.stops(number),
            BridgeStep::Starts => {
                self.starts_anew(number);
                self.places[number].up = true;
            }
            BridgeStep::Ready | BridgeStep::Returns => {
                self.places[number].bridge.state = ClaimedState::Active;
                self.tells(number, WatchReason::Changed);
            }
            BridgeStep::Leaves => self.stops(number),
            BridgeStep::Recovers => {
                self.places[number].bridge.recovers(self.core.at);
                self.tells(number, WatchReason::Changed);
            }
            BridgeStep::HandsOver => {
                if let Some(old) = &mut self.places[number].leaving {
                    old.state = ClaimedState::Draining;
                }
                self.tells(number, WatchReason::Draining);
                self.ends_stream(number, None);
                self.places[number].leaving = None;
            }
            BridgeStep::Restarts => {
                if self.core.at >= self.places[number].busy_until && self.places[number].up {
                    let lasts = self.restarts(number);
                    self.places[number].busy_until = self.core.at + lasts;
                }
            }
        }
    }

    fn stops(&mut self, number: usize) {
        self.places[number].up = false;
        self.ends_stream(number, None);
        let away = self.core.dice.millis(300, 5_000);
        self.core
            .later(away, What::Bridge(number, BridgeStep::Starts));
    }

    /// Returns the process that was there before.
    fn starts_anew(&mut self, number: usize) -> Bridge {
        let place = &mut self.places[number];
        place.instances += 1;
        let nature = place.bridge.nature.clone();
        let new = Bridge::new(nature, place.instances, self.core.at, &mut self.core.dice);
        let ready = self.core.dice.millis(100, 1_500);
        self.core
            .later(ready, What::Bridge(number, BridgeStep::Ready));
        std::mem::replace(&mut place.bridge, new)
    }

    fn says_draining(&mut self, number: usize) {
        self.places[number].bridge.state = ClaimedState::Draining;
        self.tells(number, WatchReason::Draining);
        self.says_goodbye(number);
    }

    /// DRAINING, the end of the stream, a while without a process, and a new instance.
    fn restarts(&mut self, number: usize) -> u64 {
        self.core.troubles.count("restarts", 1);
        self.says_draining(number);
        self.ends_stream(number, None);
        let drains = self.core.dice.millis(1_400, 4_000);
        self.core
            .later(drains, What::Bridge(number, BridgeStep::Stops));
        30 * SECOND
    }

    fn drains_and_returns(&mut self, number: usize) -> u64 {
        self.core.troubles.count("drains", 1);
        self.says_draining(number);
        // Agents at work cannot wait for long.
        let longest = if self.places[number].session.is_some() {
            8
        } else {
            60
        };
        let away = self.core.dice.seconds(2, longest);
        if self.core.dice.chance(0.5) {
            // It takes no new stream either, until it is through.
            self.core.troubles.count("drains_without_stream", 1);
            self.ends_stream(number, None);
        }
        let after = if self.core.dice.chance(0.5) {
            BridgeStep::Returns
        } else {
            BridgeStep::Leaves
        };
        self.core.later(away, What::Bridge(number, after));
        away + 10 * SECOND
    }

    /// Without a gap: the new process answers before the old one says that it drains.
    fn hands_over(&mut self, number: usize) -> u64 {
        let place = &self.places[number];
        if place.session.is_some() || place.link.stream.is_none() {
            return 0;
        }
        self.core.troubles.count("handovers", 1);
        let old = self.starts_anew(number);
        self.places[number].leaving = Some(old);
        // Somebody asks for an audit just then.
        self.core.later(1, What::Probe(number, ProbeStep::Look));
        let drains = self.core.dice.millis(300, 1_800);
        self.core
            .later(drains, What::Bridge(number, BridgeStep::HandsOver));
        30 * SECOND
    }

    fn degrades(&mut self, number: usize) -> u64 {
        let at = self.core.at;
        let bridge = &mut self.places[number].bridge;
        if !bridge.may_degrade(at) {
            return 0;
        }
        bridge.degrades(at);
        self.core.troubles.count("degradations", 1);
        self.tells(number, WatchReason::Changed);
        let lasts = self.core.dice.seconds(5, 120);
        self.core
            .later(lasts, What::Bridge(number, BridgeStep::Recovers));
        lasts + 10 * SECOND
    }

    /// The network cuts the stream, and lets none through for a while; calls are answered.
    fn breaks_stream(&mut self, number: usize) -> u64 {
        self.core.troubles.count("streams_broken", 1);
        let away = self.core.dice.millis(10, 3_900);
        self.places[number].link.no_streams_until = self.core.at + away;
        let error = CallError::Unreachable("connection reset".into());
        self.ends_stream(number, Some(error));
        20 * SECOND
    }

    fn delays(&mut self, number: usize) -> u64 {
        self.core.troubles.count("delays", 1);
        let span = self.core.dice.millis(100, 1_200);
        let slower_by = self.core.dice.millis(300, 900);
        let waits = self.core.dice.chance(0.5);
        let only_stream = waits && self.core.dice.chance(0.3);
        let link = &mut self.places[number].link;
        link.only_stream = only_stream;
        link.slow_until = self.core.at + span;
        link.slower_by = if waits { 0 } else { slower_by };
        10 * SECOND
    }

    /// Neighbours restart one after the other.
    pub(super) fn rolling_restart(&mut self) {
        let next = self.core.dice.seconds(600, 1_800);
        self.core.later(next, What::RollingRestart);
        let first = self.core.dice.index(self.places.len());
        let number = self.core.dice.number(3, 8);
        let pace = self.core.dice.millis(1_000, 12_000);
        for (turn, place) in (0..number).zip(first..self.places.len()) {
            self.core
                .later(turn * pace, What::Bridge(place, BridgeStep::Restarts));
        }
    }
}
