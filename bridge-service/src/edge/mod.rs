//! Everything that speaks to the outside: gRPC, WebSocket, SSE and the admin pages.

mod access;
mod admin;
pub(crate) mod convert;
mod exposition;
pub(crate) mod ingest;
mod monitorable;
pub(crate) mod origins;
mod query;
pub(crate) mod readers;
mod sse;
pub(crate) mod targets;
pub(crate) mod tokens;
pub(crate) mod websocket;

use std::sync::Arc;

use ::monitorable::bridge::v1::GetEgressResponse;
use axum::Router;
use axum::middleware::from_fn_with_state;
use service_kit::access::{GrpcGuard, Guard, guard_grpc};
use service_kit::clock::Clock;
use service_kit::grpc::with_reflection;
use service_kit::health_protocol::HealthProtocol;
use service_kit::http::admin_routes;
use service_kit::reload::ReloadStatus;
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

/// What ends when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    /// Cancelled when the drain begins: nothing new is taken.
    pub(crate) draining: CancellationToken,
    /// Cancelled when the readers are gone: the servers end.
    pub(crate) servers: CancellationToken,
}

/// Who comes in beside readers, and to what.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) guard: Guard,
    /// Whether server reflection is served.
    pub(crate) reflection: bool,
    /// Whether `/metrics` is served.
    pub(crate) metrics: bool,
    /// What rates are measured with.
    pub(crate) clock: Clock,
    /// How the last reading of the settings went.
    pub(crate) reloads: ReloadStatus,
}

/// The gRPC services. Open publish streams end once the drain begins; `egress` says where readers
/// connect.
pub(crate) fn grpc_routes(
    hub: &HubHandle,
    identity: &Identity,
    limits: IngestLimits,
    ends: &Ends,
    egress: GetEgressResponse,
    door: &Door,
) -> Routes {
    let claims = Claims::new(hub.clone(), identity.clone(), door.reloads.clone());
    let claims = Arc::new(claims);
    let (draining, guard, clock) = (ends.draining.clone(), door.guard.clone(), door.clock);
    let routes = ingest::routes(hub.clone(), limits, draining, egress, guard, clock)
        .add_service(MonitorableService::server(hub.clone(), identity.clone()))
        .add_service(HealthProtocol::server(claims, ends.servers.clone()));
    let routes = if door.reflection {
        with_reflection(routes, &SERVICES)
    } else {
        routes
    };
    if !door.guard.is_closed() {
        return routes;
    }
    let guard: GrpcGuard = (door.guard.clone(), access::rule);
    let router = routes.into_axum_router();
    router.layer(from_fn_with_state(guard, guard_grpc)).into()
}

/// The HTTP routes: readers and admin pages.
pub(crate) fn http_routes(
    hub: &HubHandle,
    identity: &Identity,
    readers: Arc<Readers>,
    door: &Door,
) -> Router {
    let claims = Claims::new(hub.clone(), identity.clone(), door.reloads.clone());
    let claims = Arc::new(claims);
    Router::new()
        .route(EVENTS_PATH, axum::routing::get(readers::serve))
        .with_state(readers)
        .merge(admin_routes(
            claims,
            door.metrics.then(|| door.guard.clone()),
        ))
}
