//! What a target answered, as claims. Nothing in an answer is trusted: times that are none become
//! "not said", and sizes are cut to limits, so that one target cannot fill the monitor's memory.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use monitorable::monitorable::v1 as wire;

use crate::domain::{
    CheckClaim, ClaimedState, DeliveryClaim, HealthClaim, LifecycleClaim, MetricsClaim,
    WatchMessage, WatchReason,
};

/// Checks that are kept of one report.
const MAX_CHECKS: usize = 100;
/// Gauges that are kept of one answer.
const MAX_GAUGES: usize = 1_000;
/// Reasons for drops that are kept apart; the counts of the others are added up under one name,
/// since the conservation law needs their sum.
const MAX_DROP_REASONS: usize = 100;
/// Under which name.
const OTHER_REASONS: &str = "other";
/// Longest name or id, in bytes. Over the 128 of a registered id, so that a cut one matches none.
const MAX_NAME_BYTES: usize = 256;
/// Longest message, in bytes.
const MAX_MESSAGE_BYTES: usize = 1_024;
/// Latest time that is taken for one: the end of the year 9999, in seconds since 1970.
const MAX_SECONDS: i64 = 253_402_300_799;

pub(crate) fn health_claim(health: wire::HealthStatus) -> HealthClaim {
    let state = claimed_state(health.state());
    HealthClaim {
        component_id: cut(health.component_id, MAX_NAME_BYTES),
        instance_id: cut(health.instance_id, MAX_NAME_BYTES),
        sequence: health.sequence,
        observe_time: health.observe_time.and_then(time),
        state,
        healthy: health.healthy,
        checks: health
            .checks
            .into_iter()
            .take(MAX_CHECKS)
            .map(check_claim)
            .collect(),
        consecutive_failures: health.consecutive_failures,
        uptime: health.uptime.and_then(span),
        last_health_check_time: health.last_health_check_time.and_then(time),
        error_message: cut(health.error_message, MAX_MESSAGE_BYTES),
    }
}

const fn claimed_state(state: wire::State) -> ClaimedState {
    match state {
        wire::State::Unspecified => ClaimedState::Unspecified,
        wire::State::Uninitialized => ClaimedState::Uninitialized,
        wire::State::Initializing => ClaimedState::Initializing,
        wire::State::Active => ClaimedState::Active,
        wire::State::Degraded => ClaimedState::Degraded,
        wire::State::Failed => ClaimedState::Failed,
        wire::State::Draining => ClaimedState::Draining,
    }
}

fn check_claim(check: wire::Check) -> CheckClaim {
    CheckClaim {
        name: cut(check.name, MAX_NAME_BYTES),
        healthy: check.healthy,
        message: cut(check.message, MAX_MESSAGE_BYTES),
        latency: check.latency.and_then(span),
    }
}

pub(super) fn metrics_claim(metrics: wire::Metrics) -> MetricsClaim {
    MetricsClaim {
        component_id: cut(metrics.component_id, MAX_NAME_BYTES),
        instance_id: cut(metrics.instance_id, MAX_NAME_BYTES),
        observe_time: metrics.observe_time.and_then(time),
        lifecycle: metrics.lifecycle.map(lifecycle_claim).unwrap_or_default(),
        delivery: metrics.delivery.map(delivery_claim),
        gauges: gauges(metrics.gauges),
    }
}

fn lifecycle_claim(lifecycle: wire::LifecycleMetrics) -> LifecycleClaim {
    LifecycleClaim {
        total_initializations: lifecycle.total_initializations,
        successful_initializations: lifecycle.successful_initializations,
        failed_initializations: lifecycle.failed_initializations,
        recovery_attempts: lifecycle.recovery_attempts,
        successful_recoveries: lifecycle.successful_recoveries,
        health_checks_performed: lifecycle.health_checks_performed,
        success_rate: lifecycle.success_rate,
    }
}

fn delivery_claim(delivery: wire::DeliveryMetrics) -> DeliveryClaim {
    DeliveryClaim {
        accepted: delivery.events_accepted,
        rejected: delivery.events_rejected,
        delivered: delivery.events_delivered,
        acknowledged: delivery.events_acknowledged,
        expired: delivery.events_expired,
        dropped: dropped(delivery.events_dropped),
        pending: delivery.events_pending,
        connections_open: delivery.connections_open,
        connections_opened: delivery.connections_opened,
        connections_closed: delivery.connections_closed,
        runs_open: delivery.runs_open,
        oldest_pending_age: delivery.oldest_pending_age.and_then(span),
    }
}

fn dropped(reasons: impl IntoIterator<Item = (String, u64)>) -> BTreeMap<String, u64> {
    let mut sorted: Vec<(String, u64)> = reasons.into_iter().collect();
    sorted.sort();
    let mut kept = BTreeMap::new();
    for (index, (reason, count)) in sorted.into_iter().enumerate() {
        let reason = if index < MAX_DROP_REASONS {
            cut(reason, MAX_NAME_BYTES)
        } else {
            OTHER_REASONS.to_owned()
        };
        let sum: &mut u64 = kept.entry(reason).or_default();
        *sum = sum.saturating_add(count);
    }
    kept
}

