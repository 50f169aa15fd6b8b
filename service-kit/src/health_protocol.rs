//! `grpc.health.v1` on the real state: each answer asks the working loop.
//!
//! tonic-health keeps statuses that somebody has to set, answers Watch of an unknown service with
//! an error and starts as SERVING; this one has nothing to set and proves before it says so.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use monitorable::grpc_health::v1::health_check_response::ServingStatus;
use monitorable::grpc_health::v1::health_server::{Health, HealthServer};
use monitorable::grpc_health::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// How often a Watch asks the working loop.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// Watches that may be open at once.
const MAX_WATCHES: usize = 1_000;
/// Longest service name that is looked up, in bytes.
const MAX_SERVICE_BYTES: usize = 256;

/// The services that every server here answers for; the empty name is the server as a whole.
pub const SERVICES: [&str; 4] = ["", "monitorable.v1.Monitorable", LIVENESS, READINESS];
/// Whether the process should be left running.
pub const LIVENESS: &str = "liveness";
/// Whether the process should be sent work.
pub const READINESS: &str = "readiness";

/// Where the statuses come from.
pub trait HealthSource: Send + Sync + 'static {
    /// Asks the working loop whether a service of [`SERVICES`] serves. An answer that does not
    /// come in time is `false`.
    fn serving(&self, service: &str) -> impl Future<Output = bool> + Send;
}

/// The health protocol over a source.
#[derive(Debug)]
pub struct HealthProtocol<S> {
    source: Arc<S>,
    watches: Arc<Semaphore>,
    /// Cancelled when the server ends, which waits for its open streams.
    ending: CancellationToken,
}

impl<S: HealthSource> HealthProtocol<S> {
    /// The service, ready to be routed. Once `ending` is cancelled each watch says that nothing is
    /// served any more, and ends.
    pub fn server(source: Arc<S>, ending: CancellationToken) -> HealthServer<Self> {
        HealthServer::new(Self {
            source,
            watches: Arc::new(Semaphore::new(MAX_WATCHES)),
            ending,
        })
    }
}

fn status(serving: bool) -> HealthCheckResponse {
    let status = if serving {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    HealthCheckResponse {
        status: status.into(),
    }
}

fn known(service: &str) -> bool {
    SERVICES.contains(&service)
}

#[tonic::async_trait]
impl<S: HealthSource> Health for HealthProtocol<S> {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !known(&service) {
            let shown: String = service.chars().take(MAX_SERVICE_BYTES).collect();
            return Err(Status::not_found(format!(
                "service: {shown:?} is not known; known are {SERVICES:?}"
            )));
        }
        Ok(Response::new(status(self.source.serving(&service).await)))
    }

    async fn list(
        &self,
        _request: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let mut statuses = std::collections::HashMap::new();
        for service in SERVICES {
            statuses.insert(
                service.to_owned(),
                status(self.source.serving(service).await),
            );
        }
        Ok(Response::new(HealthListResponse { statuses }))
    }

    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let permit = self.watches.clone().try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!("watches: at most {MAX_WATCHES} may be open"))
        })?;
        let (sender, receiver) = mpsc::channel(1);
        let service = request.into_inner().service;
        let (source, ending) = (self.source.clone(), self.ending.clone());
        tokio::spawn(watch(source, service, sender, ending, permit));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

async fn watch<S: HealthSource>(
    source: Arc<S>,
    service: String,
    sender: mpsc::Sender<Result<HealthCheckResponse, Status>>,
    ending: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    if !known(&service) {
        let unknown = HealthCheckResponse {
            status: ServingStatus::ServiceUnknown.into(),
        };
        if sender.send(Ok(unknown)).await.is_ok() {
            tokio::select! {
                () = sender.closed() => {}
                () = ending.cancelled() => {}
            }
        }
        return;
    }
    let mut last = None;
    loop {
        let over = ending.is_cancelled();
        let serving = !over && source.serving(&service).await;
        if last != Some(serving) {
            if sender.send(Ok(status(serving))).await.is_err() {
                return;
            }
            last = Some(serving);
        }
        if over {
            return;
        }
        tokio::select! {
            () = sender.closed() => return,
            () = ending.cancelled() => {}
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio_stream::StreamExt;

    use super::*;

    struct Switch(AtomicBool);

    impl HealthSource for Switch {
        async fn serving(&self, service: &str) -> bool {
            service == LIVENESS || self.0.load(Ordering::SeqCst)
        }
    }

    fn protocol() -> HealthProtocol<Switch> {
        HealthProtocol {
            source: Arc::new(Switch(AtomicBool::new(false))),
            watches: Arc::new(Semaphore::new(1)),
            ending: CancellationToken::new(),
        }
    }

    fn ask(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest {
            service: service.to_owned(),
        })
    }

    #[tokio::test]
    async fn nothing_serves_before_it_is_proven() {
        let protocol = protocol();
        for service in ["", "monitorable.v1.Monitorable", READINESS] {
            let answer = protocol.check(ask(service)).await.unwrap().into_inner();
            assert_eq!(answer.status(), ServingStatus::NotServing, "{service}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_follows_the_state() {
        let protocol = protocol();
        let mut stream = protocol.watch(ask("")).await.unwrap().into_inner();
        let first = stream.next().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::NotServing);
        protocol.source.0.store(true, Ordering::SeqCst);
        let second = stream.next().await.unwrap().unwrap();
        assert_eq!(second.status(), ServingStatus::Serving);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_of_an_unknown_service_stays_open() {
        let protocol = protocol();
        let mut stream = protocol.watch(ask("nobody")).await.unwrap().into_inner();
        let first = stream.next().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::ServiceUnknown);
        let second = tokio::time::timeout(Duration::from_secs(3_600), stream.next()).await;
        assert!(second.is_err(), "the stream ended or went on: {second:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_says_that_the_server_ends_and_ends_too() {
        for (service, said) in [
            (READINESS, &[ServingStatus::NotServing][..]),
            (
                LIVENESS,
                &[ServingStatus::Serving, ServingStatus::NotServing],
            ),
            ("nobody", &[ServingStatus::ServiceUnknown]),
        ] {
            let protocol = protocol();
            let mut stream = protocol.watch(ask(service)).await.unwrap().into_inner();
            let mut heard = vec![stream.next().await.unwrap().unwrap().status()];
            protocol.ending.cancel();
            while let Some(message) = stream.next().await {
                heard.push(message.unwrap().status());
            }
            assert_eq!(heard, said, "{service}");
        }
    }

    #[tokio::test]
    async fn watches_are_limited() {
        let protocol = protocol();
        let _held = protocol.watch(ask("")).await.unwrap();
        let refused = protocol.watch(ask("")).await.err().unwrap();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn list_has_every_service() {
        let listed = protocol()
            .list(Request::new(HealthListRequest {}))
            .await
            .unwrap();
        assert_eq!(listed.into_inner().statuses.len(), SERVICES.len());
    }

    #[tokio::test]
    async fn check_of_an_unknown_service_names_the_known_ones() {
        let error = protocol().check(ask("nobody")).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::NotFound);
        assert!(error.message().contains("readiness"), "{}", error.message());
    }
}
