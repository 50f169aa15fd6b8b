//! What the monitor knows, as messages. Secrets are masked here, and nowhere else written out.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use monitorable::monitor::v1 as wire;
use monitorable::monitorable::v1 as claim;

use super::validate::target::MASK;
use crate::domain::{
    Agreement, Answer, Assessment, Audit, CallError, CanaryReport, CheckClaim, ClaimedState,
    DeliveryClaim, EventValidation, EvidenceItem, Finding, FindingState, HealthClaim, Integration,
    LifecycleClaim, MetricsClaim, Probed, RunStatus, Severity, Summary, ThreadStatus, Trend,
    Verdict,
};
use crate::fleet::api::{CanaryTarget, ComponentView, Target, TlsTarget};

pub(crate) fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    time.into()
}

/// The longest duration that the wire can hold stands for a longer one.
pub(crate) fn duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(span).unwrap_or(prost_types::Duration {
        seconds: i64::MAX,
        nanos: 0,
    })
}

pub(crate) fn component(target: &Target) -> wire::Component {
    let masked = |key: &String| (key.clone(), MASK.to_owned());
    wire::Component {
        component_id: target.component_id.to_string(),
        endpoint: target.endpoint.clone(),
        labels: target.labels.clone().into_iter().collect(),
        tls: target.tls.as_ref().map(tls),
        metadata: target.metadata.keys().map(masked).collect(),
        canary: (target.canary != CanaryTarget::default()).then(|| canary_options(&target.canary)),
    }
}

fn canary_options(options: &CanaryTarget) -> wire::CanaryOptions {
    let token = if options.token.is_empty() { "" } else { MASK };
    wire::CanaryOptions {
        disabled: options.disabled,
        interval: options.interval.map(duration),
        websocket_uri: options.websocket_uri.clone(),
        token: token.to_owned(),
    }
}

fn tls(options: &TlsTarget) -> wire::TlsOptions {
    let key = if options.client_key_pem.is_empty() {
        ""
    } else {
        MASK
    };
    wire::TlsOptions {
        ca_pem: options.ca_pem.clone().into(),
        client_certificate_pem: options.client_certificate_pem.clone().into(),
        client_key_pem: key.into(),
        server_name: options.server_name.clone(),
    }
}

pub(crate) fn component_status(view: &ComponentView) -> wire::ComponentStatus {
    wire::ComponentStatus {
        component: Some(component(&view.target)),
        verdict: verdict(view.verdict).into(),
        score: view.score,
        last_audit_time: view.last_audit.map(timestamp),
        open_findings: view.open_findings,
        watching: view.watching,
        maintenance_end_time: view.maintenance_end.map(timestamp),
    }
}

pub(crate) const fn verdict(verdict: Verdict) -> wire::Verdict {
    match verdict {
        Verdict::Healthy => wire::Verdict::Healthy,
        Verdict::Unverified => wire::Verdict::Unverified,
        Verdict::Degraded => wire::Verdict::Degraded,
        Verdict::SilentFailure => wire::Verdict::SilentFailure,
        Verdict::Down => wire::Verdict::Down,
        Verdict::NoData => wire::Verdict::NoData,
        Verdict::NotMonitored => wire::Verdict::NotMonitored,
    }
}

pub(crate) fn audit(audit: &Audit) -> wire::Audit {
    wire::Audit {
        component_id: audit.component_id.to_string(),
        audit_time: Some(timestamp(audit.at)),
        internal_health: audit.probed.as_ref().map(internal_health),
        internal_metrics: audit.probed.as_ref().map(internal_metrics),
        event_monitor_validation: audit.validation.as_ref().map(validation),
        integration_health: audit.integration.as_ref().map(integration),
        overall_assessment: Some(assessment(&audit.assessment)),
        findings: audit.findings.iter().map(finding).collect(),
        canary: audit.canary.as_ref().map(canary_report),
    }
}

fn canary_report(report: &CanaryReport) -> wire::CanaryReport {
    wire::CanaryReport {
        succeeded: report.succeeded,
        failed: report.failed,
        last_success_time: report.last_success.map(timestamp),
        last_delay: report.last_delay.map(duration),
        delay_median: report.delay_median.map(duration),
        error: report.error.clone(),
    }
}

