//! How often the probes look between two audits: as often as set, and not more often than one
//! monitor can in all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::settings::ProbeSettings;

/// What the probes share.
pub(super) struct Pace {
    interval: Duration,
    rate: u32,
    probes: AtomicUsize,
}

impl Pace {
    pub(super) fn new(settings: &ProbeSettings) -> Self {
        Self {
            interval: settings.glance_interval,
            rate: settings.glance_rate.max(1),
            probes: AtomicUsize::new(0),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_components_are_looked_at_as_often_as_set_and_many_share() {
        let pace = Pace::new(&ProbeSettings::default());
        for (probes, seconds) in [(0, 1), (1, 1), (1_000, 1), (2_500, 2), (10_000, 10)] {
            pace.shared_by(probes);
            assert_eq!(pace.interval().as_secs(), seconds, "{probes} probes");
        }
    }
}
