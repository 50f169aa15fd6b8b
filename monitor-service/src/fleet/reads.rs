//! What can be asked of the fleet.

use std::collections::BTreeMap;
use std::time::Duration;

use service_kit::clock::Now;

use super::api::{
    AlertCounts, Audits, ComponentView, FindingFilter, FleetError, SelfReport, Suspicions,
};
use super::component::{Component, mean};
use super::state::FleetState;
use crate::audit::claims::WatchPhase;
use crate::audit::fleet_rules::alert_path_dead;
use crate::domain::{Finding, Summary, ThreadStatus};
use crate::incident::Incidents;

impl FleetState {
    /// Every component, by id.
    pub(crate) fn list(&self) -> Vec<ComponentView> {
        self.every().map(view).collect()
    }

    /// The newest audits first. `limit` 0: all.
    ///
    /// # Errors
    /// [`FleetError::NotRegistered`].
    pub(crate) fn audits(&self, component_id: &str, limit: usize) -> Result<Audits, FleetError> {
        let Some(component) = self.components.get(component_id) else {
            return Err(FleetError::NotRegistered(component_id.to_owned()));
        };
        let limit = if limit == 0 { usize::MAX } else { limit };
        Ok((component.history.list(limit), component.history.trend()))
    }

    pub(crate) fn summary(&self, now: Now) -> Summary {
        let mut summary = Summary {
            components: count(self.components.len()),
            events_witnessed: self.totals.events_witnessed,
            open_findings: count(self.own.incidents.open_count()),
            local_lateness: self.lateness(now),
            ..Summary::default()
        };
        let mut scores = Vec::new();
        for component in self.every() {
            let verdict = component.verdict().name();
            *summary.verdicts.entry(verdict).or_default() += 1;
            summary.open_findings += count(component.incidents.open_count());
            scores.extend(component.score());
            let totals = component.evidence.reporting(now);
            summary.observers = summary.observers.saturating_add(totals);
        }
        summary.average_score = mean(&scores);
        summary
    }

    /// Findings, newest first. `limit` 0: all.
    pub(crate) fn findings(&self, filter: &FindingFilter) -> Vec<Finding> {
        let of = |id: &str| filter.component_id.is_empty() || *id == *filter.component_id;
        let components = self.every();
        let all = components
            .map(|component| (&component.target.component_id, &component.incidents))
            // A monitor that watches itself has two sets of findings under one id.
            .chain([(&self.own.component_id, &self.own.incidents)]);
        let mut findings: Vec<&Finding> = Vec::new();
        for (_, incidents) in all.filter(|(id, _)| of(id)) {
            select(incidents, filter, &mut findings);
        }
        let rule =
            |finding: &&Finding| filter.rule_id.is_empty() || finding.rule_id == filter.rule_id;
        findings.retain(rule);
        findings.sort_by(|a, b| (b.open_time, &b.finding_id).cmp(&(a.open_time, &a.finding_id)));
        let limit = if filter.limit == 0 {
            usize::MAX
        } else {
            filter.limit
        };
        findings.into_iter().take(limit).cloned().collect()
    }

    /// What was witnessed of a thread, of any component where none is named.
    ///
    /// # Errors
    /// [`FleetError::NotRegistered`] or [`FleetError::UnknownThread`].
    pub(crate) fn thread(
        &self,
        component_id: &str,
        thread_id: &str,
        now: Now,
    ) -> Result<ThreadStatus, FleetError> {
        let status = |component: &Component| {
            let id = &component.target.component_id;
            component.evidence.thread_status(id, thread_id, now)
        };
        let found = if component_id.is_empty() {
            self.every().find_map(status)
        } else {
            let Some(component) = self.components.get(component_id) else {
                return Err(FleetError::NotRegistered(component_id.to_owned()));
            };
            status(component)
        };
        found.ok_or_else(|| FleetError::UnknownThread(thread_id.to_owned()))
    }

