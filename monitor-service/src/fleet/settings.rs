//! The fleet's settings.

use std::time::Duration;

use crate::audit::settings::{AuditSettings, FleetRuleSettings, RuleSettings};
use crate::evidence::limits::EvidenceLimits;
use crate::incident::settings::IncidentSettings;

/// Who this monitor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The monitor's own component id.
    pub(crate) component_id: String,
    /// New at every process start; the prefix of every finding id.
    pub(crate) instance_id: String,
}

/// The fleet's bounds and its pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FleetSettings {
    /// Messages that may wait for the loop; senders wait beyond.
    pub(crate) mailbox_max: usize,
    /// How long a caller waits for an answer of the loop.
    pub(crate) answer_deadline: Duration,
    /// Components that may be registered.
    pub(crate) components_max: usize,
    /// Audits kept for each component. At least 1.
    pub(crate) audits_max: usize,
    /// Claims kept for each component, of each kind. At least `frozen_answers_min`.
    pub(crate) claims_max: usize,
    /// Callers that may wait for one component's audit; the others get the newest one at once.
    pub(crate) audit_waiters_max: usize,
    /// Changes of findings that a watcher may be behind before it is ended. At least 1.
    pub(crate) finding_backlog_max: usize,
    /// How often deadlines are looked at.
    pub(crate) tick: Duration,
    /// The least time between two evaluations of one component.
    pub(crate) evaluation_gap: Duration,
    /// The least time between two audits that the fleet asks for, for one component.
    pub(crate) audit_gap: Duration,
    /// The loop counts as stalled when it has not turned for this much longer than a tick.
    pub(crate) stall_tolerance: Duration,
    /// After a stall, how long nothing is concluded, so that what waits can be read first.
    pub(crate) stall_recovery: Duration,
    /// Thresholds of the rules.
    pub(crate) rules: RuleSettings,
    /// Bounds of the evidence.
    pub(crate) evidence: EvidenceLimits,
    /// Weights of an audit.
    pub(crate) audit: AuditSettings,
    /// The life of a finding.
    pub(crate) incident: IncidentSettings,
    /// Thresholds of the rules about the monitor itself.
    pub(crate) fleet_rules: FleetRuleSettings,
    /// A tick that comes later than this stretches the monitor's own deadlines and graces.
    pub(crate) late_tick: Duration,
    /// They are stretched to at most 1 + this many times their length.
    pub(crate) stretch_max: u32,
    /// Between two beats of the dead man's switch. `None`: there is none.
    pub(crate) dead_man_interval: Option<Duration>,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            mailbox_max: 4_096,
            answer_deadline: Duration::from_secs(2),
            components_max: 10_000,
            audits_max: 50,
            claims_max: 8,
            audit_waiters_max: 64,
            finding_backlog_max: 1_024,
            tick: Duration::from_millis(500),
            evaluation_gap: Duration::from_millis(100),
            audit_gap: Duration::from_millis(500),
            stall_tolerance: Duration::from_secs(1),
            stall_recovery: Duration::from_secs(2),
            rules: RuleSettings::default(),
            evidence: EvidenceLimits::default(),
            audit: AuditSettings::default(),
            incident: IncidentSettings::default(),
            fleet_rules: FleetRuleSettings::default(),
            late_tick: Duration::from_millis(250),
            stretch_max: 8,
            dead_man_interval: None,
        }
    }
}
