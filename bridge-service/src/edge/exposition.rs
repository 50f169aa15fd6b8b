//! The page that Prometheus scrapes, in both of its text formats.
//!
//! The numbers come from one answer of the hub, so they agree with each other; a registry of
//! counters that live on their own could not promise that.

use std::collections::BTreeMap;

use service_kit::exposition::Page;
use service_kit::http::Exposition;
use service_kit::{panics, traces};

use super::convert::success_rate;
use crate::health::report::{HealthReport, LifecycleReport, State};
use crate::hub::api::Identity;
use crate::hub::event::{CloseReason, DROPPED_AT_SHUTDOWN, HubReport, Stages};

const STATES: [State; 6] = [
    State::Uninitialized,
    State::Initializing,
    State::Active,
    State::Degraded,
    State::Failed,
    State::Draining,
];

/// The page, to which others may add.
pub(crate) fn page(
    hub: &HubReport,
    lifecycle: &LifecycleReport,
    health: &HealthReport,
    identity: &Identity,
    format: Exposition,
) -> Page {
    let mut page = Page::new(format);
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("component_id", &identity.component_id),
        ("instance_id", &identity.instance_id),
    ];
    page.info("bridge_build", "What runs here.", &labels);
    stages(&mut page, "bridge_events", "Events", &hub.stages);
    stages(
        &mut page,
        "bridge_synthetic_events",
        "Synthetic events",
        &hub.synthetic,
    );
    flow(&mut page, hub);
    held(&mut page, hub);
    self_checks(&mut page, health);
    life(&mut page, lifecycle);
    page.counter("bridge_panics", "Tasks that panicked.")
        .count(&[], panics::count());
    traces::expose(&mut page, "bridge_trace_spans");
    page
}

fn counters(page: &mut Page, all: &[(&str, &str, u64)]) {
    for (name, help, count) in all {
        page.counter(name, help).count(&[], *count);
    }
}

fn gauges(page: &mut Page, all: &[(&str, &str, f64)]) {
    for (name, help, value) in all {
        page.gauge(name, help).value(&[], *value);
    }
}

/// Counts by reason, 0 for those that have not been: a series that begins with its first count shows
/// no increase by it.
fn with_absent(
    reasons: impl IntoIterator<Item = &'static str>,
    counts: &BTreeMap<&'static str, u64>,
) -> BTreeMap<&'static str, u64> {
    let mut all: BTreeMap<_, _> = reasons.into_iter().map(|reason| (reason, 0)).collect();
    all.extend(counts);
    all
}

