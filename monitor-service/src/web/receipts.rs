//! `POST /api/v1/receipts`: what a browser saw, in the JSON form of `ReportEventsRequest`.

use std::time::Duration;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use monitorable::monitor::v1::ReportEventsRequest;
use serde_json::Value;
use service_kit::access::Action;

use super::Failure;
use crate::edge::Edge;
use crate::edge::evidence::take_report;
use crate::json;

/// Largest report, in bytes.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// How long a report may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// How long a browser may remember that it may send reports.
const PREFLIGHT_SECONDS: &str = "86400";

pub(super) async fn take(
    State(edge): State<Edge>,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let identity = edge
        .door
        .guard
        .identify_request(request.headers(), request.extensions())
        .map_err(|refusal| {
            tracing::info!(%refusal, "a witness is not known");
            Failure::new(
                StatusCode::UNAUTHORIZED,
                format!("Authorization: {refusal}"),
            )
        })?;
    if let Some(Err(denied)) = identity
        .as_deref()
        .map(|identity| identity.may(Action::Report))
    {
        return Err(Failure::new(StatusCode::FORBIDDEN, denied.to_string()));
    }
    let body = to_bytes(request.into_body(), MAX_BODY_BYTES);
    let body = tokio::time::timeout(BODY_DEADLINE, body)
        .await
        .map_err(|_| {
            Failure::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("body: has not come whole within {BODY_DEADLINE:?}"),
            )
        })?
        .map_err(|_| {
            Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("body: is cut off or over {MAX_BODY_BYTES} bytes"),
            )
        })?;
    let report: ReportEventsRequest =
        json::read(&body).map_err(|error| Failure::new(StatusCode::BAD_REQUEST, error))?;
    let response = take_report(&edge.fleet, report, identity.as_deref()).await?;
    Ok(Json(json::write(&response)))
}

/// Whether a browser of another origin may send a report: it may, with a token where one is needed, and without cookies.
pub(super) async fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, OPTIONS"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Chat pages are served from other origins than the monitor; a refusal must be readable too.
pub(super) async fn allow_any_origin(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    response
}
