//! Calls to a running monitor.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use monitorable::monitor::v1::monitor_client::MonitorClient;
use service_kit::client::SendToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Response, Status};

use super::args::Common;
use super::{Exit, Failed};
use crate::config::components::read_file;
use crate::domain::CallError;
use crate::edge::validate::target::endpoint;
use crate::probe::channel::root_cause;
use crate::probe::error::classify;

/// How long connecting may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How long a call may take; an audit waits for the component's own deadlines.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// Between two pings, and how long one may stay unanswered: a watch must notice a dead monitor.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Largest answer that is read, in bytes: 50 audits with all their findings.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A channel on which each call shows a token, where there is one.
pub(crate) type Link = InterceptedService<Channel, SendToken>;

/// Connects to a gRPC server.
///
/// # Errors
/// `BadArguments` where the address is none, `CannotConnect` where nobody is there.
pub(crate) async fn connect(common: &Common) -> Result<Link, Failed> {
    let bad = |why: String| Failed::new(Exit::BadArguments, why);
    let address = endpoint("--monitor", &common.address()).map_err(|error| bad(error.0))?;
    let token_file = common.token_file();
    let token = SendToken::from_file("--monitor-token-file", token_file.as_deref()).map_err(bad)?;
    let trust = trust(common).map_err(bad)?;
    let built = Endpoint::from_shared(address.clone())
        .and_then(|endpoint| {
            endpoint.user_agent(concat!("monitor-cli/", env!("CARGO_PKG_VERSION")))
        })
        .and_then(|endpoint| {
            if address.starts_with("https://") {
                endpoint.tls_config(trust)
            } else {
                Ok(endpoint)
            }
        });
    let endpoint = built
        .map_err(|error| bad(format!("--monitor: {address:?}: {}", root_cause(&error))))?
        .connect_timeout(CONNECT_DEADLINE)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    let cannot = |why: String| {
        let why = format!("cannot connect to the monitor at {address}: {why}");
        Failed::new(Exit::CannotConnect, why)
    };
    let channel = tokio::time::timeout(CONNECT_DEADLINE, endpoint.connect())
        .await
        .map_err(|_| cannot(format!("no connection within {CONNECT_DEADLINE:?}")))?
        .map_err(|error| cannot(root_cause(&error)))?;
    Ok(InterceptedService::new(channel, token))
}

/// Whom to trust, the file's certificates or the system's, and what to show.
fn trust(common: &Common) -> Result<ClientTlsConfig, String> {
    let read = |flag: &str, path: &Path| {
        read_file(path).map_err(|why| format!("{flag}: {}: {why}", path.display()))
    };
    let config = match &common.monitor_ca {
        None => ClientTlsConfig::new().with_native_roots(),
        Some(path) => {
            let pem = Certificate::from_pem(read("--monitor-ca", path)?);
            ClientTlsConfig::new().ca_certificate(pem)
        }
    };
    let config = match &common.monitor_server_name {
        None => config,
        Some(name) => config.domain_name(name),
    };
    let shown = (
        &common.monitor_client_certificate,
        &common.monitor_client_key,
    );
    let (Some(certificate), Some(key)) = shown else {
        return Ok(config);
    };
    let certificate = read("--monitor-client-certificate", certificate)?;
    let key = read("--monitor-client-key", key)?;
    Ok(config.identity(Identity::from_pem(certificate, key)))
}

/// A client of the monitor.
///
/// # Errors
/// As [`connect`].
pub(crate) async fn monitor(common: &Common) -> Result<MonitorClient<Link>, Failed> {
    let channel = connect(common).await?;
    Ok(MonitorClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES))
}

/// A call's answer, inside the deadline.
///
/// # Errors
/// As [`failure`], and `CallFailed` where the deadline passed.
pub(crate) async fn answer<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failed> {
    match tokio::time::timeout(CALL_DEADLINE, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(failure(&status)),
        Err(_) => Err(Failed::new(
            Exit::CallFailed,
            format!("the monitor did not answer within {CALL_DEADLINE:?}"),
        )),
    }
}

/// What a failed call means.
pub(crate) fn failure(status: &Status) -> Failed {
    let exit = match (classify(status, KEEPALIVE), status.code()) {
        (CallError::Unreachable(why), _) => return Failed::new(Exit::CannotConnect, why),
        (_, Code::InvalidArgument) => Exit::BadArguments,
        _ => Exit::CallFailed,
    };
    Failed::new(exit, status.message())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Format, Output};

    fn at(address: &str) -> Common {
        Common {
            monitor: Some(address.to_owned()),
            monitor_ca: None,
            monitor_server_name: None,
            monitor_client_certificate: None,
            monitor_client_key: None,
            monitor_token_file: None,
            format: Format {
                output: Output::Table,
            },
        }
    }

    #[test]
    fn what_the_monitor_refuses_has_its_own_code() {
        let exit = |status: Status| failure(&status).exit;
        assert_eq!(exit(Status::invalid_argument("x")), Exit::BadArguments);
        assert_eq!(exit(Status::not_found("x")), Exit::CallFailed);
        assert_eq!(exit(Status::unavailable("x")), Exit::CallFailed);
    }

    #[tokio::test]
    async fn a_bad_address_is_a_bad_argument_and_nobody_there_is_code_2() {
        for bad in ["", "nowhere", "ftp://x:1", "http://x", "http://u@x:1"] {
            let failed = connect(&at(bad)).await.unwrap_err();
            assert_eq!(failed.exit, Exit::BadArguments, "{bad}");
            assert!(failed.why.starts_with("--monitor: "), "{}", failed.why);
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let failed = connect(&at(&address)).await.unwrap_err();
        assert_eq!(failed.exit, Exit::CannotConnect);
        assert!(failed.why.contains("refused"), "{}", failed.why);
    }
}
