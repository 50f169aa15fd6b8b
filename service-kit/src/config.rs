//! Settings from defaults, a TOML file, the environment and flags, in this order; the later wins.
//!
//! A service declares its settings once, as a table of [`Spec`]s; flags, environment names, help
//! and defaults all follow from it. Everything is checked before it is used, and every error is
//! reported at once: a person mends a file once, not six times.

mod document;
mod mistake;
mod ranges;
mod secret_url;
mod setting;
mod values;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

use crate::reload::Files;
use document::Kind;
pub use document::{page, schema};
pub use mistake::{mistake, mistake_at};
pub use ranges::{duration, number};
pub use secret_url::{SecretUrl, shown_url};
pub use setting::Setting;
pub use values::Values;

/// The exit code where the configuration is not valid (`EX_USAGE` of sysexits.h).
pub const EXIT_CONFIG: u8 = 64;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its place in the TOML file, such as `grpc.listen`. The flag is `--grpc-listen` and the
    /// environment variable `PREFIX_GRPC_LISTEN`.
    pub path: &'static str,
    /// The default, written as a user would write it.
    pub default: &'static str,
    /// One sentence; the unit and the allowed range belong here.
    pub help: &'static str,
}

impl Spec {
    fn flag(&self) -> String {
        self.path.replace(['.', '_'], "-")
    }

    fn variable(&self, prefix: &str) -> String {
        format!("{prefix}_{}", self.path.replace('.', "_").to_uppercase())
    }
}

/// Adds `--config` and one flag for each setting.
#[must_use]
pub fn with_flags(command: Command, prefix: &'static str, specs: &'static [Spec]) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help(format!("TOML file with settings [env: {prefix}_CONFIG]"));
    specs.iter().fold(command.arg(config), |command, spec| {
        let help = format!(
            "{} [env: {}] [default: {}]",
            spec.help,
            spec.variable(prefix),
            spec.default
        );
        let arg = Arg::new(spec.path)
            .long(spec.flag())
            .value_name("VALUE")
            .help(help);
        // What is off by default is switched on by its name alone.
        command.arg(match spec.default {
            "false" => arg.num_args(0..=1).default_missing_value("true"),
            _ => arg,
        })
    })
}

/// Every error of a configuration, each a sentence that names the setting, the value, where it
/// came from and what is allowed.
#[derive(Debug)]
pub struct ConfigErrors {
    /// The sentences.
    pub errors: Vec<String>,
    /// Every file that was looked at: only a change of one of them can make the next reading better.
    pub files: Files,
}

