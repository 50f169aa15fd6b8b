//! What a client may say: `ack` and `auth`.

use std::borrow::Cow;

use serde::Deserialize;

/// A client's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Everything up to this sequence has arrived.
    Acknowledge(u64),
    /// The token that was not in the handshake.
    Authenticate(String),
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    seq: Option<u64>,
    token: Option<String>,
}

/// Parses a text frame. Members that are not known are left aside.
///
/// # Errors
/// What is wrong and what is allowed.
pub(super) fn parse(text: &str) -> Result<Message, &'static str> {
    const ALLOWED: &str =
        "allowed are {\"type\":\"ack\",\"seq\":N} and {\"type\":\"auth\",\"token\":TEXT}";
    let object: Object<'_> = serde_json::from_str(text).map_err(|_| ALLOWED)?;
    match (object.r#type.as_ref(), object.seq, object.token) {
        ("ack", Some(sequence), _) => Ok(Message::Acknowledge(sequence)),
        ("auth", _, Some(token)) => Ok(Message::Authenticate(token)),
        _ => Err(ALLOWED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_messages() {
        assert_eq!(
            parse(r#"{"type":"ack","seq":7,"more":1}"#),
            Ok(Message::Acknowledge(7))
        );
        let auth = Message::Authenticate("a\"b".to_owned());
        assert_eq!(parse(r#"{"token":"a\"b","type":"auth"}"#), Ok(auth));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"type":"ack"}"#,
            r#"{"type":"ack","seq":-1}"#,
            r#"{"type":"ack","seq":1.5}"#,
            r#"{"type":"ack","seq":"1"}"#,
            r#"{"type":"auth"}"#,
            r#"{"type":"hello","seq":1}"#,
            r#"{"type":"ack","seq":1} x"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
