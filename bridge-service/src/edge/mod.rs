//! Everything that speaks to the outside: gRPC, WebSocket, SSE and the admin pages.

mod admin;
pub(crate) mod convert;
mod exposition;
pub(crate) mod ingest;
mod monitorable;
mod query;
pub(crate) mod readers;
mod sse;
pub(crate) mod targets;
pub(crate) mod tokens;
pub(crate) mod websocket;

use std::sync::Arc;

use axum::Router;
use service_kit::grpc::with_reflection;
use service_kit::health_protocol::HealthProtocol;
use service_kit::http::admin_routes;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::hub::api::{HubHandle, Identity};
use admin::Claims;
use ingest::IngestLimits;
use monitorable::MonitorableService;
use readers::{EVENTS_PATH, Readers};

/// What reflection lists.
const SERVICES: [&str; 3] = [
    "bridge.v1.AgentEvents",
    "monitorable.v1.Monitorable",
    "grpc.health.v1.Health",
];

/// The gRPC services. Open publish streams end once `draining` is cancelled; `http_port` is where
/// readers connect.
pub(crate) fn grpc_routes(
    hub: &HubHandle,
    identity: &Identity,
    limits: IngestLimits,
    draining: CancellationToken,
    http_port: u16,
) -> Routes {
    let claims = Arc::new(Claims::new(hub.clone(), identity.clone()));
    let routes = ingest::routes(hub.clone(), limits, draining, http_port)
        .add_service(MonitorableService::server(hub.clone(), identity.clone()))
        .add_service(HealthProtocol::server(claims));
    with_reflection(routes, &SERVICES)
}

/// The HTTP routes: readers and admin pages.
pub(crate) fn http_routes(hub: &HubHandle, identity: &Identity, readers: Arc<Readers>) -> Router {
    let claims = Arc::new(Claims::new(hub.clone(), identity.clone()));
    Router::new()
        .route(EVENTS_PATH, axum::routing::get(readers::serve))
        .with_state(readers)
        .merge(admin_routes(claims))
}
