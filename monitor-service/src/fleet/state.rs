//! What the fleet knows and decides. Pure: events and the time come in, effects go out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service_kit::clock::Now;
use service_kit::histogram::Histogram;

use super::api::{FleetError, Target};
use super::component::{Component, EXPIRY_INTERVAL, Waiter, Watchfulness};
use super::own::Own;
use super::settings::{FleetSettings, Identity};
use super::unregistered::Unregistered;
use crate::audit::assess::{no_data, not_monitored};
use crate::audit::peers::Peers;
use crate::audit::settings::RuleSettings;
use crate::domain::{Alert, Answer, Audit, ComponentId, Finding, Probed};
use crate::evidence::session::Sessions;
use crate::incident::{Changes, FindingIds};

/// What the fleet wants done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    StartProbe {
        target: Target,
        generation: u64,
    },
    StopProbe(ComponentId),
    AuditNow(ComponentId),
    /// A finding opened or resolved.
    Publish(Finding),
    /// Findings were not opened, because too many are open already.
    Suppressed {
        component_id: ComponentId,
        count: u64,
    },
    /// A caller's audit is there.
    Answer {
        waiter: Waiter,
        audit: Arc<Audit>,
    },
    /// Somebody has to hear of a finding.
    Alert(Alert),
    /// The monitor is late itself, or in time again: see [`super::api::Probes::stretch`].
    Stretch(u32),
}

/// Counted since the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) audits: u64,
    pub(super) audits_by_verdict: BTreeMap<&'static str, u64>,
    pub(super) findings_opened: u64,
    pub(super) findings_resolved: u64,
    /// Findings open now, by rule and severity.
    pub(super) findings_open: BTreeMap<(&'static str, &'static str), u64>,
    pub(super) events_witnessed: u64,
    pub(super) events_repeated: u64,
    /// Of components that are gone.
    pub(super) evicted_before: u64,
    pub(super) findings_reopened: u64,
    /// Of the calls that were answered.
    pub(super) call_latency: Histogram,
}

impl Totals {
    /// Counts how long the calls took that were answered.
    pub(super) fn note_calls(&mut self, probed: &Probed) {
        let latencies = [
            probed.health.as_ref().map(Answer::latency),
            probed.metrics.as_ref().map(Answer::latency),
        ];
        for latency in latencies.into_iter().flatten() {
            self.call_latency.record(latency);
        }
    }
}

/// The loop's own pulse.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulse {
    pub(super) started: Now,
    pub(super) last_turn: Instant,
    pub(super) last_tick: Option<Now>,
    pub(super) tick_lateness: Duration,
    pub(super) awake_since: Instant,
    recovering_until: Instant,
}

/// Everything that the monitor knows.
pub(crate) struct FleetState {
    pub(super) settings: FleetSettings,
    /// Boxed: the map keeps room for others beside each, and a component is some kilobytes.
    pub(super) components: BTreeMap<ComponentId, Box<Component>>,
    pub(super) unregistered: Unregistered,
    pub(super) sessions: Sessions,
    pub(super) totals: Totals,
    pub(super) pulse: Pulse,
    pub(super) report_sequence: u64,
    pub(super) ids: FindingIds,
    generations: u64,
    /// Events of all evidence together.
    pub(super) events_held: usize,
    /// As of the newest tick.
    pub(super) peers: Peers,
    pub(super) draining: bool,
    pub(super) effects: Vec<Effect>,
    pub(super) own: Own,
    /// The rules' thresholds as they were set; those in the settings may be stretched.
    pub(super) unstretched: RuleSettings,
}

impl FleetState {
    pub(crate) fn new(settings: FleetSettings, identity: Identity, now: Now) -> Self {
        Self {
            own: Own::new(&settings, &identity, now),
            unstretched: settings.rules,
            ids: FindingIds::new(identity.instance_id),
            unregistered: Unregistered::new(settings.evidence),
            sessions: Sessions::new(
                settings.evidence.sessions_max,
                settings.evidence.report_wait,
            ),
            settings,
            components: BTreeMap::new(),
            totals: Totals::default(),
            pulse: Pulse {
                started: now,
                last_turn: now.monotonic,
                last_tick: None,
                tick_lateness: Duration::ZERO,
                awake_since: now.monotonic,
                recovering_until: now.monotonic,
            },
            report_sequence: 0,
            generations: 0,
            events_held: 0,
            draining: false,
            effects: Vec::new(),
            peers: Peers::default(),
        }
    }

    /// Every component, by id.
    pub(super) fn every(&self) -> impl Iterator<Item = &Component> {
        self.components.values().map(|component| &**component)
    }

    /// What is to be done since the last call.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Notes that the loop turns. Where it stood still, what waits is read before anything is
    /// concluded.
    pub(crate) fn turn(&mut self, now: Now) {
        let allowed = self.settings.tick + self.settings.stall_tolerance;
        let gap = now.since(self.pulse.last_turn);
        if gap > allowed {
            self.note_gap(gap, now);
            self.pulse.awake_since = now.monotonic;
            self.pulse.recovering_until = now.monotonic + self.settings.stall_recovery;
        }
        self.pulse.last_turn = now.monotonic;
    }

