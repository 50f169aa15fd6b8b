//! The service: settings → ports → tasks → drain.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use service_kit::accept::Port;
use service_kit::access::AccessControl;
use service_kit::clock::Clock;
use service_kit::config::EXIT_CONFIG;
use service_kit::reload::{ReloadStatus, Shared};
use service_kit::tasks::{Ended, Tasks};
use service_kit::telemetry::LogLevel;
use service_kit::traces::Traces;
use service_kit::{files, grpc, http, panics, reload, signals, telemetry};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::alert::{self, Alerting, Outbox};
use crate::canary::Canaries;
use crate::cli::PRINT_CONFIG;
use crate::config::{Settings, effective};
use crate::discovery::{self, Wanted};
use crate::edge::self_report::{Fingerprint, SelfMonitor};
use crate::edge::{self, Door, Edge};
use crate::fleet;
use crate::fleet::api::{Command, FleetHandle, Target};
use crate::fleet::settings::Identity;
use crate::probe::ProbeSet;
use crate::reload::{Changing, Listed};
use crate::web;

/// A port or the system's certificates could not be opened (`EX_UNAVAILABLE` of sysexits.h).
const EXIT_UNAVAILABLE: u8 = 69;
/// A task that must not end did (`EX_SOFTWARE`).
const EXIT_SOFTWARE: u8 = 70;
/// What the servers may take beyond their own drain deadline.
const DRAIN_SLACK: Duration = Duration::from_secs(1);

/// Runs the service to its end.
pub(crate) fn run(flags: &ArgMatches) -> ExitCode {
    let settings = match Settings::load(flags) {
        Ok(settings) => settings,
        Err(errors) => {
            eprint!("{errors}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if flags.get_flag(PRINT_CONFIG) {
        say(&effective(flags));
        return ExitCode::SUCCESS;
    }
    // Checked with the settings; a filter that parsed once parses again.
    let filter = telemetry::parse_filter(&settings.log_level).unwrap_or_default();
    let level = telemetry::start(settings.log_format, filter);
    panics::watch();
    let (http_limits, grpc_limits) = (settings.http.limits, settings.grpc.limits);
    let ports = http_limits
        .max_connections
        .saturating_add(grpc_limits.max_connections);
    files::allow_connections(ports.saturating_add(settings.fleet.components_max));
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("the runtime does not start: {error}")),
    };
    let exit = runtime.block_on(traced(settings, flags.clone(), level));
    // What still runs has had its deadlines.
    runtime.shutdown_background();
    exit
}

fn fail(why: &str) -> ExitCode {
    tracing::error!("{why}");
    eprintln!("monitor-service: {why}");
    ExitCode::from(EXIT_SOFTWARE)
}

/// Writes to standard output; whoever closed it does not want to know.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Traces what is served, where traces go somewhere.
async fn traced(settings: Settings, flags: ArgMatches, level: LogLevel) -> ExitCode {
    let component_id = &settings.component_id;
    let traces =
        match Traces::start_where_set(settings.traces.as_ref(), "monitor-service", component_id) {
            Ok(traces) => traces,
            Err(error) => return fail(&error),
        };
    let exit = serve(settings, flags, level).await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    exit
}

async fn serve(settings: Settings, flags: ArgMatches, level: LogLevel) -> ExitCode {
    let identity = Identity {
        component_id: settings.component_id.clone(),
        instance_id: uuid::Uuid::now_v7().to_string(),
    };
    let alerts = match alert::open(settings.alert.clone(), identity.clone()) {
        Ok(alerts) => alerts,
        Err(why) => {
            eprintln!("monitor-service: alert: {why}");
            return ExitCode::from(EXIT_UNAVAILABLE);
        }
    };
    let signals = signals::shutdown_on_signals().and_then(|end| Ok((end, reload::hangups()?)));
    let (shutdown, hangups) = match signals {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("signals cannot be handled: {error}")),
    };
    let ports = async {
        let grpc = settings.grpc.bind().await?;
        let http = settings.http.bind().await?;
        Ok::<_, String>((grpc, http))
    };
    let (grpc, http) = match ports.await {
        Ok(ports) => ports,
        Err(why) => {
            eprintln!("monitor-service: {why}");
            return ExitCode::from(EXIT_UNAVAILABLE);
        }
    };
    let again = Again {
        flags,
        level,
        hangups,
    };
    let ports = (grpc, http);
    let service = Service::start(settings, identity, alerts, ports, again, shutdown.clone());
    service.until_the_end(shutdown).await
}

/// What reading the settings again takes.
struct Again {
    flags: ArgMatches,
    level: LogLevel,
    hangups: Signal,
}

/// A port that is listened on, and where.
type Bound = (Port, SocketAddr);

/// The tasks of a running service.
struct Service {
    fleet: FleetHandle,
    /// They end by themselves when the shutdown begins.
    servers: Tasks,
    /// They never end by themselves.
    workers: Tasks,
    components: Vec<Target>,
    drain_deadline: Duration,
}

