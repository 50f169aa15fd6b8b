//! The metrics page.

use std::time::SystemTime;

use service_kit::exposition::Page;
use service_kit::http::{Exposition, MetricsSource};
use service_kit::{panics, traces};

use crate::domain::Verdict;
use crate::edge::self_report::SelfMonitor;
use crate::fleet::api::{AlertCounts, ComponentView, SelfReport};

/// Components that have a line of their own; a scraper must survive the largest fleet.
const MAX_COMPONENT_LINES: usize = 2_000;

impl MetricsSource for SelfMonitor {
    async fn metrics(&self, format: Exposition) -> Option<String> {
        let report = self.report().await.ok()?;
        let views = self.components().await.ok()?;
        let mut page = page(format, &report, &views);
        self.reloads.write(&mut page, "monitor");
        Some(page.finish())
    }
}

fn page(format: Exposition, report: &SelfReport, views: &[ComponentView]) -> Page {
    let mut page = Page::new(format);
    page.gauge("monitor_build_info", "The version that runs; always 1.")
        .count(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    audits(&mut page, report);
    findings(&mut page, report);
    components(&mut page, views);
    evidence(&mut page, report);
    page.gauge("monitor_uptime_seconds", "Time since the process started.")
        .value(&[], report.uptime.as_secs_f64());
    page.gauge(
        "monitor_tick_lateness_seconds",
        "How late the working loop's last tick was.",
    )
    .value(&[], report.tick_lateness.as_secs_f64());
    page.gauge(
        "monitor_local_stretch_factor",
        "By how much the monitor stretches its deadlines and graces, being late itself; 1 at best.",
    )
    .count(&[], u64::from(report.stretch));
    page.counter("monitor_panics", "Tasks that panicked.")
        .count(&[], panics::count());
    traces::expose(&mut page, "monitor_trace_spans");
    page.histogram(
        "monitor_call_latency_seconds",
        "How long the calls to components took that were answered.",
        &report.call_latency,
    );
    alerts(&mut page, &report.alerts);
    page.gauge(
        "monitor_loop_proven",
        "1 where the working loop has turned and its tick came in time, else 0.",
    )
    .count(&[], u64::from(report.proven));
    page
}

fn audits(page: &mut Page, report: &SelfReport) {
    let mut family = page.counter("monitor_audits", "Audits made, by verdict.");
    for verdict in VERDICTS {
        let count = report.audits_by_verdict.get(verdict.name());
        family.count(
            &[("verdict", verdict.name())],
            count.copied().unwrap_or_default(),
        );
    }
}

fn findings(page: &mut Page, report: &SelfReport) {
    let maintained = |key| {
        let count = report.findings_in_maintenance.get(key);
        count.copied().unwrap_or_default()
    };
    let help = "Findings open now of components that are not in maintenance.";
    let mut family = page.gauge("monitor_findings_open", help);
    for (key, count) in &report.findings_open {
        let (rule, severity) = key;
        let announced = count.saturating_sub(maintained(key));
        family.count(&[("rule", rule), ("severity", severity)], announced);
    }
    let help = "Findings open now of components that are in maintenance.";
    let mut family = page.gauge("monitor_findings_in_maintenance", help);
    for key in report.findings_open.keys() {
        let (rule, severity) = key;
        family.count(&[("rule", rule), ("severity", severity)], maintained(key));
    }
    page.counter("monitor_findings_opened", "Findings ever opened.")
        .count(&[], report.findings_opened);
    page.counter(
        "monitor_findings_reopened",
        "How often resolved findings came back.",
    )
    .count(&[], report.findings_reopened);
    page.counter("monitor_findings_resolved", "Findings ever resolved.")
        .count(&[], report.findings_resolved);
}

fn alerts(page: &mut Page, alerts: &AlertCounts) {
    for (name, help, count) in [
        (
            "monitor_alerts_delivered",
            "Alerts that a receiver took.",
            alerts.delivered,
        ),
        (
            "monitor_alerts_failed",
            "Alerts that were refused, or failed after all their attempts.",
            alerts.failed,
        ),
        (
            "monitor_alerts_dropped",
            "Alerts that found the queue full.",
            alerts.dropped,
        ),
        (
            "monitor_dead_man_beats_confirmed",
            "Beats that the dead man's switch confirmed.",
            alerts.beats_confirmed,
        ),
        (
            "monitor_dead_man_beats_failed",
            "Beats that it did not.",
            alerts.beats_failed,
        ),
    ] {
        page.counter(name, help).count(&[], count);
    }
}

fn components(page: &mut Page, views: &[ComponentView]) {
    page.gauge("monitor_components", "Components registered.")
        .count(&[], views.len() as u64);
    let shown = &views[..views.len().min(MAX_COMPONENT_LINES)];
    let mut family = page.gauge(
        "monitor_component_verdict",
        "1 for the verdict at which a component stands.",
    );
    for view in shown {
        let labels = [
            ("component", &*view.target.component_id),
            ("verdict", view.verdict.name()),
        ];
        family.count(&labels, 1);
    }
    let mut family = page.gauge(
        "monitor_component_score",
        "A component's newest score, 0 to 100.",
    );
    for view in shown.iter().filter(|view| view.last_audit.is_some()) {
        family.value(&[("component", &*view.target.component_id)], view.score);
    }
    canaries(page, shown);
    let help = "1 where a component has an open maintenance window, else 0.";
    let mut family = page.gauge("monitor_component_in_maintenance", help);
    for view in shown {
        let open = u64::from(view.maintenance_end.is_some());
        family.count(&[("component", &*view.target.component_id)], open);
    }
    let maintained = views.iter().filter(|view| view.maintenance_end.is_some());
    page.gauge(
        "monitor_components_in_maintenance",
        "Components with an open maintenance window.",
    )
    .count(&[], maintained.count() as u64);
    page.gauge(
        "monitor_components_hidden",
        "Components beyond the limit of lines on this page.",
    )
    .count(&[], (views.len() - shown.len()) as u64);
    let watching = views.iter().filter(|view| view.watching).count();
    page.gauge(
        "monitor_components_watching",
        "Components whose watch stream is up.",
    )
    .count(&[], watching as u64);
}

/// The monitor's own runs; a component through which none is sent has no line.
fn canaries(page: &mut Page, shown: &[ComponentView]) {
    let reports = || {
        shown.iter().filter_map(|view| {
            let id: &str = &view.target.component_id;
            view.canary.as_ref().map(|report| (id, report))
        })
    };
    let mut family = page.counter(
        "monitor_canary_runs",
        "Synthetic runs through a component that came back whole, and those that did not.",
    );
    for (component, report) in reports() {
        for (result, count) in [("whole", report.succeeded), ("failed", report.failed)] {
            family.count(&[("component", component), ("result", result)], count);
        }
    }
    let mut family = page.gauge(
        "monitor_canary_delay_seconds",
        "From handing in the last whole synthetic run to reading all of it back.",
    );
    for (component, report) in reports() {
        if let Some(delay) = report.last_delay {
            family.value(&[("component", component)], delay.as_secs_f64());
        }
    }
    let mut family = page.gauge(
        "monitor_canary_failing",
        "1 where the newest synthetic run did not come back whole, else 0.",
    );
    for (component, report) in reports() {
        family.count(
            &[("component", component)],
            u64::from(!report.error.is_empty()),
        );
    }
    let mut family = page.gauge(
        "monitor_canary_last_success_timestamp_seconds",
        "When the last whole synthetic run came back.",
    );
    for (component, report) in reports() {
        let since_epoch = report
            .last_success
            .and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(at) = since_epoch {
            family.value(&[("component", component)], at.as_secs_f64());
        }
    }
}

fn evidence(page: &mut Page, report: &SelfReport) {
    page.counter("monitor_evidence_events", "Witnessed events taken.")
        .count(&[], report.events_witnessed);
    page.counter(
        "monitor_evidence_events_repeated",
        "Witnessed events that their observer had reported before.",
    )
    .count(&[], report.events_repeated);
    page.counter(
        "monitor_evidence_evicted",
        "Pieces of evidence that left because a bound was reached.",
    )
    .count(&[], report.evidence_evicted);
    page.counter(
        "monitor_evidence_reports_missing",
        "Numbered reports that were waited for in vain.",
    )
    .count(&[], report.reports_missing);
    for (name, help, value) in [
        (
            "monitor_observers",
            "Observers reporting now.",
            report.observers,
        ),
        (
            "monitor_evidence_threads",
            "Threads witnessed inside the evidence window.",
            report.threads_witnessed,
        ),
        (
            "monitor_evidence_runs",
            "Runs witnessed inside the evidence window.",
            report.runs_witnessed,
        ),
    ] {
        page.gauge(name, help).count(&[], value);
    }
}

const VERDICTS: [Verdict; 7] = [
    Verdict::Healthy,
    Verdict::Unverified,
    Verdict::Degraded,
    Verdict::SilentFailure,
    Verdict::Down,
    Verdict::NoData,
    Verdict::NotMonitored,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use service_kit::histogram::Histogram;

    use super::*;
    use crate::domain::CanaryReport;
    use crate::fleet::api::{CanaryTarget, Target};

    fn report() -> SelfReport {
        SelfReport {
            sequence: 1,
            observe_time: SystemTime::UNIX_EPOCH,
            uptime: Duration::from_secs(1),
            proven: true,
            tick_lateness: Duration::from_millis(1),
            last_tick: None,
            components: 1,
            audits: 3,
            audits_by_verdict: BTreeMap::from([("VERDICT_DOWN", 3)]),
            findings_open: BTreeMap::from([(("black_hole", "critical"), 2)]),
            findings_in_maintenance: BTreeMap::from([(("black_hole", "critical"), 1)]),
            findings_opened: 2,
            findings_resolved: 0,
            events_witnessed: 9,
            events_repeated: 1,
            evidence_evicted: 0,
            threads_witnessed: 1,
            runs_witnessed: 1,
            observers: 1,
            findings_reopened: 1,
            stretch: 2,
            blind: false,
            alerts: AlertCounts {
                delivered: 4,
                failed: 1,
                ..AlertCounts::default()
            },
            reports_missing: 0,
            call_latency: Histogram::default(),
        }
    }

    fn views(count: usize) -> Vec<ComponentView> {
        (0..count)
            .map(|index| ComponentView {
                target: Target {
                    component_id: format!("c{index}").into(),
                    endpoint: "http://127.0.0.1:1".to_owned(),
                    labels: BTreeMap::new(),
                    tls: None,
                    metadata: BTreeMap::new(),
                    canary: CanaryTarget::default(),
                },
                verdict: Verdict::Down,
                score: 0.0,
                last_audit: Some(SystemTime::UNIX_EPOCH),
                open_findings: 0,
                watching: false,
                canary: Some(CanaryReport {
                    succeeded: 7,
                    failed: 2,
                    last_success: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(9)),
                    last_delay: Some(Duration::from_millis(5)),
                    error: "no welcome".to_owned(),
                    ..CanaryReport::default()
                }),
                maintenance_end: None,
            })
            .collect()
    }

    #[test]
    fn the_page_shows_verdicts_and_findings() {
        let page = page(Exposition::Prometheus, &report(), &views(1)).finish();
        for line in [
            "monitor_audits_total{verdict=\"VERDICT_DOWN\"} 3",
            "monitor_audits_total{verdict=\"VERDICT_HEALTHY\"} 0",
            "monitor_findings_open{rule=\"black_hole\",severity=\"critical\"} 1",
            "monitor_findings_in_maintenance{rule=\"black_hole\",severity=\"critical\"} 1",
            "monitor_component_in_maintenance{component=\"c0\"} 0",
            "monitor_component_verdict{component=\"c0\",verdict=\"VERDICT_DOWN\"} 1",
            "monitor_evidence_events_total 9",
            "monitor_canary_runs_total{component=\"c0\",result=\"whole\"} 7",
            "monitor_canary_runs_total{component=\"c0\",result=\"failed\"} 2",
            "monitor_canary_delay_seconds{component=\"c0\"} 0.005",
            "monitor_canary_failing{component=\"c0\"} 1",
            "monitor_canary_last_success_timestamp_seconds{component=\"c0\"} 9",
            "monitor_alerts_delivered_total 4",
            "monitor_alerts_failed_total 1",
            "monitor_local_stretch_factor 2",
            "monitor_findings_reopened_total 1",
            "monitor_call_latency_seconds_count 0",
        ] {
            assert!(
                page.contains(&format!("{line}\n")),
                "{line} is not in {page}"
            );
        }
    }

    #[test]
    fn the_page_stays_bounded_and_says_what_it_hides() {
        let page = page(Exposition::OpenMetrics, &report(), &views(3_000)).finish();
        assert_eq!(page.matches("monitor_component_verdict{").count(), 2_000);
        assert!(page.contains("monitor_components_hidden 1000\n"));
        assert!(page.contains("monitor_components 3000\n"));
    }
}