    pub(super) fn watchfulness(&self, now: Now) -> Watchfulness {
        Watchfulness {
            awake_since: self.pulse.awake_since,
            recovering: now.monotonic < self.pulse.recovering_until,
            blind: self.own.is_blind(),
            gather: self.own.gather(&self.settings),
        }
    }

    /// Adds a component or changes it; says whether it was there before.
    ///
    /// # Errors
    /// [`FleetError::TooManyComponents`].
    pub(crate) fn register(&mut self, target: Target, now: Now) -> Result<bool, FleetError> {
        let id = target.component_id.clone();
        if let Some(known) = self.components.get_mut(&id) {
            let same_way = known.target.endpoint == target.endpoint
                && known.target.tls == target.tls
                && known.target.metadata == target.metadata
                && known.target.canary == target.canary;
            known.target = target;
            if !same_way {
                self.generations += 1;
                known.begin_anew(self.generations, &self.settings, now);
                self.effects.push(Effect::StopProbe(id.clone()));
                self.start_probe(&id);
            }
            return Ok(true);
        }
        if self.components.len() >= self.settings.components_max {
            return Err(FleetError::TooManyComponents(self.components.len()));
        }
        self.generations += 1;
        // Witnesses may have reported before the component was registered.
        let evidence = self.unregistered.take(&id, self.settings.evidence);
        let component = Component::new(target, self.generations, evidence, &self.settings, now);
        self.components.insert(id.clone(), Box::new(component));
        self.start_probe(&id);
        Ok(false)
    }

    fn start_probe(&mut self, id: &ComponentId) {
        if self.draining {
            return;
        }
        if let Some(component) = self.components.get(id) {
            self.effects.push(Effect::StartProbe {
                target: component.target.clone(),
                generation: component.generation,
            });
        }
    }

    /// Forgets a component and everything known of it.
    ///
    /// # Errors
    /// [`FleetError::NotRegistered`].
    pub(crate) fn remove(&mut self, component_id: &str, now: Now) -> Result<(), FleetError> {
        let Some((id, component)) = self.components.remove_entry(component_id) else {
            return Err(FleetError::NotRegistered(component_id.to_owned()));
        };
        self.effects.push(Effect::StopProbe(id.clone()));
        let audit = Arc::new(not_monitored(id, now));
        for waiter in &component.waiters {
            self.answer(*waiter, &audit);
        }
        self.events_held = self
            .events_held
            .saturating_sub(component.evidence.events_held());
        self.totals.evicted_before += component.evidence.counters().evicted;
        // Who follows the findings must not wait for ever for these to end.
        self.publish(component.incidents.close(now));
        Ok(())
    }

    /// Someone waits for an audit made now.
    pub(crate) fn audit(&mut self, component_id: &str, waiter: Waiter, now: Now) {
        let waiters_max = self.settings.audit_waiters_max;
        let draining = self.draining;
        let Some(component) = self.components.get_mut(component_id) else {
            let audit = Arc::new(not_monitored(component_id.into(), now));
            self.answer(waiter, &audit);
            return;
        };
        let id = component.target.component_id.clone();
        if draining || component.waiters.len() >= waiters_max {
            let why = if draining {
                "the monitor is shutting down"
            } else {
                "too many callers are waiting for an audit"
            };
            let newest = component.history.newest().cloned();
            let audit = newest.unwrap_or_else(|| Arc::new(no_data(id, why, now)));
            self.answer(waiter, &audit);
            return;
        }
        component.waiters.push(waiter);
        self.effects.push(Effect::AuditNow(id));
    }

    pub(super) fn answer(&mut self, waiter: Waiter, audit: &Arc<Audit>) {
        let audit = audit.clone();
        self.effects.push(Effect::Answer { waiter, audit });
    }

