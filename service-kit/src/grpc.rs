//! A gRPC server that answers reflection, notices dead peers and ends on time.

use std::time::Duration;

use axum::http::HeaderValue;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Code, Status};

use crate::accept::Port;
use crate::request::Observe;

/// Limits of one gRPC server.
#[derive(Clone, Copy, Debug)]
pub struct GrpcLimits {
    /// Interval of HTTP/2 pings on a quiet connection.
    pub keepalive_interval: Duration,
    /// How long a ping may stay unanswered before the connection is closed.
    pub keepalive_timeout: Duration,
    /// Streams that one connection may have open.
    pub max_concurrent_streams: u32,
    /// Largest header block of a request, in bytes. Over it the request is refused.
    pub max_header_bytes: u32,
    /// How long calls under way may take once the shutdown began.
    pub drain_deadline: Duration,
}

impl Default for GrpcLimits {
    fn default() -> Self {
        Self {
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(10),
            max_concurrent_streams: 1_000,
            max_header_bytes: 16 * 1024,
            drain_deadline: Duration::from_secs(5),
        }
    }
}

/// Adds server reflection, v1 and v1alpha, for the named services.
///
/// # Panics
/// Never in a build whose stubs compile: the descriptors are checked with them.
#[must_use]
pub fn with_reflection(routes: Routes, services: &[&str]) -> Routes {
    let builder = || {
        services.iter().fold(
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(monitorable::DESCRIPTORS),
            |builder, service| builder.with_service_name(*service),
        )
    };
    let v1 = builder()
        .build_v1()
        .expect("the build's own descriptors decode");
    let v1alpha = builder()
        .build_v1alpha()
        .expect("the build's own descriptors decode");
    routes.add_service(v1).add_service(v1alpha)
}

/// tonic says `OUT_OF_RANGE` of a message over the limit, before any code of ours sees it; a limit
/// is `RESOURCE_EXHAUSTED` here.
#[must_use]
pub fn too_large_as_exhausted(routes: Routes) -> Routes {
    let number = |code: Code| HeaderValue::from(code as i32);
    let translate = move |mut response: axum::response::Response| async move {
        if let Some(status) = response.headers_mut().get_mut(Status::GRPC_STATUS)
            && *status == number(Code::OutOfRange)
        {
            *status = number(Code::ResourceExhausted);
        }
        response
    };
    routes
        .into_axum_router()
        .layer(axum::middleware::map_response(translate))
        .into()
}

/// Serves until the shutdown, then at most the drain deadline longer.
///
/// hyper#4170: a graceful shutdown can hang for as long as a peer keeps its connection open, so a
/// hard deadline stands behind it.
///
/// # Errors
/// Where the transport fails.
pub async fn serve(
    port: Port,
    routes: Routes,
    limits: GrpcLimits,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let graceful = shutdown.clone();
    let observed = routes.into_axum_router().layer(Observe);
    let server = Server::builder()
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
        .max_concurrent_streams(limits.max_concurrent_streams)
        .http2_max_header_list_size(limits.max_header_bytes)
        .add_routes(observed.into())
        .serve_with_incoming_shutdown(
            port.into_stream(),
            async move { graceful.cancelled().await },
        );
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return ended,
        () = shutdown.cancelled() => {}
    }
    match tokio::time::timeout(limits.drain_deadline, server).await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::warn!(deadline = ?limits.drain_deadline, "gRPC connections cut at the drain deadline");
            Ok(())
        }
    }
}
