//! What is wrong with TOML, said without what is written there, which may be a secret: the parser's
//! own words show the line, and those about a wrong type the value.

use toml::de::Error;

/// The mistake in a text, with its line.
#[must_use]
pub fn mistake(text: &str, error: &Error) -> String {
    let line = error.span().and_then(|span| text.get(..span.start));
    let line = line.map_or(1, |before| before.matches('\n').count() + 1);
    format!("line {line}: {}", without_value(error.message()))
}

/// The mistake in a table that was read before, with its key; `path` is where the table stands.
#[must_use]
pub fn mistake_at(path: &str, error: &Error) -> String {
    // The key is in no other place than behind the message.
    let shown = error.to_string();
    let key = shown.strip_prefix(error.message()).unwrap_or_default();
    let key = key.trim().strip_prefix("in `");
    let key = key.and_then(|key| key.strip_suffix('`'));
    let key = key.map_or_else(String::new, |key| format!(".{key}"));
    format!("{path}{key}: {}", without_value(error.message()))
}

/// Serde's words about a value that is not of its type, without the value.
fn without_value(message: &str) -> String {
    for wrong in ["invalid type", "invalid value"] {
        if message.starts_with(wrong) {
            let (_, expected) = message.rsplit_once(", expected ").unwrap_or_default();
            return format!("{wrong}, expected {expected}");
        }
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Entry {
        #[serde(rename = "token")]
        _token: String,
        #[serde(default, rename = "metadata")]
        _metadata: HashMap<String, String>,
    }

    #[test]
    fn a_mistake_in_a_text_has_its_line_and_no_value() {
        for (text, said) in [
            (
                "\ntoken = 123456",
                "line 2: invalid type, expected a string",
            ),
            (
                "token = 'x'\nmetadata = 'a, expected hush'",
                "line 2: invalid type, expected a map",
            ),
            (
                "token = 'x'\nmetadata = { a = ['hush'] }",
                "line 2: invalid type, expected a string",
            ),
            ("token = 'x'\ntokn = 'hush'", "line 2: unknown field `tokn`"),
            ("\n\ntoken = \"hush", "line 3: "),
            ("token = hush-hush", "line 1: "),
        ] {
            let error = toml::from_str::<Entry>(text).unwrap_err();
            let mistake = mistake(text, &error);
            assert!(mistake.starts_with(said), "{text}: {mistake}");
            assert!(
                !mistake.contains("hush") && !mistake.contains("123"),
                "{mistake}"
            );
        }
    }

    #[test]
    fn a_mistake_in_a_table_has_its_key_and_no_value() {
        for (text, said) in [
            (
                "token = 123456",
                "here.token: invalid type, expected a string",
            ),
            (
                "token = 'x'\nmetadata = 'hush'",
                "here.metadata: invalid type, expected a map",
            ),
            (
                "token = 'x'\nmetadata = { a = ['hush'] }",
                "here.metadata.a: invalid type, expected a string",
            ),
            ("", "here: missing field `token`"),
        ] {
            let table: toml::Table = text.parse().unwrap();
            let read: Result<Entry, _> = toml::Value::Table(table).try_into();
            assert_eq!(mistake_at("here", &read.unwrap_err()), said, "{text}");
        }
    }
}
