//! The page that Prometheus scrapes, in both of its text formats.
//!
//! The numbers come from one answer of the hub, so they agree with each other; a registry of
//! counters that live on their own could not promise that.

mod writer;

use service_kit::http::Exposition;

use super::convert::success_rate;
use crate::health::report::{HealthReport, LifecycleReport, State};
use crate::hub::api::Identity;
use crate::hub::event::{HubReport, Stages};
use writer::Writer;

const STATES: [State; 6] = [
    State::Uninitialized,
    State::Initializing,
    State::Active,
    State::Degraded,
    State::Failed,
    State::Draining,
];

/// The whole page.
pub(crate) fn page(
    hub: &HubReport,
    lifecycle: &LifecycleReport,
    health: &HealthReport,
    identity: &Identity,
    format: Exposition,
) -> String {
    let mut writer = Writer::new(format);
    build(&mut writer, identity);
    stages(&mut writer, "events", "Events", &hub.stages);
    stages(
        &mut writer,
        "synthetic_events",
        "Synthetic events",
        &hub.synthetic,
    );
    door(&mut writer, hub);
    connections(&mut writer, hub);
    held(&mut writer, hub);
    self_checks(&mut writer, health);
    life(&mut writer, lifecycle);
    writer.finish()
}

fn build(writer: &mut Writer, identity: &Identity) {
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("component_id", &identity.component_id),
        ("instance_id", &identity.instance_id),
    ];
    writer.info("build", "What runs here.", &labels);
}

fn stages(writer: &mut Writer, name: &str, what: &str, stages: &Stages) {
    let counters = [
        ("accepted", "taken in", stages.accepted),
        (
            "delivered",
            "written to at least one reader",
            stages.delivered,
        ),
        (
            "acknowledged",
            "that a reader has acknowledged",
            stages.acknowledged,
        ),
        (
            "expired",
            "that left the replay window before any reader came",
            stages.expired,
        ),
    ];
    for (stage, how, count) in counters {
        writer.counter(&format!("{name}_{stage}"), &format!("{what} {how}."), count);
    }
    writer.counters(
        &format!("{name}_dropped"),
        &format!("{what} given up after they were accepted."),
        "reason",
        stages
            .dropped
            .iter()
            .map(|(reason, count)| (*reason, *count)),
    );
    writer.gauge(
        &format!("{name}_pending"),
        "",
        &format!("{what} kept and not written to any reader yet."),
        stages.pending as f64,
    );
}

fn door(writer: &mut Writer, hub: &HubReport) {
    writer.counter(
        "events_rejected",
        "Events refused at the door.",
        hub.rejected,
    );
    writer.counter(
        "events_duplicate",
        "Events that had been taken before.",
        hub.duplicates,
    );
    writer.gauge(
        "oldest_pending_age_seconds",
        "seconds",
        "Age of the oldest pending event of a thread with a reader; 0 where there is none.",
        hub.oldest_pending_age.unwrap_or_default().as_secs_f64(),
    );
}

fn connections(writer: &mut Writer, hub: &HubReport) {
    writer.gauge(
        "connections_open",
        "",
        "Readers connected now.",
        hub.connections_open as f64,
    );
    writer.counter(
        "connections_opened",
        "Readers ever connected.",
        hub.connections_opened,
    );
    writer.counter(
        "connections_closed",
        "Readers gone.",
        hub.connections_closed,
    );
    writer.counters(
        "connections_closed_by_bridge",
        "Readers that the bridge closed.",
        "reason",
        hub.closes_by_reason
            .iter()
            .map(|(reason, count)| (*reason, *count)),
    );
}

fn held(writer: &mut Writer, hub: &HubReport) {
    writer.gauge(
        "runs_open",
        "",
        "Runs started and not ended.",
        hub.runs_open as f64,
    );
    writer.gauge(
        "runs_held",
        "",
        "Runs whose ledger is held.",
        hub.runs_held as f64,
    );
    writer.gauge("threads_held", "", "Threads held.", hub.threads_held as f64);
    writer.gauge(
        "window_bytes",
        "bytes",
        "Size of the events kept for replay.",
        hub.window_bytes as f64,
    );
    writer.gauge(
        "watchers_open",
        "",
        "Health streams open.",
        hub.watchers_open as f64,
    );
    writer.counter(
        "watchers_dropped",
        "Health streams ended because their watcher fell behind.",
        hub.watchers_dropped,
    );
}

