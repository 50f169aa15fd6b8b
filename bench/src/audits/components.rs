//! Thousands of Monitorable components in one process behind one listener: each has a loopback
//! address of its own, and whoever connects to it gets its claims.
//!
//! They serve `grpc.health.v1` too, so that any health prober can be measured beside the monitor.

use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use monitorable::grpc_health::v1::health_server::HealthServer;
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
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::{IntervalStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::bare::Bare;
use crate::failure::Failure;

/// Connections that may wait to be accepted: a whole crowd may be registered at once.
const BACKLOG: u32 = 16_384;
/// Components that can die: for each of their connections there is a second file descriptor.
pub(crate) const MORTALS: usize = 100;
/// What the lines begin with that say where the components listen, and where orders are taken.
pub(crate) const COMPONENTS: &str = "components";
pub(crate) const ORDERS: &str = "orders";
/// Longest silence of a watch stream where none is asked for.
const SILENCE: Duration = Duration::from_secs(30);
/// A beat comes after this part of the longest silence, as the services do it.
const EARLY: f64 = 0.6;

/// The address of one component.
pub(crate) fn address(index: usize, port: u16) -> SocketAddr {
    let [_, high, middle, low] = u32::try_from(index + 1).unwrap_or(u32::MAX).to_be_bytes();
    (Ipv4Addr::new(127, high + 1, middle, low), port).into()
}

fn index(address: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    let [127, high, middle, low] = address.ip().octets() else {
        return None;
    };
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
    life: Mutex<Life>,
}

#[derive(Debug, Default)]
struct Life {
    over: bool,
    /// Its open connections, where it is one of the [`MORTALS`], so that its death can cut them.
    sockets: Vec<socket2::Socket>,
}

struct Crowd {
    members: Vec<Member>,
    began: Now,
}

/// Serves so many components until whoever gives orders is gone. A line `lie N` or `die N` changes
/// one of them.
///
/// # Errors
/// Where it cannot, or an order is none.
pub(crate) async fn serve(size: usize) -> Result<(), Failure> {
    let crowd = Arc::new(Crowd::new(size));
    let socket = TcpSocket::new_v4()?;
    // All addresses of the loopback at once; others are turned away.
    socket.bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
    let listener = socket.listen(BACKLOG)?;
    let orders = TcpListener::bind("127.0.0.1:0").await?;
    println!("{COMPONENTS} listening on {}", listener.local_addr()?);
    println!("{ORDERS} listening on {}", orders.local_addr()?);
    let admitting = crowd.clone();
    let incoming = TcpListenerStream::new(listener)
        .filter_map(move |connection| connection.map(|it| admitting.admit(it)).transpose());
    let serving = Server::builder()
        .add_service(MonitorableServer::new(Served(crowd.clone())))
        .add_service(HealthServer::new(Bare))
        .serve_with_incoming(incoming);
    tokio::select! {
        served = serving => served.map_err(|error| Failure::new(error.to_string())),
        obeyed = obey(&orders, &crowd) => obeyed,
    }
}

async fn obey(orders: &TcpListener, crowd: &Crowd) -> Result<(), Failure> {
    let (connection, _) = orders.accept().await?;
    let mut lines = BufReader::new(connection).lines();
    while let Some(line) = lines.next_line().await? {
        crowd.obey(&line).ok_or_else(|| {
            Failure::new(format!(
                "the order {line:?} is none; allowed are `lie N` with N below {} and `die N` with N \
                 below {MORTALS} too",
                crowd.members.len()
            ))
        })?;
    }
    Ok(())
}

impl Member {
    /// Keeps a mortal's connection; `None` where its life is over.
    fn admit(&self, connection: &TcpStream, mortal: bool) -> Option<()> {
        let mut life = self.life.lock().ok()?;
        if mortal && !life.over {
            // Those that ended are let go, or a prober would use up all files.
            life.sockets.retain(|socket| socket.peer_addr().is_ok());
            let socket = SockRef::from(connection).try_clone().ok()?;
            life.sockets.push(socket);
        }
        (!life.over).then_some(())
    }

    fn die(&self) -> Option<()> {
        let mut life = self.life.lock().ok()?;
        life.over = true;
        for socket in life.sockets.drain(..) {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
        Some(())
    }
}

impl Crowd {
    fn new(size: usize) -> Self {
        Self {
            members: (0..size).map(|_| Member::default()).collect(),
            began: Clock::system().now(),
        }
    }

    /// The connection, where it is one to a living component.
    fn admit(&self, connection: TcpStream) -> Option<TcpStream> {
        let index = index(connection.local_addr().ok()?)?;
        let member = self.members.get(index)?;
        member.admit(&connection, index < MORTALS)?;
        connection.set_nodelay(true).ok()?;
        Some(connection)
    }

    /// `None`: the order is none.
    fn obey(&self, order: &str) -> Option<()> {
        let (deed, index) = order.split_once(' ')?;
        let index = index.parse::<usize>().ok()?;
        let member = self.members.get(index)?;
        match deed {
            "lie" => member.lies.store(true, Ordering::Relaxed),
            "die" if index < MORTALS => member.die()?,
            _ => return None,
        }
        Some(())
    }

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
            latency: Duration::from_micros(20).try_into().ok(),
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
            uptime: now.since(self.began.monotonic).try_into().ok(),
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
            next_within: interval.try_into().ok(),
        }
    }
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
        let silence = asked.filter(|asked| !asked.is_zero()).unwrap_or(SILENCE);
        let mut ticks = tokio::time::interval(silence.mul_f64(EARLY));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (crowd, mut reason) = (self.0.clone(), Reason::Initial);
        let beats = IntervalStream::new(ticks).map(move |_| {
            let reason = std::mem::replace(&mut reason, Reason::Heartbeat);
            Ok(crowd.beat(index, reason, silence))
        });
        Ok(Response::new(Box::pin(beats)))
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
        assert_eq!(index(([10, 1, 0, 1], 80).into()), None);
    }

    #[test]
    fn an_order_changes_the_one_component_that_it_names() {
        let crowd = Crowd::new(MORTALS + 2);
        assert_eq!(crowd.obey("lie 3"), Some(()));
        assert_eq!(crowd.obey(&format!("lie {MORTALS}")), Some(()));
        let lies = |index| {
            let delivery = crowd.metrics(index).delivery.unwrap();
            delivery.events_accepted != delivery.events_delivered
        };
        assert!(lies(3) && lies(MORTALS) && !lies(4));
        assert_eq!(crowd.obey("die 4"), Some(()));
        let over = |index: usize| crowd.members[index].life.lock().unwrap().over;
        assert!(over(4) && !over(3));
    }

    #[test]
    fn what_is_no_order_is_refused() {
        let crowd = Crowd::new(MORTALS + 2);
        let immortal = format!("die {MORTALS}");
        let absent = format!("lie {}", MORTALS + 2);
        for order in ["", "lie", "lie x", "dance 1", &immortal, &absent] {
            assert_eq!(crowd.obey(order), None, "{order:?}");
        }
    }
}