impl std::fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "the configuration is not valid:")?;
        for error in &self.errors {
            writeln!(f, "  - {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A value as it was written, and where.
#[derive(Clone, Debug)]
struct Written {
    value: toml::Value,
    origin: String,
}

/// The settings before they are checked.
#[derive(Debug)]
pub struct Source {
    prefix: &'static str,
    specs: &'static [Spec],
    written: BTreeMap<String, Written>,
    tables: BTreeMap<String, toml::Value>,
    errors: Vec<String>,
    files: Files,
}

impl Source {
    /// Reads the file that the flags or the environment name, the environment, and the flags.
    #[must_use]
    pub fn load(prefix: &'static str, specs: &'static [Spec], flags: &ArgMatches) -> Self {
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let given = |spec: &Spec| flags.get_one::<String>(spec.path).cloned();
        let file = flags.get_one::<PathBuf>("config").cloned();
        let flags = specs
            .iter()
            .filter_map(|spec| Some((spec.path, given(spec)?)))
            .collect();
        Self::from_parts(prefix, specs, file, &environment, flags)
    }

    /// The same from its parts, for tests.
    #[must_use]
    pub fn from_parts(
        prefix: &'static str,
        specs: &'static [Spec],
        file: Option<PathBuf>,
        environment: &[(String, String)],
        flags: Vec<(&'static str, String)>,
    ) -> Self {
        let mut source = Self {
            prefix,
            specs,
            written: BTreeMap::new(),
            tables: BTreeMap::new(),
            errors: Vec::new(),
            files: Files::default(),
        };
        let variable = |name: &str| {
            environment
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, value)| value.clone())
        };
        let file = file.or_else(|| variable(&format!("{prefix}_CONFIG")).map(PathBuf::from));
        if let Some(path) = file {
            source.read_file(&path);
        }
        for spec in specs {
            let name = spec.variable(prefix);
            if let Some(value) = variable(&name) {
                source.write(spec.path, toml::Value::String(value), name);
            }
        }
        for (path, value) in flags {
            let origin = format!("--{}", path.replace(['.', '_'], "-"));
            source.write(path, toml::Value::String(value), origin);
        }
        source
    }

    fn write(&mut self, path: &str, value: toml::Value, origin: String) {
        self.written
            .insert(path.to_owned(), Written { value, origin });
    }

    /// Keeps a file that settings come from, so that it can be looked at again.
    pub fn follow(&mut self, path: &Path) {
        self.files.follow(path);
    }

    /// The file of the settings, and every file that was followed.
    #[must_use]
    pub fn files(&self) -> Files {
        self.files.clone()
    }

    fn read_file(&mut self, path: &Path) {
        self.follow(path);
        let shown = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                return self
                    .errors
                    .push(format!("{shown}: cannot be read: {error}"));
            }
        };
        match text.parse::<toml::Table>() {
            Ok(table) => self.read_table("", &table, &shown.to_string()),
            Err(error) => self.reject(format!("{shown}: not TOML: {}", mistake(&text, &error))),
        }
    }

    fn read_table(&mut self, parent: &str, table: &toml::Table, origin: &str) {
        for (key, value) in table {
            let path = if parent.is_empty() {
                key.clone()
            } else {
                format!("{parent}.{key}")
            };
            match value {
                toml::Value::Table(inner) => self.read_table(&path, inner, origin),
                toml::Value::Array(items) if items.iter().all(toml::Value::is_table) => {
                    self.tables.insert(path, value.clone());
                }
                other => self.write(&path, other.clone(), origin.to_owned()),
            }
        }
    }

    /// The checked value of a setting. Where it is not valid the error is kept for
    /// [`Source::finish`], and the default stands in so that checking can go on.
    ///
    /// # Panics
    /// Where the path is not in the table of settings or its default is not valid: a mistake in
    /// this program that any test of the configuration finds.
    pub fn take<T: Setting>(&mut self, path: &'static str) -> T {
        let spec = self.specs.iter().find(|spec| spec.path == path);
        let spec = spec.unwrap_or_else(|| panic!("{path} is not in the table of settings"));
        let default = toml::Value::String(spec.default.to_owned());
        let default =
            || T::parse(&default).unwrap_or_else(|error| panic!("the default of {path}: {error}"));
        let Some(written) = self.written.remove(path) else {
            return default();
        };
        T::parse(&written.value).unwrap_or_else(|error| {
            self.errors
                .push(format!("{path}: {error} (from {})", written.origin));
            default()
        })
    }

    /// As [`Source::take`], and the value must satisfy a condition, described by `allowed`.
    ///
    /// # Panics
    /// As [`Source::take`].
    pub fn take_if<T: Setting + std::fmt::Debug>(
        &mut self,
        path: &'static str,
        allowed: &str,
        condition: impl Fn(&T) -> bool,
    ) -> T {
        let value = self.take(path);
        if !condition(&value) {
            self.errors.push(format!(
                "{path}: {value:?} is not allowed; allowed is {allowed}"
            ));
        }
        value
    }

    /// The tables under `[[path]]`, each as its own TOML table.
    pub fn take_tables(&mut self, path: &str) -> Vec<toml::Table> {
        let Some(toml::Value::Array(items)) = self.tables.remove(path) else {
            return Vec::new();
        };
        items
            .into_iter()
            .filter_map(|item| match item {
                toml::Value::Table(table) => Some(table),
                _ => None,
            })
            .collect()
    }

    /// Keeps an error that a check across settings found.
    pub fn reject(&mut self, error: String) {
        self.errors.push(error);
    }

    /// Done: what was written and never taken is an error too.
    ///
    /// # Errors
    /// Every error found since loading.
    pub fn finish(mut self) -> Result<(), ConfigErrors> {
        let untaken = self
            .written
            .iter()
            .map(|(path, written)| (path.clone(), written.origin.clone()));
        let tables = self
            .tables
            .keys()
            .map(|path| (path.clone(), "the file".to_owned()));
        let unknown: Vec<(String, String)> = untaken.chain(tables).collect();
        for (path, origin) in unknown {
            let nearest = self
                .specs
                .iter()
                .map(|spec| (edit_distance(spec.path, &path), spec.path))
                .min()
                .filter(|(distance, _)| *distance <= 3)
                .map(|(_, near)| format!("; did you mean {near}?"))
                .unwrap_or_default();
            self.errors.push(format!(
                "{path}: there is no such setting (from {origin}){nearest}"
            ));
        }
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(ConfigErrors {
                errors: self.errors,
                files: self.files,
            })
        }
    }

    /// The settings as they now stand, as TOML with a comment for each; call before taking them.
    #[must_use]
    pub fn effective(&self) -> String {
        self.effective_without(&[])
    }

    /// The same, the values of some settings hidden where they are set. Of URLs none shows what may
    /// be secret.
    pub fn effective_without(&self, secrets: &[&str]) -> String {
        let mut page = String::new();
        let mut section = "";
        let parent = |spec: &Spec| spec.path.rsplit_once('.').map_or("", |(parent, _)| parent);
        // TOML opens a section once, wherever the table of settings returns to it.
        let mut specs: Vec<&Spec> = self.specs.iter().collect();
        specs.sort_by_key(|spec| self.specs.iter().position(|s| parent(s) == parent(spec)));
        for spec in specs {
            let (parent, key) = spec.path.rsplit_once('.').unwrap_or(("", spec.path));
            if parent != section {
                section = parent;
                let _ = writeln!(page, "[{section}]");
            }
            let secret = secrets.contains(&spec.path) && self.written.contains_key(spec.path);
            let value = match self.value(spec) {
                _ if secret => "***".to_owned(),
                url if url.contains("://") => shown_url(&url),
                value => value,
            };
            let _ = writeln!(
                page,
                "# {}\n# env: {}\n{key} = {}\n",
                spec.help,
                spec.variable(self.prefix),
                Kind::of(spec.default).written(&value)
            );
        }
        page
    }
}

