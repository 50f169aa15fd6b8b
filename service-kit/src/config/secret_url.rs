//! URLs, which may hold secrets.

use axum::http::Uri;

use super::Setting;

/// An address whose path, query and user may be secret: it is never shown whole.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretUrl(Option<Uri>);

/// What the address must be.
const ALLOWED: &str = "http://HOST… or https://HOST…, without user and password, or empty for none";

impl SecretUrl {
    /// `None`: none is set.
    #[must_use]
    pub const fn uri(&self) -> Option<&Uri> {
        self.0.as_ref()
    }

    /// Whether there is one.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Whether TLS is asked for.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.uri()
            .is_some_and(|uri| uri.scheme_str() == Some("https"))
    }

    /// Reads an address. Errors do not show it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let refuse = |why: &str| Err(format!("the value {why}; allowed is {ALLOWED}"));
        let Ok(uri) = text.parse::<Uri>() else {
            return refuse("is not a URL");
        };
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return refuse("is neither http nor https");
        }
        match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => {
                refuse("holds a user or a password")
            }
            Some(authority) if !authority.host().is_empty() => Ok(Self(Some(uri))),
            _ => refuse("names no host"),
        }
    }
}

impl Setting for SecretUrl {
    fn parse(written: &toml::Value) -> Result<Self, String> {
        match written {
            toml::Value::String(text) => Self::read(text),
            _ => Err("the value is not a text; write it in quotes".to_owned()),
        }
    }
}

/// Scheme and host: enough to know whom it is about.
impl std::fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.uri() {
            None => f.write_str("none"),
            Some(uri) => {
                let scheme = uri.scheme_str().unwrap_or_default();
                let host = uri.authority().map_or("", |authority| authority.as_str());
                write!(f, "{scheme}://{host}/…")
            }
        }
    }
}

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A URL as everybody may see it: without user, password, query and fragment, which may be secret.
#[must_use]
pub fn shown_url(url: &str) -> String {
    let (mut shown, rest) = match url.rsplit_once('@') {
        Some((user, rest)) => {
            let scheme = user.find("://").map_or("", |at| &user[..at + 3]);
            (format!("{scheme}***@"), rest)
        }
        None => (String::new(), url),
    };
    match rest.find(['?', '#']) {
        Some(at) => shown.extend([&rest[..=at], "***"]),
        None => shown.push_str(rest),
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_never_shown_whole() {
        let url = SecretUrl::read("https://hooks.example.com:8443/services/T0/hush?key=hush");
        let url = url.unwrap();
        assert!(url.is_secure());
        assert_eq!(format!("{url}"), "https://hooks.example.com:8443/…");
        assert!(!format!("{url:?}").contains("hush"));
        assert_eq!(SecretUrl::read(""), Ok(SecretUrl::default()));
    }

    #[test]
    fn what_is_none_is_refused_without_showing_it() {
        for bad in [
            "hush",
            "/hush",
            "ftp://host/hush",
            "http://",
            "https://user:hush@host/",
            "http://host/hush hush",
        ] {
            let error = SecretUrl::read(bad).unwrap_err();
            assert!(error.contains("allowed is http://HOST"), "{bad}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn what_may_be_secret_is_left_out() {
        for (url, shown) in [
            ("http://host:1/path", "http://host:1/path"),
            ("nowhere", "nowhere"),
            ("ftp://user:hu@sh@host/?hush", "ftp://***@host/?***"),
            ("user:hush@host", "***@host"),
            ("ws://host:1/path?token=hush#hush", "ws://host:1/path?***"),
            ("http://host/#hush@", "http://***@"),
        ] {
            assert_eq!(shown_url(url), shown);
        }
    }
}
