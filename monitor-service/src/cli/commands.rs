//! The commands that talk to a running monitor.

use std::collections::HashMap;
use std::path::PathBuf;

use monitorable::monitor::v1 as wire;

use super::args::{
    Access, ById, Client, Common, Findings, History, Maintenance, MaintenanceStart, Output,
    Register,
};
use super::client::{answer, monitor};
use super::show::{self, Cell, Table};
use super::{Exit, Failed, check, healthcheck, verdict, watch};
use crate::config::components::{self, read_file};
use crate::edge::convert;

type Done = Result<Exit, Failed>;

/// Runs a command.
///
/// # Errors
/// Why it ended early, with its exit code.
pub(crate) async fn run(client: Client) -> Done {
    match client {
        Client::Check(arguments) => check::run(arguments).await,
        Client::Register(arguments) => register(*arguments).await,
        Client::Remove(arguments) => remove(arguments).await,
        Client::List(common) => list(common).await,
        Client::Audit(arguments) => audit(arguments).await,
        Client::History(arguments) => history(arguments).await,
        Client::Findings(arguments) => findings(arguments).await,
        Client::Watch(arguments) => watch::run(arguments).await,
        Client::Healthcheck(arguments) => healthcheck::run(&arguments).await,
        Client::Maintenance(Maintenance::Start(arguments)) => start_maintenance(arguments).await,
        Client::Maintenance(Maintenance::End(arguments)) => end_maintenance(arguments).await,
        #[cfg(feature = "drill")]
        Client::Drill(arguments) => super::drill::run(arguments).await,
    }
}

/// TLS options of the command line, read from their files. `None`: none is set.
///
/// # Errors
/// `BadArguments` naming the file that cannot be read.
pub(crate) fn tls(access: &Access) -> Result<Option<wire::TlsOptions>, Failed> {
    let read = |flag: &str, file: &Option<PathBuf>| match file {
        None => Ok(Vec::new()),
        Some(path) => read_file(path).map_err(|why| {
            let why = format!("{flag}: {}: {why}", path.display());
            Failed::new(Exit::BadArguments, why)
        }),
    };
    let options = wire::TlsOptions {
        ca_pem: read("--tls-ca", &access.tls_ca)?.into(),
        client_certificate_pem: read("--tls-client-certificate", &access.tls_client_certificate)?
            .into(),
        client_key_pem: read("--tls-client-key", &access.tls_client_key)?.into(),
        server_name: access.tls_server_name.clone().unwrap_or_default(),
    };
    Ok((options != wire::TlsOptions::default()).then_some(options))
}

/// The token to show a component. `None`: none is set.
///
/// # Errors
/// `BadArguments` naming the file that cannot be read.
pub(crate) fn token(access: &Access) -> Result<Option<String>, Failed> {
    let read = |path: &PathBuf| {
        components::token(path).map_err(|why| {
            let why = format!("--token-file: {}: {why}", path.display());
            Failed::new(Exit::BadArguments, why)
        })
    };
    access.token_file.as_ref().map(read).transpose()
}

/// What is sent with every call to a component, the token among it.
pub(crate) fn metadata(access: &Access, token: Option<&str>) -> HashMap<String, String> {
    let shown = token.map(|token| ("authorization".to_owned(), format!("Bearer {token}")));
    access.metadata.iter().cloned().chain(shown).collect()
}

async fn register(arguments: Register) -> Done {
    let tls = tls(&arguments.access)?;
    let token = token(&arguments.access)?;
    let metadata = metadata(&arguments.access, token.as_deref());
    let reads_with = Some(arguments.canary.canary_token).filter(|given| !given.is_empty());
    let component = wire::Component {
        component_id: arguments.component_id,
        endpoint: arguments.endpoint,
        labels: arguments.labels.into_iter().collect(),
        tls,
        metadata,
        canary: Some(wire::CanaryOptions {
            disabled: arguments.canary.canary_disabled,
            interval: arguments.canary.canary_interval.map(convert::duration),
            websocket_uri: arguments.canary.canary_websocket_uri,
            token: reads_with.or(token).unwrap_or_default(),
        }),
    };
    let request = wire::RegisterComponentRequest {
        component: Some(component),
    };
    let mut client = monitor(&arguments.common).await?;
    let response = answer(client.register_component(request)).await?;
    show::answer(arguments.common.format.output, &response, || {
        let shown = response.component.clone().unwrap_or_default();
        let what = if response.replaced {
            "changed"
        } else {
            "registered"
        };
        show::say(&format!(
            "{what} {} at {}\n",
            show::printable(&shown.component_id),
            show::printable(&shown.endpoint)
        ));
    });
    Ok(Exit::Ok)
}

async fn remove(arguments: ById) -> Done {
    let component_id = arguments.component_id;
    let mut client = monitor(&arguments.common).await?;
    let request = wire::RemoveComponentRequest {
        component_id: component_id.clone(),
    };
    answer(client.remove_component(request)).await?;
    match arguments.common.format.output {
        Output::Table => show::say(&format!("removed {}\n", show::printable(&component_id))),
        Output::Json => show::say_json(&serde_json::json!({})),
    };
    Ok(Exit::Ok)
}

