//! gRPC servers that the client subcommands call.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

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

/// How to trust an https target, and be trusted.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Trust {
    /// Certificates to trust, PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Client certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_client_key")]
    tls_client_certificate: Option<PathBuf>,
    /// The client certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_client_certificate")]
    tls_client_key: Option<PathBuf>,
    /// The name to verify the server's certificate against
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
}

impl Trust {
    /// The endpoint with this trust; one without TLS stays as it is.
    ///
    /// # Errors
    /// One sentence with the flag, the file and what is wrong with it.
    pub(crate) fn apply(&self, endpoint: Endpoint) -> Result<Endpoint, String> {
        if endpoint.uri().scheme_str() != Some("https") {
            return Ok(endpoint);
        }
        let read = |flag: &str, path: &PathBuf| {
            let shown = path.display();
            std::fs::read(path).map_err(|error| format!("{flag}: {shown} cannot be read: {error}"))
        };
        let mut config = match &self.tls_ca {
            None => ClientTlsConfig::new().with_native_roots(),
            Some(path) => {
                let pem = Certificate::from_pem(read("--tls-ca", path)?);
                ClientTlsConfig::new().ca_certificate(pem)
            }
        };
        if let (Some(certificate), Some(key)) = (&self.tls_client_certificate, &self.tls_client_key)
        {
            let certificate = read("--tls-client-certificate", certificate)?;
            let key = read("--tls-client-key", key)?;
            config = config.identity(Identity::from_pem(certificate, key));
        }
        if let Some(name) = &self.tls_server_name {
            config = config.domain_name(name);
        }
        endpoint
            .tls_config(config)
            .map_err(|error| format!("--tls-…: {}", causes(&error)))
    }
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