fn self_checks(writer: &mut Writer, health: &HealthReport) {
    let one_hot = |state: State| (state.name(), f64::from(u8::from(state == health.state)));
    writer.gauges(
        "state",
        "1 for the state that holds.",
        "state",
        STATES.map(one_hot),
    );
    let healthy = f64::from(u8::from(health.healthy));
    writer.gauge(
        "healthy",
        "",
        "1 where the component says that it is well.",
        healthy,
    );
    let checks = health.checks.iter();
    writer.gauges(
        "check_healthy",
        "1 where the last run of the self-check passed.",
        "check",
        checks.map(|check| (check.name, f64::from(u8::from(check.healthy)))),
    );
    writer.gauge(
        "consecutive_failures",
        "",
        "Rounds of self-checks failed in a row.",
        f64::from(health.consecutive_failures),
    );
    writer.gauge(
        "uptime_seconds",
        "seconds",
        "Time since the process started.",
        health.uptime.as_secs_f64(),
    );
}

fn life(writer: &mut Writer, report: &LifecycleReport) {
    let counters = [
        (
            "initializations",
            "Initializations finished.",
            report.total_initializations,
        ),
        (
            "initializations_successful",
            "Initializations that ended well.",
            report.successful_initializations,
        ),
        (
            "initializations_failed",
            "Initializations that did not.",
            report.failed_initializations,
        ),
        (
            "recovery_attempts",
            "Recoveries tried.",
            report.recovery_attempts,
        ),
        (
            "recoveries_successful",
            "Recoveries after which every check passed.",
            report.successful_recoveries,
        ),
        (
            "health_checks",
            "Rounds of self-checks finished.",
            report.health_checks_performed,
        ),
    ];
    for (name, help, count) in counters {
        writer.counter(name, help, count);
    }
    writer.gauge(
        "initialization_success_ratio",
        "ratio",
        "Successful initializations over all.",
        success_rate(report),
    );
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::health::report::CheckResult;

    fn rendered(format: Exposition) -> String {
        let hub = HubReport {
            stages: Stages {
                accepted: 7,
                dropped: [("thread_forgotten", 2)].into(),
                ..Stages::default()
            },
            closes_by_reason: [("too_slow", 3)].into(),
            window_bytes: 1_024,
            oldest_pending_age: Some(Duration::from_millis(1_500)),
            ..HubReport::default()
        };
        let health = HealthReport {
            sequence: 1,
            observe_time: SystemTime::UNIX_EPOCH,
            state: State::Degraded,
            healthy: false,
            checks: vec![CheckResult {
                name: "registry",
                healthy: true,
                message: String::new(),
                latency: Duration::ZERO,
            }],
            consecutive_failures: 1,
            uptime: Duration::from_secs(2),
            last_check_time: None,
            error_message: String::new(),
        };
        let identity = Identity {
            component_id: "a\"b".into(),
            instance_id: "i".into(),
        };
        page(
            &hub,
            &LifecycleReport::default(),
            &health,
            &identity,
            format,
        )
    }

    #[test]
    fn both_formats_have_the_same_samples() {
        let samples = |page: &str| {
            let lines = page.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let (prometheus, open) = (
            rendered(Exposition::Prometheus),
            rendered(Exposition::OpenMetrics),
        );
        assert_eq!(samples(&prometheus), samples(&open));
        for sample in [
            "bridge_events_accepted_total 7",
            "bridge_events_dropped_total{reason=\"thread_forgotten\"} 2",
            "bridge_connections_closed_by_bridge_total{reason=\"too_slow\"} 3",
            "bridge_state{state=\"degraded\"} 1",
            "bridge_state{state=\"active\"} 0",
            "bridge_oldest_pending_age_seconds 1.5",
            "bridge_check_healthy{check=\"registry\"} 1",
        ] {
            assert!(
                open.lines().any(|line| line == sample),
                "{sample} is missing from\n{open}"
            );
        }
        assert!(open.contains("component_id=\"a\\\"b\""));
    }

    #[test]
    fn each_format_keeps_its_own_rules() {
        let open = rendered(Exposition::OpenMetrics);
        assert!(open.ends_with("# EOF\n"));
        assert!(open.contains("# TYPE bridge_events_accepted counter\n"));
        assert!(open.contains("# TYPE bridge_build info\n"));
        assert!(open.contains("# UNIT bridge_window_bytes bytes\n"));
        let prometheus = rendered(Exposition::Prometheus);
        assert!(prometheus.contains("# TYPE bridge_events_accepted_total counter\n"));
        assert!(prometheus.contains("# TYPE bridge_build_info gauge\n"));
        assert!(!prometheus.contains("# EOF") && !prometheus.contains("# UNIT"));
    }

    #[test]
    fn every_family_is_described_once_and_before_its_samples() {
        let page = rendered(Exposition::OpenMetrics);
        let mut described = std::collections::HashSet::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let family = rest.split(' ').next().unwrap();
                assert!(described.insert(family.to_owned()), "{family} twice");
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                let family = name.trim_end_matches("_total").trim_end_matches("_info");
                assert!(described.contains(family), "{line} is not described");
            }
        }
    }
}