async fn list(common: Common) -> Done {
    let mut client = monitor(&common).await?;
    let response = answer(client.list_components(wire::ListComponentsRequest {})).await?;
    show::answer(common.format.output, &response, || {
        let mut table = Table::new(&[
            "ID",
            "VERDICT",
            "SCORE",
            "FINDINGS",
            "WATCH",
            "LAST AUDIT",
            "MAINTENANCE",
            "ENDPOINT",
        ]);
        for status in &response.components {
            let component = status.component.clone().unwrap_or_default();
            table.row(vec![
                Cell::plain(component.component_id),
                show::verdict(status.verdict()),
                Cell::plain(format!("{:.0}", status.score)),
                Cell::plain(status.open_findings.to_string()),
                Cell::plain(if status.watching { "up" } else { "down" }),
                Cell::plain(show::time(status.last_audit_time.as_ref())),
                Cell::plain(match &status.maintenance_end_time {
                    None => "-".to_owned(),
                    end => format!("until {}", show::time(end.as_ref())),
                }),
                Cell::plain(component.endpoint),
            ]);
        }
        show::say_table(&table);
    });
    Ok(Exit::Ok)
}

async fn audit(arguments: ById) -> Done {
    let mut client = monitor(&arguments.common).await?;
    let request = wire::AuditComponentRequest {
        component_id: arguments.component_id,
    };
    let response = answer(client.audit_component(request)).await?;
    let missing = || Failed::new(Exit::CallFailed, "the monitor's answer holds no audit");
    let audit = response.audit.ok_or_else(missing)?;
    show::answer(arguments.common.format.output, &audit, || {
        show::say_table(&audit_table(&audit));
        if !audit.findings.is_empty() {
            show::say("\n");
            show::say_table(&findings_table(&audit.findings));
        }
    });
    Ok(verdict::exit(&audit))
}

/// An audit, one part a row.
pub(crate) fn audit_table(audit: &wire::Audit) -> Table {
    let mut table = Table::new(&["PART", "RESULT"]);
    let mut row = |part: &str, result: String| {
        table.row(vec![Cell::plain(part), Cell::plain(result)]);
    };
    row("component", audit.component_id.clone());
    let assessment = audit.overall_assessment.clone().unwrap_or_default();
    let words = show::words(assessment.verdict().as_str_name(), "VERDICT_");
    row("verdict", format!("{words}, score {:.0}", assessment.score));
    row("because", assessment.message);
    if let Some(health) = &audit.internal_health {
        row("health", health_row(health));
        for check in health.health.iter().flat_map(|health| &health.checks) {
            let passes = if check.healthy { "passes" } else { "fails" };
            row(
                &format!("  {}", check.name),
                format!("{passes}: {}", check.message),
            );
        }
    }
    if let Some(metrics) = &audit.internal_metrics {
        row("metrics", metrics_row(metrics));
    }
    if let Some(validation) = &audit.event_monitor_validation {
        let agreement = show::words(validation.agreement().as_str_name(), "AGREEMENT_");
        row("witnesses", format!("{agreement}: {}", validation.message));
    }
    if let Some(canary) = &audit.canary {
        row("canary", canary_row(canary));
    }
    if let Some(integration) = &audit.integration_health {
        let alive = if integration.watch_alive {
            "alive"
        } else {
            "not alive"
        };
        let age = match &integration.watch_age {
            None => "no message yet".to_owned(),
            some => format!("last message {} ago", show::span(some.as_ref())),
        };
        row("watch", format!("{alive}, {age}"));
    }
    table
}

fn health_row(health: &wire::InternalHealth) -> String {
    let Some(claim) = &health.health else {
        return health.error.clone();
    };
    let nonce = if health.nonce_echoed {
        "nonce echoed"
    } else {
        "nonce NOT echoed"
    };
    format!(
        "claims {}, healthy {}, sequence {}, in {}, {nonce}",
        show::words(claim.state().as_str_name(), "STATE_"),
        claim.healthy,
        claim.sequence,
        show::span(health.latency.as_ref()),
    )
}

fn metrics_row(metrics: &wire::InternalMetrics) -> String {
    let Some(claim) = &metrics.metrics else {
        return metrics.error.clone();
    };
    let latency = show::span(metrics.latency.as_ref());
    match &claim.delivery {
        None => format!("delivers no events, in {latency}"),
        Some(delivery) => format!(
            "accepted {}, delivered {}, expired {}, dropped {}, pending {}, remainder {}, in {latency}",
            delivery.events_accepted,
            delivery.events_delivered,
            delivery.events_expired,
            delivery
                .events_dropped
                .values()
                .fold(0_u64, |sum, count| sum.saturating_add(*count)),
            delivery.events_pending,
            metrics.ledger_remainder,
        ),
    }
}

