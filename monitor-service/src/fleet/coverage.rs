//! How much of a component's traffic has a witness.

use crate::domain::MetricsClaim;

/// The share of the accepted events, as claimed since the witnesses began, that a producer
/// reported.
#[derive(Clone, Debug, Default)]
pub(super) struct Coverage {
    base: Option<Base>,
}

#[derive(Clone, Debug)]
struct Base {
    instance_id: String,
    accepted: u64,
    produced: u64,
}

impl Coverage {
    /// Takes new counters beside what producers reported so far. `None`: nothing was accepted
    /// since the witnesses began.
    pub(super) fn update(&mut self, metrics: &MetricsClaim, produced: u64) -> Option<f64> {
        let accepted = metrics.delivery.as_ref()?.accepted;
        let restarted = self
            .base
            .as_ref()
            .is_some_and(|base| base.instance_id != metrics.instance_id);
        let base = self.base.get_or_insert_with(|| Base {
            instance_id: metrics.instance_id.clone(),
            accepted,
            produced,
        });
        if restarted {
            // A new instance counts from 0.
            base.instance_id.clone_from(&metrics.instance_id);
            base.accepted = 0;
            base.produced = produced;
        }
        if produced <= base.produced {
            base.accepted = accepted;
            base.produced = produced;
            return None;
        }
        let (accepted, witnessed) = (
            accepted.saturating_sub(base.accepted),
            produced - base.produced,
        );
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
    fn it_counts_from_where_the_witnesses_began() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.update(&accepted("a", 1_000), 0), None);
        assert_eq!(coverage.update(&accepted("a", 1_200), 0), None);
        assert_eq!(coverage.update(&accepted("a", 1_300), 50), Some(0.5));
        assert_eq!(coverage.update(&accepted("a", 1_300), 100), Some(1.0));
        assert_eq!(coverage.update(&accepted("a", 1_300), 101), Some(1.0));
    }

    #[test]
    fn a_new_instance_counts_anew() {
        let mut coverage = Coverage::default();
        coverage.update(&accepted("a", 10), 0);
        assert_eq!(coverage.update(&accepted("a", 20), 10), Some(1.0));
        assert_eq!(coverage.update(&accepted("b", 5), 10), None);
        assert_eq!(coverage.update(&accepted("b", 9), 13), Some(0.75));
    }
}
