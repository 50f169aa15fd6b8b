//! How long the calls take, and how long they usually took.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::MetricsClaim;

/// Usual calls remembered: a quarter of an hour at the default pace.
const USUAL_MAX: usize = 32;
/// Calls that make a past.
const USUAL_MIN: usize = 3;
/// Slow calls remembered, the newest ones.
const STREAK_MAX: usize = 8;
/// A call that takes this many times the usual and this long at the least is kept out of the past,
/// so that being slow never becomes usual by itself. The rule's thresholds are above both.
pub(crate) const SLOW_FACTOR: u32 = 3;
/// See [`SLOW_FACTOR`].
pub(crate) const SLOW_FLOOR: Duration = Duration::from_millis(50);
/// What has been slow for this long is how it is now.
const NEW_USUAL: Duration = Duration::from_secs(6 * 3_600);
/// Shorter latencies count as this one: the clock and the scheduler are no finer.
const RESOLUTION: Duration = Duration::from_millis(1);

/// One slow call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slow {
    pub(crate) latency: Duration,
    pub(crate) sent: Instant,
    /// Events accepted a second at that time. `None`: not known.
    pub(crate) load: Option<f64>,
}

/// The latencies of one component's health calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latency {
    usual: VecDeque<Duration>,
    loads: VecDeque<f64>,
    median: Option<Duration>,
    /// Slow calls in a row, oldest first.
    streak: VecDeque<Slow>,
    since: Option<Instant>,
    newest: Option<(Duration, Instant)>,
    /// The newest slow call, also after quick ones.
    newest_slow: Option<(Duration, Instant)>,
    accepted: Option<(Arc<str>, u64, Instant)>,
}

impl Latency {
    pub(super) fn take(&mut self, latency: Duration, sent: Instant) {
        self.newest = Some((latency, sent));
        let slow = self.median.is_some_and(|usual| {
            latency >= SLOW_FLOOR && latency >= usual.saturating_mul(SLOW_FACTOR)
        });
        if slow {
            self.slow(latency, sent);
            return;
        }
        self.streak.clear();
        self.since = None;
        keep(&mut self.usual, latency, USUAL_MAX);
        self.find_median();
    }

    fn slow(&mut self, latency: Duration, sent: Instant) {
        self.newest_slow = Some((latency, sent));
        let since = *self.since.get_or_insert(sent);
        let load = None;
        keep(
            &mut self.streak,
            Slow {
                latency,
                sent,
                load,
            },
            STREAK_MAX,
        );
        if sent.saturating_duration_since(since) >= NEW_USUAL {
            self.usual = self.streak.drain(..).map(|slow| slow.latency).collect();
            self.since = None;
            self.find_median();
        }
    }

    fn find_median(&mut self) {
        let mut sorted: Vec<_> = self.usual.iter().copied().collect();
        sorted.sort_unstable();
        let enough = sorted.len() >= USUAL_MIN;
        let middle = sorted.get(sorted.len() / 2).filter(|_| enough);
        self.median = middle.map(|middle| (*middle).max(RESOLUTION));
    }

    /// Takes the counters that came with the newest call.
    pub(super) fn loaded(&mut self, metrics: &MetricsClaim, at: Instant) {
        let Some(delivery) = &metrics.delivery else {
            return;
        };
        let instance: Arc<str> = metrics.instance_id.as_str().into();
        let before = self
            .accepted
            .replace((instance.clone(), delivery.accepted, at));
        let Some((_, accepted, since)) = before.filter(|(id, ..)| *id == instance) else {
            return;
        };
        let seconds = at.saturating_duration_since(since).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let load = delivery.accepted.saturating_sub(accepted) as f64 / seconds;
        match self.streak.back_mut() {
            Some(slow) => slow.load = Some(load),
            None => keep(&mut self.loads, load, USUAL_MAX),
        }
    }

    /// The median of the usual latencies. `None`: too few calls were made.
    pub(crate) const fn usual(&self) -> Option<Duration> {
        self.median
    }

    /// The highest load at which calls took the usual time. `None`: not known.
    pub(crate) fn usual_load(&self) -> Option<f64> {
        self.loads.iter().copied().reduce(f64::max)
    }

    /// The newest `count` slow calls, newest first, of those sent after `awake_since`. `None`:
    /// there are not as many in a row.
    pub(crate) fn streak(&self, count: u32, awake_since: Instant) -> Option<Vec<Slow>> {
        let awake = self.streak.iter().rev();
        let awake = awake.take_while(|slow| slow.sent >= awake_since);
        let newest: Vec<_> = awake.take(count as usize).copied().collect();
        (newest.len() >= count as usize).then_some(newest)
    }

    /// When the first of the slow calls was sent. `None`: the newest call was not slow.
    pub(crate) const fn streak_since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether calls are slow, and were not often enough to say so.
    pub(super) fn is_short(&self, enough: u32) -> bool {
        !self.streak.is_empty() && self.streak.len() < enough as usize
    }

    /// How many times slower than usual the newest call was, and when it was sent. `None`: not
    /// known.
    pub(crate) fn slowdown(&self) -> Option<(f64, Instant)> {
        self.times_usual(self.newest?)
    }

    /// The same of the newest call that was slow. `None`: there was none.
    pub(crate) fn newest_slowdown(&self) -> Option<(f64, Instant)> {
        self.times_usual(self.newest_slow?)
    }

    fn times_usual(&self, (latency, sent): (Duration, Instant)) -> Option<(f64, Instant)> {
        let usual = self.median?;
        Some((latency.as_secs_f64() / usual.as_secs_f64(), sent))
    }
}

fn keep<T>(values: &mut VecDeque<T>, value: T, max: usize) {
    if values.len() >= max {
        values.pop_front();
    }
    values.push_back(value);
}
