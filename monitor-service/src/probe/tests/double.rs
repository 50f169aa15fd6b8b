//! A target of our own making: a real Monitorable server that can be told to misbehave.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use monitorable::monitorable::v1::monitorable_server::Monitorable;
use monitorable::monitorable::v1::{
    GetHealthStatusRequest, GetHealthStatusResponse, GetMetricsRequest, GetMetricsResponse,
    HealthStatus, Metrics, Reason, State, WatchHealthRequest, WatchHealthResponse,
};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// What the target does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    None,
    /// Never answers a unary call.
    Hangs,
    /// Answers with a status.
    Refuses,
    /// Answers without a health report.
    Empty,
    /// Answers with another nonce.
    OldNonce,
    /// Answers with more than a mebibyte.
    Huge,
    /// Sends on its stream without pause.
    Floods,
    /// Ends its stream after the first message.
    EndsStream,
    /// Says nothing more on its stream after the first message.
    FallsSilent,
}

#[derive(Clone, Default)]
pub(super) struct Double {
    pub(super) fault: Arc<Mutex<Fault>>,
    sequence: Arc<AtomicU64>,
    pub(super) authorizations: Arc<Mutex<Vec<String>>>,
    pub(super) intervals: Arc<Mutex<Vec<Duration>>>,
}

impl Double {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn health(&self) -> HealthStatus {
        HealthStatus {
            component_id: "double".to_owned(),
            instance_id: "i1".to_owned(),
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            state: State::Active.into(),
            healthy: true,
            ..Default::default()
        }
    }

    fn message(&self, reason: Reason) -> WatchHealthResponse {
        WatchHealthResponse {
            health: Some(self.health()),
            reason: reason.into(),
            next_within: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
        }
    }
}

type Watching = Pin<Box<dyn Stream<Item = Result<WatchHealthResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Monitorable for Double {
    async fn get_health_status(
        &self,
        request: Request<GetHealthStatusRequest>,
    ) -> Result<Response<GetHealthStatusResponse>, Status> {
        if let Some(value) = request.metadata().get("authorization") {
            let value = value.to_str().unwrap().to_owned();
            self.authorizations.lock().unwrap().push(value);
        }
        let mut answer = GetHealthStatusResponse {
            health: Some(self.health()),
            nonce: request.into_inner().nonce,
        };
        match self.fault() {
            Fault::Hangs => std::future::pending().await,
            Fault::Refuses => return Err(Status::permission_denied("not you")),
            Fault::Empty => answer.health = None,
            Fault::OldNonce => answer.nonce = "old".to_owned(),
            Fault::Huge => answer.nonce = "x".repeat(2 * 1024 * 1024),
            Fault::None | Fault::Floods | Fault::EndsStream | Fault::FallsSilent => {}
        }
        Ok(Response::new(answer))
    }

    async fn get_metrics(
        &self,
        _request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let metrics = Metrics {
            component_id: "double".to_owned(),
            ..Default::default()
        };
        Ok(Response::new(GetMetricsResponse {
            metrics: Some(metrics),
        }))
    }

    type WatchHealthStream = Watching;

    async fn watch_health(
        &self,
        request: Request<WatchHealthRequest>,
    ) -> Result<Response<Watching>, Status> {
        let asked = request.into_inner().max_interval.unwrap_or_default();
        let interval = Duration::try_from(asked).unwrap();
        self.intervals.lock().unwrap().push(interval);
        let (sender, receiver) = mpsc::channel(1);
        let double = self.clone();
        tokio::spawn(async move {
            let mut reason = Reason::Initial;
            while sender.send(Ok(double.message(reason))).await.is_ok() {
                reason = Reason::Heartbeat;
                match double.fault() {
                    Fault::EndsStream => return,
                    Fault::FallsSilent => sender.closed().await,
                    // HTTP/2 itself cuts a stream off that nobody can read fast enough, so this
                    // one is only twice as fast as is allowed, and more.
                    Fault::Floods => {
                        for _ in 0..4 {
                            let _ = sender.send(Ok(double.message(reason))).await;
                        }
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    _ => tokio::time::sleep(interval / 2).await,
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
