//! From a sign to a finding and back: suspicion, open, resolved. Pure: no I/O, no clock.

pub(crate) mod settings;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use service_kit::clock::Now;

use crate::audit::rule::{Outcome, Part, Rule, Violation};
use crate::domain::{ComponentId, Finding};
use settings::IncidentSettings;

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

/// One sign and what became of it.
#[derive(Clone, Debug)]
struct Incident {
    part: Part,
    /// Since when the sign holds without a break.
    since: Instant,
    conclusive: bool,
    /// `None`: still a suspicion.
    finding: Option<Finding>,
    /// Evaluations in a row without the sign, and since when.
    clean: u32,
    clean_since: Option<Instant>,
}

/// What an evaluation changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Changes {
    pub(crate) opened: Vec<Finding>,
    pub(crate) resolved: Vec<Finding>,
    /// A sign was seen for the first time that is not enough to open.
    pub(crate) suspected: bool,
    /// Findings that were not opened because too many are.
    pub(crate) suppressed: u64,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.opened.is_empty() && self.resolved.is_empty()
    }
}

/// The findings of one component.
#[derive(Clone, Debug)]
pub(crate) struct Incidents {
    settings: IncidentSettings,
    by_sign: BTreeMap<(&'static str, String), Incident>,
    open: usize,
    /// Oldest first.
    resolved: VecDeque<Finding>,
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

    /// Takes a rule's answer. One that cannot tell changes nothing.
    pub(crate) fn apply(
        &mut self,
        component_id: &ComponentId,
        rule: &Rule,
        outcome: Outcome,
        ids: &mut FindingIds,
        now: Now,
        changes: &mut Changes,
    ) {
        let Outcome::Decided(violations) = outcome else {
            return;
        };
        let known = self.by_sign.range((rule.id, String::new())..);
        let of_rule = known.take_while(|((id, _), _)| *id == rule.id);
        let gone: Vec<String> = of_rule
            .map(|((_, subject), _)| subject)
            .filter(|subject| violations.iter().all(|found| found.subject != **subject))
            .cloned()
            .collect();
        for subject in gone {
            self.clean(rule.id, subject, now, changes);
        }
        for violation in violations {
            self.seen(component_id, rule, violation, ids, now, changes);
        }
    }

    fn clean(&mut self, rule_id: &'static str, subject: String, now: Now, changes: &mut Changes) {
        let key = (rule_id, subject);
        let Some(incident) = self.by_sign.get_mut(&key) else {
            return;
        };
        incident.clean = incident.clean.saturating_add(1);
        let since = *incident.clean_since.get_or_insert(now.monotonic);
        let held = now.since(since) >= self.settings.resolve_hold
            && incident.clean >= self.settings.resolve_evaluations.max(1);
        if incident.finding.is_some() && !held {
            return;
        }
        let finding = self.by_sign.remove(&key).and_then(|gone| gone.finding);
        if let Some(mut finding) = finding {
            finding.resolve_time = Some(now.wall);
            self.open = self.open.saturating_sub(1);
            if self.settings.resolved_max > 0 {
                if self.resolved.len() >= self.settings.resolved_max {
                    self.resolved.pop_front();
                }
                self.resolved.push_back(finding.clone());
            }
            changes.resolved.push(finding);
        }
    }

    fn seen(
        &mut self,
        component_id: &ComponentId,
        rule: &Rule,
        mut violation: Violation,
        ids: &mut FindingIds,
        now: Now,
        changes: &mut Changes,
    ) {
        violation
            .evidence
            .truncate(self.settings.evidence_items_max.max(1));
        let key = (rule.id, violation.subject.clone());
        let known = self.by_sign.contains_key(&key);
        // Suspicions are bounded too, so that the map is.
        if !known && self.by_sign.len() >= self.settings.open_max.saturating_mul(2).max(1) {
            changes.suppressed += 1;
            return;
        }
        let incident = self.by_sign.entry(key).or_insert_with(|| Incident {
            part: rule.part,
            since: now.monotonic,
            conclusive: false,
            finding: None,
            clean: 0,
            clean_since: None,
        });
        incident.clean = 0;
        incident.clean_since = None;
        incident.conclusive = violation.conclusive;
        if let Some(finding) = &mut incident.finding {
            finding.message = violation.message;
            finding.evidence = violation.evidence;
            return;
        }
        let confirmed = now.since(incident.since) >= self.settings.confirm_hold;
        if !violation.conclusive && !confirmed {
            changes.suspected |= !known;
            return;
        }
        if self.open >= self.settings.open_max.max(1) {
            changes.suppressed += 1;
            return;
        }
        let finding = Finding {
            finding_id: ids.next(),
            rule_id: rule.id,
            component_id: component_id.clone(),
            subject: violation.subject,
            severity: rule.severity,
            open_time: now.wall,
            resolve_time: None,
            message: violation.message,
            evidence: violation.evidence,
        };
        incident.finding = Some(finding.clone());
        self.open += 1;
        changes.opened.push(finding);
    }

    /// The open findings, with the part they belong to and whether they are conclusive.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&Finding, Part, bool)> {
        self.by_sign.values().filter_map(|incident| {
            let finding = incident.finding.as_ref()?;
            Some((finding, incident.part, incident.conclusive))
        })
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    /// The resolved findings, oldest first.
    pub(crate) fn resolved(&self) -> impl DoubleEndedIterator<Item = &Finding> {
        self.resolved.iter()
    }

    /// Whether a suspicion or a finding is waiting for what comes next.
    pub(crate) fn is_pending(&self) -> bool {
        !self.by_sign.is_empty()
    }
}
