//! gRPC servers that the client subcommands call.

use std::error::Error;
use std::time::Duration;

use tonic::transport::{ClientTlsConfig, Endpoint};

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Pings that notice a peer which is gone without a word.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// An endpoint from what a person wrote.
///
/// # Errors
/// One sentence with the argument, its value and what is allowed.
pub(crate) fn endpoint(argument: &str, written: &str) -> Result<Endpoint, String> {
    let refused = || {
        format!(
            "{argument}: {written:?} is not allowed; allowed is http://HOST:PORT or https://HOST:PORT"
        )
    };
    let uri: http::Uri = written.parse().map_err(|_| refused())?;
    let secure = match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(_)) => false,
        (Some("https"), Some(_)) => true,
        _ => return Err(refused()),
    };
    let plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
    if !plain
        || uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err(refused());
    }
    let endpoint = Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    if !secure {
        return Ok(endpoint);
    }
    endpoint
        .tls_config(ClientTlsConfig::new().with_native_roots())
        .map_err(|error| format!("{argument}: {written:?}: {}", causes(&error)))
}

/// An error with everything behind it: the outermost often says no more than "transport error".
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_whole_addresses_are_taken() {
        for good in [
            "http://127.0.0.1:50051",
            "https://bridge.example/",
            "http://[::1]:1",
        ] {
            assert!(endpoint("--target", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:1",
            "ftp://x:1",
            "http://",
            "http://x/path",
            "http://u:p@x",
            "a b",
        ] {
            let error = endpoint("--target", bad).unwrap_err();
            assert!(error.starts_with("--target: "), "{error}");
        }
    }
}
