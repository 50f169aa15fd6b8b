//! The monitor's own runs, and how they fared.

use std::time::{Duration, SystemTime};

use service_kit::clock::Now;

/// What became of one of the monitor's own runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CanaryOutcome {
    /// Every event came back once, in order and unchanged; the last so long after it was handed in.
    Whole(Duration),
    /// It did not come back whole, and why.
    Failed(String),
    /// The component said on the way that it drains.
    Draining(String),
    /// It says nothing of the component: the monitor's own trouble, credentials that were refused,
    /// or a full house.
    NoWord(String),
}

/// One of the monitor's own runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CanaryRun {
    /// The thread on which it was sent.
    pub(crate) key: String,
    pub(crate) began: Now,
    pub(crate) ended: Now,
    /// Between two runs through this component.
    pub(crate) interval: Duration,
    pub(crate) outcome: CanaryOutcome,
}

/// How the monitor's own runs through one component fared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CanaryReport {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) last_success: Option<SystemTime>,
    /// Of the last whole run.
    pub(crate) last_delay: Option<Duration>,
    pub(crate) delay_median: Option<Duration>,
    /// Empty: the last run came back whole.
    pub(crate) error: String,
    /// Whether it is a proof, at this moment, that the path works.
    pub(crate) proven: bool,
}