fn stages(page: &mut Page, name: &str, what: &str, stages: &Stages) {
    let all = [
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
    for (stage, how, count) in all {
        page.counter(&format!("{name}_{stage}"), &format!("{what} {how}."))
            .count(&[], count);
    }
    let help = format!("{what} given up after they were accepted.");
    let mut dropped = page.counter(&format!("{name}_dropped"), &help);
    for (reason, count) in with_absent([DROPPED_AT_SHUTDOWN], &stages.dropped) {
        dropped.count(&[("reason", reason)], count);
    }
    let help = format!("{what} kept and not written to any reader yet.");
    page.gauge(&format!("{name}_pending"), &help)
        .count(&[], stages.pending);
}

fn flow(page: &mut Page, hub: &HubReport) {
    counters(
        page,
        &[
            (
                "bridge_events_rejected",
                "Events refused at the door.",
                hub.rejected,
            ),
            (
                "bridge_events_duplicate",
                "Events that had been taken before.",
                hub.duplicates,
            ),
            (
                "bridge_synthetic_events_rejected",
                "Synthetic events for which there was no room.",
                hub.synthetic_rejected,
            ),
            (
                "bridge_synthetic_events_duplicate",
                "Synthetic events that had been taken before.",
                hub.synthetic_duplicates,
            ),
            (
                "bridge_connections_opened",
                "Readers ever connected.",
                hub.connections_opened,
            ),
            (
                "bridge_connections_closed",
                "Readers gone.",
                hub.connections_closed,
            ),
        ],
    );
    let help = "Readers that the bridge closed.";
    let mut closed = page.counter("bridge_connections_closed_by_bridge", help);
    let reasons = CloseReason::ALL.map(CloseReason::name);
    for (reason, count) in with_absent(reasons, &hub.closes_by_reason) {
        closed.count(&[("reason", reason)], count);
    }
    let help = "From taking an event in to writing it to a reader that was there before.";
    page.histogram("bridge_delivery_delay_seconds", help, &hub.delivery_delay);
    let age = hub.oldest_pending_age.unwrap_or_default().as_secs_f64();
    let help = "Age of the oldest pending event of a thread with a reader; 0 where there is none.";
    page.gauge("bridge_oldest_pending_age_seconds", help)
        .value(&[], age);
    let open = hub.connections_open;
    page.gauge("bridge_connections_open", "Readers connected now.")
        .count(&[], open);
    let help = "Readers that may be connected at once.";
    page.gauge("bridge_connections_limit", help)
        .count(&[], hub.connections_max);
}

fn held(page: &mut Page, hub: &HubReport) {
    for (name, help, count) in [
        (
            "bridge_runs_open",
            "Runs started and not ended.",
            hub.runs_open,
        ),
        (
            "bridge_runs_held",
            "Runs whose ledger is held.",
            hub.runs_held,
        ),
        ("bridge_threads_held", "Threads held.", hub.threads_held),
        (
            "bridge_window_bytes",
            "Size of the events kept for replay.",
            hub.window_bytes,
        ),
        (
            "bridge_watchers_open",
            "Health streams open.",
            hub.watchers_open,
        ),
    ] {
        page.gauge(name, help).count(&[], count);
    }
    let help = "Health streams ended because their watcher fell behind.";
    page.counter("bridge_watchers_dropped", help)
        .count(&[], hub.watchers_dropped);
}

fn self_checks(page: &mut Page, health: &HealthReport) {
    let mut family = page.gauge("bridge_state", "1 for the state that holds.");
    for state in STATES {
        family.count(&[("state", state.name())], u64::from(state == health.state));
    }
    let help = "1 where the last run of the self-check passed.";
    let mut family = page.gauge("bridge_check_healthy", help);
    for check in health.checks.iter() {
        family.count(&[("check", check.name)], u64::from(check.healthy));
    }
    let healthy = f64::from(u8::from(health.healthy));
    let failures = f64::from(health.consecutive_failures);
    let uptime = health.uptime.as_secs_f64();
    gauges(
        page,
        &[
            (
                "bridge_healthy",
                "1 where the component says that it is well.",
                healthy,
            ),
            (
                "bridge_consecutive_failures",
                "Rounds of self-checks failed in a row.",
                failures,
            ),
            (
                "bridge_uptime_seconds",
                "Time since the process started.",
                uptime,
            ),
        ],
    );
}

fn life(page: &mut Page, report: &LifecycleReport) {
    counters(
        page,
        &[
            (
                "bridge_initializations",
                "Initializations finished.",
                report.total_initializations,
            ),
            (
                "bridge_initializations_successful",
                "Initializations that ended well.",
                report.successful_initializations,
            ),
            (
                "bridge_initializations_failed",
                "Initializations that did not.",
                report.failed_initializations,
            ),
            (
                "bridge_recovery_attempts",
                "Recoveries tried.",
                report.recovery_attempts,
            ),
            (
                "bridge_recoveries_successful",
                "Recoveries after which every check passed.",
                report.successful_recoveries,
            ),
            (
                "bridge_health_checks",
                "Rounds of self-checks finished.",
                report.health_checks_performed,
            ),
        ],
    );
    let ratio = success_rate(report);
    let help = "Successful initializations over all.";
    page.gauge("bridge_initialization_success_ratio", help)
        .value(&[], ratio);
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
            checks: [CheckResult {
                name: "registry",
                healthy: true,
                message: String::new(),
                latency: Duration::ZERO,
            }]
            .into(),
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
        .finish()
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
            "bridge_events_dropped_total{reason=\"shutdown\"} 0",
            "bridge_connections_closed_by_bridge_total{reason=\"too_slow\"} 3",
            "bridge_connections_closed_by_bridge_total{reason=\"silent\"} 0",
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
                let endings = ["_total", "_info", "_bucket", "_sum", "_count"];
                let ending = endings.iter().find_map(|ending| name.strip_suffix(ending));
                let family = ending.unwrap_or(name);
                assert!(described.contains(family), "{line} is not described");
            }
        }
    }
}
