//! What changes in both services alike when their settings are read again: the log's level, who is
//! known, and certificates.

use crate::access::{Access, AccessControl, JwksUrl};
use crate::port::PortSettings;
use crate::telemetry::{LogLevel, parse_filter};

/// The running parts.
pub struct Shared {
    /// Which log lines are written.
    pub level: LogLevel,
    /// Who is known.
    pub access: AccessControl,
    /// Where keys are fetched from.
    pub jwks_url: Option<JwksUrl>,
    /// The gRPC port's certificates.
    pub grpc: PortSettings,
    /// The HTTP port's certificates.
    pub http: PortSettings,
    /// Whether the gRPC and the HTTP port ask anybody who they are.
    pub closed: (bool, bool),
}

/// What the settings say of them now.
pub struct SharedSettings<'a> {
    /// `log.level`.
    pub log_level: &'a str,
    /// Who is known.
    pub known: &'a Access,
    /// Where keys are fetched from.
    pub jwks_url: Option<&'a JwksUrl>,
    /// The gRPC port.
    pub grpc: &'a PortSettings,
    /// The HTTP port.
    pub http: &'a PortSettings,
    /// Whether the gRPC and the HTTP port ask anybody who they are.
    pub closed: (bool, bool),
}

impl Shared {
    /// Whether a setting of these takes effect at once.
    #[must_use]
    pub fn changes_at_once(path: &str) -> bool {
        let fixed = ["auth.jwks_url", "auth.jwks_interval", "auth.frame_timeout"];
        let identities = path.starts_with("auth.") && !fixed.contains(&path);
        path == "log.level" || identities || path.contains(".tls_")
    }

    /// Goes on with the new ones.
    ///
    /// # Errors
    /// What cannot change while the service runs. Then nothing has changed: a door that somebody
    /// believes closed and that still stands open must not look like a success.
    pub fn apply(&self, new: &SharedSettings<'_>) -> Result<(), String> {
        let filter = parse_filter(new.log_level).map_err(|error| format!("log.level: {error}"))?;
        if new.closed != self.closed {
            return Err(
                "auth: whether a port asks anybody who they are is settled at the start; restart the service"
                    .to_owned(),
            );
        }
        let url = |source: &JwksUrl| source.url.clone();
        if new.jwks_url.map(url) != self.jwks_url.as_ref().map(url) {
            return Err(
                "auth.jwks_url: where keys are fetched from is settled at the start; restart the service"
                    .to_owned(),
            );
        }
        self.grpc.may_adopt(new.grpc)?;
        self.http.may_adopt(new.http)?;
        self.level.set(filter)?;
        self.access.replace(new.known.clone());
        self.grpc.adopt(new.grpc);
        self.http.adopt(new.http);
        Ok(())
    }
}
