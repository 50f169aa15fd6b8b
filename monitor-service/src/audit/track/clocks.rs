//! The component's wall clock beside the monitor's, and what the monitor's own has done.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use service_kit::clock::Now;

use super::instances::ByInstance;
use crate::domain::{Answer, HealthClaim};

/// How long a step of the monitor's own wall clock is remembered.
const STEP_MEMORY: Duration = Duration::from_secs(3_600);
/// Steps remembered.
const STEPS_MAX: usize = 8;
/// Smaller differences between the two own clocks are the time between reading them.
const STEP_MIN: f64 = 0.02;
/// A process whose newest answer is older than this is judged no more.
const ANSWER_MEMORY: Duration = Duration::from_secs(120);
/// A stream that comes this much later or earlier than at the last call asks for another: either
/// the clocks moved or the way became slow.
const LAG_JUMP: f64 = 0.2;
/// The least time between two calls that a lag asks for.
const LAG_AUDIT_GAP: Duration = Duration::from_secs(5);

/// When a status was made, by the component's clock, and between which moments it must have been,
/// by the monitor's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) made: SystemTime,
    pub(crate) sent: SystemTime,
    pub(crate) received: SystemTime,
    pub(crate) at: Instant,
}

/// How far outside, in seconds: more than 0 is ahead, less is behind.
pub(crate) type Skew = f64;

impl Reading {
    /// How far the time lies outside the call. 0: inside.
    pub(crate) fn skew(&self) -> Skew {
        let (from, until) = (self.sent.min(self.received), self.sent.max(self.received));
        let (ahead, behind) = (seconds(self.made, until), seconds(from, self.made));
        if ahead > 0.0 { ahead } else { -behind.max(0.0) }
    }
}

/// The last two readings of one process.
#[derive(Clone, Copy, Debug, Default)]
struct Readings {
    before: Option<Reading>,
    newest: Option<Reading>,
}

/// The clocks of one component, and the monitor's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clocks {
    start: Option<Now>,
    /// By how much the monitor's wall clock had run away from its monotonic one, in seconds, until
    /// when; oldest first.
    steps: VecDeque<(f64, Instant)>,
    shift: f64,
    readings: ByInstance<Readings>,
    newest: Option<Instant>,
    /// How late the stream's newest status was, in seconds; any fixed offset is in it too.
    lag: Option<f64>,
    lag_at_call: Option<f64>,
}

impl Clocks {
    /// Notes both own clocks.
    pub(super) fn turn(&mut self, now: Now) {
        let start = *self.start.get_or_insert(now);
        let monotonic = now.since(start.monotonic).as_secs_f64();
        let shift = seconds(now.wall, start.wall) - monotonic;
        if (shift - self.shift).abs() > STEP_MIN {
            if self.steps.len() >= STEPS_MAX {
                self.steps.pop_front();
            }
            self.steps.push_back((self.shift, now.monotonic));
            self.shift = shift;
        }
        while self
            .steps
            .front()
            .is_some_and(|(_, until)| now.since(*until) > STEP_MEMORY)
        {
            self.steps.pop_front();
        }
    }

    pub(super) fn streamed(&mut self, made: SystemTime, now: Now) {
        let lag = seconds(now.wall, made) - self.shift;
        self.lag = Some(lag);
        self.lag_at_call.get_or_insert(lag);
    }

    pub(super) fn answered(&mut self, call: &Answer<HealthClaim>) {
        self.lag_at_call = self.lag;
        let Some(made) = call.value.observe_time else {
            return;
        };
        let at = call.received.monotonic;
        let readings = self.readings.entry(&call.value.instance_id);
        readings.before = readings.newest;
        readings.newest = Some(Reading {
            made,
            sent: call.sent.wall,
            received: call.received.wall,
            at,
        });
        self.newest = Some(at);
    }

    /// Notes that the newest call brought no new status: its time says nothing.
    pub(super) const fn skipped(&mut self) {
        self.newest = None;
    }

    /// Each process's last two readings, where it has two and was heard lately.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Reading, Reading)> {
        let newest = self.newest;
        self.readings.values().filter_map(move |readings| {
            let pair = (readings.before?, readings.newest?);
            let age = newest?.saturating_duration_since(pair.1.at);
            (age <= ANSWER_MEMORY).then_some(pair)
        })
    }

    /// Whether the monitor's own clock, as it was before a step, would put this reading inside.
    pub(crate) fn explains(&self, reading: &Reading, tolerance: Duration) -> bool {
        let skew = reading.skew();
        let steps = self.steps.iter().map(|(before, _)| self.shift - before);
        let (low, high) = steps.fold((0.0_f64, 0.0_f64), |(low, high), step| {
            (low.min(step), high.max(step))
        });
        // On a clock that had not stepped by S, everything would have been seen S later.
        let tolerance = tolerance.as_secs_f64();
        skew >= -(high + tolerance) && skew <= tolerance - low
    }

    /// How far the newest reading of any process is outside. `None`: there was none.
    pub(crate) fn skew(&self) -> Option<Skew> {
        let newest = self
            .readings
            .values()
            .filter_map(|readings| readings.newest);
        newest.max_by_key(|reading| reading.at).map(|r| r.skew())
    }

    /// Whether the newest reading is outside, and the one before it was not.
    pub(super) fn is_unsure(&self, tolerance: Duration) -> bool {
        let tolerance = tolerance.as_secs_f64();
        let outside = |reading: Option<Reading>| reading.map(|r| r.skew().abs() > tolerance);
        self.readings.values().any(|readings| {
            readings.newest.map(|newest| newest.at) == self.newest
                && outside(readings.newest) == Some(true)
                && outside(readings.before) != Some(true)
        })
    }

    /// Whether the newest reading is outside.
    pub(crate) fn is_skewed(&self, tolerance: Duration) -> bool {
        self.skew()
            .is_some_and(|skew| skew.abs() > tolerance.as_secs_f64())
    }

    /// When a call should find out why the stream's times moved. `None`: they did not.
    pub(super) fn lag_audit_at(&self, last: Instant) -> Option<Instant> {
        let moved = (self.lag? - self.lag_at_call?).abs() > LAG_JUMP;
        moved.then(|| last + LAG_AUDIT_GAP)
    }
}

/// From `earlier` to `later`, in seconds; less than 0 where they are the other way round.
fn seconds(later: SystemTime, earlier: SystemTime) -> f64 {
    match later.duration_since(earlier) {
        Ok(span) => span.as_secs_f64(),
        Err(error) => -error.duration().as_secs_f64(),
    }
}
