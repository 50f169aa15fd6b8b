//! What the table of settings looks like to people and to editors. Both follow from the table, so
//! neither can say what the code does not.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Spec;

/// What a setting's value is, as its default shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Number,
    Text,
}

impl Kind {
    pub(super) fn of(default: &str) -> Self {
        if default.parse::<bool>().is_ok() {
            Self::Boolean
        } else if default.parse::<f64>().is_ok() {
            Self::Number
        } else {
            Self::Text
        }
    }

    /// A value as TOML has it: in quotes unless it is one of this kind.
    pub(super) fn written(self, value: &str) -> String {
        if self != Self::Text && Self::of(value) == self {
            value.to_owned()
        } else {
            format!("{value:?}")
        }
    }
}

/// A JSON Schema (draft 2020-12) of a service's TOML file. `tables` are the arrays of tables that
/// it may have beside its settings, each with the schema of one entry.
#[must_use]
pub fn schema(title: &str, specs: &[Spec], tables: &[(&str, Value)]) -> Value {
    let mut root = Map::new();
    for spec in specs {
        match spec.path.split_once('.') {
            None => _ = root.insert(spec.path.to_owned(), property(spec)),
            Some((section, key)) => {
                let section = root.entry(section).or_insert_with(
                    || json!({ "type": "object", "additionalProperties": false, "properties": {} }),
                );
                section["properties"][key] = property(spec);
            }
        }
    }
    for (name, entry) in tables {
        root.insert(
            (*name).to_owned(),
            json!({ "type": "array", "items": entry }),
        );
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "additionalProperties": false,
        "properties": root,
    })
}

fn property(spec: &Spec) -> Value {
    let (kind, default) = match Kind::of(spec.default) {
        Kind::Boolean => ("boolean", json!(spec.default == "true")),
        Kind::Number => (
            "number",
            spec.default.parse().map_or(Value::Null, |number: f64| {
                if number.fract() == 0.0 {
                    json!(number as u64)
                } else {
                    json!(number)
                }
            }),
        ),
        Kind::Text => ("string", json!(spec.default)),
    };
    json!({ "type": kind, "default": default, "description": spec.help })
}

/// A page with every setting, its default and its meaning. `at_once` says which take effect while
/// the service runs.
#[must_use]
pub fn page(title: &str, prefix: &str, specs: &[Spec], at_once: fn(&str) -> bool) -> String {
    let mut page = format!(
        "# {title}\n\nEach is a line of the TOML file (`--config`), an environment variable and a flag; the later wins: \
         `hub.threads` is `threads` in the section `[hub]`, `{prefix}_HUB_THREADS` and `--hub-threads`. \
         Those with ↻ take effect while the service runs, at SIGHUP and when a file changed; the others at the next start. \
         This page follows from the code.\n\n| setting | default | meaning |\n|---|---|---|\n"
    );
    for spec in specs {
        let mark = if at_once(spec.path) { " ↻" } else { "" };
        let default = if spec.default.is_empty() {
            "empty".to_owned()
        } else {
            format!("`{}`", spec.default)
        };
        let help = spec.help.replace('|', "\\|");
        let _ = writeln!(page, "| `{}`{mark} | {default} | {help} |", spec.path);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[Spec] = &[
        Spec {
            path: "open",
            default: "false",
            help: "Whether.",
        },
        Spec {
            path: "hub.threads",
            default: "10",
            help: "How many.",
        },
        Spec {
            path: "hub.age",
            default: "1m",
            help: "How long | short.",
        },
    ];

    #[test]
    fn the_schema_has_each_setting_in_its_section() {
        let schema = schema("x", SPECS, &[("components", json!({ "type": "object" }))]);
        let properties = &schema["properties"];
        assert_eq!(properties["open"]["default"], false);
        assert_eq!(properties["hub"]["properties"]["threads"]["default"], 10);
        assert_eq!(properties["hub"]["properties"]["age"]["type"], "string");
        assert_eq!(properties["components"]["items"]["type"], "object");
    }

    #[test]
    fn the_page_has_a_line_for_each() {
        let page = page("x", "BRIDGE", SPECS, |path| path == "hub.age");
        assert!(page.contains("| `open` | `false` | Whether. |"), "{page}");
        assert!(
            page.contains("| `hub.age` ↻ | `1m` | How long \\| short. |"),
            "{page}"
        );
    }

    #[test]
    fn values_are_written_as_toml_has_them() {
        assert_eq!(Kind::Number.written("10"), "10");
        assert_eq!(Kind::Number.written("***"), "\"***\"");
        assert_eq!(Kind::Boolean.written("true"), "true");
        assert_eq!(Kind::Text.written("10"), "\"10\"");
    }
}
