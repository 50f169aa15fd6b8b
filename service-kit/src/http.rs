//! An HTTP/1.1 server that bounds its connections, and the admin routes of both services.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::accept::{Connection, Port};
use crate::access::{Guard, guard_http};
use crate::health_protocol::{HealthSource, LIVENESS, READINESS};
use crate::request;

/// Limits of one HTTP server.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
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
            header_timeout: Duration::from_secs(10),
            max_header_bytes: 16 * 1024,
            drain_deadline: Duration::from_secs(5),
        }
    }
}

/// Cuts the connection that a request came on; each request carries one as an extension.
#[derive(Clone, Debug, Default)]
pub struct Cut(CancellationToken);

impl Cut {
    /// Cuts the connection where it has not ended by then. Only for the last answer of a
    /// connection, one that says `connection: close`: hyper asks for nothing more of an answer
    /// while the peer takes nothing, so the answer cannot end the connection itself.
    pub fn after(self, patience: Duration) {
        // Without a runtime there is no connection either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(patience).await;
                self.0.cancel();
            });
        }
    }
}

/// Serves until the shutdown, then at most the drain deadline longer.
pub async fn serve(
    mut port: Port,
    router: Router,
    limits: HttpLimits,
    shutdown: CancellationToken,
) {
    let router = router.layer(request::Observe);
    let connections = TaskTracker::new();
    loop {
        tokio::select! {
            connection = port.accept() => {
                connections.spawn(serve_connection(connection, router.clone(), limits, shutdown.clone()));
            }
            () = shutdown.cancelled() => break,
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

async fn serve_connection(
    mut connection: Connection,
    router: Router,
    limits: HttpLimits,
    shutdown: CancellationToken,
) {
    // Given back when HTTP ends: an upgraded connection counts no more.
    let _permit = connection.take_permit();
    let peer = connection.peer().clone();
    let cut = Cut::default();
    let asked = cut.0.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(cut.clone());
        router.clone().oneshot(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.max_header_bytes.max(8 * 1024))
        .serve_connection(TokioIo::new(connection), service)
        .with_upgrades();
    tokio::pin!(connection);
    let serving = async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    tokio::select! {
        ended = serving => if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP connection ended badly");
        },
        () = asked.cancelled() => tracing::debug!("an HTTP connection was cut: its peer takes nothing"),
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

/// `/livez` and `/readyz`, open to everybody, and `/metrics` behind its guard; each is answered
/// through the working loop. `metrics_guard` is `None` where there are no metrics to see.
pub fn admin_routes<S: HealthSource + MetricsSource>(
    source: Arc<S>,
    metrics_guard: Option<Guard>,
) -> Router {
    let (live, ready) = (source.clone(), source.clone());
    let router = Router::new()
        .route("/livez", get(move || probe(live, LIVENESS)))
        .route("/readyz", get(move || probe(ready, READINESS)));
    let Some(guard) = metrics_guard else {
        return router;
    };
    let metrics = get(move |headers| scrape(source, headers));
    router.route(
        "/metrics",
        metrics.layer(from_fn_with_state(guard, guard_http)),
    )
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
