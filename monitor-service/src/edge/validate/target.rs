//! A component to watch.

use std::collections::BTreeMap;

use http::Uri;
use monitorable::monitor::v1 as wire;
use service_kit::config::shown_url;

use super::canary::canary;
use super::tls::tls;
use super::{Invalid, id, shown};
use crate::fleet::api::Target;
use crate::probe::channel;
use crate::probe::settings::ProbeSettings;

/// What a secret reads back as; refused as a value, so that what was read cannot be written back.
pub(crate) const MASK: &str = "***";
/// Longest endpoint, in bytes.
const MAX_ENDPOINT_BYTES: usize = 512;
/// Labels, and pairs of metadata, of one component.
const MAX_PAIRS: usize = 32;
/// Longest key of a label or of metadata, in bytes.
const MAX_KEY_BYTES: usize = 64;
/// Longest label, in bytes.
const MAX_LABEL_BYTES: usize = 256;
/// Longest metadata value, in bytes; a token fits.
const MAX_METADATA_BYTES: usize = 4_096;
/// Metadata that the transport sets itself.
const RESERVED: [&str; 8] = [
    "connection",
    "content-type",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "user-agent",
];

/// Checks a component. `prefix` stands before each field's name, such as `component.`.
///
/// # Errors
/// The first field that is not valid.
pub(crate) fn target(
    component: wire::Component,
    prefix: &str,
    settings: &ProbeSettings,
) -> Result<Target, Invalid> {
    let field = |name: &str| format!("{prefix}{name}");
    id(&field("component_id"), &component.component_id)?;
    let endpoint = endpoint(&field("endpoint"), &component.endpoint)?;
    let labels = labels(&field("labels"), component.labels)?;
    let metadata = metadata(&field("metadata"), component.metadata)?;
    let tls = component
        .tls
        .map(|options| tls(&field("tls"), options, &endpoint))
        .transpose()?;
    let canary = component
        .canary
        .map(|options| canary(&field("canary"), options))
        .transpose()?;
    let target = Target {
        component_id: component.component_id.into(),
        endpoint,
        labels,
        tls,
        metadata,
        canary: canary.unwrap_or_default(),
    };
    channel::check(&target, settings).map_err(|why| Invalid(format!("{prefix}{why}")))?;
    Ok(target)
}

