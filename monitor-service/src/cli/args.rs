//! The arguments of the client commands.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use service_kit::health_protocol::READINESS;

use crate::edge::monitor::MAX_FINDINGS;
use crate::edge::validate::maintenance::{MAX_WINDOW, MIN_WINDOW};

/// Where a monitor serves by default.
const DEFAULT_MONITOR: &str = "http://127.0.0.1:50061";
/// The environment variable that names another.
const MONITOR_ADDRESS: &str = "MONITOR_ADDRESS";

/// The environment variable that names the token's file.
const MONITOR_TOKEN_FILE: &str = "MONITOR_TOKEN_FILE";

/// A command that talks to a running monitor, or to a component.
#[derive(Debug, Subcommand)]
pub(crate) enum Client {
    /// Audit an endpoint once, without a monitor; nothing is registered
    ///
    /// Calls it, watches its health stream for a moment, and asks every rule that needs no witness.
    /// Exits with 0 where its claims were confirmed or not contradicted, 1 for bad arguments, 2
    /// where it cannot be connected to, 3 where a call failed or timed out, 4 where it says itself
    /// that it is not well, 5 where its claims do not hold.
    Check(Check),
    /// Watch a component, or change the one of that id
    Register(Box<Register>),
    /// Stop watching a component and forget its history
    Remove(ById),
    /// Show every component and how it stands
    List(Common),
    /// Audit a component now; exits as check does
    Audit(ById),
    /// Show a component's last audits, newest first
    History(History),
    /// Show findings, newest first
    Findings(Findings),
    /// Follow findings as they open, change and resolve, until interrupted
    Watch(Watch),
    /// Ask the monitor whether it serves, as a probe does (grpc.health.v1)
    ///
    /// Exits with 0 where it does, 1 for bad arguments, 2 where it cannot be connected to, 3 where
    /// the call failed or timed out, 4 where it does not serve.
    Healthcheck(Healthcheck),
    /// Announce trouble on a component: what opens meanwhile is marked, and alerts nobody
    #[command(subcommand)]
    Maintenance(Maintenance),
    #[cfg(feature = "drill")]
    /// Inject each silent failure for real, and its harmless twin, and show what was found
    ///
    /// Starts monitors and bridges of its own on free ports; what runs already is not touched. Exits
    /// with 0 where every fault was found and every twin stayed quiet, 1 for bad arguments, 3 where
    /// it could not be run, 5 where a fault was missed or one was invented.
    Drill(Drill),
}

/// Opens and closes maintenance windows.
#[derive(Debug, Subcommand)]
pub(crate) enum Maintenance {
    /// Open a window, or replace the one that is open
    Start(MaintenanceStart),
    /// Close a window before its time
    End(ById),
}

#[derive(Args, Debug)]
pub(crate) struct MaintenanceStart {
    /// Which component
    pub(crate) component_id: String,
    /// For how long, 1s to 7d
    #[arg(long = "for", value_name = "DURATION", value_parser = maintenance)]
    pub(crate) duration: Duration,
    /// Why, for the monitor's log
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Which monitor, and how to answer.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// The monitor's gRPC address [env: MONITOR_ADDRESS] [default: http://127.0.0.1:50061]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) monitor: Option<String>,
    /// Certificates to trust the monitor by, PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub(crate) monitor_ca: Option<PathBuf>,
    /// The name that its certificate must have [default: the address's host]
    #[arg(long, value_name = "NAME")]
    pub(crate) monitor_server_name: Option<String>,
    /// Client certificate chain to show the monitor, PEM
    #[arg(long, value_name = "FILE", requires = "monitor_client_key")]
    pub(crate) monitor_client_certificate: Option<PathBuf>,
    /// The client certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "monitor_client_certificate")]
    pub(crate) monitor_client_key: Option<PathBuf>,
    /// File with the token to show the monitor [env: MONITOR_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) monitor_token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// How to answer.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Format {
    /// How to show the answer; json has the protos' field names
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// The forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

impl Common {
    /// The address of the flag, the environment, or the default.
    pub(crate) fn address(&self) -> String {
        let variable = std::env::var(MONITOR_ADDRESS).ok();
        let given = self.monitor.clone().or(variable.filter(|v| !v.is_empty()));
        given.unwrap_or_else(|| DEFAULT_MONITOR.to_owned())
    }

