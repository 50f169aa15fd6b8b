//! From the hub's words to the wire's: the only place that knows both.

use std::time::{Duration, SystemTime};

use monitorable::bridge::v1::RunLedger;
use monitorable::monitorable::v1::{
    Check, DeliveryMetrics, HealthStatus, LifecycleMetrics, Metrics, Reason, State as WireState,
    WatchHealthResponse,
};
use prost_types::Timestamp;
use service_kit::{panics, traces};
use tonic::Status;

use crate::health::report::{CheckResult, HealthReport, LifecycleReport, State, UpdateReason};
use crate::hub::api::{HealthUpdate, HubError, Identity};
use crate::hub::event::{HubReport, RunReport, Stages};

/// Why the hub gave no answer, as a gRPC status.
pub(crate) fn hub_status(error: HubError) -> Status {
    let text = error.to_string();
    match error {
        HubError::Draining | HubError::Timeout(_) | HubError::Ended => Status::unavailable(text),
        HubError::TooManyWatchers(_) => Status::resource_exhausted(text),
    }
}

/// A run's ledger.
pub(crate) fn run_ledger(report: RunReport) -> RunLedger {
    RunLedger {
        run_id: report.run_id,
        thread_id: report.thread_id,
        epoch: report.epoch.as_str().to_owned(),
        events_accepted: report.stages.accepted,
        events_delivered: report.stages.delivered,
        events_acknowledged: report.stages.acknowledged,
        events_expired: report.stages.expired,
        events_dropped: dropped(&report.stages),
        events_pending: report.stages.pending,
        first_sequence: report.first_sequence,
        last_sequence: report.last_sequence,
        digest: report.digest,
        finished: report.finished,
    }
}

/// A health status.
pub(crate) fn health_status(report: HealthReport, identity: &Identity) -> HealthStatus {
    HealthStatus {
        component_id: identity.component_id.to_string(),
        instance_id: identity.instance_id.to_string(),
        sequence: report.sequence,
        observe_time: Some(timestamp(report.observe_time)),
        state: state(report.state).into(),
        healthy: report.healthy,
        checks: report.checks.iter().map(check).collect(),
        consecutive_failures: report.consecutive_failures,
        uptime: Some(duration(report.uptime)),
        last_health_check_time: report.last_check_time.map(timestamp),
        error_message: report.error_message,
    }
}

/// One message of a health stream.
pub(crate) fn health_update(update: HealthUpdate, identity: &Identity) -> WatchHealthResponse {
    let reason = match update.reason {
        UpdateReason::Initial => Reason::Initial,
        UpdateReason::Changed => Reason::Changed,
        UpdateReason::Heartbeat => Reason::Heartbeat,
        UpdateReason::Draining => Reason::Draining,
    };
    WatchHealthResponse {
        health: Some(health_status(update.health, identity)),
        reason: reason.into(),
        next_within: update.next_within.map(duration),
    }
}

/// The counters.
pub(crate) fn metrics(
    hub: &HubReport,
    lifecycle: &LifecycleReport,
    health: &HealthReport,
    identity: &Identity,
) -> Metrics {
    Metrics {
        component_id: identity.component_id.to_string(),
        instance_id: identity.instance_id.to_string(),
        observe_time: Some(timestamp(health.observe_time)),
        lifecycle: Some(lifecycle_metrics(lifecycle)),
        delivery: Some(delivery_metrics(hub)),
        gauges: gauges(hub, lifecycle),
    }
}

/// Initializations that went well, as a share; 0 where none has ended.
pub(crate) fn success_rate(report: &LifecycleReport) -> f64 {
    match report.total_initializations {
        0 => 0.0,
        total => report.successful_initializations as f64 / total as f64,
    }
}

fn lifecycle_metrics(report: &LifecycleReport) -> LifecycleMetrics {
    LifecycleMetrics {
        total_initializations: report.total_initializations,
        successful_initializations: report.successful_initializations,
        failed_initializations: report.failed_initializations,
        recovery_attempts: report.recovery_attempts,
        successful_recoveries: report.successful_recoveries,
        health_checks_performed: report.health_checks_performed,
        success_rate: success_rate(report),
    }
}

fn delivery_metrics(hub: &HubReport) -> DeliveryMetrics {
    DeliveryMetrics {
        events_accepted: hub.stages.accepted,
        events_rejected: hub.rejected,
        events_delivered: hub.stages.delivered,
        events_acknowledged: hub.stages.acknowledged,
        events_expired: hub.stages.expired,
        events_dropped: dropped(&hub.stages),
        events_pending: hub.stages.pending,
        connections_open: hub.connections_open,
        connections_opened: hub.connections_opened,
        connections_closed: hub.connections_closed,
        runs_open: hub.runs_open,
        oldest_pending_age: hub.oldest_pending_age.map(duration),
    }
}