    /// How late the loop is: at its last tick, or by now where the next one is overdue.
    fn lateness(&self, now: Now) -> Duration {
        let overdue = self.pulse.last_tick.map_or(Duration::ZERO, |tick| {
            now.since(tick.monotonic).saturating_sub(self.settings.tick)
        });
        overdue.max(self.pulse.tick_lateness)
    }

    fn alert_counts(&self) -> AlertCounts {
        let path = &self.own.alert_path;
        AlertCounts {
            delivered: path.delivered,
            failed: path.failed,
            dropped: path.dropped,
            beats_confirmed: path.beats_confirmed,
            beats_failed: path.beats_failed,
            dead: self.own.has_open(alert_path_dead::RULE.id),
        }
    }

    fn findings_in_maintenance(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        let maintained = self
            .every()
            .filter(|component| component.maintenance.is_some());
        let mut counts = BTreeMap::new();
        for (finding, ..) in maintained.flat_map(|component| component.incidents.open()) {
            *counts.entry(finding.key()).or_default() += 1;
        }
        counts
    }

    /// What the monitor says of itself.
    pub(crate) fn self_report(&mut self, now: Now) -> SelfReport {
        self.report_sequence += 1;
        let pulse = &self.pulse;
        let allowed = self.settings.tick + self.settings.stall_tolerance;
        let in_time = pulse
            .last_tick
            .is_some_and(|tick| now.since(tick.monotonic) <= allowed);
        let sum = |of: fn(&crate::evidence::Evidence) -> usize| {
            self.components
                .values()
                .map(|component| of(&component.evidence) as u64)
                .sum()
        };
        let evicted = |component: &Component| component.evidence.counters().evicted;
        let open = self.totals.findings_open.iter();
        SelfReport {
            sequence: self.report_sequence,
            observe_time: now.wall,
            uptime: now.since(pulse.started.monotonic),
            proven: in_time && pulse.tick_lateness <= self.settings.stall_tolerance,
            tick_lateness: pulse.tick_lateness,
            last_tick: pulse.last_tick.map(|tick| tick.wall),
            components: self.components.len() as u64,
            audits: self.totals.audits,
            audits_by_verdict: self.totals.audits_by_verdict.clone(),
            findings_open: open.map(|(key, number)| (*key, *number)).collect(),
            findings_in_maintenance: self.findings_in_maintenance(),
            findings_opened: self.totals.findings_opened,
            findings_resolved: self.totals.findings_resolved,
            events_witnessed: self.totals.events_witnessed,
            events_repeated: self.totals.events_repeated,
            evidence_evicted: self.totals.evicted_before
                + self.unregistered.evicted()
                + self.every().map(evicted).sum::<u64>(),
            threads_witnessed: sum(|evidence| evidence.threads_count()),
            runs_witnessed: sum(|evidence| evidence.runs().len()),
            observers: sum(|evidence| evidence.observers_count()),
            findings_reopened: self.totals.findings_reopened,
            stretch: self.own.local_health.stretch(),
            blind: self.own.is_blind(),
            alerts: self.alert_counts(),
            reports_missing: self.sessions.given_up(),
            call_latency: self.totals.call_latency.clone(),
        }
    }
}

fn view(component: &Component) -> ComponentView {
    ComponentView {
        target: component.target.clone(),
        verdict: component.verdict(),
        score: component.score().unwrap_or_default(),
        last_audit: component.last_audit(),
        open_findings: count(component.incidents.open_count()),
        watching: component.claims.watch.phase == WatchPhase::Alive,
        canary: component.canary_report(),
        maintenance_end: component.maintenance.map(|window| window.end_time),
    }
}

/// The findings of one component that are in a state that was asked for.
fn select<'a>(incidents: &'a Incidents, filter: &FindingFilter, into: &mut Vec<&'a Finding>) {
    let only_suspicions = filter.suspicions == Suspicions::Only;
    if filter.suspicions != Suspicions::LeftOut {
        into.extend(incidents.suspected());
    }
    if filter.open != Some(false) && !only_suspicions {
        into.extend(incidents.open().map(|(finding, ..)| finding));
    }
    if filter.open != Some(true) && !only_suspicions {
        into.extend(incidents.resolved());
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
