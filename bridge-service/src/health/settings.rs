//! How often and how hard the service looks at itself.

use std::time::Duration;

/// Settings of self-monitoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HealthSettings {
    /// Between two rounds of checks.
    pub(crate) check_interval: Duration,
    /// How long one check may take.
    pub(crate) verification_timeout: Duration,
    /// How long initialization may take.
    pub(crate) initialization_timeout: Duration,
    /// Rounds failed in a row before recovery begins.
    pub(crate) failures_before_recovery: u32,
    /// Attempts at recovery before the service says that it failed.
    pub(crate) recovery_attempts: u32,
    /// Wait before the first attempt at recovery; it doubles with each.
    pub(crate) recovery_backoff_base: Duration,
    /// Longest wait before an attempt at recovery.
    pub(crate) recovery_backoff_cap: Duration,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            check_interval: Duration::from_secs(60),
            verification_timeout: Duration::from_secs(10),
            initialization_timeout: Duration::from_secs(30),
            failures_before_recovery: 3,
            recovery_attempts: 3,
            recovery_backoff_base: Duration::from_secs(1),
            recovery_backoff_cap: Duration::from_secs(30),
        }
    }
}
