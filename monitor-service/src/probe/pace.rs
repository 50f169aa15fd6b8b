//! When the probes look: as often as set, not more often than one monitor can in all, and a few at
//! a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::settings::ProbeSettings;

/// Probes begin at multiples of it, so that those that are due at nearly the same time share the
/// wake-ups of their calls and answers: at a thousand looks a second ten at a time. That is few
/// enough to keep the last one's call from looking slow, and late by what no interval notices.
const TICK: Duration = Duration::from_millis(10);

/// What the probes share.
pub(super) struct Pace {
    interval: Duration,
    rate: u32,
    probes: AtomicUsize,
    origin: Instant,
}

impl Pace {
    /// Ticks are counted from `origin`.
    pub(super) fn new(settings: &ProbeSettings, origin: Instant) -> Self {
        Self {
            interval: settings.glance_interval,
            rate: settings.glance_rate.max(1),
            probes: AtomicUsize::new(0),
            origin,
        }
    }

    /// Notes how many probes there are.
    pub(super) fn shared_by(&self, probes: usize) {
        self.probes.store(probes, Ordering::Relaxed);
    }

    /// Between two looks at one component.
    pub(super) fn interval(&self) -> Duration {
        let probes = self.probes.load(Ordering::Relaxed);
        let fair = Duration::from_secs_f64(probes as f64 / f64::from(self.rate));
        self.interval.max(fair)
    }

    /// The pause from `now` that ends with a tick: less than one longer.
    pub(super) fn until_tick(&self, now: Instant, pause: Duration) -> Duration {
        let since = now.saturating_duration_since(self.origin) + pause;
        let over = since.as_nanos() % TICK.as_nanos();
        // The remainder is less than a tick.
        let over = Duration::from_nanos(over.try_into().unwrap_or(0));
        if over.is_zero() {
            pause
        } else {
            pause + (TICK - over)
        }
    }
}

#[cfg(test)]
mod tests {
    use service_kit::clock::Clock;

    use super::*;

    #[test]
    fn few_components_are_looked_at_as_often_as_set_and_many_share() {
        let origin = Clock::simulated().now().monotonic;
        let pace = Pace::new(&ProbeSettings::default(), origin);
        for (probes, seconds) in [(0, 1), (1, 1), (1_000, 1), (2_500, 2), (10_000, 10)] {
            pace.shared_by(probes);
            assert_eq!(pace.interval().as_secs(), seconds, "{probes} probes");
        }
    }

    #[test]
    fn pauses_end_with_a_tick_and_are_never_shorter() {
        let origin = Clock::simulated().now().monotonic;
        let pace = Pace::new(&ProbeSettings::default(), origin);
        let ms = Duration::from_millis;
        for (now, pause, padded) in [(0, 0, 0), (0, 20, 20), (3, 20, 27), (19, 2, 11), (15, 5, 5)] {
            assert_eq!(pace.until_tick(origin + ms(now), ms(pause)), ms(padded));
        }
    }
}
