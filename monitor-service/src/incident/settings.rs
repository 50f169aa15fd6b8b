//! When a suspicion opens, when a finding resolves, and how many are kept.

use std::time::Duration;

/// The life of a finding, for one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IncidentSettings {
    /// How long an inconclusive sign must hold before it opens, where its rule has not waited
    /// itself.
    pub(crate) confirm_hold: Duration,
    /// Evaluations in a row without the sign that resolve a finding. At least 1.
    pub(crate) resolve_evaluations: u32,
    /// How long the sign must be gone, at the least, before the finding resolves.
    pub(crate) resolve_hold: Duration,
    /// Findings open at the same time; what is over it is counted, not opened.
    pub(crate) open_max: usize,
    /// Resolved findings kept; the oldest leave first.
    pub(crate) resolved_max: usize,
    /// Pieces of evidence kept with a finding. At least 1.
    pub(crate) evidence_items_max: usize,
    /// A sign that comes back within this time of its finding's end is that finding again.
    pub(crate) reopen_window: Duration,
    /// `resolve_hold` doubles each time that a finding came back, up to this. At least
    /// `resolve_hold`.
    pub(crate) resolve_hold_max: Duration,
    /// What opened at most this long before its cause was the cause's first sign, and resolves.
    pub(crate) absorb_window: Duration,
}

impl Default for IncidentSettings {
    fn default() -> Self {
        Self {
            confirm_hold: Duration::from_secs(1),
            resolve_evaluations: 2,
            resolve_hold: Duration::from_secs(1),
            open_max: 200,
            resolved_max: 200,
            evidence_items_max: 8,
            reopen_window: Duration::from_secs(300),
            resolve_hold_max: Duration::from_secs(300),
            absorb_window: Duration::from_secs(10),
        }
    }
}