    /// Looks at every deadline that may have passed.
    pub(crate) fn tick(&mut self, lateness: Duration, now: Now) {
        self.pulse.tick_lateness = lateness;
        self.pulse.last_tick = Some(now);
        if self.draining {
            return;
        }
        self.compare_peers(now);
        self.note_lateness(lateness);
        self.look_again();
        // Before the single components: what most of them have in common is not theirs.
        self.evaluate_own(now);
        let ids: Vec<_> = self
            .components
            .iter()
            .filter(|(_, component)| {
                component.is_due(now)
                    || component.expires <= now.monotonic
                    || component.audit_wanted
                    || component.probe_restart.is_some()
                    || component.maintenance_over(now)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            self.tend(&id, now);
        }
        let dropped = self.unregistered.expire(now);
        self.events_held = self.events_held.saturating_sub(dropped);
    }

    fn tend(&mut self, id: &ComponentId, now: Now) {
        let watch = self.watchfulness(now);
        let Some(component) = self.components.get_mut(id) else {
            return;
        };
        if component.expires <= now.monotonic {
            component.expires = now.monotonic + EXPIRY_INTERVAL;
            let before = component.evidence.events_held();
            component.dirty |= component.evidence.expire(now);
            let left = before.saturating_sub(component.evidence.events_held());
            self.events_held = self.events_held.saturating_sub(left);
        }
        if component.maintenance_over(now) {
            let changes = component.leave_maintenance();
            self.publish(changes);
        }
        let Some(component) = self.components.get_mut(id) else {
            return;
        };
        if component
            .probe_restart
            .is_some_and(|at| at <= now.monotonic)
        {
            component.probe_restart = None;
            self.generations += 1;
            component.generation = self.generations;
            self.start_probe(id);
        }
        if let Some(component) = self.components.get(id)
            && component.is_due(now)
            && !watch.recovering
        {
            self.evaluate(id, now);
        }
        self.ask_audit(id, now);
    }

    pub(super) fn evaluate_soon(&mut self, id: &ComponentId, now: Now) {
        let gap = self.settings.evaluation_gap;
        let recovering = self.watchfulness(now).recovering;
        let component = self.components.get(id);
        let ready = component.is_some_and(|component| component.may_evaluate(gap, now));
        if !recovering && !self.draining && ready {
            self.evaluate(id, now);
        }
    }

    fn evaluate(&mut self, id: &ComponentId, now: Now) {
        self.look_around(id, now);
        let watch = self.watchfulness(now);
        let Some(component) = self.components.get_mut(id) else {
            return;
        };
        let changes = component.evaluate(&self.settings, watch, &self.peers, &mut self.ids, now);
        let suppressed = component.newly_suppressed(&changes);
        let grace = self.settings.rules.watch_grace;
        let unheard = !component.awaits_audit(now)
            && (component.claims.needs_audit(grace, watch.awake_since, now)
                || component.claims.wants_audit(&self.settings.rules, now));
        let news = unheard
            || changes.suspected
            || !changes.is_empty()
            || component.newly_confirmed(&self.settings, now);
        self.publish(changes);
        if let Some(count) = suppressed {
            let component_id = id.clone();
            self.effects.push(Effect::Suppressed {
                component_id,
                count,
            });
        }
        if news {
            self.want_audit(id, now);
        }
    }

    /// Before a component in trouble is judged, whether it shares it with most others.
    pub(super) fn look_around(&mut self, id: &ComponentId, now: Now) {
        let awake_since = self.pulse.awake_since;
        let component = self.components.get(id);
        if component.is_some_and(|known| known.in_trouble(&self.settings, awake_since, now)) {
            self.evaluate_own_soon(now);
        }
    }

    pub(super) fn want_audit(&mut self, id: &ComponentId, now: Now) {
        if let Some(component) = self.components.get_mut(id) {
            component.audit_wanted = true;
        }
        self.ask_audit(id, now);
    }

    /// Asks for the audit that is wanted, unless it is too soon; the next tick tries again.
    fn ask_audit(&mut self, id: &ComponentId, now: Now) {
        let gap = self.settings.audit_gap;
        if let Some(component) = self.components.get_mut(id)
            && !self.draining
            && component.ask_audit(gap, now)
        {
            self.effects.push(Effect::AuditNow(id.clone()));
        }
    }

    pub(super) fn publish(&mut self, changes: Changes) {
        for finding in &changes.opened {
            let open = self.totals.findings_open.entry(finding.key()).or_default();
            *open += 1;
            match finding.reopened {
                0 => self.totals.findings_opened += 1,
                _ => self.totals.findings_reopened += 1,
            }
        }
        for finding in &changes.resolved {
            let open = self.totals.findings_open.entry(finding.key()).or_default();
            *open = open.saturating_sub(1);
            self.totals.findings_resolved += 1;
        }
        for (was, finding) in &changes.worsened {
            let (rule_id, severity) = finding.key();
            let before = self.totals.findings_open.entry((rule_id, was.name()));
            let before = before.or_default();
            *before = before.saturating_sub(1);
            *self
                .totals
                .findings_open
                .entry((rule_id, severity))
                .or_default() += 1;
        }
        let worsened = changes.worsened.into_iter().map(|(_, finding)| finding);
        let changed = changes.opened.into_iter().chain(worsened);
        let changed = changed.chain(changes.resolved);
        self.effects.extend(changed.map(Effect::Publish));
        let alerts = changes.alerts.into_iter();
        self.effects.extend(alerts.map(Effect::Alert));
    }

    /// The process shuts down: nothing is concluded any more, and what is known can be read
    /// until the end.
    pub(crate) fn drain(&mut self, now: Now) {
        self.draining = true;
        let mut waiting = Vec::new();
        for (id, component) in &mut self.components {
            self.effects.push(Effect::StopProbe(id.clone()));
            let waiters = std::mem::take(&mut component.waiters);
            if !waiters.is_empty() {
                let why = "the monitor is shutting down";
                waiting.push((waiters, Arc::new(no_data(id.clone(), why, now))));
            }
        }
        for (waiters, audit) in waiting {
            for waiter in waiters {
                self.answer(waiter, &audit);
            }
        }
    }
}
