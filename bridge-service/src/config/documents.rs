//! The schema for editors and the page for people, held to the table of settings.

use serde_json::Value;
use service_kit::config::{page, schema};
use service_kit::reload::Reload as _;

use super::*;
use crate::reload::Changing;

/// Set to write the documents instead of comparing them.
const UPDATE: &str = "UPDATE_DOCUMENTS";

fn held(name: &str, expected: &str) {
    let path = format!("{}/../docs/settings/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == expected,
        "docs/settings/{name} is not what the code says; {UPDATE}=1 writes it anew"
    );
}

#[test]
fn the_schema_is_what_the_code_takes() {
    let schema: Value = schema("bridge-service", SPECS, &[]);
    held("bridge.schema.json", &format!("{schema:#}\n"));
}

#[test]
fn the_page_is_what_the_code_takes() {
    let page = page(
        "Settings of bridge-service",
        PREFIX,
        SPECS,
        Changing::changes_at_once,
    );
    held("bridge.md", &page);
}