fn canary_row(canary: &wire::CanaryReport) -> String {
    let last = match &canary.last_success_time {
        None => "none came back whole".to_owned(),
        time => format!(
            "the last whole one at {} took {}, the median is {}",
            show::time(time.as_ref()),
            show::span(canary.last_delay.as_ref()),
            show::span(canary.delay_median.as_ref()),
        ),
    };
    let error = match canary.error.as_str() {
        "" => String::new(),
        error => format!("; the newest: {error}"),
    };
    format!(
        "{} runs whole, {} failed; {last}{error}",
        canary.succeeded, canary.failed
    )
}

async fn history(arguments: History) -> Done {
    let mut client = monitor(&arguments.common).await?;
    let request = wire::ListAuditsRequest {
        component_id: arguments.component_id,
        limit: arguments.limit,
    };
    let response = answer(client.list_audits(request)).await?;
    show::answer(arguments.common.format.output, &response, || {
        let mut table = Table::new(&["TIME", "VERDICT", "SCORE", "FINDINGS", "BECAUSE"]);
        for audit in &response.audits {
            let assessment = audit.overall_assessment.clone().unwrap_or_default();
            table.row(vec![
                Cell::plain(show::time(audit.audit_time.as_ref())),
                show::verdict(assessment.verdict()),
                Cell::plain(format!("{:.0}", assessment.score)),
                Cell::plain(audit.findings.len().to_string()),
                Cell::plain(assessment.message),
            ]);
        }
        show::say_table(&table);
        let trend = response.trend.unwrap_or_default();
        let average = trend
            .average_score
            .map_or("-".to_owned(), |score| format!("{score:.1}"));
        show::say(&format!(
            "\n{} audits, {} healthy, {} failed, {} without data, average score {average}\n",
            trend.audits, trend.healthy, trend.failed, trend.no_data
        ));
    });
    Ok(Exit::Ok)
}

async fn findings(arguments: Findings) -> Done {
    use wire::finding::State;
    let state = match (arguments.open, arguments.resolved) {
        (true, _) => State::Open,
        (_, true) => State::Resolved,
        _ => State::Unspecified,
    };
    let mut client = monitor(&arguments.common).await?;
    let request = wire::ListFindingsRequest {
        component_id: arguments.component,
        rule_id: arguments.rule,
        state: state.into(),
        limit: arguments.limit,
        include_suspected: arguments.suspected,
    };
    let response = answer(client.list_findings(request)).await?;
    show::answer(arguments.common.format.output, &response, || {
        show::say_table(&findings_table(&response.findings));
    });
    Ok(Exit::Ok)
}

/// Findings, one a row.
pub(crate) fn findings_table(findings: &[wire::Finding]) -> Table {
    let mut table = Table::new(&[
        "OPENED",
        "STATE",
        "SEVERITY",
        "RULE",
        "COMPONENT",
        "SUBJECT",
        "MESSAGE",
    ]);
    for finding in findings {
        let subject = if finding.subject.is_empty() {
            "-"
        } else {
            &finding.subject
        };
        table.row(vec![
            Cell::plain(show::time(finding.open_time.as_ref())),
            Cell::plain(state(finding)),
            show::severity(finding.severity()),
            Cell::plain(&finding.rule_id),
            Cell::plain(&finding.component_id),
            Cell::plain(subject),
            Cell::plain(&finding.message),
        ]);
    }
    table
}

/// The state, and what is special about it.
fn state(finding: &wire::Finding) -> String {
    let mut state = show::words(finding.state().as_str_name(), "STATE_");
    match finding.reopened {
        0 => {}
        1 => state.push_str(", came back once"),
        times => state.push_str(&format!(", came back {times} times")),
    }
    if finding.in_maintenance {
        state.push_str(", in maintenance");
    }
    state
}

async fn start_maintenance(arguments: MaintenanceStart) -> Done {
    let mut client = monitor(&arguments.common).await?;
    let request = wire::StartMaintenanceRequest {
        component_id: arguments.component_id.clone(),
        duration: prost_types::Duration::try_from(arguments.duration).ok(),
        reason: arguments.reason,
    };
    let response = answer(client.start_maintenance(request)).await?;
    show::answer(arguments.common.format.output, &response, || {
        show::say(&format!(
            "{} is in maintenance until {}\n",
            show::printable(&arguments.component_id),
            show::time(response.end_time.as_ref())
        ));
    });
    Ok(Exit::Ok)
}

async fn end_maintenance(arguments: ById) -> Done {
    let mut client = monitor(&arguments.common).await?;
    let request = wire::EndMaintenanceRequest {
        component_id: arguments.component_id.clone(),
    };
    let response = answer(client.end_maintenance(request)).await?;
    show::answer(arguments.common.format.output, &response, || {
        let shown = show::printable(&arguments.component_id);
        show::say(&format!("{shown} is no longer in maintenance\n"));
    });
    Ok(Exit::Ok)
}
