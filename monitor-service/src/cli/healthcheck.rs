//! `healthcheck`: asks a running monitor, for probes that run a command.

use monitorable::grpc_health::v1::HealthCheckRequest;
use monitorable::grpc_health::v1::health_check_response::ServingStatus;
use monitorable::grpc_health::v1::health_client::HealthClient;

use super::args::{Healthcheck, Output};
use super::client::{answer, connect};
use super::{Exit, Failed, show};

/// Asks once, inside the timeout.
///
/// # Errors
/// As the other commands, and `CallFailed` where the timeout passed.
pub(crate) async fn run(arguments: &Healthcheck) -> Result<Exit, Failed> {
    let timeout = arguments.timeout;
    let asked = tokio::time::timeout(timeout, ask(arguments)).await;
    asked.unwrap_or_else(|_| {
        let timeout = humantime::format_duration(timeout);
        Err(Failed::new(
            Exit::CallFailed,
            format!("no answer within {timeout}"),
        ))
    })
}

async fn ask(arguments: &Healthcheck) -> Result<Exit, Failed> {
    let mut client = HealthClient::new(connect(&arguments.common).await?);
    let request = HealthCheckRequest {
        service: arguments.service.clone(),
    };
    let response = answer(client.check(request)).await?;
    let status = response.status().as_str_name();
    match arguments.common.format.output {
        Output::Table => show::say(&format!("{}\n", show::words(status, ""))),
        Output::Json => show::say_json(&serde_json::json!({ "status": status })),
    };
    if response.status() == ServingStatus::Serving {
        Ok(Exit::Ok)
    } else {
        Ok(Exit::Unhealthy)
    }
}
