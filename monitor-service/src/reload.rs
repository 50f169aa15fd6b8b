//! What of the running service changes when the settings are read again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ArgMatches;
use service_kit::access::AccessControl;
use service_kit::config::{ConfigErrors, Values};
use service_kit::port::PortSettings;
use service_kit::reload::Reload;
use service_kit::telemetry::{LogLevel, parse_filter};

use crate::config::Settings;
use crate::fleet::api::{Command, FleetError, FleetHandle, Target};

/// The parts that can change.
pub(crate) struct Changing {
    pub(crate) flags: ArgMatches,
    pub(crate) level: LogLevel,
    pub(crate) access: AccessControl,
    pub(crate) grpc: PortSettings,
    pub(crate) http: PortSettings,
    pub(crate) fleet: FleetHandle,
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
        let identities = path.starts_with("auth.") && path != "auth.jwks_url";
        let thresholds = path.starts_with("rules.") || path.starts_with("audit.");
        let paces = [
            "fleet.evaluation_gap",
            "fleet.audit_gap",
            "fleet.late_tick",
            "fleet.stretch_max",
        ];
        let named = ["log.level", "components"].contains(&path) || paces.contains(&path);
        named || identities || thresholds || path.contains(".tls_")
    }

    async fn apply(&self, new: &Settings, old: &Settings) -> Result<(), String> {
        let filter = parse_filter(&new.log_level).map_err(|error| format!("log.level: {error}"))?;
        self.level.set(filter)?;
        self.access.replace(new.known.clone());
        self.grpc.adopt(&new.grpc);
        self.http.adopt(&new.http);
        self.fleet.tell(Command::Adopt(Box::new(new.fleet))).await;
        self.change_components(&new.components, &old.components)
            .await
    }
}

impl Changing {
    /// Only what the settings named before is removed: others come from elsewhere.
    async fn change_components(&self, new: &[Target], old: &[Target]) -> Result<(), String> {
        let by_id = |targets: &[Target]| -> BTreeMap<_, _> {
            let targets = targets.iter().cloned();
            targets
                .map(|target| (target.component_id.clone(), target))
                .collect()
        };
        let (wanted, had) = (by_id(new), by_id(old));
        for component_id in had.keys().filter(|id| !wanted.contains_key(*id)) {
            let component_id = component_id.to_string();
            let removed = self
                .fleet
                .ask(|reply| Command::Remove {
                    component_id,
                    reply,
                })
                .await;
            match removed.and_then(|removed| removed) {
                // Somebody has removed it by hand.
                Ok(()) | Err(FleetError::NotRegistered(_)) => {}
                Err(error) => return Err(format!("components: {error}")),
            }
        }
        for (component_id, target) in wanted {
            if had.get(&component_id) != Some(&target) {
                let registered = self
                    .fleet
                    .ask(|reply| Command::Register { target, reply })
                    .await;
                registered
                    .and_then(|registered| registered)
                    .map_err(|error| {
                        format!("components: {component_id:?} is not registered: {error}")
                    })?;
            }
        }
        Ok(())
    }
}
