//! What of the running service changes when the settings are read again.

use clap::ArgMatches;
use service_kit::config::{ConfigErrors, Values};
use service_kit::reload::{Files, Reload, Shared};
use std::collections::BTreeMap;
use tokio::sync::{mpsc, oneshot};

use crate::config::Settings;
use crate::discovery::{Change, Wanted};
use crate::fleet::api::{Command, FleetError, FleetHandle, Target};

/// The parts that can change.
pub(crate) struct Changing {
    pub(crate) flags: ArgMatches,
    pub(crate) shared: Shared,
    pub(crate) fleet: FleetHandle,
    pub(crate) discovery: mpsc::Sender<Change>,
}

impl Reload for Changing {
    type Settings = Settings;

    fn load(&self) -> Result<Settings, ConfigErrors> {
        Settings::load(&self.flags)
    }

    fn files(settings: &Settings) -> &Files {
        &settings.files
    }

    fn values(settings: &Settings) -> &Values {
        &settings.values
    }

    fn changes_at_once(path: &str) -> bool {
        let sections = ["rules.", "audit.", "incident."];
        let thresholds = sections.iter().any(|section| path.starts_with(section));
        let paces = [
            "fleet.evaluation_gap",
            "fleet.audit_gap",
            "fleet.late_tick",
            "fleet.stretch_max",
        ];
        let tables = ["components", "discovery"].contains(&path);
        tables || thresholds || paces.contains(&path) || Shared::changes_at_once(path)
    }

    async fn apply(&self, new: &Settings, old: &Settings) -> Result<(), String> {
        self.shared.apply(&new.shared())?;
        self.fleet.tell(Command::Adopt(Box::new(new.fleet))).await;
        // Discovery first: it lets go of a component that it had found and that is listed now.
        let (done, left) = oneshot::channel();
        let change = (Wanted::new(&new.discovery, &new.components), done);
        if self.discovery.send(change).await.is_err() || left.await.is_err() {
            return Err("discovery: it has ended".to_owned());
        }
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
