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
