//! The monitor as its own patient: how late it is, whether it can see, whether it would be heard.

use std::time::{Duration, Instant};

use service_kit::clock::Now;

use super::settings::{FleetSettings, Identity};
use super::state::{Effect, FleetState};
use crate::audit::alert_path::AlertPath;
use crate::audit::fleet_rules::{FLEET_RULES, FleetView, Trouble, observer_blind};
use crate::audit::local_health::{LocalHealth, LocalHealthSettings};
use crate::domain::{AlertEvent, ComponentId};
use crate::incident::{Changes, Circumstances, Incidents};

/// Components that are looked at again in one tick after the monitor could not see, so that ten
/// thousand are not called in one instant.
const LOOKED_AT_AGAIN_MAX: usize = 100;

/// What the monitor knows of itself.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) component_id: ComponentId,
    pub(super) incidents: Incidents,
    pub(super) local_health: LocalHealth,
    pub(super) alert_path: AlertPath,
    /// Components that answered at some time, at the last evaluation.
    judged: usize,
    evaluated: Option<Instant>,
}

impl Own {
    pub(super) fn new(settings: &FleetSettings, identity: &Identity, now: Now) -> Self {
        Self {
            component_id: identity.component_id.as_str().into(),
            incidents: Incidents::new(settings.incident),
            local_health: LocalHealth::default(),
            alert_path: AlertPath::new(settings.dead_man_interval, now),
            judged: 0,
            evaluated: None,
        }
    }

    /// Whether a finding of this rule is open on the monitor itself.
    pub(super) fn has_open(&self, rule_id: &str) -> bool {
        let mut open = self.incidents.open();
        open.any(|(finding, ..)| finding.rule_id == rule_id)
    }

    /// Whether the monitor doubts its own sight.
    pub(super) fn is_blind(&self) -> bool {
        self.has_open(observer_blind::RULE.id)
    }

    /// How long a component in trouble waits for others to follow. Zero: there are too few.
    pub(super) fn gather(&self, settings: &FleetSettings) -> Duration {
        if self.judged >= settings.fleet_rules.blind_components {
            settings.fleet_rules.blind_gather
        } else {
            Duration::ZERO
        }
    }
}

impl FleetState {
    /// Takes a tick's lateness: it stretches the monitor's own deadlines and graces.
    pub(super) fn note_lateness(&mut self, lateness: Duration) {
        let settings = LocalHealthSettings {
            tick: self.settings.tick,
            late_tick: self.settings.late_tick,
            very_late_tick: self.settings.fleet_rules.very_late_tick,
            score_max: self.settings.stretch_max,
        };
        let before = self.own.local_health.stretch();
        self.own.local_health.ticked(lateness, &settings);
        let stretch = self.own.local_health.stretch();
        if stretch != before {
            self.settings.rules = self.unstretched.stretched(stretch);
            self.effects.push(Effect::Stretch(stretch));
        }
    }

    /// Goes on with other thresholds, weights and paces. What else bounds memory, and what the loop
    /// was built with, stays as it was at the start.
    pub(super) fn adopt(&mut self, new: &FleetSettings) {
        self.unstretched = new.rules;
        let stretch = self.own.local_health.stretch();
        self.settings = FleetSettings {
            rules: self.unstretched.stretched(stretch),
            audit: new.audit,
            fleet_rules: new.fleet_rules,
            evaluation_gap: new.evaluation_gap,
            audit_gap: new.audit_gap,
            late_tick: new.late_tick,
            stretch_max: new.stretch_max,
            incident: new.incident,
            ..self.settings
        };
        let all = self
            .components
            .values_mut()
            .map(|known| &mut known.incidents);
        for incidents in all.chain([&mut self.own.incidents]) {
            incidents.adopt(new.incident);
        }
    }

    /// The monitor stood still since `from`: that time is in nobody's favour, and everything is
    /// looked at again.
    pub(super) fn note_gap(&mut self, gap: Duration, now: Now) {
        let audits_max = self.settings.audits_max;
        for component in self.components.values_mut() {
            component.note_gap(gap, audits_max, now);
        }
    }

    /// An alert found no room. What follows is for the next tick, as this one is under way.
    pub(crate) fn alert_lost(&mut self, event: AlertEvent, now: Now) {
        self.own.alert_path.take(event, now);
    }

    /// What became of an alert.
    pub(crate) fn alert_event(&mut self, event: AlertEvent, now: Now) {
        self.own.alert_path.take(event, now);
        self.evaluate_own(now);
    }

