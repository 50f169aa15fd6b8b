//! What the probes see, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use service_kit::clock::Now;

use super::state::FleetState;
use crate::audit::assess::no_data;
use crate::audit::claims::WatchPhase;
use crate::domain::{ComponentId, ProbeEvent, Probed};
use crate::incident::Changes;

/// How long a probe that ended by itself stays down.
const PROBE_RESTART_PAUSE: Duration = Duration::from_secs(1);

impl FleetState {
    /// Takes what a probe saw; what a replaced one saw late is nobody's.
    pub(crate) fn probe(&mut self, id: &str, generation: u64, event: ProbeEvent, now: Now) {
        let watch = self.watchfulness(now);
        let Some(component) = self.components.get_mut(id) else {
            return;
        };
        if component.generation != generation {
            return;
        }
        if let ProbeEvent::Probed(probed) | ProbeEvent::Glanced(probed) = &event {
            self.totals.note_calls(probed);
        }
        component.dirty = true;
        let id = component.target.component_id.clone();
        // A stream that speaks again tells of the end of an outage.
        let returned = component.claims.is_down() && matches!(event, ProbeEvent::Watched(_));
        let news = match event {
            ProbeEvent::Watched(message) => component.claims.watched(message, now),
            ProbeEvent::WatchEnded => component.claims.watch_lost(WatchPhase::Ended, now),
            ProbeEvent::WatchFailed(error) => {
                component.claims.watch_lost(WatchPhase::Failed(error), now)
            }
            ProbeEvent::Glanced(probed) => {
                component.take_answers(&probed, now);
                component
                    .claims
                    .track
                    .wants_audit(&self.settings.rules, now)
            }
            ProbeEvent::Probed(probed) => return self.probed(&id, *probed, now),
            ProbeEvent::Canary(run) => component.take_canary(*run, &self.settings, watch, now),
            ProbeEvent::NoCanary => {
                component.canary = None;
                false
            }
        };
        if news || returned {
            self.want_audit(&id, now);
        }
        self.evaluate_soon(&id, now);
    }

    fn probed(&mut self, id: &ComponentId, probed: Probed, now: Now) {
        let watch = self.watchfulness(now);
        let Some(component) = self.components.get_mut(id) else {
            return;
        };
        let proves = component.take_calls(&probed, watch, now);
        self.look_around(id, now);
        let watch = self.watchfulness(now);
        let Some(component) = self.components.get_mut(id) else {
            return;
        };
        let changes = if watch.recovering {
            Changes::default()
        } else {
            component.evaluate(&self.settings, watch, &self.peers, &mut self.ids, now)
        };
        // A second look tells a failure from an accident.
        let wanted = component.claims.wants_audit(&self.settings.rules, now);
        let again = changes.suspected || !proves || wanted;
        let audit = component.audit(probed, &self.settings, watch, now);
        let waiters = std::mem::take(&mut component.waiters);
        self.totals.audits += 1;
        let verdict = audit.assessment.verdict.name();
        *self.totals.audits_by_verdict.entry(verdict).or_default() += 1;
        for waiter in waiters {
            self.answer(waiter, &audit);
        }
        self.publish(changes);
        if again {
            self.want_audit(id, now);
        }
    }

    /// A probe's task ended by itself: it is started again, and what waited for it is told.
    pub(crate) fn probe_ended(&mut self, id: &str, generation: u64, why: &str, now: Now) {
        let Some(component) = self.components.get_mut(id) else {
            return;
        };
        if component.generation != generation {
            return;
        }
        component.probe_restart = Some(now.monotonic + PROBE_RESTART_PAUSE);
        let waiters = std::mem::take(&mut component.waiters);
        let why = format!("its probe ended ({why})");
        let audit = Arc::new(no_data(component.target.component_id.clone(), &why, now));
        for waiter in waiters {
            self.answer(waiter, &audit);
        }
    }
}
