//! A Monitorable target whose answers can be changed, cheap enough to have a thousand of.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use monitorable::monitorable::v1::monitorable_server::{Monitorable, MonitorableServer};
use monitorable::monitorable::v1::{
    Check, DeliveryMetrics, GetHealthStatusRequest, GetHealthStatusResponse, GetMetricsRequest,
    GetMetricsResponse, HealthStatus, LifecycleMetrics, Metrics, Reason, State, WatchHealthRequest,
    WatchHealthResponse,
};
use service_kit::clock::{Clock, Now};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// What the target answers. The default is honest and well.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The id that it claims.
    pub component_id: String,
    /// Which process it claims to be.
    pub instance_id: String,
    /// The state that it claims.
    pub state: State,
    /// Its checks.
    pub checks: Vec<Check>,
    /// Its lifecycle counters.
    pub lifecycle: LifecycleMetrics,
    /// Its delivery counters, where it delivers.
    pub delivery: Option<DeliveryMetrics>,
    /// Whether nonces come back.
    pub echo_nonce: bool,
    /// Whether health is a stored answer that never changes again.
    pub frozen: bool,
    /// Whether open watch streams say nothing more.
    pub silent_watch: bool,
    /// What calls are told, where it is not the state.
    pub calls_state: Option<State>,
    /// How far its clock is ahead.
    pub clock_ahead: Duration,
    /// How often it runs its checks, announced as a gauge. Absent: with every answer, not
    /// announced.
    pub check_interval: Option<Duration>,
    /// How long the unary answers take.
    pub delay: Duration,
    /// The error that is answered instead.
    pub error: Option<Status>,
}

impl Answers {
    fn honest(component_id: &str) -> Self {
        Self {
            component_id: component_id.to_owned(),
            instance_id: format!("{component_id}-1"),
            state: State::Active,
            checks: vec![Check {
                name: "work".to_owned(),
                healthy: true,
                message: String::new(),
                latency: Some(prost_types::Duration {
                    seconds: 0,
                    nanos: 1_000,
                }),
            }],
            lifecycle: LifecycleMetrics {
                total_initializations: 1,
                successful_initializations: 1,
                health_checks_performed: 1,
                success_rate: 1.0,
                ..LifecycleMetrics::default()
            },
            delivery: None,
            echo_nonce: true,
            frozen: false,
            silent_watch: false,
            calls_state: None,
            clock_ahead: Duration::ZERO,
            check_interval: None,
            delay: Duration::ZERO,
            error: None,
        }
    }
}

#[derive(Debug)]
struct Inner {
    answers: watch::Sender<Answers>,
    sequence: Mutex<u64>,
    frozen: Mutex<Option<HealthStatus>>,
    began: Mutex<Now>,
}

