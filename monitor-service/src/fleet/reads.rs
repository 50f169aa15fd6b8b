//! What can be asked of the fleet.

use service_kit::clock::Now;

use super::api::{ComponentView, FindingFilter, FleetError, History, SelfReport};
use super::component::{Component, mean};
use super::state::FleetState;
use crate::audit::claims::WatchPhase;
use crate::domain::{Finding, Summary, ThreadStatus};

impl FleetState {
    /// Every component, by id.
    pub(crate) fn list(&self) -> Vec<ComponentView> {
        self.components.values().map(view).collect()
    }

    /// The newest audits first. `limit` 0: all.
    ///
    /// # Errors
    /// [`FleetError::NotRegistered`].
    pub(crate) fn audits(&self, component_id: &str, limit: usize) -> Result<History, FleetError> {
        let Some(component) = self.components.get(component_id) else {
            return Err(FleetError::NotRegistered(component_id.to_owned()));
        };
        let limit = if limit == 0 { usize::MAX } else { limit };
        let newest = component.audits.iter().rev().take(limit).cloned();
        Ok((newest.collect(), component.trend()))
    }

    pub(crate) fn summary(&self, now: Now) -> Summary {
        let mut summary = Summary {
            components: count(self.components.len()),
            events_witnessed: self.totals.events_witnessed,
            ..Summary::default()
        };
        let mut scores = Vec::new();
        for component in self.components.values() {
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
        let of = |component: &&Component| {
            filter.component_id.is_empty() || *component.target.component_id == *filter.component_id
        };
        let open = filter.open != Some(false);
        let resolved = filter.open != Some(true);
        let mut findings: Vec<&Finding> = Vec::new();
        for component in self.components.values().filter(of) {
            if open {
                findings.extend(component.incidents.open().map(|(finding, ..)| finding));
            }
            if resolved {
                findings.extend(component.incidents.resolved());
            }
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
            self.components.values().find_map(status)
        } else {
            let Some(component) = self.components.get(component_id) else {
                return Err(FleetError::NotRegistered(component_id.to_owned()));
            };
            status(component)
        };
        found.ok_or_else(|| FleetError::UnknownThread(thread_id.to_owned()))
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
            findings_opened: self.totals.findings_opened,
            findings_resolved: self.totals.findings_resolved,
            events_witnessed: self.totals.events_witnessed,
            events_repeated: self.totals.events_repeated,
            evidence_evicted: self.totals.evicted_before
                + self.components.values().map(evicted).sum::<u64>(),
            threads_witnessed: sum(|evidence| evidence.threads_count()),
            runs_witnessed: sum(|evidence| evidence.runs().len()),
            observers: sum(|evidence| evidence.observers_count()),
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
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
