//! Whether counters ever fall.

use std::sync::Arc;

use service_kit::clock::Now;

use super::instances::ByInstance;
use crate::domain::{DeliveryClaim, LifecycleClaim, MetricsClaim};

/// Counters that fell, in an answer made later than the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CounterFall {
    pub(crate) instance: Arc<str>,
    /// Name, value before, value after. At least one.
    pub(crate) counters: Vec<(String, u64, u64)>,
    pub(crate) at: Now,
}

/// The newest counters of each process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    known: ByInstance<Option<(Arc<MetricsClaim>, Now)>>,
    /// The newest fall.
    pub(crate) fall: Option<CounterFall>,
    /// Old counters came again, with their old time: the newest answer.
    pub(crate) replay: Option<CounterFall>,
}

impl Counters {
    pub(super) fn take(&mut self, metrics: &Arc<MetricsClaim>, sent: Now, received: Now) {
        let instance: Arc<str> = metrics.instance_id.as_str().into();
        let known = self.known.entry(&instance);
        if let Some((before, at)) = known {
            // Either answer may be the later one.
            if sent.monotonic < at.monotonic {
                return;
            }
            let counters = fallen(before, metrics);
            let older = match (metrics.observe_time, before.observe_time) {
                (Some(new), Some(before)) => new < before,
                _ => false,
            };
            if !counters.is_empty() {
                let found = Some(CounterFall {
                    instance,
                    counters,
                    at: received,
                });
                if older {
                    self.replay = found;
                    return;
                }
                self.fall = found;
            }
        }
        self.replay = None;
        *known = Some((metrics.clone(), received));
    }
}

fn fallen(before: &MetricsClaim, after: &MetricsClaim) -> Vec<(String, u64, u64)> {
    let before_named = named(before);
    let mut fallen: Vec<_> = before_named
        .into_iter()
        .zip(named(after))
        .filter(|((_, before), (_, after))| after < before)
        .map(|((name, before), (_, after))| (name.to_owned(), before, after))
        .collect();
    if let (Some(before), Some(after)) = (&before.delivery, &after.delivery) {
        // Which reasons are told apart may change; one that stays may not fall.
        fallen.extend(before.dropped.iter().filter_map(|(reason, before)| {
            let after = after.dropped.get(reason).filter(|after| *after < before)?;
            Some((format!("events_dropped[{reason}]"), *before, *after))
        }));
    }
    fallen
}

/// Every counter that may only rise, in a fixed order.
fn named(metrics: &MetricsClaim) -> Vec<(&'static str, u64)> {
    let mut named = lifecycle(&metrics.lifecycle).to_vec();
    if let Some(delivery) = &metrics.delivery {
        named.extend(self::delivery(delivery));
    }
    named
}

const fn lifecycle(counts: &LifecycleClaim) -> [(&'static str, u64); 6] {
    [
        ("total_initializations", counts.total_initializations),
        (
            "successful_initializations",
            counts.successful_initializations,
        ),
        ("failed_initializations", counts.failed_initializations),
        ("recovery_attempts", counts.recovery_attempts),
        ("successful_recoveries", counts.successful_recoveries),
        ("health_checks_performed", counts.health_checks_performed),
    ]
}

/// Delivered events may be pending no more, and never the other way round.
fn delivery(counts: &DeliveryClaim) -> [(&'static str, u64); 8] {
    let dropped = counts.dropped.values();
    let dropped = dropped.fold(0_u64, |sum, count| sum.saturating_add(*count));
    [
        ("events_accepted", counts.accepted),
        ("events_rejected", counts.rejected),
        ("events_delivered", counts.delivered),
        ("events_acknowledged", counts.acknowledged),
        ("events_expired", counts.expired),
        ("connections_opened", counts.connections_opened),
        ("connections_closed", counts.connections_closed),
        ("events_dropped", dropped),
    ]
}