/// The target. Dropped it takes no new connection; those that are open go on, so put a proxy in
/// front of it where they must break.
#[derive(Debug)]
pub struct Fake {
    /// Where it serves.
    pub address: SocketAddr,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Fake {
    /// An honest target.
    pub async fn start(component_id: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            answers: watch::Sender::new(Answers::honest(component_id)),
            sequence: Mutex::new(0),
            frozen: Mutex::new(None),
            began: Mutex::new(Clock::system().now()),
        });
        let service = MonitorableServer::new(Target(inner.clone()));
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
        let task = tokio::spawn(async move {
            serving.await.expect("a fake serves");
        });
        Self {
            address,
            inner,
            task,
        }
    }

    /// Where it serves, as a URI.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes its answers, on the watch streams at once.
    pub fn change(&self, change: impl FnOnce(&mut Answers)) {
        self.inner.answers.send_modify(change);
    }

    /// Changes its answers without a word on the watch streams; what they tell changes with the
    /// next beat.
    pub fn slip(&self, change: impl FnOnce(&mut Answers)) {
        self.inner.answers.send_if_modified(|answers| {
            change(answers);
            false
        });
    }

    /// Says on the watch streams that it drains, ends them, and answers no new one.
    pub fn drain(&self) {
        self.change(|answers| answers.state = State::Draining);
    }

    /// Comes back as a new process: another instance, its counters at the beginning.
    pub fn restart(&self, instance_id: &str) {
        *self.inner.sequence.lock().expect("no panic while held") = 0;
        *self.inner.began.lock().expect("no panic while held") = Clock::system().now();
        self.slip(|answers| {
            let honest = Answers::honest(&answers.component_id);
            answers.delivery = answers.delivery.take().map(|_| DeliveryMetrics::default());
            answers.instance_id = instance_id.to_owned();
            answers.state = honest.state;
            answers.lifecycle = honest.lifecycle;
        });
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inner {
    fn answers(&self) -> Answers {
        self.answers.borrow().clone()
    }

    /// The health as the watch streams tell it.
    fn watched(&self) -> HealthStatus {
        self.told(&self.answers())
    }

    /// The health as calls are told it.
    fn called(&self) -> HealthStatus {
        let mut answers = self.answers();
        answers.state = answers.calls_state.unwrap_or(answers.state);
        self.told(&answers)
    }

    fn told(&self, answers: &Answers) -> HealthStatus {
        let mut stored = self.frozen.lock().expect("no panic while held");
        if !answers.frozen {
            *stored = None;
            return self.fresh(answers);
        }
        stored.get_or_insert_with(|| self.fresh(answers)).clone()
    }

    fn fresh(&self, answers: &Answers) -> HealthStatus {
        let mut sequence = self.sequence.lock().expect("no panic while held");
        *sequence += 1;
        let now = Clock::system().now();
        let began = *self.began.lock().expect("no panic while held");
        let uptime = now.since(began.monotonic);
        let checked = match answers.check_interval {
            Some(interval) => {
                let rounds = uptime.as_millis() / interval.as_millis().max(1);
                let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
                began.wall + interval.saturating_mul(rounds)
            }
            None => now.wall,
        };
        HealthStatus {
            component_id: answers.component_id.clone(),
            instance_id: answers.instance_id.clone(),
            sequence: *sequence,
            observe_time: Some((now.wall + answers.clock_ahead).into()),
            state: answers.state.into(),
            healthy: answers.state == State::Active,
            checks: answers.checks.clone(),
            consecutive_failures: 0,
            uptime: uptime.try_into().ok(),
            last_health_check_time: Some((checked + answers.clock_ahead).into()),
            error_message: String::new(),
        }
    }

    fn metrics(&self) -> Metrics {
        let answers = self.answers();
        let now = Clock::system().now().wall;
        let gauges = answers.check_interval.map(|interval| {
            let name = "health_check_interval_seconds".to_owned();
            (name, interval.as_secs_f64())
        });
        Metrics {
            component_id: answers.component_id,
            instance_id: answers.instance_id,
            observe_time: Some((now + answers.clock_ahead).into()),
            lifecycle: Some(answers.lifecycle),
            delivery: answers.delivery,
            gauges: gauges.into_iter().collect(),
        }
    }

    async fn answer(&self) -> Result<(), Status> {
        let answers = self.answers();
        tokio::time::sleep(answers.delay).await;
        answers.error.map_or(Ok(()), Err)
    }

    fn beat(&self, reason: Reason, interval: Duration) -> WatchHealthResponse {
        WatchHealthResponse {
            health: Some(self.watched()),
            reason: reason.into(),
            next_within: match reason {
                Reason::Draining => None,
                _ => (interval * 2).try_into().ok(),
            },
        }
    }
}

struct Target(Arc<Inner>);

#[tonic::async_trait]
impl Monitorable for Target {
    async fn get_health_status(
        &self,
        request: Request<GetHealthStatusRequest>,
    ) -> Result<Response<GetHealthStatusResponse>, Status> {
        self.0.answer().await?;
        let nonce = request.into_inner().nonce;
        let nonce = if self.0.answers().echo_nonce {
            nonce
        } else {
            String::new()
        };
        let health = Some(self.0.called());
        Ok(Response::new(GetHealthStatusResponse { health, nonce }))
    }

    async fn get_metrics(
        &self,
        _request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        self.0.answer().await?;
        let metrics = Some(self.0.metrics());
        Ok(Response::new(GetMetricsResponse { metrics }))
    }

    type WatchHealthStream =
        Pin<Box<dyn Stream<Item = Result<WatchHealthResponse, Status>> + Send + 'static>>;

    async fn watch_health(
        &self,
        request: Request<WatchHealthRequest>,
    ) -> Result<Response<Self::WatchHealthStream>, Status> {
        self.0.answer().await?;
        if self.0.answers().state == State::Draining {
            return Err(Status::unavailable("it drains"));
        }
        let asked = request.into_inner().max_interval;
        let asked = asked.and_then(|asked| Duration::try_from(asked).ok());
        let interval = asked.unwrap_or(Duration::from_secs(30)) / 2;
        let interval = interval.max(Duration::from_millis(50));
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(watch(self.0.clone(), interval, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

async fn watch(
    inner: Arc<Inner>,
    interval: Duration,
    sender: mpsc::Sender<Result<WatchHealthResponse, Status>>,
) {
    let mut answers = inner.answers.subscribe();
    let mut reason = Reason::Initial;
    loop {
        let (silent, draining) = {
            let answers = answers.borrow_and_update();
            (answers.silent_watch, answers.state == State::Draining)
        };
        if draining {
            let _ = sender
                .send(Ok(inner.beat(Reason::Draining, interval)))
                .await;
            return;
        }
        if !silent && sender.send(Ok(inner.beat(reason, interval))).await.is_err() {
            return;
        }
        reason = tokio::select! {
            () = sender.closed() => return,
            changed = answers.changed() => match changed {
                Ok(()) => Reason::Changed,
                Err(_) => return,
            },
            () = tokio::time::sleep(interval) => Reason::Heartbeat,
        };
    }
}
