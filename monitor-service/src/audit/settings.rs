//! The thresholds of the rules, and the weights of an audit.

use std::time::Duration;

/// The rules' thresholds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RuleSettings {
    /// How long an accepted event may take to be reported by a consumer (`black_hole`,
    /// `event_loss`, and what an audit counts as unseen).
    pub(crate) delivery_grace: Duration,
    /// How long a single missing event, with nothing sent after it, is left open before it counts
    /// as a `black_hole`.
    pub(crate) lone_event_grace: Duration,
    /// Added to a watch stream's promise before its silence counts (`watch_silence`).
    pub(crate) watch_grace: Duration,
    /// How long a watch stream may be away after it ended or broke (`watch_silence`).
    pub(crate) reconnect_grace: Duration,
    /// How long a silent watch stream waits for the audit that it asked for, before the finding
    /// opens without one (`watch_silence`).
    pub(crate) watch_audit_grace: Duration,
    /// How long a component may be away after it said DRAINING (`unreachable`).
    pub(crate) restart_grace: Duration,
    /// How long a new instance waits for the old one's DRAINING (`silent_restart`).
    pub(crate) drain_notice_grace: Duration,
    /// How long a `silent_restart` stays open.
    pub(crate) restart_shown: Duration,
    /// Equal answers of one instance in a row that count as frozen (`frozen_health`). At least 2.
    pub(crate) frozen_answers_min: u32,
    /// How long `last_health_check_time` may stand still where no interval is known
    /// (`frozen_health`).
    pub(crate) health_check_silence: Duration,
    /// How many of its own known intervals `last_health_check_time` may stand still.
    pub(crate) health_check_intervals: u32,
    /// How far `success_rate` may be off the ratio (`inconsistent_claims`).
    pub(crate) success_rate_tolerance: f64,
    /// How long a run may be silent before its end (`run_never_finished`).
    pub(crate) run_silence: Duration,
    /// How long a tool may run (`tool_stuck`).
    pub(crate) tool_limit: Duration,
    /// How late a report may be (`orphan_tool_completion`).
    pub(crate) lateness_grace: Duration,
    /// Between two audits of a component of which a sign stands that only calls can show.
    pub(crate) recheck: Duration,
    /// Added to a beat before stream and calls may no longer disagree (`watch_contradiction`).
    pub(crate) contradiction_grace: Duration,
    /// How long a `counter_regression` stays open.
    pub(crate) regression_shown: Duration,
    /// Share of changes, in percent, from which a component is flapping (`flapping`).
    pub(crate) flap_high_percent: u32,
    /// Share of changes up to which it is flapping no more.
    pub(crate) flap_low_percent: u32,
    /// How far a component's clock may be outside of a call (`clock_skew`).
    pub(crate) clock_tolerance: Duration,
    /// Slow calls in a row that count (`limping`). At least 2, at most 8.
    pub(crate) limping_calls_min: u32,
    /// A call under this is never slow (`limping`). At least 50 ms.
    pub(crate) limping_floor: Duration,
    /// How many times its own usual latency a slow call takes (`limping`). At least 3.
    pub(crate) limping_factor: u32,
    /// How many times as much as its peers a component must have slowed down (`limping`).
    pub(crate) limping_peer_factor: u32,
    /// Failed attempts at recovery that count (`recovery_loop`). At least 1.
    pub(crate) recovery_attempts_min: u32,
    /// In which time they are counted (`recovery_loop`).
    pub(crate) recovery_window: Duration,
    /// How long after a start nothing need have gone through (`startup_false_positive`).
    pub(crate) startup_grace: Duration,
}

impl Default for RuleSettings {
    fn default() -> Self {
        Self {
            delivery_grace: Duration::from_secs(2),
            lone_event_grace: Duration::from_secs(5),
            watch_grace: Duration::from_secs(1),
            reconnect_grace: Duration::from_secs(5),
            watch_audit_grace: Duration::from_secs(4),
            restart_grace: Duration::from_secs(10),
            drain_notice_grace: Duration::from_secs(2),
            restart_shown: Duration::from_secs(60),
            frozen_answers_min: 3,
            health_check_silence: Duration::from_secs(300),
            health_check_intervals: 3,
            success_rate_tolerance: 1e-6,
            run_silence: Duration::from_secs(30),
            tool_limit: Duration::from_secs(60),
            lateness_grace: Duration::from_secs(2),
            recheck: Duration::from_secs(5),
            contradiction_grace: Duration::from_secs(1),
            regression_shown: Duration::from_secs(60),
            flap_high_percent: 30,
            flap_low_percent: 20,
            clock_tolerance: Duration::from_millis(500),
            limping_calls_min: 3,
            limping_floor: Duration::from_millis(250),
            limping_factor: 10,
            limping_peer_factor: 3,
            recovery_attempts_min: 3,
            recovery_window: Duration::from_secs(300),
            startup_grace: Duration::from_secs(10),
        }
    }
}

/// How an audit's parts add up to its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AuditSettings {
    /// Weight of what the component claims. Not negative.
    pub(crate) claims_weight: f64,
    /// Weight of what witnesses saw. Not negative.
    pub(crate) evidence_weight: f64,
    /// Weight of how well the auditor can see. Not negative; the three must not all be 0.
    pub(crate) integration_weight: f64,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            claims_weight: 50.0,
            evidence_weight: 30.0,
            integration_weight: 20.0,
        }
    }
}
