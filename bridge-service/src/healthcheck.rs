//! `healthcheck`: asks a running bridge, for container and load balancer probes.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches, Args as _, Command, FromArgMatches as _};
use monitorable::grpc_health::v1::HealthCheckRequest;
use monitorable::grpc_health::v1::health_check_response::ServingStatus;
use monitorable::grpc_health::v1::health_client::HealthClient;
use service_kit::config::{Setting, Source, with_flags};
use service_kit::health_protocol::READINESS;
use tonic::transport::Endpoint;

use crate::cli::{EXIT_BAD_ARGUMENTS, Stop};
use crate::config::table::{PREFIX, SPECS};
use crate::edge::targets::{self, Trust};

const EXIT_CANNOT_CONNECT: u8 = 2;
const EXIT_CALL_FAILED: u8 = 3;
const EXIT_NOT_SERVING: u8 = 4;

/// What to ask, and whom.
pub(crate) struct Healthcheck {
    target: Endpoint,
    service: String,
    timeout: Duration,
}

impl Healthcheck {
    /// The subcommand. It takes the settings of `serve` too, so that the same environment finds
    /// the same port; only the ones that matter are shown.
    pub(crate) fn command() -> Command {
        let command = Command::new("healthcheck")
            .about("Ask a running bridge whether it serves (grpc.health.v1)")
            .after_help(EXAMPLES);
        let command = Trust::augment_args(command);
        with_flags(command, PREFIX, SPECS)
            .mut_args(|arg| {
                let id = arg.get_id().as_str();
                let shown = ["config", "grpc.listen"].contains(&id) || !id.contains('.') && id != "insecure";
                arg.hide(!shown)
            })
            .arg(Arg::new("target").long("target").value_name("URI").help(
                "Whom to ask, such as http://127.0.0.1:50051 [default: the address of grpc.listen]",
            ))
            .arg(
                Arg::new("service")
                    .long("service")
                    .value_name("NAME")
                    .default_value(READINESS)
                    .help("Which service to ask about: readiness, liveness, monitorable.v1.Monitorable or the empty name"),
            )
            .arg(
                Arg::new("timeout")
                    .long("timeout")
                    .value_name("DURATION")
                    .default_value("5s")
                    .value_parser(humantime::parse_duration)
                    .help("How long connecting and asking may take together"),
            )
    }

    /// # Errors
    /// Where the target is not a URI, or the configured address has no fixed port.
    pub(crate) fn from_flags(flags: &ArgMatches) -> Result<Self, Stop> {
        let bad = |text: String| Stop::new(text, EXIT_BAD_ARGUMENTS);
        let target = match flags.get_one::<String>("target") {
            Some(target) => target.clone(),
            None => configured(flags).map_err(bad)?,
        };
        let timeout = flags.get_one::<Duration>("timeout").copied();
        let trust = Trust::from_arg_matches(flags).map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            target: targets::endpoint("--target", &target)
                .and_then(|endpoint| trust.apply(endpoint))
                .map_err(bad)?,
            service: flags
                .get_one::<String>("service")
                .cloned()
                .unwrap_or_default(),
            timeout: timeout.unwrap_or(Duration::from_secs(5)),
        })
    }
}

/// Where a bridge with these settings can be reached.
fn configured(flags: &ArgMatches) -> Result<String, String> {
    let mut source = Source::load(PREFIX, SPECS, flags);
    let mut address: std::net::SocketAddr = source.take("grpc.listen");
    let certificate: String = source.take("grpc.tls_certificate_file");
    let taken = ["grpc.listen", "grpc.tls_certificate_file"];
    for spec in SPECS.iter().filter(|spec| !taken.contains(&spec.path)) {
        // Only this one setting matters here; the service checks the others itself.
        let _: Anything = source.take(spec.path);
    }
    source.finish().map_err(|errors| errors.to_string())?;
    if address.port() == 0 {
        return Err(
            "grpc.listen: port 0 says nothing about the port in use; give --target".to_owned(),
        );
    }
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    let scheme = if certificate.is_empty() {
        "http"
    } else {
        "https"
    };
    Ok(format!("{scheme}://{address}"))
}

/// A setting that is not looked at.
struct Anything;

impl Setting for Anything {
    fn parse(_: &toml::Value) -> Result<Self, String> {
        Ok(Self)
    }
}

/// Asks once.
pub(crate) async fn run(options: &Healthcheck) -> ExitCode {
    match tokio::time::timeout(options.timeout, ask(options)).await {
        Ok(stop) => stop.show(),
        Err(_) => {
            let timeout = humantime::format_duration(options.timeout);
            Stop::new(format!("no answer within {timeout}"), EXIT_CALL_FAILED).show()
        }
    }
}

async fn ask(options: &Healthcheck) -> Stop {
    let channel = match options.target.connect().await {
        Ok(channel) => channel,
        Err(error) => {
            let uri = options.target.uri();
            let text = format!("cannot connect to {uri}: {}", targets::causes(&error));
            return Stop::new(text, EXIT_CANNOT_CONNECT);
        }
    };
    let request = HealthCheckRequest {
        service: options.service.clone(),
    };
    let service = &options.service;
    match HealthClient::new(channel).check(request).await {
        Ok(answer) => match answer.into_inner().status() {
            ServingStatus::Serving => Stop::new(format!("{service:?} is serving"), 0),
            status => {
                let status = status.as_str_name();
                Stop::new(format!("{service:?} is {status}"), EXIT_NOT_SERVING)
            }
        },
        Err(status) => {
            let (code, message) = (status.code(), status.message());
            Stop::new(
                format!("the call failed: {code:?}: {message}"),
                EXIT_CALL_FAILED,
            )
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  bridge-service healthcheck
  bridge-service healthcheck --service liveness --timeout 1s
  bridge-service healthcheck --target http://bridge:50051
  bridge-service healthcheck --tls-ca ca.pem --tls-server-name bridge.example

Exit codes: 0 serving, 1 bad arguments, 2 cannot connect, 3 the call failed or timed out,
4 not serving.";
