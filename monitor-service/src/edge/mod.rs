//! The gRPC services: wire in, checked; the fleet asked; domain out, converted.

mod access;
pub(crate) mod convert;
pub(crate) mod evidence;
pub(crate) mod monitor;
pub(crate) mod monitorable;
pub(crate) mod self_report;
pub(crate) mod validate;

use std::sync::Arc;

use ::monitorable::monitor::v1::evidence_server::EvidenceServer;
use ::monitorable::monitor::v1::monitor_server::MonitorServer;
use ::monitorable::monitorable::v1::monitorable_server::MonitorableServer;
use axum::middleware::from_fn_with_state;
use service_kit::access::{GrpcGuard, Guard, guard_grpc};
use service_kit::grpc::{too_large_as_exhausted, with_reflection};
use service_kit::health_protocol::HealthProtocol;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;

use self::evidence::EvidenceService;
use self::monitor::MonitorService;
use self::monitorable::MonitorableService;
use self::self_report::{Fingerprint, SelfMonitor};
use crate::fleet::api::{FleetError, FleetHandle};
use crate::probe::settings::ProbeSettings;

/// What reflection lists.
const SERVICES: [&str; 4] = [
    "monitor.v1.Monitor",
    "monitor.v1.Evidence",
    "monitorable.v1.Monitorable",
    "grpc.health.v1.Health",
];
/// Largest request that is read, in bytes: 1,000 events with the longest ids.
const MAX_REQUEST_BYTES: usize = 1024 * 1024 + 512 * 1024;

/// What the services stand on.
#[derive(Clone)]
pub(crate) struct Edge {
    pub(crate) fleet: FleetHandle,
    pub(crate) probes: ProbeSettings,
    pub(crate) self_monitor: Arc<SelfMonitor>,
    /// Changes of the monitor's own health.
    pub(crate) changes: watch::Receiver<Fingerprint>,
    pub(crate) limits: EdgeLimits,
    pub(crate) door: Door,
    pub(crate) shutdown: CancellationToken,
}

/// Who comes in, and to what.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) guard: Guard,
    /// Whether server reflection is served.
    pub(crate) reflection: bool,
    /// Whether `/metrics` is served.
    pub(crate) metrics: bool,
}

/// How much the services take on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EdgeLimits {
    /// Streams of findings, and streams of the monitor's own health, that may be open at once.
    pub(crate) watchers_max: usize,
}

/// Every gRPC service of the monitor.
pub(crate) fn routes(edge: &Edge) -> Routes {
    let routes = Routes::new(
        MonitorServer::new(MonitorService::new(edge)).max_decoding_message_size(MAX_REQUEST_BYTES),
    )
    .add_service(
        EvidenceServer::new(EvidenceService::new(edge.fleet.clone()))
            .max_decoding_message_size(MAX_REQUEST_BYTES),
    )
    .add_service(MonitorableServer::new(MonitorableService::new(edge)))
    .add_service(HealthProtocol::server(
        edge.self_monitor.clone(),
        edge.shutdown.clone(),
    ));
    let routes = too_large_as_exhausted(routes);
    let door = &edge.door;
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

impl From<FleetError> for Status {
    fn from(error: FleetError) -> Self {
        let message = error.to_string();
        match error {
            FleetError::NotRegistered(_)
            | FleetError::UnknownThread(_)
            | FleetError::NoMaintenance(_) => Self::not_found(message),
            FleetError::TooManyComponents(_) => Self::resource_exhausted(message),
            FleetError::Timeout(_) | FleetError::Ended => Self::unavailable(message),
        }
    }
}
