//! An HTTP/1.1 server that bounds its connections, and the admin routes of both services.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::health_protocol::{HealthSource, LIVENESS, READINESS};

/// Limits of one HTTP server.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Connections that may speak HTTP at once; an upgraded one counts no more.
    pub max_connections: usize,
    /// How long a request's head may take to arrive.
    pub header_timeout: Duration,
    /// Largest request head, in bytes; at least 8 KiB.
    pub max_header_bytes: usize,
    /// How long requests under way may take once the shutdown began.
    pub drain_deadline: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            max_header_bytes: 16 * 1024,
            drain_deadline: Duration::from_secs(5),
        }
    }
}

/// Pause after a failed accept (such as: no file descriptor left), so that it cannot spin.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the shutdown, then at most the drain deadline longer.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: HttpLimits,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, permit)) => {
                let connection = serve_connection(stream, router.clone(), limits, shutdown.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                tokio::time::sleep(ACCEPT_ERROR_PAUSE).await;
            }
        }
    }
    connections.close();
    if tokio::time::timeout(limits.drain_deadline, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(deadline = ?limits.drain_deadline, "HTTP connections cut at the drain deadline");
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = permits
        .clone()
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

async fn serve_connection(
    stream: TcpStream,
    router: Router,
    limits: HttpLimits,
    shutdown: CancellationToken,
) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.max_header_bytes.max(8 * 1024))
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended badly");
    }
}

/// The two text formats that scrapers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// `text/plain; version=0.0.4`.
    Prometheus,
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
}

impl Exposition {
    /// What the request's `Accept` asks for; Prometheus text where it does not say.
    #[must_use]
    pub fn accepted(headers: &HeaderMap) -> Self {
        let accept = headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok());
        match accept {
            Some(types) if types.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// The content type that goes with it.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What `/metrics` shows.
pub trait MetricsSource: Send + Sync + 'static {
    /// The page in the format asked for; `None` where the working loop did not answer in time.
    fn metrics(&self, format: Exposition) -> impl Future<Output = Option<String>> + Send;
}

/// `/livez`, `/readyz` and `/metrics`, each answered through the working loop.
pub fn admin_routes<S: HealthSource + MetricsSource>(source: Arc<S>) -> Router {
    let (live, ready, metrics) = (source.clone(), source.clone(), source);
    Router::new()
        .route("/livez", get(move || probe(live, LIVENESS)))
        .route("/readyz", get(move || probe(ready, READINESS)))
        .route("/metrics", get(move |headers| scrape(metrics, headers)))
}

async fn probe<S: HealthSource>(source: Arc<S>, service: &'static str) -> impl IntoResponse {
    if source.serving(service).await {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not serving\n")
    }
}

async fn scrape<S: MetricsSource>(source: Arc<S>, headers: HeaderMap) -> impl IntoResponse {
    let format = Exposition::accepted(&headers);
    match source.metrics(format).await {
        Some(page) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, format.content_type())],
            page,
        )
            .into_response(),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the working loop does not answer\n",
        )
            .into_response(),
    }
}
