//! Which web pages may read. Browsers say in `Origin` whose page a script is of, unless it asks the
//! page's own server; anything else that connects says nothing, and is held by its token alone.

use http::header::{ORIGIN, UPGRADE};
use http::{HeaderMap, Uri};
use service_kit::access::Guard;
use service_kit::config::Setting;

use super::readers::list_contains;

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
    /// Whether a request may come to the readers' door.
    ///
    /// # Errors
    /// The origin or the host, and what is allowed.
    pub(crate) fn check(&self, headers: &HeaderMap, door: &Guard) -> Result<(), String> {
        let Some(origin) = headers.get(ORIGIN) else {
            // With a WebSocket every browser says it.
            return match list_contains(headers, UPGRADE, "websocket") {
                true => Ok(()),
                false => self.check_host(headers, door),
            };
        };
        let origin = origin.to_str().unwrap_or("\u{fffd}");
        let (allowed, names) = match self {
            Self::Any => return Ok(()),
            Self::AsTokensSay if door.is_closed() => return Ok(()),
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

    /// A page that may read may also be served under the name by which it then asks.
    fn check_host(&self, headers: &HeaderMap, door: &Guard) -> Result<(), String> {
        let of_a_page = |host: &str| match self {
            Self::AsTokensSay => false,
            Self::Any => true,
            Self::Only(origins) => origins
                .iter()
                .filter_map(|origin| host_of(origin))
                .any(|allowed| allowed.eq_ignore_ascii_case(host)),
        };
        door.check_host(headers, of_a_page)
    }
}

/// By its name: an address that a name resolves to is whatever its owner wants it to be.
fn is_local(origin: &str) -> bool {
    matches!(
        host_of(origin).as_deref(),
        Some("localhost" | "127.0.0.1" | "[::1]")
    )
}

fn host_of(origin: &str) -> Option<String> {
    let uri: Uri = origin.parse().ok()?;
    Some(uri.host()?.to_owned())
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
    use http::header::HOST;
    use service_kit::access::{Access, AccessControl};
    use service_kit::clock::Clock;

    use super::*;

    fn door(closed: bool) -> Guard {
        let (control, _) = AccessControl::start(Access::default(), None);
        control.guard(closed, Clock::system()).by_own_name(true)
    }

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
            assert_eq!(origins.check(&of(local), &door(false)), Ok(()), "{local}");
        }
        for foreign in [
            "https://evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "null",
            "file://",
        ] {
            let refused = origins.check(&of(foreign), &door(false)).unwrap_err();
            assert!(
                refused.starts_with(&format!("Origin: {foreign:?}")),
                "{refused}"
            );
            assert_eq!(
                origins.check(&of(foreign), &door(true)),
                Ok(()),
                "a token decides"
            );
        }
        assert_eq!(
            origins.check(&HeaderMap::new(), &door(false)),
            Ok(()),
            "no browser"
        );
    }

    #[test]
    fn listed_origins_are_the_only_ones() {
        let origins = parse("https://chat.example, http://localhost:3000").unwrap();
        for closed in [true, false] {
            let door = door(closed);
            assert!(origins.check(&of("https://Chat.example"), &door).is_ok());
            assert!(
                origins
                    .check(&of("https://chat.example:444"), &door)
                    .is_err()
            );
            assert!(origins.check(&of("http://localhost:3001"), &door).is_err());
        }
        assert!(parse("*").unwrap().check(&of("null"), &door(false)).is_ok());
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

    #[test]
    fn a_page_that_made_its_own_name_lead_here_may_not_read() {
        let to = |host: &str| HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
        let (evil, chat) = (to("evil.example:8080"), to("chat.example"));
        let listed = parse("https://chat.example").unwrap();
        for origins in [&parse("").unwrap(), &listed] {
            let refused = origins.check(&evil, &door(false)).unwrap_err();
            assert!(
                refused.starts_with("Host: \"evil.example:8080\""),
                "{refused}"
            );
            for own in ["127.0.0.1:8080", "[::1]", "localhost:8080"] {
                assert_eq!(origins.check(&to(own), &door(false)), Ok(()), "{own}");
            }
            assert_eq!(origins.check(&evil, &door(true)), Ok(()), "a token decides");
            let mut socket = evil.clone();
            socket.insert(UPGRADE, "websocket".parse().unwrap());
            assert_eq!(origins.check(&socket, &door(false)), Ok(()), "no browser");
        }
        assert!(parse("").unwrap().check(&chat, &door(false)).is_err());
        assert_eq!(listed.check(&chat, &door(false)), Ok(()));
        assert_eq!(parse("*").unwrap().check(&evil, &door(false)), Ok(()));
        let any_name = Guard::open(Clock::system());
        assert_eq!(listed.check(&evil, &any_name), Ok(()));
    }
}
