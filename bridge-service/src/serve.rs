//! `serve`: binds, starts the tasks that the service must not lose, and drains.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use monitorable::bridge::v1::GetEgressResponse;
use service_kit::accept::Port;
use service_kit::access::AccessControl;
use service_kit::clock::Clock;
use service_kit::grpc::GrpcLimits;
use service_kit::reload::{ReloadStatus, Shared};
use service_kit::signals::shutdown_on_signals;
use service_kit::tasks::Tasks;
use service_kit::telemetry::LogLevel;
use service_kit::traces::Traces;
use service_kit::{files, grpc, http, panics, reload, telemetry};
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use crate::cli::{EXIT_SOFTWARE, Stop, failed, say};
use crate::config::Settings;
use crate::edge::readers::{EVENTS_PATH, Readers};
use crate::edge::{Door, Ends, grpc_routes, http_routes};
use crate::health;
use crate::hub;
use crate::hub::api::{HubHandle, Identity};
use crate::reload::Changing;

/// A port cannot be bound (`EX_UNAVAILABLE` of sysexits.h).
const EXIT_UNAVAILABLE: u8 = 69;

/// Serves until a signal comes and the drain is over, or until a task ends.
pub(crate) async fn run(settings: Settings, flags: ArgMatches) -> ExitCode {
    // Checked with the settings; a filter that parsed once parses again.
    let filter = telemetry::parse_filter(&settings.log_level).unwrap_or_default();
    let level = telemetry::start(settings.log_format, filter);
    panics::watch();
    let (http_limits, grpc_limits) = (settings.http.limits, settings.grpc.limits);
    let ports = http_limits
        .max_connections
        .saturating_add(grpc_limits.max_connections);
    files::allow_connections(ports.saturating_add(settings.hub.connections));
    let component_id = &settings.component_id;
    let traces =
        match Traces::start_where_set(settings.traces.as_ref(), "bridge-service", component_id) {
            Ok(traces) => traces,
            Err(error) => return failed(&error),
        };
    let listeners = match Listeners::bind(&settings).await {
        Ok(listeners) => listeners,
        Err(error) => return Stop::new(error, EXIT_UNAVAILABLE).show(),
    };
    let signals = shutdown_on_signals().and_then(|shutdown| Ok((shutdown, reload::hangups()?)));
    let (shutdown, hangups) = match signals {
        Ok(signals) => signals,
        Err(error) => return failed(&format!("signals cannot be handled: {error}")),
    };
    listeners.announce();
    let again = Again {
        flags,
        level,
        hangups,
    };
    let service = Service::start(settings, listeners, again, Clock::system());
    let exit = service.run(shutdown).await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    exit
}

/// What reading the settings again takes.
struct Again {
    flags: ArgMatches,
    level: LogLevel,
    hangups: Signal,
}

/// Both ports. They are arguments of the service, so that tests run the same code.
struct Listeners {
    grpc: Port,
    http: Port,
    grpc_address: SocketAddr,
    http_address: SocketAddr,
}

impl Listeners {
    async fn bind(settings: &Settings) -> Result<Self, String> {
        match (settings.grpc.bind().await, settings.http.bind().await) {
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

/// The running service.
struct Service {
    hub: HubHandle,
    readers: Arc<Readers>,
    tasks: Tasks,
    ends: Ends,
    drain_deadline: Duration,
}

impl Service {
    fn start(settings: Settings, listeners: Listeners, again: Again, clock: Clock) -> Self {
        let started = settings.clone();
        let reloads = ReloadStatus::default();
        let identity = Identity {
            component_id: settings.component_id.as_str().into(),
            instance_id: uuid::Uuid::new_v4().to_string().into(),
        };
        let (hub, hub_loop) = hub::start(settings.hub, &identity, clock);
        let (access, fetching) = AccessControl::start(settings.known, settings.access.jwks_url());
        let own_name = started.asks_for_own_name();
        let guard = |closed| access.guard(closed, clock).by_own_name(own_name);
        let door = Door {
            guard: guard(settings.access.is_set()),
            reflection: settings.reflection,
            metrics: settings.metrics,
            clock,
            reloads: reloads.clone(),
        };
        let ends = Ends::default();
        let readers = Arc::new(Readers::new(
            hub.clone(),
            guard(settings.readers_closed),
            settings.origins,
            settings.readers,
            &settings.hub,
            ends.draining.clone(),
            clock,
        ));
        let mut service = Self {
            hub,
            readers,
            tasks: Tasks::new(),
            ends,
            drain_deadline: settings.drain_deadline,
        };
        service.tasks.spawn("hub", hub_loop);
        if let Some(fetching) = fetching {
            service.tasks.spawn("jwks", fetching);
        }
        #[cfg(feature = "fault-injection")]
        crate::fault_control::listen(service.hub.clone());
        let supervisor =
            health::supervise(service.hub.clone(), settings.health, reloads.clone(), clock);
        service.tasks.spawn("health", supervisor);
        let egress = GetEgressResponse {
            http_port: listeners.http_address.port().into(),
            path: EVENTS_PATH.to_owned(),
            tls: settings.http.tls.is_some(),
        };
        let routes = grpc_routes(
            &service.hub,
            &identity,
            settings.ingest,
            &service.ends,
            egress,
            &door,
        );
        service.serve_grpc(listeners.grpc, routes, settings.grpc_limits);
        let router = http_routes(&service.hub, &identity, service.readers.clone(), &door);
        let end = service.ends.servers.clone();
        let server = http::serve(listeners.http, router, settings.http_limits, end);
        service.tasks.spawn("http", server);
        let changing = Changing {
            flags: again.flags,
            shared: Shared {
                level: again.level,
                access,
                jwks_url: started.access.jwks_url().cloned(),
                closed: started.closed(),
                grpc: settings.grpc,
                http: settings.http,
            },
        };
        let following = reload::follow(changing, started, again.hangups, reloads);
        service.tasks.spawn("reload", following);
        tracing::info!(
            component_id = %identity.component_id,
            instance_id = %identity.instance_id,
            "started"
        );
        service
    }

    fn serve_grpc(&mut self, port: Port, routes: tonic::service::Routes, limits: GrpcLimits) {
        let server = grpc::serve(port, routes, limits, self.ends.servers.clone());
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
        self.ends.draining.cancel();
        if let Err(error) = self.hub.drain().await {
            tracing::error!(%error, "the hub could not drain");
        }
        self.ends.servers.cancel();
        self.readers.all_closed().await;
        for _ in SERVERS {
            self.tasks.next_ended().await;
        }
    }
}

/// The tasks that end by themselves at the drain.
const SERVERS: [&str; 2] = ["grpc", "http"];
