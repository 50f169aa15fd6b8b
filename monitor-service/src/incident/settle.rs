//! The second step of an evaluation: what opens, what comes back, and what something else
//! explains.

use service_kit::clock::Now;

use super::explained_by::explains;
use super::{Changes, Incident, Incidents, Key};
use crate::domain::{Alert, AlertKind, Finding, FindingState};

/// What is going on around a component while its signs are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Circumstances {
    /// A maintenance window is open: findings are marked, and alert nobody.
    pub(crate) in_maintenance: bool,
    /// Nothing opens for now: the component drains, or the monitor doubts its own sight.
    pub(crate) held_back: bool,
}

impl Incidents {
    /// Decides what opens, when every rule has been asked: a sign that is certain or has held,
    /// that nothing else explains, and that nothing holds back.
    pub(crate) fn settle(&mut self, circumstances: Circumstances, now: Now, changes: &mut Changes) {
        let mut ready = Vec::new();
        for (key, incident) in &mut self.by_sign {
            let fresh = std::mem::take(&mut incident.fresh);
            let held =
                incident.has_waited || now.since(incident.since) >= self.settings.confirm_hold;
            if fresh && !incident.is_open() && (incident.conclusive || held) {
                ready.push(key.clone());
            }
        }
        if circumstances.held_back {
            return;
        }
        for key in &ready {
            let cause = self.cause_of(key, &ready);
            if let Some(cause) = cause {
                self.explain(key, cause);
            } else {
                self.open_one(key, circumstances, now, changes);
            }
        }
        self.absorb_explained(&ready, now, changes);
    }

    /// The rule of a finding, open or about to open, that explains a sign.
    fn cause_of(&self, key: &Key, ready: &[Key]) -> Option<&'static str> {
        let sign = (key.0, key.1.as_str());
        let open = self.by_sign.values().filter(|incident| incident.is_open());
        let about_to = ready
            .iter()
            .map(|(rule, subject)| (*rule, subject.as_str()));
        let mut causes = open.map(Incident::key).chain(about_to);
        causes
            .find(|cause| explains(*cause, sign))
            .map(|(rule, _)| rule)
    }

    fn explain(&mut self, key: &Key, cause: &str) {
        if let Some(incident) = self.by_sign.get_mut(key) {
            let said = &mut incident.finding.message;
            said.push_str(&explanation(cause));
        }
    }

    fn open_one(
        &mut self,
        key: &Key,
        circumstances: Circumstances,
        now: Now,
        changes: &mut Changes,
    ) {
        // One about the component as a whole is never lost among many about its parts.
        if self.open >= self.settings.open_max.max(1) && !key.1.is_empty() {
            changes.suppressed += 1;
            return;
        }
        let former = self.take_former(key, now);
        let Some(incident) = self.by_sign.get_mut(key) else {
            return;
        };
        incident.opened = Some(now.monotonic);
        incident.announced = !circumstances.in_maintenance;
        let finding = &mut incident.finding;
        finding.state = FindingState::Open;
        finding.open_time = now.wall;
        finding.in_maintenance = circumstances.in_maintenance;
        if let Some(former) = former {
            finding.finding_id = former.finding_id;
            finding.open_time = former.open_time;
            finding.reopened = former.reopened.saturating_add(1);
        }
        if incident.announced {
            changes.alerts.push(Alert {
                kind: match finding.reopened {
                    0 => AlertKind::Opened,
                    _ => AlertKind::Reopened,
                },
                finding: finding.clone(),
            });
        }
        changes.opened.push(finding.clone());
        self.open += 1;
    }

    /// The finding of the same sign that resolved only a while ago: the sign coming back is that
    /// finding again.
    fn take_former(&mut self, key: &Key, now: Now) -> Option<Finding> {
        let window = self.settings.reopen_window;
        let place = self.resolved.iter().rposition(|resolved| {
            let finding = &resolved.finding;
            let same = finding.rule_id == key.0 && finding.subject == key.1;
            same && now.since(resolved.at) <= window
        })?;
        self.resolved.remove(place).map(|former| former.finding)
    }

    /// What opened just before its cause was the cause's first sign.
    fn absorb_explained(&mut self, ready: &[Key], now: Now, changes: &mut Changes) {
        let causes: Vec<_> = ready
            .iter()
            .filter(|key| self.by_sign.get(*key).is_some_and(Incident::is_open))
            .collect();
        for (cause, subject) in causes {
            self.absorb(cause, |sign| explains((cause, subject), sign), now, changes);
        }
    }

    /// The monitor doubts its own sight: what opened just before resolves, for it was the first
    /// sign of that.
    pub(crate) fn absorb_into(&mut self, cause: &str, now: Now, changes: &mut Changes) {
        self.absorb(cause, |_| true, now, changes);
    }

    fn absorb(
        &mut self,
        cause: &str,
        explained: impl Fn((&str, &str)) -> bool,
        now: Now,
        changes: &mut Changes,
    ) {
        let window = self.settings.absorb_window;
        let lately =
            |incident: &Incident| incident.opened.is_some_and(|at| now.since(at) <= window);
        let absorbed: Vec<_> = self
            .by_sign
            .iter()
            .filter(|(_, incident)| lately(incident) && explained(incident.key()))
            .map(|(key, _)| key.clone())
            .collect();
        for key in absorbed {
            self.explain(&key, cause);
            self.end(&key, now, changes);
        }
    }

    /// A maintenance window is over: what is still open is no longer expected.
    pub(crate) fn announce(&mut self, changes: &mut Changes) {
        let silent = |incident: &&mut Incident| incident.is_open() && !incident.announced;
        for incident in self.by_sign.values_mut().filter(silent) {
            incident.announced = true;
            changes.alerts.push(Alert {
                kind: AlertKind::Opened,
                finding: incident.finding.clone(),
            });
        }
    }
}

fn explanation(cause: &str) -> String {
    format!(" (Explained by {cause}.)")
}
