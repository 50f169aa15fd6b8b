//! From a sign to a finding and back: suspected, open, resolved, and open again. Pure: no I/O, no
//! clock.
//!
//! An evaluation has two steps. Each rule's answer is applied first; then [`Incidents::settle`]
//! decides what opens, when every sign is known: a cause may be asked after what it explains.

mod explained_by;
pub(crate) mod settings;
mod settle;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use service_kit::clock::Now;

use crate::audit::rule::{Origin, Outcome, Part, Violation};
use crate::domain::{Alert, AlertKind, ComponentId, Finding, FindingState, Severity};
use settings::IncidentSettings;
pub(crate) use settle::Circumstances;

/// Hands out the ids of findings: unique within an instance of the monitor, and with its own
/// unique id before them everywhere.
#[derive(Debug)]
pub(crate) struct FindingIds {
    prefix: String,
    next: u64,
}

impl FindingIds {
    pub(crate) fn new(instance_id: String) -> Self {
        Self {
            prefix: instance_id,
            next: 1,
        }
    }

    fn next(&mut self) -> String {
        let id = format!("{}-{}", self.prefix, self.next);
        self.next += 1;
        id
    }
}

/// What tells one sign from another: the rule and the subject.
type Key = (&'static str, String);

/// One sign and what became of it.
#[derive(Clone, Debug)]
struct Incident {
    part: Part,
    /// Since when the sign holds without a break.
    since: Instant,
    conclusive: bool,
    /// Whether the rule had waited before it said so.
    has_waited: bool,
    /// A suspicion or a finding, as its state says.
    finding: Finding,
    /// When it opened, the last time. `None`: it is a suspicion.
    opened: Option<Instant>,
    /// Whether an alert told of it.
    announced: bool,
    /// Whether the sign was seen in the evaluation under way.
    fresh: bool,
    /// Evaluations in a row without the sign, and since when.
    clean: u32,
    clean_since: Option<Instant>,
}

impl Incident {
    fn key(&self) -> (&'static str, &str) {
        (self.finding.rule_id, &self.finding.subject)
    }

    fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// A finding that gets worse is told again, as what it has become. One that gets milder keeps
    /// its severity to the end.
    fn worsen(&mut self, severity: Severity, changes: &mut Changes) {
        if severity <= self.finding.severity {
            return;
        }
        let was = std::mem::replace(&mut self.finding.severity, severity);
        if !self.is_open() {
            return;
        }
        changes.worsened.push((was, self.finding.clone()));
        if self.announced {
            changes.alerts.push(Alert {
                kind: AlertKind::Worsened,
                finding: self.finding.clone(),
            });
        }
    }
}

/// A finding that resolved, and when.
#[derive(Clone, Debug)]
struct Resolved {
    finding: Finding,
    at: Instant,
}

/// What an evaluation changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Changes {
    /// Opened for the first time, or again.
    pub(crate) opened: Vec<Finding>,
    /// Open, and more severe than before; with what they were.
    pub(crate) worsened: Vec<(Severity, Finding)>,
    pub(crate) resolved: Vec<Finding>,
    /// What somebody has to hear of; nothing that a maintenance window covers.
    pub(crate) alerts: Vec<Alert>,
    /// A sign was seen for the first time that is not enough to open.
    pub(crate) suspected: bool,
    /// Findings that were not opened because too many are.
    pub(crate) suppressed: u64,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.opened.is_empty() && self.worsened.is_empty() && self.resolved.is_empty()
    }
}

/// The findings of one component.
#[derive(Clone, Debug)]
pub(crate) struct Incidents {
    settings: IncidentSettings,
    by_sign: BTreeMap<Key, Incident>,
    open: usize,
    /// Oldest first.
    resolved: VecDeque<Resolved>,
}

impl Incidents {
    pub(crate) fn new(settings: IncidentSettings) -> Self {
        Self {
            settings,
            by_sign: BTreeMap::new(),
            open: 0,
            resolved: VecDeque::new(),
        }
    }

    /// Goes on with other settings; what is open stays so.
    pub(crate) fn adopt(&mut self, settings: IncidentSettings) {
        self.settings = settings;
    }

    /// Takes a rule's answer. One that cannot tell changes nothing.
    pub(crate) fn apply(
        &mut self,
        component_id: &ComponentId,
        origin: Origin,
        outcome: Outcome,
        ids: &mut FindingIds,
        now: Now,
        changes: &mut Changes,
    ) {
        let origin = Origin {
            severity: outcome.severity(origin.severity),
            ..origin
        };
        let (Outcome::Decided(violations) | Outcome::Mild(violations)) = outcome else {
            return;
        };
        let known = self.by_sign.range((origin.rule_id, String::new())..);
        let of_rule = known.take_while(|((id, _), _)| *id == origin.rule_id);
        let gone: Vec<String> = of_rule
            .map(|((_, subject), _)| subject)
            .filter(|subject| violations.iter().all(|found| found.subject != **subject))
            .cloned()
            .collect();
        for subject in gone {
            self.clean(&(origin.rule_id, subject), now, changes);
        }
        for violation in violations {
            self.seen(component_id, origin, violation, ids, now, changes);
        }
    }

