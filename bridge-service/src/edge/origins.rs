//! Which web pages may read. Browsers say in `Origin` whose page a script is of; anything else
//! that connects says nothing, and is held by its token alone.

use http::header::ORIGIN;
use http::{HeaderMap, Uri};
use service_kit::config::Setting;

/// Characters of a refused origin that an answer shows.
const SHOWN_CHARACTERS: usize = 128;

/// The pages that may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origins {
    /// Any page where readers show a token. Where they don't, whoever lures a user to a page could
    /// read through that user's browser, so there only pages of the user's own machine may.
    #[default]
    AsTokensSay,
    /// Any page.
    Any,
    /// Pages of these origins.
    Only(Vec<String>),
}

impl Origins {
    /// Whether a request may read. `closed` says whether readers show a token.
    ///
    /// # Errors
    /// The origin, and what is allowed.
    pub(crate) fn check(&self, headers: &HeaderMap, closed: bool) -> Result<(), String> {
        let Some(origin) = headers.get(ORIGIN) else {
            return Ok(());
        };
        let origin = origin.to_str().unwrap_or("\u{fffd}");
        let (allowed, names) = match self {
            Self::Any => return Ok(()),
            Self::AsTokensSay if closed => return Ok(()),
            Self::AsTokensSay => (
                is_local(origin),
                "pages of this machine; others take http.allowed_origins".to_owned(),
            ),
            Self::Only(origins) => {
                let listed = origins
                    .iter()
                    .any(|allowed| allowed.eq_ignore_ascii_case(origin));
                (listed, origins.join(", "))
            }
        };
        if allowed {
            return Ok(());
        }
        let shown: String = origin.chars().take(SHOWN_CHARACTERS).collect();
        Err(format!(
            "Origin: {shown:?} is not allowed; allowed are {names}"
        ))
    }
}

/// By its name: an address that a name resolves to is whatever its owner wants it to be.
fn is_local(origin: &str) -> bool {
    let host = origin
        .parse::<Uri>()
        .ok()
        .and_then(|uri| Some(uri.host()?.to_owned()));
    matches!(host.as_deref(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

impl Setting for Origins {
    fn parse(written: &toml::Value) -> Result<Self, String> {
        let text = String::parse(written)?;
        match text.trim() {
            "" => return Ok(Self::AsTokensSay),
            "*" => return Ok(Self::Any),
            _ => {}
        }
        let origins = text.split(',').map(|origin| origin.trim().to_owned());
        origins
            .map(|origin| if is_origin(&origin) { Ok(origin) } else {
                Err(format!("{origin:?} is not an origin; allowed are * or SCHEME://HOST or SCHEME://HOST:PORT, separated by commas"))
            })
            .collect::<Result<_, _>>()
            .map(Self::Only)
    }
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else {
        return false;
    };
    let plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'@' | b'?' | b'#' | b'*');
    !scheme.is_empty() && !authority.is_empty() && authority.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(origin: &str) -> HeaderMap {
        HeaderMap::from_iter([(ORIGIN, origin.parse().unwrap())])
    }

    fn parse(text: &str) -> Result<Origins, String> {
        Origins::parse(&toml::Value::String(text.to_owned()))
    }

    #[test]
    fn without_tokens_only_the_users_own_pages_may_read() {
        let origins = parse("").unwrap();
        for local in [
            "http://localhost:3000",
            "http://127.0.0.1",
            "https://[::1]:8443",
        ] {
            assert_eq!(origins.check(&of(local), false), Ok(()), "{local}");
        }
        for foreign in [
            "https://evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "null",
            "file://",
        ] {
            let refused = origins.check(&of(foreign), false).unwrap_err();
            assert!(
                refused.starts_with(&format!("Origin: {foreign:?}")),
                "{refused}"
            );
            assert_eq!(origins.check(&of(foreign), true), Ok(()), "a token decides");
        }
        assert_eq!(
            origins.check(&HeaderMap::new(), false),
            Ok(()),
            "no browser"
        );
    }

    #[test]
    fn listed_origins_are_the_only_ones() {
        let origins = parse("https://chat.example, http://localhost:3000").unwrap();
        for closed in [true, false] {
            assert!(origins.check(&of("https://Chat.example"), closed).is_ok());
            assert!(
                origins
                    .check(&of("https://chat.example:444"), closed)
                    .is_err()
            );
            assert!(origins.check(&of("http://localhost:3001"), closed).is_err());
        }
        assert!(parse("*").unwrap().check(&of("null"), false).is_ok());
        for bad in [
            "chat.example",
            "https://a/b",
            "https://*.example",
            "https://a,",
            "://x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