impl Service {
    fn start(
        settings: Settings,
        identity: Identity,
        (outbox, alerting): (Outbox, Alerting),
        ((grpc_port, grpc_address), (http_port, http_address)): (Bound, Bound),
        again: Again,
        shutdown: CancellationToken,
    ) -> Self {
        let clock = Clock::system();
        let started = settings.clone();
        let reloads = ReloadStatus::default();
        let mut workers = Tasks::new();
        let (probes, pulse) = ProbeSet::new(settings.probe, clock);
        let canaries = Canaries::new(settings.canary, &identity.instance_id);
        let probes = probes.with_canaries(canaries);
        workers.spawn("probe_pulse", pulse);
        let (fleet, working) =
            fleet::start(settings.fleet, identity.clone(), clock, probes, outbox);
        workers.spawn("fleet", working);
        let (discovery, changes_of_discovery) = mpsc::channel(1);
        let discovering = discovery::follow(
            Wanted::new(&settings.discovery, &settings.components),
            changes_of_discovery,
            fleet.clone(),
            clock,
        );
        workers.spawn("discovery", discovering);
        workers.spawn("alerts", alerting.run(fleet.clone()));
        let self_monitor = SelfMonitor::new(
            fleet.clone(),
            identity,
            clock,
            shutdown.clone(),
            reloads.clone(),
        );
        let (changed, changes) = watch::channel(Fingerprint::default());
        workers.spawn("self_watch", self_monitor.clone().watch_changes(changed));
        let (access, fetching) = AccessControl::start(settings.known, settings.access.jwks_url());
        if let Some(fetching) = fetching {
            workers.spawn("jwks", fetching);
        }
        let own_name = started.asks_for_own_name();
        let edge = Edge {
            fleet: fleet.clone(),
            probes: settings.probe,
            self_monitor,
            changes,
            limits: settings.edge,
            door: Door {
                guard: access
                    .guard(settings.access.is_set(), clock)
                    .by_own_name(own_name),
                reflection: settings.reflection,
                metrics: settings.metrics,
            },
            shutdown: shutdown.clone(),
        };
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
            fleet: fleet.clone(),
            discovery,
            listed: Listed::new(fleet.clone(), &settings.components),
        };
        workers.spawn(
            "reload",
            reload::follow(changing, started, again.hangups, reloads),
        );
        let mut servers = Tasks::new();
        say(&format!("grpc listening on {grpc_address}\n"));
        say(&format!("http listening on {http_address}\n"));
        let serving = grpc::serve(
            grpc_port,
            edge::routes(&edge),
            settings.grpc_limits,
            shutdown.clone(),
        );
        servers.spawn("grpc", async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the gRPC server failed");
            }
        });
        let router = web::router(edge);
        servers.spawn(
            "http",
            http::serve(http_port, router, settings.http_limits, shutdown),
        );
        Self {
            fleet,
            servers,
            workers,
            components: settings.components,
            drain_deadline: settings.drain_deadline,
        }
    }

    async fn until_the_end(mut self, shutdown: CancellationToken) -> ExitCode {
        let components = std::mem::take(&mut self.components);
        let fleet = self.fleet.clone();
        let registering = register(&fleet, components);
        tokio::pin!(registering);
        let mut registered = false;
        loop {
            tokio::select! {
                // At a shutdown the servers end too, and that is no accident.
                biased;
                () = shutdown.cancelled() => return self.drain().await,
                ended = self.servers.next_ended() => return unexpected(&ended),
                ended = self.workers.next_ended() => return unexpected(&ended),
                done = &mut registering, if !registered => match done {
                    Ok(()) => registered = true,
                    Err(why) => return fail(&why),
                }
            }
        }
    }

    /// The probes first, so that no verdict is drawn from a monitor that goes; then the servers,
    /// which answer through the working loop to their end. The loop goes on until it is dropped.
    async fn drain(mut self) -> ExitCode {
        self.fleet.tell(Command::Drain).await;
        let patience = self.drain_deadline + DRAIN_SLACK;
        if tokio::time::timeout(patience, self.servers.all_ended())
            .await
            .is_err()
        {
            tracing::warn!(deadline = ?patience, "servers cut at the drain deadline");
        }
        tracing::info!("drained");
        ExitCode::SUCCESS
    }
}

fn unexpected(ended: &Ended) -> ExitCode {
    fail(&format!("{ended}, and the service cannot go on without it"))
}

/// Registers the components of the settings.
async fn register(fleet: &FleetHandle, components: Vec<Target>) -> Result<(), String> {
    let count = components.len();
    for target in components {
        let component_id = target.component_id.clone();
        fleet
            .ask(|reply| Command::Register { target, reply })
            .await
            .and_then(|registered| registered)
            .map_err(|error| format!("components: {component_id:?} is not registered: {error}"))?;
    }
    if count > 0 {
        tracing::info!(count, "registered the components of the settings");
    }
    Ok(())
}
