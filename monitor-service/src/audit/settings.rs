//! The thresholds of the rules, and the weights of an audit.

use std::time::Duration;

use super::disabled::Disabled;

/// The rules' thresholds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RuleSettings {
    /// Rules that are not asked.
    pub(crate) disabled: Disabled,
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
    /// Synthetic runs in a row that must fail before it counts (`canary_failed`). 2 to
    /// [`FAILURES_MAX`](super::canary::FAILURES_MAX).
    pub(crate) canary_failures_min: u32,
    /// How many intervals ago a synthetic run may have come back and still prove that the path
    /// works. At least 1.
    pub(crate) canary_recent_intervals: u32,
    /// How long an event may take from witness to witness (`late_delivery`, a warning).
    pub(crate) late_warning: Duration,
    /// How long it may take at the most (`late_delivery`, critical). Not less than `late_warning`.
    pub(crate) late_critical: Duration,
    /// Delays that must be known before their middle one counts (`late_delivery`). At least 1.
    pub(crate) late_events_min: u32,
    /// How long an event that came twice or out of order is shown (`duplicate_delivery`,
    /// `reordering`).
    pub(crate) disorder_shown: Duration,
    /// Reports of a consumer without a move after which it counts as stalled (`stuck_consumer`).
    pub(crate) stall_reports: u32,
    /// How many more deliveries may be claimed than were witnessed (`phantom_delivery`).
    pub(crate) phantom_events: u64,
    /// How long events may be written and none acknowledged (`half_open_connections`).
    pub(crate) acknowledgement_silence: Duration,
    /// How long the oldest pending event may age while nothing is delivered
    /// (`backpressure_growth`).
    pub(crate) backlog_growth: Duration,
    /// Added to an observer's promise before its silence counts (`evidence_channel_dead`).
    pub(crate) observer_grace: Duration,
    /// How many of its own regular intervals an observer without a promise may be silent
    /// (`evidence_channel_dead`).
    pub(crate) observer_intervals: u32,
}

impl Default for RuleSettings {
    fn default() -> Self {
        Self {
            disabled: Disabled::default(),
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
            canary_failures_min: 2,
            canary_recent_intervals: 3,
            late_warning: Duration::from_secs(1),
            late_critical: Duration::from_secs(5),
            late_events_min: 3,
            disorder_shown: Duration::from_secs(60),
            stall_reports: 3,
            phantom_events: 2,
            acknowledgement_silence: Duration::from_secs(3),
            backlog_growth: Duration::from_secs(3),
            observer_grace: Duration::from_secs(1),
            observer_intervals: 5,
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

impl RuleSettings {
    /// The same with every time that the monitor grants others stretched, for a monitor that is
    /// late itself. Thresholds that belong to the components' own affairs stay.
    pub(crate) fn stretched(self, factor: u32) -> Self {
        let longer = |grace: Duration| grace.saturating_mul(factor.max(1));
        Self {
            delivery_grace: longer(self.delivery_grace),
            lone_event_grace: longer(self.lone_event_grace),
            watch_grace: longer(self.watch_grace),
            reconnect_grace: longer(self.reconnect_grace),
            watch_audit_grace: longer(self.watch_audit_grace),
            restart_grace: longer(self.restart_grace),
            drain_notice_grace: longer(self.drain_notice_grace),
            lateness_grace: longer(self.lateness_grace),
            contradiction_grace: longer(self.contradiction_grace),
            limping_floor: longer(self.limping_floor),
            startup_grace: longer(self.startup_grace),
            observer_grace: longer(self.observer_grace),
            ..self
        }
    }
}

/// The thresholds of the rules about the monitor itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FleetRuleSettings {
    /// Components that must fail together before the monitor suspects itself (`observer_blind`).
    /// At least 2.
    pub(crate) blind_components: usize,
    /// Failures this close to each other count as together (`observer_blind`).
    pub(crate) blind_window: Duration,
    /// How long a component in trouble waits for others to follow before its own findings open,
    /// where there are `blind_components` or more (`observer_blind`).
    pub(crate) blind_gather: Duration,
    /// A tick of the monitor's loop that comes later than this is very late (`observer_blind`).
    pub(crate) very_late_tick: Duration,
    /// Very late ticks in a row at which the monitor cannot see (`observer_blind`). At least 1.
    pub(crate) late_ticks: u32,
    /// Intervals in which a dead man's switch may stay unconfirmed (`alert_path_dead`). At least 1.
    pub(crate) dead_man_intervals: u32,
}

impl Default for FleetRuleSettings {
    fn default() -> Self {
        Self {
            blind_components: 3,
            blind_window: Duration::from_secs(5),
            blind_gather: Duration::from_millis(400),
            very_late_tick: Duration::from_secs(1),
            late_ticks: 3,
            dead_man_intervals: 3,
        }
    }
}
