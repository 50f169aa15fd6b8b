//! How much of a component's traffic has a witness.

use std::collections::VecDeque;

use crate::domain::MetricsClaim;

/// Audits over which the share is taken. Witnesses report a little later than the component
/// counts; over several audits that evens out.
const SAMPLES_MAX: usize = 20;

/// The share of the accepted events, as claimed over the last audits, that a producer reported.
#[derive(Clone, Debug, Default)]
pub(super) struct Coverage {
    instance_id: String,
    /// Accepted as claimed, and produced as witnessed, at each audit; the oldest first.
    samples: VecDeque<(u64, u64)>,
}

impl Coverage {
    /// Takes new counters beside what producers reported so far. `None`: nothing was accepted.
    pub(super) fn update(&mut self, metrics: &MetricsClaim, produced: u64) -> Option<f64> {
        let accepted = metrics.delivery.as_ref()?.accepted;
        if self.instance_id != metrics.instance_id {
            self.instance_id.clone_from(&metrics.instance_id);
            let before = self.samples.back().map(|(_, produced)| *produced);
            self.samples.clear();
            // A new instance counts from 0; what the first one counted before is nobody's.
            self.samples.extend(before.map(|produced| (0, produced)));
        }
        self.samples.push_back((accepted, produced));
        if self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
        let (first_accepted, first_produced) = *self.samples.front()?;
        let accepted = accepted.saturating_sub(first_accepted);
        let witnessed = produced.saturating_sub(first_produced);
        (accepted > 0).then(|| (witnessed as f64 / accepted as f64).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use service_kit::clock::Clock;

    use super::*;
    use crate::audit::testing::metrics_claim;

    fn accepted(instance: &str, accepted: u64) -> MetricsClaim {
        let mut metrics = metrics_claim(Clock::system().now());
        metrics.instance_id = instance.into();
        if let Some(delivery) = &mut metrics.delivery {
            delivery.accepted = accepted;
        }
        metrics
    }

    #[test]
    fn it_counts_from_the_first_look() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.update(&accepted("a", 1_000), 0), None);
        assert_eq!(coverage.update(&accepted("a", 1_100), 0), Some(0.0));
        assert_eq!(coverage.update(&accepted("a", 1_100), 50), Some(0.5));
        assert_eq!(coverage.update(&accepted("a", 1_100), 100), Some(1.0));
        assert_eq!(coverage.update(&accepted("a", 1_100), 101), Some(1.0));
    }

    #[test]
    fn what_is_long_ago_counts_no_more() {
        let mut coverage = Coverage::default();
        coverage.update(&accepted("a", 0), 0);
        assert_eq!(coverage.update(&accepted("a", 100), 0), Some(0.0));
        for _ in 0..SAMPLES_MAX {
            coverage.update(&accepted("a", 100), 0);
        }
        assert_eq!(coverage.update(&accepted("a", 110), 10), Some(1.0));
    }

    #[test]
    fn a_new_instance_counts_anew() {
        let mut coverage = Coverage::default();
        coverage.update(&accepted("a", 10), 0);
        assert_eq!(coverage.update(&accepted("a", 20), 10), Some(1.0));
        assert_eq!(coverage.update(&accepted("b", 5), 10), Some(0.0));
        assert_eq!(coverage.update(&accepted("b", 8), 16), Some(0.75));
    }
}
