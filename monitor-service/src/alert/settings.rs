//! Who is told, of what, and how hard it is tried.

use std::time::Duration;

use http::Uri;
use service_kit::config::Setting;

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

/// An address whose path, query and user may be secret: it is never shown whole.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct SecretUrl(Option<Uri>);

/// What the address must be.
const ALLOWED: &str = "http://HOST… or https://HOST…, without user and password, or empty for none";

impl SecretUrl {
    /// `None`: none is set.
    pub(crate) const fn uri(&self) -> Option<&Uri> {
        self.0.as_ref()
    }

    pub(crate) const fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Whether TLS is asked for.
    pub(crate) fn is_secure(&self) -> bool {
        self.uri()
            .is_some_and(|uri| uri.scheme_str() == Some("https"))
    }

    /// Reads an address. Errors do not show it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let refuse = |why: &str| Err(format!("the value {why}; allowed is {ALLOWED}"));
        let Ok(uri) = text.parse::<Uri>() else {
            return refuse("is not a URL");
        };
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return refuse("is neither http nor https");
        }
        match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => {
                refuse("holds a user or a password")
            }
            Some(authority) if !authority.host().is_empty() => Ok(Self(Some(uri))),
            _ => refuse("names no host"),
        }
    }
}

impl Setting for SecretUrl {
    fn parse(written: &toml::Value) -> Result<Self, String> {
        match written {
            toml::Value::String(text) => Self::read(text),
            _ => Err("the value is not a text; write it in quotes".to_owned()),
        }
    }
}

/// Scheme and host: enough to know whom it is about.
impl std::fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.uri() {
            None => f.write_str("none"),
            Some(uri) => {
                let scheme = uri.scheme_str().unwrap_or_default();
                let host = uri.authority().map_or("", |authority| authority.as_str());
                write!(f, "{scheme}://{host}/…")
            }
        }
    }
}

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_never_shown_whole() {
        let url = SecretUrl::read("https://hooks.example.com:8443/services/T0/hush?key=hush");
        let url = url.unwrap();
        assert!(url.is_secure());
        assert_eq!(format!("{url}"), "https://hooks.example.com:8443/…");
        assert!(!format!("{url:?}").contains("hush"));
        assert_eq!(SecretUrl::read(""), Ok(SecretUrl::default()));
    }

    #[test]
    fn what_is_none_is_refused_without_showing_it() {
        for bad in [
            "hush",
            "/hush",
            "ftp://host/hush",
            "http://",
            "https://user:hush@host/",
            "http://host/hush hush",
        ] {
            let error = SecretUrl::read(bad).unwrap_err();
            assert!(error.contains("allowed is http://HOST"), "{bad}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