fn gauges(hub: &HubReport, lifecycle: &LifecycleReport) -> std::collections::HashMap<String, f64> {
    let synthetic = &hub.synthetic;
    let synthetic_dropped: u64 = synthetic.dropped.values().sum();
    let counted = [
        ("threads_held", hub.threads_held),
        ("runs_held", hub.runs_held),
        ("window_bytes", hub.window_bytes),
        ("events_duplicate", hub.duplicates),
        ("synthetic_events_accepted", synthetic.accepted),
        ("synthetic_events_delivered", synthetic.delivered),
        ("synthetic_events_acknowledged", synthetic.acknowledged),
        ("synthetic_events_expired", synthetic.expired),
        ("synthetic_events_dropped", synthetic_dropped),
        ("synthetic_events_pending", synthetic.pending),
        ("synthetic_events_rejected", hub.synthetic_rejected),
        ("synthetic_events_duplicate", hub.synthetic_duplicates),
        ("watchers_open", hub.watchers_open),
        ("watchers_dropped", hub.watchers_dropped),
        ("panics", panics::count()),
        ("trace_spans_lost", traces::lost()),
    ];
    let closes = hub
        .closes_by_reason
        .iter()
        .map(|(reason, count)| (format!("connections_closed_{reason}"), *count as f64));
    counted
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count as f64))
        .chain(closes)
        .chain([(
            // Announced, so that an auditor can tell a slow interval from a stuck one.
            "health_check_interval_seconds".to_owned(),
            lifecycle.check_interval.as_secs_f64(),
        )])
        .chain(waits(hub))
        .collect()
}

/// Said always, so that an auditor can tell "nobody waits" from "not said".
fn waits(hub: &HubReport) -> [(String, f64); 2] {
    let seconds = |age: Option<Duration>| age.unwrap_or_default().as_secs_f64();
    [
        (
            "oldest_read_pending_age_seconds".to_owned(),
            seconds(hub.oldest_read_pending_age),
        ),
        (
            "oldest_unacknowledged_age_seconds".to_owned(),
            seconds(hub.oldest_unacknowledged_age),
        ),
    ]
}

fn dropped(stages: &Stages) -> std::collections::HashMap<String, u64> {
    let named = |(reason, count): (&&'static str, &u64)| ((*reason).to_owned(), *count);
    stages.dropped.iter().map(named).collect()
}

fn state(state: State) -> WireState {
    match state {
        State::Uninitialized => WireState::Uninitialized,
        State::Initializing => WireState::Initializing,
        State::Active => WireState::Active,
        State::Degraded => WireState::Degraded,
        State::Failed => WireState::Failed,
        State::Draining => WireState::Draining,
    }
}

fn check(result: &CheckResult) -> Check {
    Check {
        name: result.name.to_owned(),
        healthy: result.healthy,
        message: result.message.clone(),
        latency: Some(duration(result.latency)),
    }
}

/// A moment on the wire.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

/// A span on the wire; one that is too long for it becomes the longest that is not.
pub(crate) fn duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(span).unwrap_or(prost_types::Duration {
        seconds: i64::MAX,
        nanos: 999_999_999,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_survives_the_conversion() {
        let stages = Stages {
            accepted: 10,
            delivered: 4,
            acknowledged: 2,
            expired: 3,
            dropped: [("thread_forgotten", 2)].into(),
            pending: 1,
        };
        let hub = HubReport {
            stages,
            connections_opened: 3,
            connections_closed: 2,
            connections_open: 1,
            closes_by_reason: [("too_slow", 2)].into(),
            ..HubReport::default()
        };
        let wire = delivery_metrics(&hub);
        let given_up: u64 = wire.events_dropped.values().sum();
        assert_eq!(
            wire.events_accepted,
            wire.events_delivered + wire.events_expired + given_up + wire.events_pending
        );
        assert_eq!(wire.oldest_pending_age, None);
        assert_eq!(
            gauges(&hub, &LifecycleReport::default()).get("connections_closed_too_slow"),
            Some(&2.0)
        );
        let waiting = HubReport {
            oldest_unacknowledged_age: Some(Duration::from_millis(1_500)),
            ..HubReport::default()
        };
        let said = gauges(&waiting, &LifecycleReport::default());
        assert_eq!(said.get("oldest_unacknowledged_age_seconds"), Some(&1.5));
        assert_eq!(said.get("oldest_read_pending_age_seconds"), Some(&0.0));
    }

    #[test]
    fn the_rate_of_nothing_is_zero() {
        assert_eq!(success_rate(&LifecycleReport::default()), 0.0);
        let half = LifecycleReport {
            total_initializations: 2,
            successful_initializations: 1,
            ..LifecycleReport::default()
        };
        assert_eq!(success_rate(&half), 0.5);
    }

    #[test]
    fn a_hub_that_does_not_answer_is_unavailable() {
        for error in [
            HubError::Draining,
            HubError::Ended,
            HubError::Timeout(Duration::from_secs(1)),
        ] {
            assert_eq!(hub_status(error).code(), tonic::Code::Unavailable);
        }
        let full = hub_status(HubError::TooManyWatchers(5));
        assert_eq!(full.code(), tonic::Code::ResourceExhausted);
    }
}
