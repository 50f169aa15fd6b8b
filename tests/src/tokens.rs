//! Tokens made for one test.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac::{HMAC_SHA256, Key, sign};
use serde_json::{Value, json};
use service_kit::clock::Clock;

/// A JWT of HS256 over these claims.
#[must_use]
pub fn signed(secret: &str, claims: &Value) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let header = encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let message = format!("{header}.{}", encode(claims.to_string().as_bytes()));
    let signature = sign(
        &Key::new(HMAC_SHA256, secret.as_bytes()),
        message.as_bytes(),
    );
    format!("{message}.{}", encode(signature.as_ref()))
}

/// Claims for this audience that hold for so long from now, or ended so long ago.
#[must_use]
pub fn claims(audience: &str, seconds: i64, grants: &Value) -> Value {
    let now = Clock::system().now().wall.duration_since(UNIX_EPOCH);
    let now = now.unwrap_or(Duration::ZERO).as_secs();
    let expires = now.saturating_add_signed(seconds);
    json!({ "sub": "user-7", "aud": audience, "exp": expires, "monitorable": grants })
}
