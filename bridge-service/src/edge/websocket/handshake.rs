//! The opening handshake: what a client must send, and what it may choose (RFC 6455, section 4).

use axum::response::Response;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};
use service_kit::access::bearer;
use tungstenite::handshake::derive_accept_key;

use crate::edge::readers::{list_contains, refusal};
use crate::hub::event::Subprotocol;

/// A subprotocol of this form carries the token, since browsers can set no header.
const BEARER: &str = "bearer.";
/// Length of a key: 16 bytes in base64.
const KEY_BYTES: usize = 24;

const SUPPORTED: [(&str, Subprotocol); 3] = [
    ("monitorable.v1.json", Subprotocol::Json),
    ("ag-ui.v1.json", Subprotocol::AgUi),
    ("cloudevents.json", Subprotocol::CloudEvents),
];

/// A valid handshake.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) accept_key: String,
    pub(super) subprotocol: Subprotocol,
    /// The name to answer with. `None`: the client offered none.
    pub(super) chosen: Option<&'static str>,
    /// The token, from a header or a subprotocol.
    pub(super) token: Option<String>,
}

impl Handshake {
    /// Checks what a client sent.
    ///
    /// # Errors
    /// The answer that says what is missing: 400, or 426 where the version is another.
    pub(super) fn check<B>(request: &Request<B>) -> Result<Self, Box<Response>> {
        let headers = request.headers();
        let invalid = |text: &str| Box::new(refusal(StatusCode::BAD_REQUEST, text));
        if request.version() != Version::HTTP_11 {
            return Err(invalid("a WebSocket upgrade needs HTTP/1.1"));
        }
        if !list_contains(headers, header::CONNECTION, "upgrade") {
            return Err(invalid(
                "Connection: it does not contain Upgrade, which an upgrade needs",
            ));
        }
        if headers
            .get(header::SEC_WEBSOCKET_VERSION)
            .map(HeaderValue::as_bytes)
            != Some(b"13")
        {
            return Err(Box::new(other_version()));
        }
        let key = headers
            .get(header::SEC_WEBSOCKET_KEY)
            .map(HeaderValue::as_bytes);
        let key = key.filter(|key| is_key(key)).ok_or_else(|| {
            invalid("Sec-WebSocket-Key: allowed is the base64 form of 16 bytes, such as dGhlIHNhbXBsZSBub25jZQ==")
        })?;
        let offers = Offers::read(headers);
        let header_token = bearer(headers).map_err(|refusal| invalid(&refusal.to_string()))?;
        let (chosen, subprotocol) = offers.choose().map_err(|text| invalid(&text))?;
        Ok(Self {
            accept_key: derive_accept_key(key),
            subprotocol,
            chosen,
            token: header_token.map(str::to_owned).or(offers.token),
        })
    }

    /// The answer that switches the protocol.
    pub(super) fn answer(&self) -> Response {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Ok(key) = HeaderValue::from_str(&self.accept_key) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
        }
        if let Some(name) = self.chosen {
            headers.insert(
                header::SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static(name),
            );
        }
        response
    }
}

fn other_version() -> Response {
    let mut response = refusal(
        StatusCode::UPGRADE_REQUIRED,
        "Sec-WebSocket-Version: allowed is 13",
    );
    let version = HeaderValue::from_static("13");
    response
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_VERSION, version);
    response
}

fn is_key(key: &[u8]) -> bool {
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == KEY_BYTES && key.ends_with(b"==") && key[..KEY_BYTES - 2].iter().all(base64)
}

/// The subprotocols that a client offers, its token among them.
#[derive(Debug, Default)]
struct Offers {
    names: Vec<String>,
    token: Option<String>,
}

impl Offers {
    fn read(headers: &HeaderMap) -> Self {
        let mut offers = Self::default();
        let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let names = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|name| !name.is_empty());
        for name in names {
            match name.strip_prefix(BEARER) {
                Some(token) => offers.token = Some(token.to_owned()),
                None => offers.names.push(name.to_owned()),
            }
        }
        offers
    }

    /// The first offer that is supported; the default where there is none but a token.
    fn choose(&self) -> Result<(Option<&'static str>, Subprotocol), String> {
        if self.names.is_empty() {
            return Ok((None, Subprotocol::Json));
        }
        self.names
            .iter()
            .find_map(|offer| SUPPORTED.iter().find(|(name, _)| name == offer))
            .map(|(name, subprotocol)| (Some(*name), *subprotocol))
            .ok_or_else(|| {
                let names = SUPPORTED.map(|(name, _)| name).join(", ");
                format!("Sec-WebSocket-Protocol: none of those offered is known; allowed are {names}, and bearer.TOKEN beside them")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(changes: &[(&str, Option<&str>)]) -> Request<()> {
        let mut request = Request::new(());
        let defaults = [
            ("upgrade", Some("websocket")),
            ("connection", Some("keep-alive, Upgrade")),
            ("sec-websocket-version", Some("13")),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ==")),
        ];
        for (name, value) in defaults.iter().chain(changes) {
            let name: header::HeaderName = name.parse().unwrap();
            match value {
                Some(value) => request.headers_mut().insert(name, value.parse().unwrap()),
                None => request.headers_mut().remove(name),
            };
        }
        request
    }

    fn refused(changes: &[(&str, Option<&str>)]) -> StatusCode {
        Handshake::check(&request(changes)).unwrap_err().status()
    }

    #[test]
    fn the_answer_follows_the_specification() {
        let handshake = Handshake::check(&request(&[])).unwrap();
        let answer = handshake.answer();
        assert_eq!(answer.status(), 101);
        let headers = answer.headers();
        assert_eq!(
            headers["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert!(!headers.contains_key("sec-websocket-protocol"));
    }

    #[test]
    fn what_is_missing_is_said() {
        assert_eq!(refused(&[("connection", Some("keep-alive"))]), 400);
        assert_eq!(refused(&[("sec-websocket-version", Some("8"))]), 426);
        assert_eq!(refused(&[("sec-websocket-version", None)]), 426);
        for key in [None, Some("short=="), Some("dGhlIHNhbXBsZSBub25j*Q==")] {
            assert_eq!(refused(&[("sec-websocket-key", key)]), 400);
        }
        assert_eq!(refused(&[("authorization", Some("Basic x"))]), 400);
    }

    #[test]
    fn the_first_known_subprotocol_is_chosen() {
        let choose = |offer: &str| {
            let offer = ("sec-websocket-protocol", Some(offer));
            Handshake::check(&request(&[offer]))
        };
        let handshake = choose("graphql-ws, ag-ui.v1.json, monitorable.v1.json").unwrap();
        assert_eq!(
            handshake.answer().headers()["sec-websocket-protocol"],
            "ag-ui.v1.json"
        );
        let handshake = choose("bearer.secret, cloudevents.json").unwrap();
        assert_eq!(handshake.subprotocol, Subprotocol::CloudEvents);
        assert_eq!(handshake.token.as_deref(), Some("secret"));
        let handshake = choose("bearer.secret").unwrap();
        assert_eq!(
            (handshake.chosen, handshake.subprotocol),
            (None, Subprotocol::Json)
        );
        assert_eq!(
            choose("graphql-ws, bearer.secret").unwrap_err().status(),
            400
        );
    }

    #[test]
    fn a_header_wins_over_a_subprotocol() {
        let both = [
            ("authorization", Some("Bearer from-header")),
            ("sec-websocket-protocol", Some("bearer.from-offer")),
        ];
        let handshake = Handshake::check(&request(&both)).unwrap();
        assert_eq!(handshake.token.as_deref(), Some("from-header"));
    }
}
