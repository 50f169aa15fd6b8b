//! How the monitor's own runs go through a component.

use std::time::Duration;

use http::Uri;
use monitorable::monitor::v1 as wire;
use service_kit::config::shown_url;

use super::target::MASK;
use super::{Invalid, shown};
use crate::fleet::api::CanaryTarget;
use crate::probe::convert::span;

/// Shortest and longest time between two runs.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
const MAX_INTERVAL: Duration = Duration::from_secs(3_600);
/// Longest address, in bytes.
const MAX_URI_BYTES: usize = 512;
/// Longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 4_096;

/// Checks the options; `field` is their own name.
///
/// # Errors
/// The first one that is not valid.
pub(super) fn canary(field: &str, options: wire::CanaryOptions) -> Result<CanaryTarget, Invalid> {
    Ok(CanaryTarget {
        disabled: options.disabled,
        interval: options
            .interval
            .map(|asked| interval(&format!("{field}.interval"), asked))
            .transpose()?,
        websocket_uri: websocket_uri(&format!("{field}.websocket_uri"), options.websocket_uri)?,
        token: token(&format!("{field}.token"), options.token)?,
    })
}

fn interval(field: &str, asked: prost_types::Duration) -> Result<Duration, Invalid> {
    span(asked)
        .filter(|interval| (MIN_INTERVAL..=MAX_INTERVAL).contains(interval))
        .ok_or_else(|| {
            let why = format!(
                "{} s and {} ns is not allowed; allowed is 100 ms to 1 h",
                asked.seconds, asked.nanos
            );
            Invalid::new(field, why)
        })
}

fn websocket_uri(field: &str, value: String) -> Result<String, Invalid> {
    if value.is_empty() {
        return Ok(value);
    }
    let refuse = |why: &str| {
        let shown = shown(&shown_url(&value));
        let allowed = "allowed is ws://HOST:PORT/PATH or wss://HOST:PORT/PATH without a query";
        Err(Invalid::new(field, format!("{shown} {why}; {allowed}")))
    };
    if value.len() > MAX_URI_BYTES {
        return refuse("is over 512 bytes");
    }
    let Ok(uri) = value.parse::<Uri>() else {
        return refuse("is not a URI");
    };
    if !matches!(uri.scheme_str(), Some("ws" | "wss")) {
        return refuse("is neither ws nor wss");
    }
    if uri.authority().is_some_and(|it| it.as_str().contains('@')) {
        return refuse("holds a user name");
    }
    if uri.host().unwrap_or_default().is_empty() {
        return refuse("has no host");
    }
    if uri.port_u16().is_none_or(|port| port == 0) {
        return refuse("has no port");
    }
    if uri.query().is_some() || value.contains('#') {
        return refuse("has a query or a fragment");
    }
    Ok(value)
}

/// The value is a secret: it is never shown.
fn token(field: &str, value: String) -> Result<String, Invalid> {
    if value == MASK {
        let why = "\"***\" is what secrets read back as; send the token itself";
        return Err(Invalid::new(field, why));
    }
    if value.len() > MAX_TOKEN_BYTES || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = format!(
            "a token of {} bytes is not allowed; allowed are up to {MAX_TOKEN_BYTES} bytes of printable ASCII without spaces",
            value.len()
        );
        return Err(Invalid::new(field, why));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: wire::CanaryOptions) -> String {
        canary("canary", options).unwrap_err().0
    }

    #[test]
    fn options_that_are_allowed() {
        let options = wire::CanaryOptions {
            disabled: true,
            interval: Some(prost_types::Duration {
                seconds: 0,
                nanos: 100_000_000,
            }),
            websocket_uri: "ws://[::1]:8080/v1/events".to_owned(),
            token: "secret".to_owned(),
        };
        let checked = canary("canary", options).unwrap();
        assert!(checked.disabled);
        assert_eq!(checked.interval, Some(MIN_INTERVAL));
        assert_eq!(checked.token, "secret");
        let none = canary("canary", wire::CanaryOptions::default());
        assert_eq!(none, Ok(CanaryTarget::default()));
    }

    #[test]
    fn intervals_that_are_not() {
        for (seconds, nanos) in [(0, 99_999_999), (3_600, 1), (-1, 0), (0, 0), (i64::MAX, 0)] {
            let error = refused(wire::CanaryOptions {
                interval: Some(prost_types::Duration { seconds, nanos }),
                ..Default::default()
            });
            assert!(error.starts_with("canary.interval: "), "{error}");
            assert!(error.contains("100 ms to 1 h"), "{error}");
        }
    }

    #[test]
    fn addresses_that_are_not() {
        for (value, why) in [
            ("http://127.0.0.1:1/v1/events", "is neither ws nor wss"),
            ("ws://127.0.0.1/v1/events", "no port"),
            ("ws://127.0.0.1:0/", "no port"),
            ("ws://u:secret@127.0.0.1:1/", "user name"),
            ("ws://127.0.0.1:1/?token=secret", "query"),
            ("ws://127.0.0.1:1/#x", "fragment"),
            ("ws://a b:1/", "not a URI"),
            ("/v1/events", "is neither ws nor wss"),
            (&format!("ws://127.0.0.1:1/{}", "x".repeat(600)), "512"),
        ] {
            let error = refused(wire::CanaryOptions {
                websocket_uri: value.to_owned(),
                ..Default::default()
            });
            assert!(error.starts_with("canary.websocket_uri: "), "{error}");
            assert!(error.contains(why), "{error} lacks {why}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn tokens_that_are_not_are_never_shown() {
        for (value, why) in [("***", "the token itself"), ("my secret", "9 bytes")] {
            let error = refused(wire::CanaryOptions {
                token: value.to_owned(),
                ..Default::default()
            });
            assert!(
                error.contains(why) && !error.contains("my secret"),
                "{error}"
            );
        }
    }
}
