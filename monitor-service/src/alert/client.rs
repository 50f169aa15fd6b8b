//! A small HTTP client: one POST, one deadline, one connection each. Kept connections would hide
//! that a new one can no longer be made.

use std::error::Error;
use std::time::Duration;

use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Why the client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the system's certificates cannot be loaded: {0}")]
pub(crate) struct ClientError(std::io::Error);

/// Why a message reached nobody; never names more of the address than its host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PostError {
    #[error("no connection: {0}")]
    NoConnection(String),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("answered {0}")]
    Answered(StatusCode),
}

impl PostError {
    /// Whether another attempt may end better: a receiver that refuses will refuse again.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NoConnection(_) | Self::TimedOut(_) => true,
            Self::Answered(status) => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
                    )
            }
        }
    }
}

/// Over TLS, and without.
#[derive(Clone)]
enum Transport {
    Plain(HyperClient<HttpConnector, Full<Bytes>>),
    /// Both, as the address says.
    Secure(HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// The client. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    transport: Transport,
    deadline: Duration,
}

impl Client {
    /// `secure`: some address asks for TLS.
    ///
    /// # Errors
    /// Where the system has no certificates to trust.
    pub(super) fn new(deadline: Duration, secure: bool) -> Result<Self, ClientError> {
        let mut builder = HyperClient::builder(TokioExecutor::new());
        builder.pool_max_idle_per_host(0);
        let transport = if secure {
            let connector = HttpsConnectorBuilder::new()
                .with_native_roots()
                .map_err(ClientError)?
                .https_or_http()
                .enable_http1()
                .build();
            Transport::Secure(builder.build(connector))
        } else {
            Transport::Plain(builder.build(HttpConnector::new()))
        };
        Ok(Self {
            transport,
            deadline,
        })
    }

    /// Posts JSON; any 2xx answer will do. Redirects are not followed.
    ///
    /// # Errors
    /// Why it reached nobody.
    pub(super) async fn post(&self, uri: &Uri, body: Bytes) -> Result<(), PostError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::USER_AGENT,
                concat!("monitor-service/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::new(body))
            .map_err(|error| PostError::NoConnection(error.to_string()))?;
        let exchange = async {
            match &self.transport {
                Transport::Plain(client) => client.request(request).await,
                Transport::Secure(client) => client.request(request).await,
            }
        };
        // The answer's head says it all; its body is not read.
        match tokio::time::timeout(self.deadline, exchange).await {
            Err(_) => Err(PostError::TimedOut(self.deadline)),
            Ok(Err(error)) => Err(PostError::NoConnection(root_cause(&error))),
            Ok(Ok(response)) if response.status().is_success() => Ok(()),
            Ok(Ok(response)) => Err(PostError::Answered(response.status())),
        }
    }
}

fn root_cause(error: &dyn Error) -> String {
    crate::probe::channel::root_cause(error)
}
