//! What of the running service changes when the settings are read again.

use clap::ArgMatches;
use service_kit::config::{ConfigErrors, Values};
use service_kit::reload::{Files, Reload, Shared};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::config::Settings;
use crate::discovery::{Change, Wanted};
use crate::domain::ComponentId;
use crate::fleet::api::{Command, FleetError, FleetHandle, Target};

/// The parts that can change.
pub(crate) struct Changing {
    pub(crate) flags: ArgMatches,
    pub(crate) shared: Shared,
    pub(crate) fleet: FleetHandle,
    pub(crate) discovery: mpsc::Sender<Change>,
    pub(crate) listed: Listed,
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

    async fn apply(&self, new: &Settings, _: &Settings) -> Result<(), String> {
        self.shared.apply(&new.shared())?;
        self.fleet.tell(Command::Adopt(Box::new(new.fleet))).await;
        // Discovery first: it lets go of a component that it had found and that is listed now.
        let (done, left) = oneshot::channel();
        let change = (Wanted::new(&new.discovery, &new.components), done);
        if self.discovery.send(change).await.is_err() || left.await.is_err() {
            return Err("discovery: it has ended".to_owned());
        }
        let failed = self.listed.become_these(&new.components).await;
        failed.map_err(|error| {
            format!("components: {error}; everything else holds, and the next reading tries again")
        })
    }
}

/// What the settings list, as far as it is registered.
pub(crate) struct Listed {
    fleet: FleetHandle,
    /// Of a reading that failed halfway, as much as it did.
    registered: Mutex<BTreeMap<ComponentId, Target>>,
}

impl Listed {
    /// These are registered already.
    pub(crate) fn new(fleet: FleetHandle, registered: &[Target]) -> Self {
        let by_id = registered
            .iter()
            .map(|target| (target.component_id.clone(), target.clone()));
        Self {
            fleet,
            registered: Mutex::new(by_id.collect()),
        }
    }

    /// Only what the settings have registered is removed: others come from elsewhere.
    async fn become_these(&self, wanted: &[Target]) -> Result<(), String> {
        let mut registered = self.registered.lock().await;
        let ids: BTreeSet<_> = wanted.iter().map(|target| &target.component_id).collect();
        let gone: Vec<_> = registered
            .keys()
            .filter(|id| !ids.contains(id))
            .cloned()
            .collect();
        for id in gone {
            let component_id = id.to_string();
            let removed = self
                .fleet
                .ask(|reply| Command::Remove {
                    component_id,
                    reply,
                })
                .await;
            match removed.and_then(|removed| removed) {
                // Somebody has removed it by hand.
                Ok(()) | Err(FleetError::NotRegistered(_)) => registered.remove(&id),
                Err(error) => return Err(error.to_string()),
            };
        }
        for target in wanted {
            let id = target.component_id.clone();
            if registered.get(&id) == Some(target) {
                continue;
            }
            let done = self
                .fleet
                .ask(|reply| Command::Register {
                    target: target.clone(),
                    reply,
                })
                .await;
            done.and_then(|done| done)
                .map_err(|error| format!("{id:?} is not registered: {error}"))?;
            registered.insert(id, target.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::tests::load;

    fn listing(ids: &[&str]) -> Vec<Target> {
        let table = |id: &&str| {
            format!("[[components]]\ncomponent_id = '{id}'\nendpoint = 'http://127.0.0.1:1'\n")
        };
        load(&ids.iter().map(table).collect::<String>())
            .unwrap()
            .components
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_that_fails_halfway_is_gone_on_with_by_the_next() {
        let (mailbox, mut commands) = mpsc::channel(8);
        let fleet = FleetHandle::new(mailbox, Duration::from_secs(1));
        let listed = Listed::new(fleet, &listing(&["a"]));
        let fleet = async {
            let mut seen = Vec::new();
            let mut unanswered = Vec::new();
            while let Some(command) = commands.recv().await {
                match command {
                    Command::Register { target, reply } if &*target.component_id == "c" => {
                        seen.push("c is not answered".to_owned());
                        unanswered.push(reply);
                    }
                    Command::Register { target, reply } => {
                        seen.push(format!("+{}", target.component_id));
                        reply.send(Ok(true)).unwrap();
                    }
                    Command::Remove {
                        component_id,
                        reply,
                    } => {
                        seen.push(format!("-{component_id}"));
                        reply.send(Ok(())).unwrap();
                    }
                    _ => panic!("nothing else is asked"),
                }
            }
            seen
        };
        let readings = async move {
            let failed = listed.become_these(&listing(&["a", "b", "c"])).await;
            assert!(failed.unwrap_err().contains("\"c\" is not registered"));
            listed.become_these(&listing(&["a"])).await.unwrap();
        };
        let (seen, ()) = tokio::join!(fleet, readings);
        assert_eq!(seen, ["+b", "c is not answered", "-b"]);
    }
}
