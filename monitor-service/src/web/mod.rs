//! The HTTP port: admin routes, the API in JSON, badges and the dashboard.

mod api;
mod badge;
mod page;
mod prometheus;
mod receipts;
#[cfg(test)]
mod tests;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use service_kit::access::guard_http;
use service_kit::http::admin_routes;
use tonic::{Code, Status};

use crate::edge::Edge;

/// No page of this port loads anything from elsewhere, runs anything inline, or can be framed.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// Every route of the HTTP port.
pub(crate) fn router(edge: Edge) -> Router {
    let door = edge.door.clone();
    let metrics = door.metrics.then(|| door.guard.clone());
    let admin = admin_routes(edge.self_monitor.clone(), metrics);
    // The dashboard's own files say nothing; what it shows, it fetches with a token.
    Router::new()
        .route("/api/v1/components", get(api::components))
        .route("/api/v1/components/{id}", get(api::component))
        .route("/api/v1/components/{id}/audits", get(api::audits))
        .route("/api/v1/findings", get(api::findings))
        .route("/api/v1/summary", get(api::summary))
        .route("/api/v1/threads/{id}", get(api::thread))
        .route("/badge/{file}", get(badge::badge))
        .route_layer(from_fn_with_state(door.guard, guard_http))
        .route("/", get(page::html))
        .route("/assets/dashboard.css", get(page::css))
        .route("/assets/dashboard.js", get(page::js))
        .route(
            "/api/v1/receipts",
            post(receipts::take)
                .options(receipts::preflight)
                .layer(from_fn(receipts::allow_any_origin)),
        )
        .with_state(edge)
        .merge(admin)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(guard))
}

async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A failure as JSON: `{"error": "FIELD: why"}`.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.message });
        (self.status, axum::Json(body)).into_response()
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let code = match status.code() {
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(code, status.message())
    }
}

async fn not_found(request: Request) -> Failure {
    let path: String = request.uri().path().chars().take(256).collect();
    Failure::new(
        StatusCode::NOT_FOUND,
        format!("path: nothing is at {path:?}"),
    )
}

async fn method_not_allowed(request: Request) -> Failure {
    let method: String = request.method().as_str().chars().take(32).collect();
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("method: {method} is not allowed here"),
    )
}