    /// The token's file of the flag or the environment.
    pub(crate) fn token_file(&self) -> Option<PathBuf> {
        let variable = std::env::var_os(MONITOR_TOKEN_FILE).filter(|value| !value.is_empty());
        self.monitor_token_file
            .clone()
            .or(variable.map(PathBuf::from))
    }
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Where it serves Monitorable: http://HOST:PORT or https://HOST:PORT
    pub(crate) endpoint: String,
    /// How long to watch it, 1s to 5m
    #[arg(long, default_value = "3s", value_parser = window)]
    pub(crate) window: Duration,
    /// How long one call may take, 100ms to 1m
    #[arg(long, default_value = "2s", value_parser = deadline)]
    pub(crate) deadline: Duration,
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// How to reach a component.
#[derive(Args, Debug)]
pub(crate) struct Access {
    /// File with the token to show it with every call, and to read synthetic runs with
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Other metadata to send with every call; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// Certificates to trust, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Client certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_client_key")]
    pub(crate) tls_client_certificate: Option<PathBuf>,
    /// The client certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_client_certificate")]
    pub(crate) tls_client_key: Option<PathBuf>,
    /// The name to verify the server's certificate against
    #[arg(long, value_name = "NAME")]
    pub(crate) tls_server_name: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Register {
    /// The id that the component itself claims
    pub(crate) component_id: String,
    /// Where it serves Monitorable: http://HOST:PORT or https://HOST:PORT
    pub(crate) endpoint: String,
    /// Anything to tell components apart by; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) labels: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(flatten)]
    pub(crate) canary: Canary,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// How the monitor's own synthetic runs go through a component.
#[derive(Args, Debug)]
pub(crate) struct Canary {
    /// Send no synthetic runs through it
    #[arg(long)]
    pub(crate) canary_disabled: bool,
    /// Between two synthetic runs, 100ms to 1h [default: the monitor's]
    #[arg(long, value_name = "DURATION", value_parser = canary_interval)]
    pub(crate) canary_interval: Option<Duration>,
    /// Where they are read back [default: as the component says]
    #[arg(long, value_name = "ws[s]://HOST:PORT/PATH", default_value = "")]
    pub(crate) canary_websocket_uri: String,
    /// Bearer token to read them with
    #[arg(
        long,
        value_name = "TOKEN",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) canary_token: String,
}

#[derive(Args, Debug)]
pub(crate) struct ById {
    /// Which component
    pub(crate) component_id: String,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Args, Debug)]
pub(crate) struct History {
    /// Which component
    pub(crate) component_id: String,
    /// How many audits; 0 for all
    #[arg(long, default_value_t = 0)]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Args, Debug)]
pub(crate) struct Findings {
    /// Of this component only
    #[arg(long, value_name = "ID", default_value = "")]
    pub(crate) component: String,
    /// Of this rule only
    #[arg(long, value_name = "RULE", default_value = "")]
    pub(crate) rule: String,
    /// Open ones only
    #[arg(long, conflicts_with = "resolved")]
    pub(crate) open: bool,
    /// Resolved ones only
    #[arg(long)]
    pub(crate) resolved: bool,
    /// Suspicions too: first signs that are not enough to raise an alarm
    #[arg(long)]
    pub(crate) suspected: bool,
    /// How many, 1 to 1000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_FINDINGS)))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// Of this component only
    #[arg(long, value_name = "ID", default_value = "")]
    pub(crate) component: String,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Args, Debug)]
pub(crate) struct Healthcheck {
    /// Which service to ask about: readiness, liveness, monitorable.v1.Monitorable or the empty name
    #[arg(long, value_name = "NAME", default_value = READINESS)]
    pub(crate) service: String,
    /// How long connecting and asking may take together, 20ms to 5m
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = probe_timeout)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[cfg(feature = "drill")]
#[derive(Args, Debug)]
pub(crate) struct Drill {
    /// A bridge-service built with --features fault-injection [default: beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) bridge: Option<PathBuf>,
    /// The monitor-service that is tried [default: this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) monitor_binary: Option<PathBuf>,
    /// These rules only [default: all]
    #[arg(long, value_name = "RULE,...", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub(crate) list: bool,
    /// How long a fault may stay unfound, 1s to 5m
    #[arg(long, default_value = "40s", value_parser = window)]
    pub(crate) patience: Duration,
    /// How many worlds stand at once, 1 to 64
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) jobs: u32,
    /// A rule that the monitor must not ask, to see the drill miss it
    #[arg(long, value_name = "RULE,...", value_delimiter = ',', hide = true)]
    pub(crate) disable_rule: Vec<String>,
    /// How to show the report
    #[arg(long, value_enum, default_value_t = DrillOutput::Table)]
    pub(crate) output: DrillOutput,
}

/// The forms of a drill's report.
#[cfg(feature = "drill")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DrillOutput {
    /// For people
    Table,
    /// For programs
    Json,
    /// For documents
    Markdown,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        // The text may hold a secret.
        _ => Err("it is not KEY=VALUE".to_owned()),
    }
}

fn window(text: &str) -> Result<Duration, String> {
    span(text, Duration::from_secs(1), Duration::from_secs(300))
}

fn canary_interval(text: &str) -> Result<Duration, String> {
    span(text, Duration::from_millis(100), Duration::from_secs(3_600))
}

fn maintenance(text: &str) -> Result<Duration, String> {
    span(text, MIN_WINDOW, MAX_WINDOW)
}

fn deadline(text: &str) -> Result<Duration, String> {
    span(text, Duration::from_millis(100), Duration::from_secs(60))
}

fn probe_timeout(text: &str) -> Result<Duration, String> {
    span(text, Duration::from_millis(20), Duration::from_secs(300))
}

fn span(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let allowed = || {
        let written = |span| humantime::format_duration(span).to_string();
        format!("allowed is {} to {}", written(least), written(most))
    };
    let span = humantime::parse_duration(text)
        .map_err(|_| format!("it is no duration such as 3s; {}", allowed()))?;
    if (least..=most).contains(&span) {
        Ok(span)
    } else {
        Err(allowed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_default() {
        let common = Common {
            monitor: Some("http://elsewhere:1".to_owned()),
            monitor_ca: None,
            monitor_server_name: None,
            monitor_client_certificate: None,
            monitor_client_key: None,
            monitor_token_file: None,
            format: Format {
                output: Output::Json,
            },
        };
        assert_eq!(common.address(), "http://elsewhere:1");
    }

    #[test]
    fn a_pair_that_is_none_is_refused_without_showing_it() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        for bad in ["secret", "=secret"] {
            assert!(!pair(bad).unwrap_err().contains("secret"));
        }
    }

    #[test]
    fn spans_are_held() {
        assert_eq!(window("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(maintenance("7d"), Ok(MAX_WINDOW));
        assert!(maintenance("8d").unwrap_err().contains("1s to 7d"));
        for bad in ["0s", "6m", "soon", "-1s", ""] {
            assert!(window(bad).unwrap_err().contains("1s to 5m"), "{bad}");
        }
    }
}