fn gauges(gauges: impl IntoIterator<Item = (String, f64)>) -> BTreeMap<String, f64> {
    let sorted: BTreeMap<String, f64> = gauges.into_iter().collect();
    sorted
        .into_iter()
        .take(MAX_GAUGES)
        .map(|(name, value)| (cut(name, MAX_NAME_BYTES), value))
        .collect()
}

/// `None`: the message has no health report.
pub(super) fn watch_message(message: wire::WatchHealthResponse) -> Option<WatchMessage> {
    let reason = match message.reason() {
        wire::Reason::Initial => WatchReason::Initial,
        wire::Reason::Changed => WatchReason::Changed,
        wire::Reason::Unspecified | wire::Reason::Heartbeat => WatchReason::Heartbeat,
        wire::Reason::Draining => WatchReason::Draining,
    };
    Some(WatchMessage {
        health: health_claim(message.health?),
        reason,
        next_within: message.next_within.and_then(span),
    })
}

/// `None` where it is no time between the years 1970 and 9999.
pub(crate) fn time(time: prost_types::Timestamp) -> Option<SystemTime> {
    let seconds = u64::try_from(time.seconds).ok()?;
    let nanos = u32::try_from(time.nanos).ok()?;
    if time.seconds > MAX_SECONDS || nanos >= 1_000_000_000 {
        return None;
    }
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// `None` where it is negative or no duration.
pub(crate) fn span(span: prost_types::Duration) -> Option<Duration> {
    let seconds = u64::try_from(span.seconds).ok()?;
    let nanos = u32::try_from(span.nanos).ok()?;
    if span.seconds > MAX_SECONDS || nanos >= 1_000_000_000 {
        return None;
    }
    Some(Duration::new(seconds, nanos))
}

/// The text, cut at a character's border where it is longer.
fn cut(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        let end = (0..=max_bytes)
            .rev()
            .find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.shrink_to_fit();
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_that_are_none_are_not_said() {
        let stamp = |seconds, nanos| time(prost_types::Timestamp { seconds, nanos });
        assert_eq!(stamp(0, 0), Some(SystemTime::UNIX_EPOCH));
        assert!(stamp(MAX_SECONDS, 999_999_999).is_some());
        for (seconds, nanos) in [
            (-1, 0),
            (0, -1),
            (0, 1_000_000_000),
            (i64::MAX, 0),
            (i64::MIN, i32::MIN),
        ] {
            assert_eq!(stamp(seconds, nanos), None, "{seconds} {nanos}");
        }
    }

    #[test]
    fn durations_that_are_none_are_not_said() {
        let duration = |seconds, nanos| span(prost_types::Duration { seconds, nanos });
        assert_eq!(duration(1, 500_000_000), Some(Duration::from_millis(1_500)));
        for (seconds, nanos) in [(-1, 0), (1, -1), (1, i32::MAX), (i64::MAX, 0)] {
            assert_eq!(duration(seconds, nanos), None, "{seconds} {nanos}");
        }
    }

    #[test]
    fn a_cut_text_ends_at_a_character() {
        assert_eq!(cut("äöü".to_owned(), 3), "ä");
        assert_eq!(cut("abc".to_owned(), 3), "abc");
    }

    #[test]
    fn a_hostile_report_is_cut_to_the_limits() {
        let check = wire::Check {
            name: "n".repeat(10_000),
            message: "m".repeat(10_000),
            ..Default::default()
        };
        let claim = health_claim(wire::HealthStatus {
            state: 4_711,
            checks: vec![check; 1_000],
            error_message: "e".repeat(1_000_000),
            ..Default::default()
        });
        assert_eq!(claim.state, ClaimedState::Unspecified);
        assert_eq!(claim.checks.len(), MAX_CHECKS);
        assert_eq!(claim.checks[0].name.len(), MAX_NAME_BYTES);
        assert_eq!(claim.checks[0].message.len(), MAX_MESSAGE_BYTES);
        assert_eq!(claim.error_message.len(), MAX_MESSAGE_BYTES);
    }

    #[test]
    fn a_long_id_is_cut_to_one_that_cannot_be_registered() {
        let claim = health_claim(wire::HealthStatus {
            component_id: "b".repeat(5_000),
            ..Default::default()
        });
        assert_eq!(claim.component_id.len(), MAX_NAME_BYTES);
    }

    #[test]
    fn many_gauges_are_cut() {
        let many = (0..5_000).map(|index| (format!("g{index:05}"), 1.0));
        assert_eq!(gauges(many).len(), MAX_GAUGES);
    }

    #[test]
    fn a_message_without_health_is_none() {
        assert_eq!(watch_message(wire::WatchHealthResponse::default()), None);
    }

    proptest! {
        #[test]
        fn drops_keep_their_sum(counts in proptest::collection::hash_map(any::<u16>(), 0_u64..1_000_000, 0..300)) {
            let sum: u64 = counts.values().sum();
            let named = |(reason, count): (u16, u64)| (format!("ä{reason}").repeat(60), count);
            let kept = dropped(counts.into_iter().map(named));
            prop_assert!(kept.len() <= MAX_DROP_REASONS + 1);
            prop_assert_eq!(kept.values().sum::<u64>(), sum);
        }

        #[test]
        fn no_time_panics(seconds in any::<i64>(), nanos in any::<i32>()) {
            let _ = time(prost_types::Timestamp { seconds, nanos });
            let _ = span(prost_types::Duration { seconds, nanos });
        }
    }
}