/// Checks an endpoint and writes it the one way in which it is kept: no slash at the end.
///
/// # Errors
/// Where it is not `http://HOST:PORT` or `https://HOST:PORT`.
pub(crate) fn endpoint(field: &str, value: &str) -> Result<String, Invalid> {
    let refuse = |why: &str| {
        let shown = shown(&shown_url(value));
        Invalid::new(
            field,
            format!("{shown} {why}; allowed is http://HOST:PORT or https://HOST:PORT"),
        )
    };
    if value.is_empty() {
        return Err(refuse("is empty"));
    }
    if value.len() > MAX_ENDPOINT_BYTES {
        return Err(refuse(&format!("is over {MAX_ENDPOINT_BYTES} bytes")));
    }
    let uri: Uri = value.parse().map_err(|_| refuse("is not a URI"))?;
    let scheme = uri.scheme_str().unwrap_or_default();
    if scheme != "http" && scheme != "https" {
        return Err(refuse("is neither http nor https"));
    }
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let authority = authority.unwrap_or_default();
    if authority.contains('@') {
        return Err(refuse("holds a user name"));
    }
    if uri.host().unwrap_or_default().is_empty() {
        return Err(refuse("has no host"));
    }
    match uri.port_u16() {
        None => return Err(refuse("has no port")),
        Some(0) => return Err(refuse("has port 0")),
        Some(_) => {}
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || value.contains('#') {
        return Err(refuse("has a path, a query or a fragment"));
    }
    Ok(format!("{scheme}://{authority}"))
}

fn labels(
    field: &str,
    labels: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<String, String>, Invalid> {
    let labels: BTreeMap<String, String> = labels.into_iter().collect();
    at_most(field, labels.len())?;
    for (key, value) in &labels {
        if key.is_empty() || key.len() > MAX_KEY_BYTES || !key.bytes().all(|b| b.is_ascii_graphic())
        {
            let shown = shown(key);
            return Err(Invalid::new(
                field,
                format!(
                    "the key {shown} is not allowed; allowed are 1 to {MAX_KEY_BYTES} bytes of printable ASCII without spaces"
                ),
            ));
        }
        if value.len() > MAX_LABEL_BYTES || value.chars().any(char::is_control) {
            let (key, shown) = (shown(key), shown(value));
            return Err(Invalid::new(
                &format!("{field}[{key}]"),
                format!(
                    "{shown} is not allowed; allowed are up to {MAX_LABEL_BYTES} bytes without control characters"
                ),
            ));
        }
    }
    Ok(labels)
}

fn metadata(
    field: &str,
    metadata: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<String, String>, Invalid> {
    let metadata: BTreeMap<String, String> = metadata.into_iter().collect();
    at_most(field, metadata.len())?;
    for (key, value) in &metadata {
        metadata_key(field, key)?;
        // The value is a secret: it is never shown.
        let field = format!("{field}[{key:?}]");
        if value == MASK {
            return Err(Invalid::new(
                &field,
                "\"***\" is what secrets read back as; send the value itself",
            ));
        }
        let printable = |byte: u8| (b' '..=b'~').contains(&byte);
        if value.len() > MAX_METADATA_BYTES || !value.bytes().all(printable) {
            return Err(Invalid::new(
                &field,
                format!(
                    "a value of {} bytes is not allowed; allowed are up to {MAX_METADATA_BYTES} bytes of printable ASCII",
                    value.len()
                ),
            ));
        }
    }
    Ok(metadata)
}

fn metadata_key(field: &str, key: &str) -> Result<(), Invalid> {
    let refuse = |why: &str| Err(Invalid::new(field, format!("the key {} {why}", shown(key))));
    let letter = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.')
    };
    if key.is_empty() || key.len() > MAX_KEY_BYTES || !key.bytes().all(letter) {
        return refuse(&format!(
            "is not allowed; allowed are 1 to {MAX_KEY_BYTES} of a-z, 0-9, _, - and ."
        ));
    }
    if key.starts_with("grpc-") || RESERVED.contains(&key) {
        return refuse("is reserved for gRPC itself");
    }
    if key.ends_with("-bin") {
        return refuse("stands for binary metadata, which is not supported");
    }
    Ok(())
}

fn at_most(field: &str, pairs: usize) -> Result<(), Invalid> {
    if pairs > MAX_PAIRS {
        return Err(Invalid::new(
            field,
            format!("{pairs} pairs are too many; allowed are {MAX_PAIRS}"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canary_options_are_checked_and_kept() {
        let target = component(|c| {
            c.canary = Some(wire::CanaryOptions {
                websocket_uri: "ws://127.0.0.1:1/v1/events".to_owned(),
                ..Default::default()
            });
        });
        let kept = target.unwrap().canary.websocket_uri;
        assert_eq!(kept, "ws://127.0.0.1:1/v1/events");
        let error = refusal(|c| {
            c.canary = Some(wire::CanaryOptions {
                websocket_uri: "http://127.0.0.1:1/".to_owned(),
                ..Default::default()
            });
        });
        assert!(
            error.starts_with("component.canary.websocket_uri: "),
            "{error}"
        );
    }

    fn component(change: impl FnOnce(&mut wire::Component)) -> Result<Target, Invalid> {
        let mut component = wire::Component {
            component_id: "bridge".to_owned(),
            endpoint: "http://127.0.0.1:50051".to_owned(),
            ..Default::default()
        };
        change(&mut component);
        target(component, "component.", &ProbeSettings::default())
    }

    fn refusal(change: impl FnOnce(&mut wire::Component)) -> String {
        component(change).unwrap_err().0
    }

    #[test]
    fn endpoints_that_are_allowed() {
        for value in [
            "http://127.0.0.1:50051",
            "http://[::1]:50051",
            "https://bridge.example:443",
            "HTTP://LOCALHOST:1",
        ] {
            endpoint("endpoint", value).unwrap();
        }
        assert_eq!(
            endpoint("endpoint", "http://127.0.0.1:1/").unwrap(),
            "http://127.0.0.1:1"
        );
    }

    #[test]
    fn endpoints_that_are_not() {
        for (value, why) in [
            ("", "empty"),
            ("127.0.0.1:50051", "neither http nor https"),
            ("bridge", "neither http nor https"),
            ("ftp://user:secret@127.0.0.1:1", "neither http nor https"),
            ("http://127.0.0.1", "no port"),
            ("http://127.0.0.1:0", "port 0"),
            ("http://127.0.0.1:99999", ""),
            ("http://user:secret@127.0.0.1:1", "user name"),
            ("http://127.0.0.1:1/path", "path"),
            ("http://127.0.0.1:1?key=secret", "query"),
            ("http://127.0.0.1:1#fragment", "fragment"),
            ("http://:50051", ""),
            ("http://a b:1", "not a URI"),
            ("unix:///tmp/socket", ""),
        ] {
            let error = endpoint("component.endpoint", value).unwrap_err().0;
            assert!(error.starts_with("component.endpoint: "), "{error}");
            assert!(error.contains(why), "{error} lacks {why}");
            assert!(error.contains("http://HOST:PORT"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn metadata_that_is_not_allowed_names_the_key_and_hides_the_value() {
        for (key, value, why) in [
            ("Authorization", "secret", "a-z"),
            ("", "secret", "a-z"),
            ("grpc-timeout", "secret", "reserved"),
            ("te", "secret", "reserved"),
            ("key-bin", "secret", "binary"),
            ("authorization", "secret\n", "printable"),
            ("authorization", "***", "send the value itself"),
        ] {
            let error = refusal(|c| {
                c.metadata.insert(key.to_owned(), value.to_owned());
            });
            assert!(error.starts_with("component.metadata"), "{error}");
            assert!(error.contains(why), "{error} lacks {why}");
            assert!(!error.contains("secret\n"), "{error}");
        }
    }

    #[test]
    fn too_many_labels_are_refused() {
        let error = refusal(|c| {
            c.labels = (0..33).map(|i| (format!("k{i}"), String::new())).collect();
        });
        assert_eq!(
            error,
            "component.labels: 33 pairs are too many; allowed are 32"
        );
    }

    #[test]
    fn a_label_with_a_control_character_is_refused() {
        let error = refusal(|c| {
            c.labels.insert("team".to_owned(), "a\u{7}".to_owned());
        });
        assert!(error.starts_with("component.labels[\"team\"]: "), "{error}");
    }
}
