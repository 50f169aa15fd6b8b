//! `serve`: binds, starts the tasks that the service must not lose, and drains.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use service_kit::clock::Clock;
use service_kit::grpc::GrpcLimits;
use service_kit::signals::shutdown_on_signals;
use service_kit::tasks::Tasks;
use service_kit::{grpc, http, panics, telemetry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::{EXIT_SOFTWARE, Stop, failed, say};
use crate::config::Settings;
use crate::edge::readers::Readers;
use crate::edge::{grpc_routes, http_routes};
use crate::health;
use crate::hub;
use crate::hub::api::{HubHandle, Identity};

/// A port cannot be bound (`EX_UNAVAILABLE` of sysexits.h).
const EXIT_UNAVAILABLE: u8 = 69;

/// Serves until a signal comes and the drain is over, or until a task ends.
pub(crate) async fn run(settings: Settings) -> ExitCode {
    if let Ok(filter) = telemetry::parse_filter(&settings.log_level) {
        telemetry::start(settings.log_format, filter);
    }
    panics::watch();
    let listeners = match Listeners::bind(&settings).await {
        Ok(listeners) => listeners,
        Err(error) => return Stop::new(error, EXIT_UNAVAILABLE).show(),
    };
    let shutdown = match shutdown_on_signals() {
        Ok(shutdown) => shutdown,
        Err(error) => return failed(&format!("signals cannot be handled: {error}")),
    };
    listeners.announce();
    Service::start(settings, listeners, Clock::system())
        .run(shutdown)
        .await
}

/// Both ports. They are arguments of the service, so that tests run the same code.
struct Listeners {
    grpc: TcpListener,
    http: TcpListener,
    grpc_address: SocketAddr,
    http_address: SocketAddr,
}

impl Listeners {
    async fn bind(settings: &Settings) -> Result<Self, String> {
        let grpc = bind("grpc.listen", settings.grpc_listen).await;
        let http = bind("http.listen", settings.http_listen).await;
        match (grpc, http) {
            (Ok((grpc, grpc_address)), Ok((http, http_address))) => Ok(Self {
                grpc,
                http,
                grpc_address,
                http_address,
            }),
            (grpc, http) => {
                let errors = [grpc.err(), http.err()].into_iter().flatten();
                Err(errors.collect::<Vec<_>>().join("\n"))
            }
        }
    }

    /// Two lines that a program can read, and the log.
    fn announce(&self) {
        let Self {
            grpc_address,
            http_address,
            ..
        } = self;
        tracing::info!(%grpc_address, %http_address, "listening");
        say(&format!("grpc listening on {grpc_address}"));
        say(&format!("http listening on {http_address}"));
    }
}

async fn bind(setting: &str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), String> {
    let refused = |error| format!("{setting}: {address} cannot be bound: {error}");
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    Ok((listener, bound))
}

/// The running service.
struct Service {
    hub: HubHandle,
    readers: Arc<Readers>,
    tasks: Tasks,
    /// Cancelled when the drain begins: publish streams end.
    draining: CancellationToken,
    /// Cancelled when the readers are gone: the servers end.
    servers_end: CancellationToken,
    drain_deadline: Duration,
}

impl Service {
    fn start(settings: Settings, listeners: Listeners, clock: Clock) -> Self {
        warn_of_open_door(&settings, listeners.http_address);
        let identity = Identity {
            component_id: settings.component_id.as_str().into(),
            instance_id: uuid::Uuid::new_v4().to_string().into(),
        };
        let (hub, hub_loop) = hub::start(settings.hub, &identity, clock);
        let readers = Arc::new(Readers::new(
            hub.clone(),
            settings.tokens,
            settings.readers,
            settings.hub.retry_after,
        ));
        let mut service = Self {
            hub,
            readers,
            tasks: Tasks::new(),
            draining: CancellationToken::new(),
            servers_end: CancellationToken::new(),
            drain_deadline: settings.drain_deadline,
        };
        service.tasks.spawn("hub", hub_loop);
        #[cfg(feature = "fault-injection")]
        crate::fault_control::listen(service.hub.clone());
        let supervisor = health::supervise(service.hub.clone(), settings.health, clock);
        service.tasks.spawn("health", supervisor);
        let limits = GrpcLimits {
            drain_deadline: settings.drain_deadline,
            ..GrpcLimits::default()
        };
        let draining = service.draining.clone();
        let http_port = listeners.http_address.port();
        let routes = grpc_routes(
            &service.hub,
            &identity,
            settings.ingest,
            draining,
            http_port,
        );
        service.serve_grpc(listeners.grpc, routes, limits);
        let router = http_routes(&service.hub, &identity, service.readers.clone());
        let end = service.servers_end.clone();
        let server = http::serve(listeners.http, router, settings.http, end);
        service.tasks.spawn("http", server);
        tracing::info!(
            component_id = %identity.component_id,
            instance_id = %identity.instance_id,
            "started"
        );
        service
    }

    fn serve_grpc(
        &mut self,
        listener: TcpListener,
        routes: tonic::service::Routes,
        limits: GrpcLimits,
    ) {
        let server = grpc::serve(listener, routes, limits, self.servers_end.clone());
        self.tasks.spawn("grpc", async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the gRPC server failed");
            }
        });
    }

    async fn run(mut self, shutdown: CancellationToken) -> ExitCode {
        tokio::select! {
            ended = self.tasks.next_ended() => {
                tracing::error!(%ended, "the service cannot go on");
                return ExitCode::from(EXIT_SOFTWARE);
            }
            () = shutdown.cancelled() => {}
        }
        self.drain().await;
        ExitCode::SUCCESS
    }

    /// Everything that ends in order, under one deadline.
    async fn drain(mut self) {
        let deadline = self.drain_deadline;
        if tokio::time::timeout(deadline, self.end_in_order())
            .await
            .is_err()
        {
            tracing::warn!(?deadline, "readers and calls cut at the drain deadline");
        }
        tracing::info!("drained");
    }

    /// Readers first, while the ports still answer; then the servers. The hub and the health
    /// supervisor end with the process, so that probes are answered to the last.
    async fn end_in_order(&mut self) {
        self.draining.cancel();
        if let Err(error) = self.hub.drain().await {
            tracing::error!(%error, "the hub could not drain");
        }
        self.servers_end.cancel();
        self.readers.all_closed().await;
        for _ in SERVERS {
            self.tasks.next_ended().await;
        }
    }
}

/// The tasks that end by themselves at the drain.
const SERVERS: [&str; 2] = ["grpc", "http"];

fn warn_of_open_door(settings: &Settings, http_address: SocketAddr) {
    if !settings.tokens.needed() && !http_address.ip().is_loopback() {
        tracing::warn!(
            %http_address,
            "auth.tokens is empty: whoever reaches this port can read every thread"
        );
    }
}
