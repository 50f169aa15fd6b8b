//! What of the running service changes when the settings are read again.

use clap::ArgMatches;
use service_kit::config::{ConfigErrors, Values};
use service_kit::reload::{Files, Reload, Shared};

use crate::config::Settings;

/// The parts that can change.
pub(crate) struct Changing {
    pub(crate) flags: ArgMatches,
    pub(crate) shared: Shared,
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
        Shared::changes_at_once(path)
    }

    async fn apply(&self, new: &Settings, _: &Settings) -> Result<(), String> {
        self.shared.apply(&new.shared())
    }
}
