//! Thousands of Monitorable components in one process behind one listener: each has a loopback
//! address of its own, and whoever connects to it gets its claims.
//!
//! They serve `grpc.health.v1` too, so that any health prober can be measured beside the monitor.

use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream;
use monitorable::grpc_health::v1 as health;
use monitorable::monitorable::v1::monitorable_server::{Monitorable, MonitorableServer};
use monitorable::monitorable::v1::{
    Check, DeliveryMetrics, GetHealthStatusRequest, GetHealthStatusResponse, GetMetricsRequest,
    GetMetricsResponse, HealthStatus, LifecycleMetrics, Metrics, Reason, State, WatchHealthRequest,
    WatchHealthResponse,
};
use service_kit::clock::{Clock, Now};
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_stream::Stream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Connections that may wait to be accepted: a whole crowd may be registered at once.
const BACKLOG: u32 = 16_384;
/// Components that can die: for each of their connections there is a second file descriptor.
pub(crate) const MORTALS: usize = 100;
/// What the line begins with that says where the crowd listens.
pub(crate) const GREETING: &str = "crowd listening on port ";

/// The address of one component.
pub(crate) fn address(index: usize, port: u16) -> SocketAddr {
    let [_, high, middle, low] = u32::try_from(index + 1).unwrap_or(u32::MAX).to_be_bytes();
    (Ipv4Addr::new(127, high + 1, middle, low), port).into()
}

fn index(address: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    let [_, high, middle, low] = address.ip().octets();
    let number = u32::from_be_bytes([0, high.checked_sub(1)?, middle, low]);
    usize::try_from(number).ok()?.checked_sub(1)
}

/// The id of one component.
pub(crate) fn id(index: usize) -> String {
    format!("component-{index:05}")
}

#[derive(Debug, Default)]
struct Member {
    sequence: AtomicU64,
    /// Its counters no longer add up.
    lies: AtomicBool,
    dead: AtomicBool,
    /// Its open connections, where it is one of the [`MORTALS`], so that its death can cut them.
    sockets: Mutex<Vec<socket2::Socket>>,
}

struct Crowd {
    members: Vec<Member>,
    began: Now,
}

/// Serves `size` components until standard input ends. A line `lie N` or `die N` there changes
/// one of them.
pub(crate) async fn serve(size: usize) {
    let crowd = Arc::new(Crowd {
        members: (0..size).map(|_| Member::default()).collect(),
        began: Clock::system().now(),
    });
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
    let listener = socket.listen(BACKLOG).unwrap();
    println!("{GREETING}{}", listener.local_addr().unwrap().port());
    std::io::stdout().flush().unwrap();
    let serving = Server::builder()
        .add_service(MonitorableServer::new(Served(crowd.clone())))
        .add_service(health::health_server::HealthServer::new(Serving))
        .serve_with_incoming(incoming(listener, crowd.clone()));
    tokio::select! {
        served = serving => served.unwrap(),
        () = obey(&crowd) => {}
    }
}

async fn obey(crowd: &Crowd) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let (deed, index) = line.split_once(' ').unwrap();
        let member = &crowd.members[index.parse::<usize>().unwrap()];
        match deed {
            "lie" => member.lies.store(true, Ordering::Relaxed),
            "die" => member.die(),
            other => panic!("{other:?} is no deed; allowed are lie and die"),
        }
    }
}

fn incoming(
    listener: TcpListener,
    crowd: Arc<Crowd>,
) -> impl Stream<Item = std::io::Result<TcpStream>> {
    stream::unfold((listener, crowd), |(listener, crowd)| async {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            let member = connection.local_addr().ok().and_then(index);
            let Some(member) = member.filter(|index| *index < crowd.members.len()) else {
                continue;
            };
            if crowd.members[member].admit(&connection, member < MORTALS) {
                return Some((Ok(connection), (listener, crowd)));
            }
        }
    })
}

impl Member {
    fn admit(&self, connection: &TcpStream, mortal: bool) -> bool {
        connection.set_nodelay(true).unwrap();
        let mut sockets = self.sockets.lock().unwrap();
        if self.dead.load(Ordering::Relaxed) {
            return false;
        }
        if mortal {
            sockets.push(SockRef::from(connection).try_clone().unwrap());
        }
        true
    }

