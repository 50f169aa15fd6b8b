//! How often the monitor's own runs go out, and how long they may take.

use std::time::Duration;

/// Pace and bounds of the synthetic runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CanarySettings {
    /// Whether runs are sent at all.
    pub(crate) enabled: bool,
    /// Between the starts of two runs through one component, where it names no interval of its
    /// own; jitter takes off up to a fifth.
    pub(crate) interval: Duration,
    /// How long a run may take in all, from asking where readers connect to its last event. One
    /// that has not come back after half of it gets company on another thread.
    pub(crate) deadline: Duration,
    /// Threads over which the runs of one component go around. At least 2.
    pub(crate) keys: usize,
    /// Components with a run under way at once; the others wait, which is no failure.
    pub(crate) concurrent_max: usize,
    /// How long a component that does not serve agents' events is left alone.
    pub(crate) recheck_interval: Duration,
}

impl Default for CanarySettings {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(3),
            deadline: Duration::from_secs(2),
            keys: 4,
            concurrent_max: 64,
            recheck_interval: Duration::from_secs(300),
        }
    }
}
