//! The components of the file: `[[components]]` tables.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use monitorable::monitor::v1 as wire;
use serde::Deserialize;
use service_kit::config::{Source, mistake_at};

use crate::edge::validate::target::target;
use crate::fleet::api::Target;
use crate::probe::settings::ProbeSettings;

/// One table, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    component_id: String,
    endpoint: String,
    #[serde(default)]
    labels: HashMap<String, String>,
    #[serde(default)]
    metadata: HashMap<String, String>,
    tls: Option<TlsEntry>,
    /// A file with the token that the component is shown with every call, and to read the monitor's
    /// own runs back: `metadata` and `canary.token` in one, and out of the settings.
    token_file: Option<PathBuf>,
    #[serde(default)]
    canary: CanaryEntry,
}

/// How the monitor's own runs go through it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CanaryEntry {
    #[serde(default)]
    disabled: bool,
    /// Such as `5s`.
    interval: Option<String>,
    #[serde(default)]
    websocket_uri: String,
    #[serde(default)]
    token: String,
}

/// TLS options as files, since PEM in a settings file invites keys into version control.
/// Relative paths start at the working directory.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsEntry {
    ca_file: Option<PathBuf>,
    client_certificate_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
    #[serde(default)]
    server_name: String,
}

/// Takes every component; what is wrong with one is kept in the source, and the next is checked.
pub(super) fn take(
    source: &mut Source,
    settings: &ProbeSettings,
    components_max: usize,
) -> Vec<Target> {
    let tables = source.take_tables("components");
    if tables.len() > components_max {
        let count = tables.len();
        source.reject(format!(
            "components: {count} are too many; allowed are fleet.components, which is {components_max}"
        ));
    }
    let mut targets = Vec::with_capacity(tables.len());
    let mut known = HashSet::new();
    for (index, table) in tables.into_iter().enumerate() {
        let read = read(
            &format!("components[{index}]"),
            table,
            settings,
            &mut |file| source.follow(file),
        );
        match read {
            Err(error) => source.reject(error),
            Ok(target) if !known.insert(target.component_id.clone()) => source.reject(format!(
                "components[{index}].component_id: {:?} is there twice",
                target.component_id
            )),
            Ok(target) => targets.push(target),
        }
    }
    targets
}

/// One component; `path` is where its table stands, such as `components[0]`. Every file that it
/// names is told to `follow`.
///
/// # Errors
/// What is wrong first.
pub(crate) fn read(
    path: &str,
    table: toml::Table,
    settings: &ProbeSettings,
    follow: &mut dyn FnMut(&Path),
) -> Result<Target, String> {
    let mut entry: Entry = toml::Value::Table(table)
        .try_into()
        .map_err(|error| mistake_at(path, &error))?;
    if let Some(file) = &entry.token_file {
        follow(file);
        let token =
            token(file).map_err(|why| format!("{path}.token_file: {}: {why}", file.display()))?;
        let shown = format!("Bearer {token}");
        entry.metadata.insert("authorization".to_owned(), shown);
        entry.canary.token = token;
    }
    let tls = entry.tls;
    let tls = tls.map(|tls| read_files(path, tls, follow)).transpose()?;
    let component = wire::Component {
        component_id: entry.component_id,
        endpoint: entry.endpoint,
        labels: entry.labels,
        tls,
        metadata: entry.metadata,
        canary: Some(canary(path, entry.canary)?),
    };
    target(component, &format!("{path}."), settings).map_err(|error| error.0)
}

fn canary(path: &str, entry: CanaryEntry) -> Result<wire::CanaryOptions, String> {
    let field = format!("{path}.canary.interval");
    let interval = entry.interval.map(|text| {
        let span = humantime::parse_duration(&text)
            .map_err(|error| format!("{field}: {text:?} is no duration such as 5s: {error}"))?;
        prost_types::Duration::try_from(span)
            .map_err(|error| format!("{field}: {text:?} is not allowed: {error}"))
    });
    Ok(wire::CanaryOptions {
        disabled: entry.disabled,
        interval: interval.transpose()?,
        websocket_uri: entry.websocket_uri,
        token: entry.token,
    })
}

/// The token in a file, which may end its line.
///
/// # Errors
/// Why it cannot be read; the token is not shown.
pub(crate) fn token(file: &Path) -> Result<String, String> {
    let text = String::from_utf8(read_file(file)?).map_err(|_| "is not UTF-8".to_owned())?;
    Ok(text.trim().to_owned())
}