    fn die(&self) {
        let mut sockets = self.sockets.lock().unwrap();
        self.dead.store(true, Ordering::Relaxed);
        for socket in sockets.drain(..) {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Crowd {
    fn asked<T>(&self, request: &Request<T>) -> Result<(usize, &Member), Status> {
        let index = request.local_addr().and_then(index);
        let found = index.and_then(|index| Some((index, self.members.get(index)?)));
        found.ok_or_else(|| Status::not_found("no component has this address"))
    }

    fn health(&self, index: usize) -> HealthStatus {
        let now = Clock::system().now();
        let check = |name: &str| Check {
            name: name.to_owned(),
            healthy: true,
            message: String::new(),
            latency: Some(span(Duration::from_micros(20))),
        };
        HealthStatus {
            component_id: id(index),
            instance_id: format!("{}-019ab3c0-0000", id(index)),
            sequence: self.members[index].sequence.fetch_add(1, Ordering::Relaxed) + 1,
            observe_time: Some(now.wall.into()),
            state: State::Active.into(),
            healthy: true,
            checks: vec![check("registry"), check("ingest"), check("delivery")],
            consecutive_failures: 0,
            uptime: Some(span(now.since(self.began.monotonic))),
            last_health_check_time: Some(now.wall.into()),
            error_message: String::new(),
        }
    }

    fn metrics(&self, index: usize) -> Metrics {
        let now = Clock::system().now();
        let lies = self.members[index].lies.load(Ordering::Relaxed);
        Metrics {
            component_id: id(index),
            instance_id: format!("{}-019ab3c0-0000", id(index)),
            observe_time: Some(now.wall.into()),
            lifecycle: Some(LifecycleMetrics {
                total_initializations: 1,
                successful_initializations: 1,
                health_checks_performed: now.since(self.began.monotonic).as_secs() + 1,
                success_rate: 1.0,
                ..LifecycleMetrics::default()
            }),
            delivery: Some(DeliveryMetrics {
                events_accepted: if lies { 1_017 } else { 1_000 },
                events_delivered: 1_000,
                events_acknowledged: 1_000,
                connections_open: 2,
                connections_opened: 2,
                ..DeliveryMetrics::default()
            }),
            gauges: [("mailbox_waiting".to_owned(), 0.0)].into(),
        }
    }

    fn beat(&self, index: usize, reason: Reason, interval: Duration) -> WatchHealthResponse {
        WatchHealthResponse {
            health: Some(self.health(index)),
            reason: reason.into(),
            next_within: Some(span(interval)),
        }
    }
}

fn span(span: Duration) -> prost_types::Duration {
    span.try_into().unwrap()
}

struct Served(Arc<Crowd>);

#[tonic::async_trait]
impl Monitorable for Served {
    async fn get_health_status(
        &self,
        request: Request<GetHealthStatusRequest>,
    ) -> Result<Response<GetHealthStatusResponse>, Status> {
        let (index, _) = self.0.asked(&request)?;
        Ok(Response::new(GetHealthStatusResponse {
            health: Some(self.0.health(index)),
            nonce: request.into_inner().nonce,
        }))
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let (index, _) = self.0.asked(&request)?;
        let metrics = Some(self.0.metrics(index));
        Ok(Response::new(GetMetricsResponse { metrics }))
    }

    type WatchHealthStream =
        Pin<Box<dyn Stream<Item = Result<WatchHealthResponse, Status>> + Send>>;

    async fn watch_health(
        &self,
        request: Request<WatchHealthRequest>,
    ) -> Result<Response<Self::WatchHealthStream>, Status> {
        let (index, _) = self.0.asked(&request)?;
        let asked = request.into_inner().max_interval;
        let asked = asked.and_then(|asked| Duration::try_from(asked).ok());
        let interval = asked.unwrap_or(Duration::from_secs(30));
        let beats = stream::unfold(
            (self.0.clone(), Reason::Initial),
            move |(crowd, reason)| async move {
                if reason == Reason::Heartbeat {
                    // Some time before the promise passes, as the services do.
                    tokio::time::sleep(interval.mul_f64(0.6)).await;
                }
                let beat = crowd.beat(index, reason, interval);
                Some((Ok(beat), (crowd, Reason::Heartbeat)))
            },
        );
        Ok(Response::new(Box::pin(beats)))
    }
}

/// Always serving.
struct Serving;

#[tonic::async_trait]
impl health::health_server::Health for Serving {
    async fn check(
        &self,
        _request: Request<health::HealthCheckRequest>,
    ) -> Result<Response<health::HealthCheckResponse>, Status> {
        let status = health::health_check_response::ServingStatus::Serving;
        Ok(Response::new(health::HealthCheckResponse {
            status: status.into(),
        }))
    }

    async fn list(
        &self,
        _request: Request<health::HealthListRequest>,
    ) -> Result<Response<health::HealthListResponse>, Status> {
        Err(Status::unimplemented("only Check is measured"))
    }

    type WatchStream = stream::Empty<Result<health::HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _request: Request<health::HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("only Check is measured"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_has_an_address_of_its_own_and_is_found_by_it() {
        for number in [0, 1, 254, 255, 256, 9_999, 65_535, 65_536, 100_000] {
            let address = address(number, 80);
            assert!(address.ip().is_loopback(), "{address}");
            assert_eq!(index(address), Some(number));
        }
        assert_eq!(index(([127, 0, 0, 1], 80).into()), None);
        assert_eq!(index(([127, 1, 0, 0], 80).into()), None);
    }
}
