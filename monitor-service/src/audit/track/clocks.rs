//! The component's wall clock beside the monitor's, and what the monitor's own has done.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use service_kit::clock::Now;

use super::instances::ByInstance;
use crate::domain::{Answer, HealthClaim};

/// How long it is remembered where the monitor's own wall clock stood.
const SHIFT_MEMORY: Duration = Duration::from_secs(3_600);
/// In so many spans; what it did inside of one is remembered by its lowest and its highest, so that
/// a clock that is slewed for hours leaves room for a step.
const SPANS: u32 = 8;
/// A process whose newest answer is older than this is judged no more.
const ANSWER_MEMORY: Duration = Duration::from_secs(120);
/// A stream that comes this much later or earlier than at the last call asks for another: either
/// the clocks moved or the way became slow.
const LAG_JUMP: f64 = 0.2;
/// The least time between two calls that a lag asks for.
const LAG_AUDIT_GAP: Duration = Duration::from_secs(5);

/// When a status was made, by the component's clock, and between which moments it must have been.
/// The moments are the monitor's monotonic ones, so that a step of its wall clock moves no reading
/// beside another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    made: SystemTime,
    sent: Instant,
    at: Instant,
}

/// How far outside, in seconds: more than 0 is ahead, less is behind.
pub(crate) type Skew = f64;

/// By how much the monitor's wall clock had run away from its monotonic one, in seconds.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: Instant,
    until: Instant,
    low: f64,
    high: f64,
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
    /// Oldest first; the last one is going on.
    spans: VecDeque<Span>,
    readings: ByInstance<Readings>,
    newest: Option<Instant>,
    /// How late the stream's newest status was, in seconds; any fixed offset is in it too.
    lag: Option<f64>,
    lag_at_call: Option<f64>,
}

impl Clocks {
    /// Notes both own clocks.
    pub(super) fn turn(&mut self, now: Now) {
        self.start.get_or_insert(now);
        let shift = self.shift(now);
        let at = now.monotonic;
        let length = SHIFT_MEMORY / SPANS;
        match self.spans.back_mut() {
            Some(span) if at.saturating_duration_since(span.from) < length => {
                span.until = at;
                span.low = span.low.min(shift);
                span.high = span.high.max(shift);
            }
            _ => self.spans.push_back(Span {
                from: at,
                until: at,
                low: shift,
                high: shift,
            }),
        }
        let forgotten = |span: &Span| now.since(span.until) > SHIFT_MEMORY;
        while self.spans.front().is_some_and(forgotten) {
            self.spans.pop_front();
        }
    }

    /// By how much the monitor's wall clock has run away from its monotonic one, in seconds.
    fn shift(&self, now: Now) -> f64 {
        self.start.map_or(0.0, |start| {
            seconds(now.wall, start.wall) - now.since(start.monotonic).as_secs_f64()
        })
    }

    /// By how much a status was made after a moment, on a wall clock that has run away so far.
    fn after(&self, made: SystemTime, moment: Instant, shift: f64) -> f64 {
        self.start.map_or(0.0, |start| {
            let passed = moment.saturating_duration_since(start.monotonic);
            seconds(made, start.wall) - passed.as_secs_f64() - shift
        })
    }

    /// How far a reading lies outside its call, by the monitor's wall clock as it is now. 0: inside.
    fn outside(&self, reading: &Reading, shift: f64) -> Skew {
        let ahead = self.after(reading.made, reading.at, shift);
        let behind = -self.after(reading.made, reading.sent, shift);
        if ahead > 0.0 { ahead } else { -behind.max(0.0) }
    }

    pub(super) fn streamed(&mut self, made: SystemTime, now: Now) {
        let lag = -self.after(made, now.monotonic, 0.0);
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
            sent: call.sent.monotonic,
            at,
        });
        self.newest = Some(at);
    }

    /// Notes that the newest call brought no new status: its time says nothing.
    pub(super) const fn skipped(&mut self) {
        self.newest = None;
    }

    /// How far each process's last two readings are outside, and the newer one itself, where it
    /// has two and was heard lately.
    pub(crate) fn pairs(&self, now: Now) -> impl Iterator<Item = (Skew, Skew, Reading)> {
        let newest = self.newest;
        let shift = self.shift(now);
        self.readings.values().filter_map(move |readings| {
            let (before, last) = (readings.before?, readings.newest?);
            let age = newest?.saturating_duration_since(last.at);
            let pair = (self.outside(&before, shift), self.outside(&last, shift));
            (age <= ANSWER_MEMORY).then_some((pair.0, pair.1, last))
        })
    }

    /// Whether the monitor's own clock, as it was before a step, would put this reading inside.
    pub(crate) fn explains(&self, reading: &Reading, tolerance: Duration, now: Now) -> bool {
        let shift = self.shift(now);
        let (low, high) = self.spans.iter().fold((shift, shift), |(low, high), span| {
            (low.min(span.low), high.max(span.high))
        });
        let tolerance = tolerance.as_secs_f64();
        self.after(reading.made, reading.at, high) <= tolerance
            && self.after(reading.made, reading.sent, low) >= -tolerance
    }

    /// How far the newest reading of any process is outside. `None`: there was none.
    pub(crate) fn skew(&self, now: Now) -> Option<Skew> {
        let newest = self.newest_reading()?;
        Some(self.outside(&newest, self.shift(now)))
    }

    /// Whether the newest reading is outside, the one before it was not, and no step of the
    /// monitor's own clock explains it.
    pub(super) fn is_unsure(&self, tolerance: Duration, now: Now) -> bool {
        let limit = tolerance.as_secs_f64();
        let shift = self.shift(now);
        let outside = |reading: Option<Reading>| {
            reading.map(|reading| self.outside(&reading, shift).abs() > limit)
        };
        self.readings.values().any(|readings| {
            readings.newest.map(|newest| newest.at) == self.newest
                && outside(readings.newest) == Some(true)
                && outside(readings.before) != Some(true)
        }) && self.is_suspect(tolerance, now)
    }

    fn newest_reading(&self) -> Option<Reading> {
        let newest = self
            .readings
            .values()
            .filter_map(|readings| readings.newest);
        newest.max_by_key(|reading| reading.at)
    }

    /// Whether the newest reading is outside, and no step of the monitor's own clock explains it.
    pub(crate) fn is_suspect(&self, tolerance: Duration, now: Now) -> bool {
        self.newest_reading()
            .is_some_and(|reading| !self.explains(&reading, tolerance, now))
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
