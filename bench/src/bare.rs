//! A tonic server that answers `grpc.health.v1.Health/Check` and nothing else: what a health call
//! costs where nobody thinks about the answer.

use std::pin::Pin;

use monitorable::grpc_health::v1::health_check_response::ServingStatus;
use monitorable::grpc_health::v1::health_server::{Health, HealthServer};
use monitorable::grpc_health::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::failure::Failure;

/// Always serving.
pub(crate) struct Bare;

#[tonic::async_trait]
impl Health for Bare {
    async fn check(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse {
            status: ServingStatus::Serving.into(),
        }))
    }

    async fn list(
        &self,
        _request: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("Check is all that is measured"))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("Check is all that is measured"))
    }
}

/// Serves until the process ends, on a free port that it prints.
///
/// # Errors
/// Where it cannot.
pub(crate) async fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("grpc listening on {}", listener.local_addr()?);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let served = Server::builder()
        .add_service(HealthServer::new(Bare))
        .serve_with_incoming(incoming);
    served
        .await
        .map_err(|error| Failure::new(error.to_string()))
}
