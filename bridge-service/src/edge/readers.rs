//! `GET /v1/events`: one URL for readers over WebSocket and over server-sent events.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use service_kit::access::Guard;
use service_kit::clock::Clock;
use service_kit::rate::Rate;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::origins::Origins;
use super::{sse, websocket};
use crate::hub::api::HubHandle;
use crate::hub::limits::HubLimits;

/// Where readers connect.
pub(crate) const EVENTS_PATH: &str = "/v1/events";

/// Limits of readers beside those of the hub.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReaderLimits {
    /// How long a client may take to send the auth frame. Over it the connection is closed with 4001.
    pub(crate) auth_frame_timeout: Duration,
    /// Bytes of one message of a client. Over it the connection is closed with 1009.
    pub(crate) max_frame_bytes: usize,
    /// Messages a second of one client. Over it the connection is closed with 1008.
    pub(crate) max_message_rate: Rate,
    /// Upgraded sockets, from the upgrade to the end of the close handshake. Over it an upgrade is
    /// refused with 503.
    pub(crate) max_sockets: usize,
}

/// What every reader's connection shares.
#[derive(Debug)]
pub(crate) struct Readers {
    pub(crate) hub: HubHandle,
    pub(crate) guard: Guard,
    pub(crate) origins: Origins,
    pub(crate) clock: Clock,
    pub(crate) limits: ReaderLimits,
    /// Least wait that a reader is told before it reconnects.
    pub(crate) retry_after: Duration,
    /// Cancelled when the drain begins: whoever is not a reader of the hub yet is told here.
    pub(crate) draining: CancellationToken,
    /// How long a reader has to take its goodbye.
    pub(crate) goodbye: Duration,
    pub(crate) sockets: Arc<Semaphore>,
    /// The tasks of upgraded sockets: no server waits for them (axum#3003).
    pub(crate) tasks: TaskTracker,
}

impl Readers {
    /// No reader yet.
    pub(crate) fn new(
        hub: HubHandle,
        guard: Guard,
        origins: Origins,
        limits: ReaderLimits,
        hub_limits: &HubLimits,
        draining: CancellationToken,
        clock: Clock,
    ) -> Self {
        let sockets = limits.max_sockets.min(Semaphore::MAX_PERMITS);
        Self {
            hub,
            guard,
            origins,
            clock,
            limits,
            retry_after: hub_limits.retry_after,
            draining,
            goodbye: hub_limits.goodbye,
            sockets: Arc::new(Semaphore::new(sockets)),
            tasks: TaskTracker::new(),
        }
    }

    /// A wait before reconnecting, doubled at most by jitter, so that readers do not come back all
    /// at once.
    pub(crate) fn retry_after(&self) -> Duration {
        self.retry_after.mul_f64(1.0 + fastrand::f64())
    }

    /// Waits until every upgraded socket has been closed.
    pub(crate) async fn all_closed(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Answers a reader's request.
pub(crate) async fn serve(State(readers): State<Arc<Readers>>, request: Request) -> Response {
    let headers = request.headers();
    if let Err(error) = readers.origins.check(headers, &readers.guard) {
        tracing::info!(%error, "a page was refused");
        return refusal(StatusCode::FORBIDDEN, &error);
    }
    if list_contains(headers, header::UPGRADE, "websocket") {
        websocket::upgrade(&readers, request)
    } else if list_contains(headers, header::ACCEPT, "text/event-stream") {
        let (parts, _body) = request.into_parts();
        sse::open(&readers, &parts).await
    } else {
        let upgrade = [
            (header::UPGRADE, "websocket"),
            (header::CONNECTION, "upgrade"),
        ];
        let text = "this URL is read over WebSocket (send Upgrade: websocket) or as server-sent events (send Accept: text/event-stream)";
        (upgrade, refusal(StatusCode::UPGRADE_REQUIRED, text)).into_response()
    }
}

/// A refusal in plain text.
pub(super) fn refusal(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

/// Whether one of a header's comma-separated members is `wanted`, parameters left aside.
pub(super) fn list_contains(headers: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|member| member.split(';').next().unwrap_or("").trim())
        .any(|member| member.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        let pairs = pairs.iter().cloned();
        pairs
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn lists_are_read_member_by_member() {
        let headers = headers(&[
            (header::CONNECTION, "keep-alive, Upgrade"),
            (header::ACCEPT, "text/html, text/event-stream;q=0.9"),
        ]);
        assert!(list_contains(&headers, header::CONNECTION, "upgrade"));
        assert!(list_contains(&headers, header::ACCEPT, "text/event-stream"));
        assert!(!list_contains(&headers, header::ACCEPT, "text/event"));
        assert!(!list_contains(&headers, header::UPGRADE, "websocket"));
    }
}
