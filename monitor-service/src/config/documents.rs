//! The schema for editors and the page for people, held to the table of settings.

use serde_json::{Value, json};
use service_kit::config::{page, schema};
use service_kit::reload::Reload as _;

use super::*;
use crate::reload::Changing;

/// Set to write the documents instead of comparing them.
const UPDATE: &str = "UPDATE_DOCUMENTS";

/// One `[[components]]` table; `components.rs` reads it.
fn component() -> Value {
    let text = |what: &str| json!({ "type": "string", "description": what });
    let texts = |what: &str| json!({ "type": "object", "additionalProperties": { "type": "string" }, "description": what });
    let object = |properties: Value| json!({ "type": "object", "additionalProperties": false, "properties": properties });
    let mut component = object(json!({
        "component_id": text("The id that the component itself claims."),
        "endpoint": text("http://HOST:PORT or https://HOST:PORT."),
        "labels": texts("Anything to tell components apart by."),
        "token_file": text("A file with the token to show with every call and to read synthetic runs with."),
        "metadata": texts("Sent with every call, such as authorization = \"Bearer TOKEN\"."),
        "tls": object(json!({
            "ca_file": text("PEM file with the certificates to trust; without it the system's roots."),
            "client_certificate_file": text("PEM file with the client certificate to show."),
            "client_key_file": text("PEM file with its key."),
            "server_name": text("The name that the server's certificate must have; without it the endpoint's host."),
        })),
        "canary": object(json!({
            "disabled": { "type": "boolean", "description": "Send no synthetic runs." },
            "interval": text("Between two of them, such as 5s."),
            "websocket_uri": text("Where they are read back; without it as the component says."),
            "token": text("Bearer token to read them with."),
        })),
    }));
    component["required"] = json!(["component_id", "endpoint"]);
    component
}

/// One `[[discovery]]` table: a component's members but its endpoint, and where to look.
fn discovery() -> Value {
    let text = |what: &str| json!({ "type": "string", "description": what });
    let mut table = component();
    table["required"] = json!(["name"]);
    let Some(members) = table["properties"].as_object_mut() else {
        return table;
    };
    members.remove("endpoint");
    for (name, what) in [
        ("name", "Tells one table from another."),
        (
            "component_id",
            "With {name}, {address}, {port} and {pod} in it.",
        ),
        (
            "dns",
            "http://HOST:PORT or https://HOST:PORT, whose every address is a component.",
        ),
        ("interval", "Between two looks at the name, such as 5s."),
        (
            "keep",
            "How long one that is found no more stays registered, such as 5s.",
        ),
        (
            "endpoint_slices",
            "A label selector; each endpoint of these slices is a component.",
        ),
        (
            "namespace",
            "Of the slices; without it the monitor's own; * is all.",
        ),
        ("port", "The port's name; without it the only one."),
        ("kubeconfig", "How to reach the API server from outside."),
        ("scheme", "http or https, for endpoints of slices."),
    ] {
        members.insert(name.to_owned(), text(what));
    }
    table
}

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
    let schema: Value = schema(
        "monitor-service",
        SPECS,
        &[("components", component()), ("discovery", discovery())],
    );
    held("monitor.schema.json", &format!("{schema:#}\n"));
}

#[test]
fn the_page_is_what_the_code_takes() {
    let page = page(
        "Settings of monitor-service",
        PREFIX,
        SPECS,
        Changing::changes_at_once,
    );
    held("monitor.md", &page);
}

/// Every member of the schema is one that the reader of the file knows.
#[test]
fn a_component_with_every_member_is_taken() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let pem = tempfile::NamedTempFile::new().unwrap();
    let members = |value: &Value| -> Vec<String> {
        let properties = value["properties"].as_object().unwrap();
        properties.keys().cloned().collect()
    };
    let component = component();
    let known = [
        members(&component),
        members(&component["properties"]["tls"]),
        members(&component["properties"]["canary"]),
    ];
    let line = |name: &String| match name.as_str() {
        "labels" | "metadata" | "tls" | "canary" => format!("{name} = {{}}\n"),
        "disabled" => format!("{name} = true\n"),
        "interval" => format!("{name} = '5s'\n"),
        other if other.ends_with("_file") => format!("{name} = {:?}\n", pem.path()),
        _ => format!("{name} = 'x'\n"),
    };
    let table = |names: &[String], skip: &[&str]| -> String {
        names
            .iter()
            .filter(|name| !skip.contains(&name.as_str()))
            .map(line)
            .collect()
    };
    let text = format!(
        "[[components]]\n{}[components.tls]\n{}[components.canary]\n{}",
        table(&known[0], &["tls", "canary"]),
        table(&known[1], &[]),
        table(&known[2], &[]),
    );
    std::fs::write(file.path(), text).unwrap();
    let source = Source::from_parts(PREFIX, SPECS, Some(file.path().to_owned()), &[], Vec::new());
    let errors = Settings::from_source(source).unwrap_err().to_string();
    assert!(!errors.contains("unknown field"), "{errors}");
}

/// Of the members of the schema none is a stranger to the reader of such a table.
#[test]
fn a_discovery_with_every_member_is_taken() {
    let table = discovery();
    let names = table["properties"].as_object().unwrap().keys();
    let slices = [
        "endpoint_slices",
        "namespace",
        "port",
        "kubeconfig",
        "scheme",
    ];
    let objects = ["labels", "metadata", "tls", "canary"];
    let lines = names.filter(|name| !slices.contains(&name.as_str()));
    let lines = lines.map(|name| match name.as_str() {
        "dns" => "dns = 'https://bridges:50051'\n".to_owned(),
        "interval" | "keep" => format!("{name} = '5s'\n"),
        "component_id" => "component_id = '{name}-{address}'\n".to_owned(),
        "token_file" => String::new(),
        name if objects.contains(&name) => format!("{name} = {{}}\n"),
        name => format!("{name} = 'x'\n"),
    });
    let text = format!("[[discovery]]\n{}", lines.collect::<String>());
    tests::load(&text).unwrap();
}