    /// The same, unless it was done a moment ago.
    pub(super) fn evaluate_own_soon(&mut self, now: Now) {
        let gap = self.settings.evaluation_gap;
        let lately = self.own.evaluated.is_some_and(|at| now.since(at) < gap);
        if !lately {
            self.evaluate_own(now);
        }
    }

    /// Asks the rules about the monitor itself.
    pub(super) fn evaluate_own(&mut self, now: Now) {
        if self.draining || self.watchfulness(now).recovering {
            return;
        }
        self.own.evaluated = Some(now.monotonic);
        let (fine, troubles) = self.troubles(now);
        self.own.judged = fine + troubles.len();
        let was_blind = self.own.is_blind();
        let view = FleetView {
            fine,
            troubles: &troubles,
            blind: was_blind,
            local_health: &self.own.local_health,
            alert_path: &self.own.alert_path,
            awake_since: self.pulse.awake_since,
        };
        let mut changes = Changes::default();
        for rule in FLEET_RULES {
            let outcome = (rule.check)(&view, &self.settings.fleet_rules, now);
            let (incidents, id) = (&mut self.own.incidents, &self.own.component_id);
            let ids = &mut self.ids;
            incidents.apply(id, rule.origin(), outcome, ids, now, &mut changes);
        }
        let circumstances = Circumstances::default();
        self.own.incidents.settle(circumstances, now, &mut changes);
        self.publish(changes);
        match (was_blind, self.own.is_blind()) {
            (false, true) => self.goes_blind(&troubles, now),
            (true, false) => self.sees_again(),
            _ => {}
        }
    }

    /// What opened on single components a moment ago was the first sign of it.
    fn goes_blind(&mut self, troubles: &[Trouble], now: Now) {
        let mut changes = Changes::default();
        for trouble in troubles {
            if let Some(component) = self.components.get_mut(&trouble.component_id) {
                let cause = observer_blind::RULE.id;
                component.incidents.absorb_into(cause, now, &mut changes);
                component.look_again = true;
            }
        }
        self.publish(changes);
    }

    /// What was held back is judged anew.
    fn sees_again(&mut self) {
        for component in self.components.values_mut() {
            component.dirty = true;
            component.look_again = true;
        }
    }

    /// How many of the components that ever answered are fine, and which are in trouble.
    fn troubles(&self, now: Now) -> (usize, Vec<Trouble>) {
        let awake_since = self.pulse.awake_since;
        let rules = &self.settings.rules;
        let judged = self.every().filter(|component| {
            let claims = &component.claims;
            claims.health.is_some()
                && component.maintenance.is_none()
                && !claims.is_draining(rules.restart_grace, now)
        });
        let (mut fine, mut troubles) = (0, Vec::new());
        for component in judged {
            match component.claims.trouble_since(rules, awake_since, now) {
                None => fine += 1,
                Some(since) => troubles.push(Trouble {
                    component_id: component.target.component_id.clone(),
                    since,
                }),
            }
        }
        troubles.sort_by_key(|trouble| trouble.since);
        (fine, troubles)
    }

    /// Asks for the audits of components that are to be looked at again, a bounded number.
    pub(super) fn look_again(&mut self) {
        let waiting = self
            .components
            .values_mut()
            .filter(|known| known.look_again);
        for component in waiting.take(LOOKED_AT_AGAIN_MAX) {
            component.look_again = false;
            component.audit_wanted = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use service_kit::clock::Clock;

    use super::*;

    #[test]
    fn thresholds_change_and_bounds_stay() {
        let identity = Identity {
            component_id: "monitor".to_owned(),
            instance_id: "one".to_owned(),
        };
        let settings = FleetSettings::default();
        let mut state = FleetState::new(settings, identity, Clock::system().now());
        let mut other = settings;
        other.rules.delivery_grace *= 2;
        other.fleet_rules.blind_components += 1;
        other.incident.resolve_hold *= 2;
        other.components_max += 1;
        state.adopt(&other);
        assert_eq!(
            state.settings.rules, other.rules,
            "nothing is stretched yet"
        );
        assert_eq!(state.unstretched, other.rules);
        assert_eq!(state.settings.fleet_rules, other.fleet_rules);
        assert_eq!(state.settings.incident, other.incident);
        assert_eq!(state.settings.components_max, settings.components_max);
    }
}
