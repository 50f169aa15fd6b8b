//! The settings of a private monitor: what it knows, and what a scenario asks for.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::process::command;

/// The settings that a monitor's binary has, and their values.
#[derive(Clone, Debug)]
pub struct MonitorSettings {
    values: BTreeMap<String, String>,
    changed: BTreeMap<String, String>,
}

impl MonitorSettings {
    /// The defaults of a monitor's binary, as it prints them itself.
    ///
    /// # Errors
    /// One sentence, where the binary cannot be run or prints something else.
    pub async fn of(monitor: &Path) -> Result<Self, String> {
        let shown = monitor.display();
        let printed = command(monitor)
            .args(["serve", "--print-config"])
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| format!("{shown} cannot be run: {error}"))?;
        let text = String::from_utf8_lossy(&printed.stdout).into_owned();
        let table: toml::Table = text
            .parse()
            .map_err(|error| format!("{shown} does not print its settings as TOML: {error}"))?;
        let mut values = BTreeMap::new();
        collect("", &table, &mut values);
        if !values.contains_key("grpc.listen") {
            return Err(format!(
                "{shown} is no monitor: it has no setting grpc.listen"
            ));
        }
        Ok(Self {
            values,
            changed: BTreeMap::new(),
        })
    }

    /// With a setting changed. One that this monitor does not have is left out: a rule that it
    /// lacks will show as missed.
    #[must_use]
    pub fn with(mut self, path: &str, value: &str) -> Self {
        if self.values.contains_key(path) {
            self.values.insert(path.to_owned(), value.to_owned());
            self.changed.insert(path.to_owned(), value.to_owned());
        }
        self
    }

    /// Whether the monitor has a setting of that name.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.values.contains_key(path)
    }

    /// The changed settings as flags.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let flag = |(path, value): (&String, &String)| {
            format!("--{}={value}", path.replace(['.', '_'], "-"))
        };
        self.changed.iter().map(flag).collect()
    }

    /// A setting as a duration; 0 where there is none of that name.
    #[must_use]
    pub fn duration(&self, path: &str) -> Duration {
        let value = self.values.get(path);
        let parsed = value.and_then(|value| humantime::parse_duration(value).ok());
        parsed.unwrap_or_default()
    }
}

fn collect(parent: &str, table: &toml::Table, into: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let path = match parent {
            "" => key.clone(),
            parent => format!("{parent}.{key}"),
        };
        match value {
            toml::Value::Table(inner) => collect(&path, inner, into),
            toml::Value::String(text) => drop(into.insert(path, text.clone())),
            other => drop(into.insert(path, other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> MonitorSettings {
        let mut values = BTreeMap::new();
        collect("", &text.parse().unwrap(), &mut values);
        MonitorSettings {
            values,
            changed: BTreeMap::new(),
        }
    }

    #[test]
    fn what_the_monitor_does_not_know_is_left_out() {
        let settings = settings("[rules]\nrun_silence = \"30s\"\n");
        let settings = settings
            .with("rules.run_silence", "5s")
            .with("rules.new", "1s");
        assert_eq!(settings.flags(), ["--rules-run-silence=5s"]);
        assert_eq!(
            settings.duration("rules.run_silence"),
            Duration::from_secs(5)
        );
        assert_eq!(settings.duration("rules.new"), Duration::ZERO);
    }
}