impl Source {
    fn value(&self, spec: &Spec) -> String {
        match self.written.get(spec.path).map(|written| &written.value) {
            None => spec.default.to_owned(),
            Some(toml::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// The settings as they were written, to be compared; call before taking them.
    #[must_use]
    pub fn values(&self) -> Values {
        let values = self.specs.iter().map(|spec| (spec.path, self.value(spec)));
        Values::new(values.collect(), &self.tables)
    }
}

/// Levenshtein's distance, for "did you mean".
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substitute = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;

    const SPECS: &[Spec] = &[
        Spec {
            path: "grpc.listen",
            default: "127.0.0.1:50051",
            help: "Where gRPC is served.",
        },
        Spec {
            path: "limits.threads",
            default: "1000",
            help: "Threads kept, at least 1.",
        },
        Spec {
            path: "health.interval",
            default: "60s",
            help: "Between rounds of checks.",
        },
    ];

    fn source(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Source {
        let directory = tempfile();
        let path = directory.join("settings.toml");
        std::fs::write(&path, file).unwrap();
        let environment: Vec<_> = environment
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        let flags = flags.iter().map(|(p, v)| (*p, (*v).to_owned())).collect();
        Source::from_parts("BRIDGE", SPECS, Some(path), &environment, flags)
    }

    fn tempfile() -> PathBuf {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "service-kit-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn the_later_wins() {
        let file =
            "[grpc]\nlisten = '127.0.0.1:1'\n[limits]\nthreads = 5\n[health]\ninterval = '1s'";
        let mut source = source(
            file,
            &[
                ("BRIDGE_GRPC_LISTEN", "127.0.0.1:2"),
                ("BRIDGE_LIMITS_THREADS", "6"),
            ],
            &[("grpc.listen", "127.0.0.1:3")],
        );
        assert_eq!(source.take::<SocketAddr>("grpc.listen").port(), 3);
        assert_eq!(source.take::<usize>("limits.threads"), 6);
        assert_eq!(
            source.take::<Duration>("health.interval"),
            Duration::from_secs(1)
        );
        source.finish().unwrap();
    }

    #[test]
    fn every_error_at_once() {
        let file = "[grpc]\nlisten = 'here'\n[limits]\nthreads = 0\n[helth]\ninterval = '1s'";
        let mut source = source(file, &[("BRIDGE_HEALTH_INTERVAL", "soon")], &[]);
        source.take::<SocketAddr>("grpc.listen");
        source.take_if::<usize>("limits.threads", "1 or more", |threads| *threads > 0);
        source.take::<Duration>("health.interval");
        let errors = source.finish().unwrap_err().errors.join("\n");
        for part in [
            "\"here\"",
            "1 or more",
            "\"soon\"",
            "did you mean health.interval?",
        ] {
            assert!(errors.contains(part), "{part} is missing from {errors}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let path = Some(PathBuf::from("/nowhere/settings.toml"));
        let source = Source::from_parts("BRIDGE", SPECS, path, &[], Vec::new());
        assert!(source.finish().unwrap_err().errors[0].contains("/nowhere/settings.toml"));
    }

    #[test]
    fn strangers_in_the_environment_are_left_alone() {
        // Kubernetes sets BRIDGE_SERVICE_HOST and the like for a service named "bridge".
        let source = source("", &[("BRIDGE_SERVICE_HOST", "10.0.0.1")], &[]);
        source.finish().unwrap();
    }
}
