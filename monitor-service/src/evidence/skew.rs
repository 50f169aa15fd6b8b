//! How an observer's clock stands to the monitor's, by Cristian's method.
//!
//! A report that was sent at S (observer's clock), came at R (the monitor's) and was answered after
//! a round trip T was on its way for 0 to T: when the observer's clock showed S, the monitor's
//! showed R - T/2, give or take T/2. The sample with the least doubt counts.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use service_kit::clock::Now;

use crate::domain::Posting;

/// Samples before a clock is known; a single short round trip may be a mistake.
const SAMPLES_MIN: usize = 5;
const SAMPLES_MAX: usize = 16;
/// How far apart two clocks may drift in a second: twice what a quartz is allowed.
const DRIFT_PER_SECOND: Duration = Duration::from_micros(200);
/// How much longer than the doubt a report may be on its way before its times count as unsure: its
/// clock may have been set back.
const ON_ITS_WAY_MAX: Duration = Duration::from_millis(250);

/// A moment on the monitor's monotonic clock, and how far off it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timed {
    pub(crate) at: Instant,
    pub(crate) within: Duration,
}

/// An observer's clock, read once: when it showed `wall`, the monitor's showed `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockReading {
    pub(crate) wall: SystemTime,
    pub(crate) at: Instant,
    pub(crate) within: Duration,
}

impl ClockReading {
    /// When the observer's clock showed `time`. `None`: too long ago to be said.
    pub(crate) fn moment(&self, time: SystemTime) -> Option<Timed> {
        let at = match time.duration_since(self.wall) {
            Ok(later) => self.at.checked_add(later)?,
            Err(earlier) => self.at.checked_sub(earlier.duration())?,
        };
        Some(Timed {
            at,
            within: self.within,
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    wall: SystemTime,
    received: Instant,
    round_trip: Duration,
}

impl Sample {
    /// What the sample says at a later moment.
    fn reading(&self, now: Instant) -> ClockReading {
        let half = self.round_trip / 2;
        let age = now.saturating_duration_since(self.received);
        ClockReading {
            wall: self.wall,
            at: self.received.checked_sub(half).unwrap_or(self.received),
            within: half + DRIFT_PER_SECOND.mul_f64(age.as_secs_f64()),
        }
    }
}

/// One observer's clock over its last reports.
#[derive(Clone, Debug, Default)]
pub(super) struct ClockEstimate {
    samples: VecDeque<Sample>,
    /// The newest report, whose round trip the next one tells: its number, when it was sent and
    /// when it came.
    open: Option<(u64, SystemTime, Instant)>,
}

impl ClockEstimate {
    /// Takes a numbered report, also one that is repeated: the round trip that the observer tells
    /// next is that of its last attempt.
    pub(super) fn reported(&mut self, posting: &Posting, now: Now) {
        if let (Some(round_trip), Some((number, wall, received))) = (posting.round_trip, self.open)
            && number.checked_add(1) == Some(posting.number)
        {
            self.add(Sample {
                wall,
                received,
                round_trip,
            });
        }
        let newest = self
            .open
            .is_none_or(|(number, ..)| number <= posting.number);
        if newest {
            let sent = posting.sent;
            self.open = sent.map(|sent| (posting.number, sent, now.monotonic));
        }
    }

    /// The clock, where it is known and fits the report that is just being read.
    pub(super) fn reading(&self, posting: &Posting, now: Now) -> Option<ClockReading> {
        if self.samples.len() < SAMPLES_MIN {
            return None;
        }
        let readings = self.samples.iter().map(|s| s.reading(now.monotonic));
        let best = readings.min_by_key(|reading| reading.within)?;
        let sent = best.moment(posting.sent?)?;
        let possible = sent.at <= now.monotonic + sent.within
            && now.since(sent.at) <= sent.within + ON_ITS_WAY_MAX;
        possible.then_some(best)
    }

    /// Samples that contradict the new one are from before the clock was set.
    fn add(&mut self, sample: Sample) {
        let new = sample.reading(sample.received);
        self.samples.retain(|old| {
            let old = old.reading(sample.received);
            let agree = |moment: Timed| {
                let apart = moment.at.max(new.at) - moment.at.min(new.at);
                apart <= new.within + old.within
            };
            old.moment(new.wall).is_some_and(agree)
        });
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }
}

#[cfg(test)]
mod tests {
    use service_kit::clock::Clock;

    use super::*;

    /// An observer whose clock is off, over a line with a delay each way.
    struct Line {
        estimate: ClockEstimate,
        now: Now,
        /// The observer's clock is this much ahead.
        ahead: Duration,
        number: u64,
        round_trip: Option<Duration>,
    }

    impl Line {
        fn new(ahead: Duration) -> Self {
            Self {
                estimate: ClockEstimate::default(),
                now: Clock::system().now().later(Duration::from_secs(1_000)),
                ahead,
                number: 0,
                round_trip: None,
            }
        }

        /// One report; returns what is known of the clock then.
        fn report(&mut self, there: u64, back: u64) -> Option<ClockReading> {
            self.number += 1;
            let posting = Posting {
                session_id: "s".into(),
                number: self.number,
                sent: Some(self.now.wall + self.ahead),
                round_trip: self.round_trip,
                next_within: None,
            };
            self.now = self.now.later(Duration::from_millis(there));
            self.estimate.reported(&posting, self.now);
            let reading = self.estimate.reading(&posting, self.now);
            self.round_trip = Some(Duration::from_millis(there + back));
            self.now = self.now.later(Duration::from_millis(1_000));
            reading
        }
    }

    #[test]
    fn a_clock_is_known_after_five_round_trips_and_the_shortest_counts() {
        let mut line = Line::new(Duration::from_secs(90));
        for _ in 0..5 {
            assert_eq!(line.report(20, 40), None);
        }
        let known = line.report(20, 40).unwrap();
        assert!(known.within >= Duration::from_millis(30), "{known:?}");
        line.report(1, 1);
        let known = line.report(20, 40).unwrap();
        assert!(known.within < Duration::from_millis(3), "{known:?}");
        let truth = line.now;
        let moment = known.moment(truth.wall + line.ahead).unwrap();
        let apart = moment.at.max(truth.monotonic) - moment.at.min(truth.monotonic);
        assert!(apart <= moment.within, "{apart:?} {moment:?}");
    }

    #[test]
    fn a_clock_that_is_set_is_unknown_until_it_was_seen_anew() {
        for step in [Duration::from_secs(5), Duration::from_secs(85)] {
            let mut line = Line::new(Duration::from_secs(90));
            for _ in 0..8 {
                line.report(2, 2);
            }
            assert!(line.report(2, 2).is_some());
            line.ahead = if step == Duration::from_secs(5) {
                line.ahead - step
            } else {
                line.ahead + step
            };
            for _ in 0..5 {
                assert_eq!(line.report(2, 2), None, "{step:?}");
            }
            let known = line.report(2, 2).unwrap();
            let moment = known.moment(line.now.wall + line.ahead).unwrap();
            let truth = line.now.monotonic;
            assert!(moment.at.max(truth) - moment.at.min(truth) <= moment.within);
        }
    }

    #[test]
    fn a_report_that_was_long_on_its_way_has_unsure_times() {
        let mut line = Line::new(Duration::ZERO);
        for _ in 0..8 {
            line.report(2, 2);
        }
        assert_eq!(line.report(3_000, 2), None);
    }
}
