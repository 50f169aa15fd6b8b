//! What the service says of its own health: plain data, no wire format.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Where in its life the service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Uninitialized,
    Initializing,
    Active,
    Degraded,
    Failed,
    Draining,
}

impl State {
    /// The name in logs and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uninitialized => "uninitialized",
            Self::Initializing => "initializing",
            Self::Active => "active",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Draining => "draining",
        }
    }
}

/// One self-check's last result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckResult {
    pub(crate) name: &'static str,
    pub(crate) healthy: bool,
    pub(crate) message: String,
    pub(crate) latency: Duration,
}

/// One round of self-checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckRound {
    pub(crate) results: Vec<CheckResult>,
}

/// A step of the life cycle that the supervisor reports to the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LifecycleStep {
    /// The first step tells how often checks will run.
    InitializationBegan {
        check_interval: Duration,
    },
    InitializationEnded {
        error: Option<String>,
    },
    RecoveryBegan,
    RecoveryEnded {
        error: Option<String>,
    },
    /// Every attempt at recovery failed.
    GaveUp {
        error: String,
    },
}

/// One status, produced by the working loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthReport {
    /// Rises with every status that this instance produces, from 1.
    pub(crate) sequence: u64,
    pub(crate) observe_time: SystemTime,
    pub(crate) state: State,
    pub(crate) healthy: bool,
    pub(crate) checks: Arc<[CheckResult]>,
    pub(crate) consecutive_failures: u32,
    pub(crate) uptime: Duration,
    pub(crate) last_check_time: Option<SystemTime>,
    /// Empty: none stands.
    pub(crate) error_message: String,
}

/// Counts of the life cycle since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LifecycleReport {
    pub(crate) total_initializations: u64,
    pub(crate) successful_initializations: u64,
    pub(crate) failed_initializations: u64,
    pub(crate) recovery_attempts: u64,
    pub(crate) successful_recoveries: u64,
    pub(crate) health_checks_performed: u64,
    /// Between two rounds of checks. Zero: not known yet.
    pub(crate) check_interval: Duration,
}

/// Why a status was sent to the watchers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpdateReason {
    Initial,
    Changed,
    Heartbeat,
    Draining,
}
