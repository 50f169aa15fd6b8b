//! Whether a request calls this machine by a name that is nobody else's.
//!
//! Whoever has a page can make the page's name resolve to 127.0.0.1. To its visitor's browser that
//! is then the page's own server: it sends no `Origin`, and shows the page the answers. What gives
//! the page away is `Host`, which is its name.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

/// Characters of a refused host that an answer shows.
const SHOWN_CHARACTERS: usize = 128;

/// Whether the request's `Host` is an address, `localhost`, or one of the `known`. One that names
/// no host is of no browser.
///
/// # Errors
/// The host, and what is allowed.
pub(super) fn check(headers: &HeaderMap, known: impl Fn(&str) -> bool) -> Result<(), String> {
    let Some(shown) = headers.get(header::HOST) else {
        return Ok(());
    };
    let shown = shown.to_str().unwrap_or("\u{fffd}");
    let authority: Option<Authority> = shown.parse().ok();
    if authority.is_some_and(|it| is_own(it.host()) || known(it.host())) {
        return Ok(());
    }
    let shown: String = shown.chars().take(SHOWN_CHARACTERS).collect();
    Err(format!(
        "Host: {shown:?} is not allowed; allowed are addresses and localhost where nobody has to show who they are (docs/ACCESS.md)"
    ))
}

/// Names that no other machine can have.
fn is_own(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse::<IpAddr>().is_ok() || host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_nobody_else_can_have_are_allowed() {
        let of = |host: &str| HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        let known = |host: &str| host == "chat.example";
        for own in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "10.0.0.7",
            "LocalHost:8080",
            "chat.localhost",
            "chat.example:443",
        ] {
            assert_eq!(check(&of(own), known), Ok(()), "{own}");
        }
        assert_eq!(check(&HeaderMap::new(), known), Ok(()), "no browser");
        for foreign in [
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evillocalhost",
            "127.0.0.1@evil.example",
            "",
        ] {
            let refused = check(&of(foreign), known).unwrap_err();
            assert!(
                refused.starts_with(&format!("Host: {foreign:?}")),
                "{refused}"
            );
        }
    }
}