fn error_of<T>(result: &Result<Answer<T>, CallError>) -> String {
    result
        .as_ref()
        .err()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn internal_health(probed: &Probed) -> wire::InternalHealth {
    let answer = probed.health.as_ref().ok();
    wire::InternalHealth {
        health: answer.map(|answer| health_status(&answer.value)),
        latency: answer.map(|answer| duration(answer.latency())),
        nonce_echoed: probed.nonce_echoed,
        error: error_of(&probed.health),
    }
}

fn internal_metrics(probed: &Probed) -> wire::InternalMetrics {
    let answer = probed.metrics.as_ref().ok();
    let remainder = answer
        .and_then(|answer| answer.value.delivery.as_ref())
        .map_or(0, DeliveryClaim::remainder);
    let clamped = remainder.clamp(i64::MIN.into(), i64::MAX.into());
    wire::InternalMetrics {
        metrics: answer.map(|answer| metrics(&answer.value)),
        latency: answer.map(|answer| duration(answer.latency())),
        ledger_balanced: answer.is_some() && remainder == 0,
        ledger_remainder: i64::try_from(clamped).unwrap_or_default(),
        error: error_of(&probed.metrics),
    }
}

pub(crate) fn health_status(health: &HealthClaim) -> claim::HealthStatus {
    claim::HealthStatus {
        component_id: health.component_id.clone(),
        instance_id: health.instance_id.clone(),
        sequence: health.sequence,
        observe_time: health.observe_time.map(timestamp),
        state: state(health.state).into(),
        healthy: health.healthy,
        checks: health.checks.iter().map(check).collect(),
        consecutive_failures: health.consecutive_failures,
        uptime: health.uptime.map(duration),
        last_health_check_time: health.last_health_check_time.map(timestamp),
        error_message: health.error_message.clone(),
    }
}

const fn state(state: ClaimedState) -> claim::State {
    match state {
        ClaimedState::Unspecified => claim::State::Unspecified,
        ClaimedState::Uninitialized => claim::State::Uninitialized,
        ClaimedState::Initializing => claim::State::Initializing,
        ClaimedState::Active => claim::State::Active,
        ClaimedState::Degraded => claim::State::Degraded,
        ClaimedState::Failed => claim::State::Failed,
        ClaimedState::Draining => claim::State::Draining,
    }
}

fn check(check: &CheckClaim) -> claim::Check {
    claim::Check {
        name: check.name.clone(),
        healthy: check.healthy,
        message: check.message.clone(),
        latency: check.latency.map(duration),
    }
}

pub(crate) fn metrics(metrics: &MetricsClaim) -> claim::Metrics {
    claim::Metrics {
        component_id: metrics.component_id.clone(),
        instance_id: metrics.instance_id.clone(),
        observe_time: metrics.observe_time.map(timestamp),
        lifecycle: Some(lifecycle(&metrics.lifecycle)),
        delivery: metrics.delivery.as_ref().map(delivery),
        gauges: metrics.gauges.clone().into_iter().collect(),
    }
}

const fn lifecycle(lifecycle: &LifecycleClaim) -> claim::LifecycleMetrics {
    claim::LifecycleMetrics {
        total_initializations: lifecycle.total_initializations,
        successful_initializations: lifecycle.successful_initializations,
        failed_initializations: lifecycle.failed_initializations,
        recovery_attempts: lifecycle.recovery_attempts,
        successful_recoveries: lifecycle.successful_recoveries,
        health_checks_performed: lifecycle.health_checks_performed,
        success_rate: lifecycle.success_rate,
    }
}

fn delivery(delivery: &DeliveryClaim) -> claim::DeliveryMetrics {
    claim::DeliveryMetrics {
        events_accepted: delivery.accepted,
        events_rejected: delivery.rejected,
        events_delivered: delivery.delivered,
        events_acknowledged: delivery.acknowledged,
        events_expired: delivery.expired,
        events_dropped: delivery.dropped.clone().into_iter().collect(),
        events_pending: delivery.pending,
        connections_open: delivery.connections_open,
        connections_opened: delivery.connections_opened,
        connections_closed: delivery.connections_closed,
        runs_open: delivery.runs_open,
        oldest_pending_age: delivery.oldest_pending_age.map(duration),
    }
}

fn validation(validation: &EventValidation) -> wire::EventMonitorValidation {
    let agreement = match validation.agreement {
        Agreement::Confirmed => wire::Agreement::Confirmed,
        Agreement::Contradicted => wire::Agreement::Contradicted,
        Agreement::Undecided => wire::Agreement::Undecided,
    };
    wire::EventMonitorValidation {
        produced: validation.produced,
        consumed: validation.consumed,
        unseen: validation.unseen,
        producers: validation.producers,
        consumers: validation.consumers,
        threads: validation.threads,
        runs_open: validation.runs_open,
        delay_median: validation.delay_median.map(duration),
        agreement: agreement.into(),
        message: validation.message.clone(),
    }
}

fn integration(integration: &Integration) -> wire::IntegrationHealth {
    wire::IntegrationHealth {
        watch_alive: integration.watch_alive,
        watch_age: integration.watch_age.map(duration),
        calls_answered: integration.calls_answered,
        witness_coverage: integration.witness_coverage,
        history: integration.history,
    }
}

fn assessment(assessment: &Assessment) -> wire::OverallAssessment {
    let part = |(name, score): (&&'static str, &f64)| ((*name).to_owned(), *score);
    wire::OverallAssessment {
        verdict: verdict(assessment.verdict).into(),
        score: assessment.score,
        component_scores: assessment.component_scores.iter().map(part).collect(),
        message: assessment.message.clone(),
    }
}

pub(crate) fn finding(finding: &Finding) -> wire::Finding {
    let severity = match finding.severity {
        Severity::Info => wire::Severity::Info,
        Severity::Warning => wire::Severity::Warning,
        Severity::Critical => wire::Severity::Critical,
    };
    let state = match finding.state {
        FindingState::Suspected => wire::finding::State::Suspected,
        FindingState::Open => wire::finding::State::Open,
        FindingState::Resolved => wire::finding::State::Resolved,
    };
    wire::Finding {
        finding_id: finding.finding_id.clone(),
        rule_id: finding.rule_id.to_owned(),
        component_id: finding.component_id.to_string(),
        subject: finding.subject.clone(),
        severity: severity.into(),
        state: state.into(),
        open_time: Some(timestamp(finding.open_time)),
        resolve_time: finding.resolve_time.map(timestamp),
        message: finding.message.clone(),
        evidence: finding.evidence.iter().map(evidence_item).collect(),
        reopened: finding.reopened,
        in_maintenance: finding.in_maintenance,
    }
}

fn evidence_item(item: &EvidenceItem) -> wire::EvidenceItem {
    wire::EvidenceItem {
        source: item.source.clone(),
        claimed: item.claimed.clone(),
        observed: item.observed.clone(),
        observe_time: Some(timestamp(item.at)),
    }
}

pub(crate) fn trend(trend: &Trend) -> wire::Trend {
    wire::Trend {
        audits: trend.audits,
        healthy: trend.healthy,
        failed: trend.failed,
        average_score: trend.average_score,
        last_audit_time: trend.last_audit.map(timestamp),
        no_data: trend.no_data,
    }
}

pub(crate) fn summary(summary: &Summary) -> wire::GetSummaryResponse {
    let named = |(name, count): (&&'static str, &u32)| ((*name).to_owned(), *count);
    wire::GetSummaryResponse {
        components: summary.components,
        verdicts: summary.verdicts.iter().map(named).collect(),
        open_findings: summary.open_findings,
        average_score: summary.average_score,
        observers: summary.observers,
        events_witnessed: summary.events_witnessed,
        local_lateness: Some(duration(summary.local_lateness)),
    }
}

pub(crate) fn thread(thread: &ThreadStatus) -> wire::ThreadStatus {
    let counts: &BTreeMap<String, u64> = &thread.counts_by_type;
    wire::ThreadStatus {
        thread_id: thread.thread_id.clone(),
        component_id: thread.component_id.to_string(),
        produced: thread.produced,
        consumed: thread.consumed,
        counts_by_type: counts.clone().into_iter().collect(),
        last_event_time: thread.last_event.map(timestamp),
        last_event_type: thread.last_event_type.clone(),
        runs: thread.runs.iter().map(run).collect(),
        consumers: thread.consumers,
        delay_median: thread.delay_median.map(duration),
    }
}

fn run(run: &RunStatus) -> wire::RunStatus {
    let open_tool = |(tool_call_id, age): &(String, Duration)| wire::OpenTool {
        tool_call_id: tool_call_id.clone(),
        age: Some(duration(*age)),
    };
    wire::RunStatus {
        run_id: run.run_id.clone(),
        produced: run.produced,
        consumed: run.consumed,
        finished: run.finished,
        open_tools: run.open_tools.iter().map(open_tool).collect(),
        last_event_time: run.last_event.map(timestamp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_read_back_masked() {
        let target = Target {
            component_id: "bridge".into(),
            endpoint: "https://127.0.0.1:1".to_owned(),
            labels: BTreeMap::new(),
            tls: Some(TlsTarget {
                ca_pem: b"public".to_vec(),
                client_certificate_pem: b"public".to_vec(),
                client_key_pem: b"hush".to_vec(),
                server_name: String::new(),
            }),
            metadata: [("authorization".to_owned(), "Bearer hush".to_owned())].into(),
            canary: CanaryTarget {
                token: "hush".to_owned(),
                ..CanaryTarget::default()
            },
        };
        assert!(!format!("{target:?}").contains("token"), "{target:?}");
        let shown = component(&target);
        assert_eq!(shown.metadata["authorization"], MASK);
        assert_eq!(shown.tls.as_ref().unwrap().client_key_pem, MASK);
        assert_eq!(shown.canary.as_ref().unwrap().token, MASK);
        assert!(!format!("{shown:?}").contains("hush"));
    }

    #[test]
    fn durations_beyond_the_wire_are_the_longest_one() {
        assert_eq!(duration(Duration::MAX).seconds, i64::MAX);
    }

    #[test]
    fn times_before_1970_do_not_panic() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_millis(1_500);
        assert_eq!(timestamp(before).seconds, -2);
    }

    #[test]
    fn a_claim_that_came_in_goes_out_unchanged() {
        let health = claim::HealthStatus {
            component_id: "bridge".to_owned(),
            instance_id: "i1".to_owned(),
            sequence: 7,
            observe_time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 5,
            }),
            state: claim::State::Degraded.into(),
            checks: vec![claim::Check {
                name: "registry".to_owned(),
                latency: Some(duration(Duration::from_millis(3))),
                ..Default::default()
            }],
            uptime: Some(duration(Duration::from_secs(9))),
            error_message: "it fails".to_owned(),
            ..Default::default()
        };
        let taken = crate::probe::convert::health_claim(health.clone());
        assert_eq!(health_status(&taken), health);
    }
}
