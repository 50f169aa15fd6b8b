//! Settings as they were written, to find what changed between two readings.

use std::collections::BTreeMap;

/// The text of every setting, and of the tables beside them. Some are secret: never shown.
#[derive(Clone, Default)]
pub struct Values {
    settings: BTreeMap<&'static str, String>,
    tables: BTreeMap<String, toml::Value>,
}

impl Values {
    pub(super) fn new(
        settings: BTreeMap<&'static str, String>,
        tables: &BTreeMap<String, toml::Value>,
    ) -> Self {
        Self {
            settings,
            tables: tables.clone(),
        }
    }

    /// The settings and tables that are not as they were.
    #[must_use]
    pub fn changed_from<'a>(&'a self, before: &'a Self) -> Vec<&'a str> {
        let settings = self.settings.iter();
        let settings = settings.filter(|(path, value)| before.settings.get(*path) != Some(value));
        let tables = self.tables.keys().chain(before.tables.keys());
        let tables = tables.filter(|name| self.tables.get(*name) != before.tables.get(*name));
        let mut changed: Vec<&str> = settings.map(|(path, _)| *path).collect();
        changed.extend(tables.map(String::as_str));
        changed.dedup();
        changed
    }
}

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} settings", self.settings.len())
    }
}