    fn clean(&mut self, key: &Key, now: Now, changes: &mut Changes) {
        let Some(incident) = self.by_sign.get_mut(key) else {
            return;
        };
        incident.clean = incident.clean.saturating_add(1);
        let since = *incident.clean_since.get_or_insert(now.monotonic);
        let held = now.since(since) >= self.settings.hold_after(incident.finding.reopened)
            && incident.clean >= self.settings.resolve_evaluations.max(1);
        if incident.is_open() && !held {
            return;
        }
        self.end(key, now, changes);
    }

    /// Ends an incident: a suspicion leaves no trace, a finding resolves.
    fn end(&mut self, key: &Key, now: Now, changes: &mut Changes) {
        let Some(incident) = self.by_sign.remove(key).filter(Incident::is_open) else {
            return;
        };
        let mut finding = incident.finding;
        finding.state = FindingState::Resolved;
        finding.resolve_time = Some(now.wall);
        self.open = self.open.saturating_sub(1);
        if incident.announced {
            changes.alerts.push(Alert {
                kind: AlertKind::Resolved,
                finding: finding.clone(),
            });
        }
        if self.settings.resolved_max > 0 {
            while self.resolved.len() >= self.settings.resolved_max {
                self.resolved.pop_front();
            }
            self.resolved.push_back(Resolved {
                finding: finding.clone(),
                at: now.monotonic,
            });
        }
        changes.resolved.push(finding);
    }

    fn seen(
        &mut self,
        component_id: &ComponentId,
        origin: Origin,
        mut violation: Violation,
        ids: &mut FindingIds,
        now: Now,
        changes: &mut Changes,
    ) {
        violation
            .evidence
            .truncate(self.settings.evidence_items_max.max(1));
        let key = (origin.rule_id, violation.subject.clone());
        let known = self.by_sign.contains_key(&key);
        // Suspicions are bounded too, so that the map is; a cause must always have room.
        let full = self.by_sign.len() >= self.settings.open_max.saturating_mul(2).max(1);
        if !known && full && !violation.subject.is_empty() {
            changes.suppressed += 1;
            return;
        }
        let incident = self.by_sign.entry(key).or_insert_with(|| Incident {
            part: origin.part,
            since: now.monotonic,
            conclusive: false,
            has_waited: origin.has_waited,
            finding: suspicion(component_id, origin, &violation.subject, ids, now),
            opened: None,
            announced: false,
            fresh: false,
            clean: 0,
            clean_since: None,
        });
        incident.clean = 0;
        incident.clean_since = None;
        incident.conclusive = violation.conclusive;
        incident.fresh = true;
        incident.finding.message = violation.message;
        incident.finding.evidence = violation.evidence;
        incident.worsen(origin.severity, changes);
        changes.suspected |= !known && !violation.conclusive;
    }

    /// Ends them all, for the component is no longer watched.
    pub(crate) fn close(mut self, now: Now) -> Changes {
        let mut changes = Changes::default();
        let keys: Vec<_> = self.by_sign.keys().cloned().collect();
        for key in keys {
            self.end(&key, now, &mut changes);
        }
        changes
    }

    /// The open findings, with the part they belong to and whether they are conclusive.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&Finding, Part, bool)> {
        let open = self.by_sign.values().filter(|incident| incident.is_open());
        open.map(|incident| (&incident.finding, incident.part, incident.conclusive))
    }

    /// The signs that are not enough to raise an alarm, that something explains, or that are held
    /// back.
    pub(crate) fn suspected(&self) -> impl Iterator<Item = &Finding> {
        let suspected = self.by_sign.values().filter(|incident| !incident.is_open());
        suspected.map(|incident| &incident.finding)
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    /// The resolved findings, oldest first.
    pub(crate) fn resolved(&self) -> impl DoubleEndedIterator<Item = &Finding> {
        self.resolved.iter().map(|resolved| &resolved.finding)
    }

    /// Whether a suspicion or a finding is waiting for what comes next.
    pub(crate) fn is_pending(&self) -> bool {
        !self.by_sign.is_empty()
    }
}

fn suspicion(
    component_id: &ComponentId,
    origin: Origin,
    subject: &str,
    ids: &mut FindingIds,
    now: Now,
) -> Finding {
    Finding {
        finding_id: ids.next(),
        rule_id: origin.rule_id,
        component_id: component_id.clone(),
        subject: subject.to_owned(),
        severity: origin.severity,
        open_time: now.wall,
        resolve_time: None,
        message: String::new(),
        evidence: Vec::new(),
        state: FindingState::Suspected,
        reopened: 0,
        in_maintenance: false,
    }
}

impl IncidentSettings {
    /// How long the sign must be gone: doubled each time that it came back.
    fn hold_after(&self, reopened: u32) -> Duration {
        let factor = 2_u32.saturating_pow(reopened);
        let doubled = self.resolve_hold.saturating_mul(factor);
        doubled.min(self.resolve_hold_max.max(self.resolve_hold))
    }
}
