//! A proxy that understands `Monitorable`: a load balancer over several components, or a cache
//! that answers in their place.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use monitorable::monitorable::v1::monitorable_client::MonitorableClient;
use monitorable::monitorable::v1::monitorable_server::{Monitorable, MonitorableServer};
use monitorable::monitorable::v1::{
    GetHealthStatusRequest, GetHealthStatusResponse, GetMetricsRequest, GetMetricsResponse,
    WatchHealthRequest, WatchHealthResponse,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use crate::process::channel;

/// The relay; it takes no new connection once dropped.
#[derive(Debug)]
pub struct Relay {
    /// Where it serves.
    pub address: SocketAddr,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Inner {
    upstreams: Vec<MonitorableClient<Channel>>,
    calls: AtomicUsize,
    cached: AtomicBool,
    last_answer: Mutex<Option<GetHealthStatusResponse>>,
}

impl Relay {
    /// A relay that hands each call to the next of these components.
    pub async fn start(upstreams: &[String]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let clients = upstreams
            .iter()
            .map(|uri| MonitorableClient::new(channel(uri)));
        let inner = Arc::new(Inner {
            upstreams: clients.collect(),
            calls: AtomicUsize::new(0),
            cached: AtomicBool::new(false),
            last_answer: Mutex::new(None),
        });
        let serving = Server::builder()
            .add_service(MonitorableServer::new(Service(inner.clone())))
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
        let task = tokio::spawn(async move {
            serving.await.expect("a relay serves");
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

    /// From now on health calls get the last answer that passed, and reach nobody.
    pub fn answer_from_cache(&self) {
        self.inner.cached.store(true, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inner {
    fn next(&self) -> MonitorableClient<Channel> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        self.upstreams[call % self.upstreams.len()].clone()
    }

    fn stored(&self) -> Option<GetHealthStatusResponse> {
        let cached = self.cached.load(Ordering::Relaxed);
        let stored = self.last_answer.lock().expect("no panic while held");
        stored.clone().filter(|_| cached)
    }
}

struct Service(Arc<Inner>);

#[tonic::async_trait]
impl Monitorable for Service {
    async fn get_health_status(
        &self,
        request: Request<GetHealthStatusRequest>,
    ) -> Result<Response<GetHealthStatusResponse>, Status> {
        if let Some(stored) = self.0.stored() {
            return Ok(Response::new(stored));
        }
        let answer = self
            .0
            .next()
            .get_health_status(request.into_inner())
            .await?;
        let mut stored = self.0.last_answer.lock().expect("no panic while held");
        *stored = Some(answer.get_ref().clone());
        drop(stored);
        Ok(answer)
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        self.0.next().get_metrics(request.into_inner()).await
    }

    type WatchHealthStream =
        Pin<Box<dyn Stream<Item = Result<WatchHealthResponse, Status>> + Send + 'static>>;

    async fn watch_health(
        &self,
        request: Request<WatchHealthRequest>,
    ) -> Result<Response<Self::WatchHealthStream>, Status> {
        let messages = self.0.next().watch_health(request.into_inner()).await?;
        Ok(Response::new(Box::pin(messages.into_inner())))
    }
}
