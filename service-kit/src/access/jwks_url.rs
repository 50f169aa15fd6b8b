//! Keys from a URL: fetched at the start, then again and again, since issuers change their keys.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Uri;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::sync::watch;

use super::{Access, Keys};
use crate::config::SecretUrl;

/// Where keys are fetched, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl {
    /// `auth.jwks_url`.
    pub url: SecretUrl,
    /// Between two fetches.
    pub interval: Duration,
}

/// Between two attempts while one fails, at the most.
const RETRY: Duration = Duration::from_secs(10);
/// How long one fetch may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Largest document, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Whether nobody on the way can exchange the keys: they come encrypted, or from this machine.
pub(super) fn is_safe(url: &SecretUrl) -> bool {
    let host = url.uri().and_then(Uri::host);
    url.is_secure() || matches!(host, Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// Keeps `known` at what `configured` says with the keys of the URL added. The keys of the last
/// fetch that went well hold until the next one that does. When the settings are read again, the
/// keys are fetched at once; where a fetch is under way, which may have got older ones, once more.
pub(super) async fn fetch_forever(
    JwksUrl { url, interval }: JwksUrl,
    mut configured: watch::Receiver<Arc<Access>>,
    known: watch::Sender<Arc<Access>>,
) {
    let mut fetched = Keys::default();
    loop {
        let fetching = fetch(&url);
        tokio::pin!(fetching);
        let mut again = false;
        // Whoever is no longer known must not wait for a fetch.
        let answer = loop {
            let access = configured
                .borrow_and_update()
                .with_more_keys(fetched.clone());
            known.send_replace(Arc::new(access));
            tokio::select! {
                answer = &mut fetching => break answer,
                changed = configured.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    again = true;
                }
            }
        };
        let pause = match answer {
            Ok(keys) => {
                fetched = keys;
                interval
            }
            Err(error) => {
                tracing::warn!(%url, %error, "auth.jwks_url: no keys were fetched; those from before hold");
                interval.min(RETRY)
            }
        };
        let access = configured.borrow().with_more_keys(fetched.clone());
        known.send_replace(Arc::new(access));
        if again {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = configured.changed() => if changed.is_err() { return },
        }
    }
}

async fn fetch(url: &SecretUrl) -> Result<Keys, String> {
    let uri = url.uri().cloned().ok_or("there is no URL")?;
    // Without TLS nobody's roots are needed, and a system may have none.
    if !url.is_secure() {
        return fetch_by(HttpConnector::new(), uri).await;
    }
    let connector = HttpsConnectorBuilder::new()
        .with_native_roots()
        .map_err(|error| format!("the system's roots cannot be read: {error}"))?
        .https_only()
        .enable_http1()
        .build();
    fetch_by(connector, uri).await
}

async fn fetch_by(
    connector: impl Connect + Clone + Send + Sync + 'static,
    uri: Uri,
) -> Result<Keys, String> {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let exchange = async {
        let answer = client
            .get(uri)
            .await
            .map_err(|error| format!("no answer: {error}"))?;
        if !answer.status().is_success() {
            return Err(format!("the answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| {
            format!("the answer breaks off or is over {MAX_BYTES} bytes: {error}")
        })?;
        Keys::from_jwks(&body.to_bytes()).map_err(|why| format!("the answer {why}"))
    };
    let fetched = tokio::time::timeout(DEADLINE, exchange).await;
    fetched.unwrap_or_else(|_| Err(format!("no whole answer within {DEADLINE:?}")))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    fn secret(url: &str) -> SecretUrl {
        SecretUrl::read(url).unwrap()
    }

    #[test]
    fn keys_come_encrypted_or_from_this_machine() {
        for good in [
            "https://id.example/jwks",
            "http://127.0.0.1:8/jwks",
            "http://[::1]:8/",
            "http://localhost/",
        ] {
            assert!(is_safe(&secret(good)), "{good}");
        }
        for bad in ["http://id.example/", "http://127.0.0.1.evil/"] {
            assert!(!is_safe(&secret(bad)), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_document_too_large_gives_no_keys() {
        let padded = |size: usize| {
            let key =
                r#"{"keys":[{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#;
            let document = key.to_owned() + &" ".repeat(size - key.len());
            axum::routing::get(move || std::future::ready(document))
        };
        let router = axum::Router::new()
            .route("/full", padded(MAX_BYTES))
            .route("/over", padded(MAX_BYTES + 1));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let never = tokio_util::sync::CancellationToken::new();
        let limits = crate::http::HttpLimits::default();
        tokio::spawn(crate::http::serve(listener.into(), router, limits, never));
        let at = |path: &str| secret(&format!("http://{address}/{path}"));
        fetch(&at("full")).await.unwrap();
        let refused = fetch(&at("over")).await;
        let why = refused.err().unwrap();
        assert!(why.contains("over 262144 bytes"), "{why}");
    }

    #[tokio::test]
    async fn a_reading_during_a_fetch_is_followed_by_another_fetch() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = JwksUrl {
            url: secret(&format!("http://{}/jwks", listener.local_addr().unwrap())),
            interval: Duration::from_secs(86_400),
        };
        let nobody = || Arc::new(Access::default());
        let (configured, readings) = watch::channel(nobody());
        let (known, mut seen) = watch::channel(nobody());
        let fetching = tokio::spawn(fetch_forever(source, readings, known));
        let (mut first, _) = listener.accept().await.unwrap();
        seen.mark_unchanged();
        configured.send_replace(nobody());
        // The reading has been noticed, and the fetch goes on.
        seen.changed().await.unwrap();
        let keys = r#"{"keys":[{"kty":"oct","k":"dGhlLWZpcnN0LXNlY3JldC1vZi1hbi1pc3N1ZXItb2YtdG9rZW5z"}]}"#;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", keys.len());
        first.write_all((head + keys).as_bytes()).await.unwrap();
        let second = tokio::time::timeout(DEADLINE, listener.accept()).await;
        assert!(second.is_ok(), "the keys were not fetched again");
        fetching.abort();
    }
}
