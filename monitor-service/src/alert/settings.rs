//! Who is told, of what, and how hard it is tried.

use std::time::Duration;

use service_kit::config::{SecretUrl, Setting};

use crate::domain::Severity;

/// The alerts' settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AlertSettings {
    /// Where findings are posted.
    pub(crate) webhook_url: SecretUrl,
    /// Milder findings are not told.
    pub(crate) min_severity: Severity,
    /// Where the dead man's switch is told that the monitor lives.
    pub(crate) dead_man_url: SecretUrl,
    /// Between two of its beats.
    pub(crate) dead_man_interval: Duration,
    /// How long one attempt may take, connecting included.
    pub(crate) deadline: Duration,
    /// Attempts for one alert. At least 1.
    pub(crate) attempts: u32,
    /// The first pause between two attempts; it doubles with each.
    pub(crate) retry_base: Duration,
    /// The longest such pause; and after the last attempt, how long until the alert that failed is
    /// tried again, so that a path that heals is known to.
    pub(crate) retry_cap: Duration,
    /// Alerts that may wait; what is over it is dropped and counted. At least 1.
    pub(crate) queue_max: usize,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            webhook_url: SecretUrl::default(),
            min_severity: Severity::Warning,
            dead_man_url: SecretUrl::default(),
            dead_man_interval: Duration::from_secs(30),
            deadline: Duration::from_secs(2),
            attempts: 3,
            retry_base: Duration::from_millis(300),
            retry_cap: Duration::from_secs(30),
            queue_max: 256,
        }
    }
}

impl Setting for Severity {
    fn parse(written: &toml::Value) -> Result<Self, String> {
        match written.as_str() {
            Some("info") => Ok(Self::Info),
            Some("warning") => Ok(Self::Warning),
            Some("critical") => Ok(Self::Critical),
            _ => Err(format!(
                "{written} is not a severity; allowed are info, warning and critical"
            )),
        }
    }
}
