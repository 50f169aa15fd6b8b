//! What of the running service changes when the settings are read again.

use std::path::PathBuf;

use clap::ArgMatches;
use service_kit::access::AccessControl;
use service_kit::config::{ConfigErrors, Values};
use service_kit::port::PortSettings;
use service_kit::reload::Reload;
use service_kit::telemetry::{LogLevel, parse_filter};

use crate::config::Settings;

/// The parts that can change.
pub(crate) struct Changing {
    pub(crate) flags: ArgMatches,
    pub(crate) level: LogLevel,
    pub(crate) access: AccessControl,
    pub(crate) grpc: PortSettings,
    pub(crate) http: PortSettings,
}

impl Reload for Changing {
    type Settings = Settings;

    fn load(&self) -> Result<Settings, ConfigErrors> {
        Settings::load(&self.flags)
    }

    fn files(settings: &Settings) -> &[PathBuf] {
        &settings.files
    }

    fn values(settings: &Settings) -> &Values {
        &settings.values
    }

    fn changes_at_once(path: &str) -> bool {
        let identities =
            path.starts_with("auth.") && !matches!(path, "auth.jwks_url" | "auth.frame_timeout");
        path == "log.level" || identities || path.contains(".tls_")
    }

    async fn apply(&self, new: &Settings, _: &Settings) -> Result<(), String> {
        let filter = parse_filter(&new.log_level).map_err(|error| format!("log.level: {error}"))?;
        self.level.set(filter)?;
        self.access.replace(new.known.clone());
        self.grpc.adopt(&new.grpc);
        self.http.adopt(&new.http);
        Ok(())
    }
}