fn read_files(
    table: &str,
    tls: TlsEntry,
    follow: &mut dyn FnMut(&Path),
) -> Result<wire::TlsOptions, String> {
    let mut read = |name: &str, file: Option<PathBuf>| {
        let Some(path) = file else {
            return Ok(Vec::new());
        };
        follow(&path);
        read_file(&path).map_err(|why| format!("{table}.tls.{name}: {}: {why}", path.display()))
    };
    Ok(wire::TlsOptions {
        ca_pem: read("ca_file", tls.ca_file)?.into(),
        client_certificate_pem: read("client_certificate_file", tls.client_certificate_file)?
            .into(),
        client_key_pem: read("client_key_file", tls.client_key_file)?.into(),
        server_name: tls.server_name,
    })
}

/// Reads a file that must have something in it: an empty one would stand for "not set".
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use crate::config::tests::load;
    #[test]
    fn components_of_the_file_are_taken() {
        let settings = load(
            "[[components]]\ncomponent_id = 'a'\nendpoint = 'http://127.0.0.1:1'\n\
             labels = { team = 'x' }\nmetadata = { authorization = 'Bearer y' }\n\
             [[components]]\ncomponent_id = 'b'\nendpoint = 'http://127.0.0.1:2/'\n\
             canary = { interval = '7s', websocket_uri = 'ws://127.0.0.1:3/e', token = 'x' }\n",
        )
        .unwrap();
        let canary = &settings.components[1].canary;
        assert_eq!(canary.interval, Some(std::time::Duration::from_secs(7)));
        assert_eq!(canary.websocket_uri, "ws://127.0.0.1:3/e");
        assert!(!canary.disabled && canary.token == "x");
        assert_eq!(settings.components.len(), 2);
        assert_eq!(settings.components[0].labels["team"], "x");
        assert_eq!(settings.components[1].endpoint, "http://127.0.0.1:2");
    }

    #[test]
    fn a_token_may_stand_in_a_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"hush\n").unwrap();
        let path = file.path().display();
        let component = "[[components]]\ncomponent_id = 'a'\nendpoint = 'http://127.0.0.1:1'\n";
        let settings = load(&format!("{component}token_file = '{path}'\n"));
        let target = settings.unwrap().components.remove(0);
        assert_eq!(target.canary.token, "hush");
        assert_eq!(target.metadata["authorization"], "Bearer hush");
        let nowhere = load(&format!("{component}token_file = '/nowhere'\n"));
        let error = nowhere.unwrap_err();
        assert!(
            error.contains("components[0].token_file: /nowhere"),
            "{error}"
        );
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let component = "[[components]]\ncomponent_id = 'a'\nendpoint = 'http://127.0.0.1:1'\n";
        for (written, place) in [
            ("metadata = 'Bearer hush'", "components[0].metadata: "),
            ("metadata = { a = ['hush'] }", "components[0].metadata.a: "),
            (
                "canary = { token = ['hush'] }",
                "components[0].canary.token: ",
            ),
            ("canary = 'hush'", "components[0].canary: "),
            ("canary = { token = 'hush", "line 4: "),
            (
                "canary = { websocket_uri = 'ws://u:hush@127.0.0.1:1/?token=hush' }",
                "components[0].canary.websocket_uri: ",
            ),
        ] {
            let error = load(&format!("{component}{written}\n")).unwrap_err();
            assert!(error.contains(place) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn every_component_that_is_wrong_is_named() {
        let errors = load(
            "[[components]]\ncomponent_id = 'a b'\nendpoint = 'http://127.0.0.1:1'\n\
             [[components]]\ncomponent_id = 'b'\n\
             [[components]]\ncomponent_id = 'c'\nendpoint = 'nowhere'\n\
             [[components]]\ncomponent_id = 'd'\nendpoint = 'http://127.0.0.1:1'\nlables = {}\n\
             [[components]]\ncomponent_id = 'e'\nendpoint = 'https://127.0.0.1:1'\n\
             tls = { ca_file = '/nowhere/ca.pem' }\n\
             [[components]]\ncomponent_id = 'f'\nendpoint = 'http://127.0.0.1:1'\n\
             [[components]]\ncomponent_id = 'f'\nendpoint = 'http://127.0.0.1:1'\n\
             [[components]]\ncomponent_id = 'g'\nendpoint = 'http://127.0.0.1:1'\n\
             canary = { interval = 'often' }\n\
             [[components]]\ncomponent_id = 'h'\nendpoint = 'http://127.0.0.1:1'\n\
             canary = { interval = '2h' }\n",
        )
        .unwrap_err();
        for part in [
            "components[0].component_id: \"a b\"",
            "components[1]: missing field `endpoint`",
            "components[2].endpoint: \"nowhere\"",
            "components[3]: unknown field `lables`",
            "components[4].tls.ca_file: /nowhere/ca.pem: cannot be read",
            "components[6].component_id: \"f\" is there twice",
            "components[7].canary.interval: \"often\" is no duration",
            "components[8].canary.interval: 7200 s",
        ] {
            assert!(errors.contains(part), "{part} is missing from {errors}");
        }
    }
}
