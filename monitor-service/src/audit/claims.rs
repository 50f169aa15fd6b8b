//! What a component said of itself: the newest claims, and as much of the past as the rules ask
//! for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use service_kit::clock::Now;

use super::blame::blames_component;
use super::deliveries::{Deliveries, Witnessed};
use super::settings::RuleSettings;
use super::track::Track;
use crate::domain::{
    Answer, CallError, ClaimedState, HealthClaim, MetricsClaim, Probed, WatchMessage, WatchReason,
};

/// Instances told apart; a known one that returns is not a restart.
const INSTANCES_MAX: usize = 8;
/// The gauge in which a component may announce how often it checks itself.
pub(crate) const CHECK_INTERVAL_GAUGE: &str = "health_check_interval_seconds";

/// One answer's marks of freshness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pulse {
    pub(crate) instance: Arc<str>,
    pub(crate) sequence: u64,
    pub(crate) observe_time: Option<SystemTime>,
    pub(crate) at: Now,
    /// In which time the next one was promised. `None`: no promise.
    pub(crate) promise: Option<Duration>,
}

/// One process of the component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) id: Arc<str>,
    pub(crate) first: Now,
    pub(crate) last: Now,
    /// Whether it said that it was draining.
    pub(crate) drained: bool,
    /// Whether it came after a time in which the component did not answer.
    pub(crate) after_outage: bool,
}

/// Where the watch stream stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WatchPhase {
    /// Not opened yet.
    Waiting,
    Alive,
    /// It ended in order.
    Ended,
    /// It broke, or could not be opened.
    Failed(CallError),
}

/// The watch stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) phase: WatchPhase,
    /// Since when it has not been alive; while it is, since when it is.
    pub(crate) since: Now,
    pub(crate) last_message: Option<Now>,
    /// In which time the next message was promised. `None`: no promise.
    pub(crate) promise: Option<Duration>,
}

/// The unary calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    /// When the newest audit's calls were done. `None`: none were.
    pub(crate) last: Option<Now>,
    /// Why the newest health call got no answer. `None`: it got one, or none was made.
    pub(crate) error: Option<CallError>,
    /// Audits in a row whose health call got no answer.
    pub(crate) failed_in_row: u32,
    /// When the first of them failed.
    pub(crate) failed_since: Option<Now>,
    /// When a health call was last answered.
    pub(crate) answered: Option<Now>,
}

/// How `last_health_check_time` moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CheckTimes {
    pub(crate) last: SystemTime,
    /// When that value was first seen.
    pub(crate) since: Now,
    /// The longest time between two values. `None`: only one was seen.
    pub(crate) interval: Option<Duration>,
}

/// Everything that one component claims.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    pulses_max: usize,
    /// The newest health report, whichever way it came.
    pub(crate) health: Option<(Arc<HealthClaim>, Now)>,
    /// The newest counters.
    pub(crate) metrics: Option<(Arc<MetricsClaim>, Now)>,
    /// Answers of the unary calls, oldest first.
    pub(crate) answers: VecDeque<Pulse>,
    /// Messages of the present watch stream, oldest first.
    pub(crate) messages: VecDeque<Pulse>,
    pub(crate) watch: Watch,
    pub(crate) calls: Calls,
    /// By first sight.
    pub(crate) instances: Vec<Instance>,
    pub(crate) check_times: Option<CheckTimes>,
    /// When it last said that it was draining, or went as it had said.
    pub(crate) draining: Option<Now>,
    /// When it first said something else after it had said that it was draining.
    pub(crate) returned: Option<Instant>,
    /// When it last answered again after it had not.
    recovered: Option<Instant>,
    /// What the rules on its past remember.
    pub(crate) track: Track,
    /// How its delivery counters moved.
    pub(crate) deliveries: Deliveries,
}

impl Claims {
    pub(crate) fn new(pulses_max: usize, now: Now) -> Self {
        Self {
            pulses_max: pulses_max.max(2),
            health: None,
            metrics: None,
            answers: VecDeque::new(),
            messages: VecDeque::new(),
            watch: Watch {
                phase: WatchPhase::Waiting,
                since: now,
                last_message: None,
                promise: None,
            },
            calls: Calls::default(),
            instances: Vec::new(),
            check_times: None,
            draining: None,
            returned: None,
            recovered: None,
            track: Track::default(),
            deliveries: Deliveries::default(),
        }
    }

    /// Takes a message of the watch stream; says whether it tells of a change.
    pub(crate) fn watched(&mut self, message: WatchMessage, now: Now) -> bool {
        let was_alive = self.watch.phase == WatchPhase::Alive;
        if !was_alive {
            self.watch.phase = WatchPhase::Alive;
            self.watch.since = now;
            self.messages.clear();
        }
        self.watch.last_message = Some(now);
        self.watch.promise = message.next_within;
        let draining = message.reason == WatchReason::Draining;
        let changed = matches!(message.reason, WatchReason::Changed | WatchReason::Draining);
        let pulse = self.said(message.health.into(), message.next_within, draining, now);
        push(&mut self.messages, pulse, self.pulses_max);
        if let Some((health, _)) = &self.health {
            self.track.watched(health, message.next_within, now);
        }
        changed || !was_alive
    }

    /// Notes that the watch stream is gone; says whether that is new.
    pub(crate) fn watch_lost(&mut self, phase: WatchPhase, now: Now) -> bool {
        let was_alive = self.watch.phase == WatchPhase::Alive;
        let first = was_alive || self.watch.phase == WatchPhase::Waiting;
        if was_alive {
            self.watch.since = now;
            self.track.stream_lost(now);
            if phase == WatchPhase::Ended {
                self.goes_as_it_said(now);
            }
        }
        self.watch.phase = phase;
        first
    }

    /// Takes an audit's calls.
    pub(crate) fn probed(&mut self, probed: &Probed, now: Now) {
        self.calls.last = Some(now);
        match &probed.health {
            Ok(answer) => {
                let pulse = self.said(answer.value.clone(), None, false, now);
                push(&mut self.answers, pulse, self.pulses_max);
                let alive = self.watch.phase == WatchPhase::Alive;
                if let Some((health, _)) = &self.health {
                    let echoed = probed.nonce_echoed;
                    self.track.answered(health, answer, echoed, alive, now);
                }
                if self.is_down() {
                    self.recovered = Some(now.monotonic);
                }
                self.calls.error = None;
                self.calls.failed_in_row = 0;
                self.calls.failed_since = None;
                self.calls.answered = Some(now);
            }
            Err(error) => {
                if blames_component(error) {
                    if self.calls.failed_in_row == 0 {
                        self.goes_as_it_said(now);
                    }
                    self.calls.failed_in_row = self.calls.failed_in_row.saturating_add(1);
                    self.calls.failed_since.get_or_insert(now);
                }
                self.calls.error = Some(error.clone());
                self.track.unanswered();
            }
        }
        if let Ok(answer) = &probed.metrics {
            self.track.counted(&answer.value, answer);
            self.metrics = Some((answer.value.clone(), now));
        }
    }

    /// Takes counters, from an audit or between two, beside what witnesses had told by then.
    pub(crate) fn counted(&mut self, answer: &Answer<MetricsClaim>, witnessed: Witnessed) {
        self.deliveries.add(answer, witnessed);
        self.metrics = Some((answer.value.clone(), answer.received));
    }

    /// Whether the newest audit found nobody who answers.
    pub(crate) fn is_down(&self) -> bool {
        self.calls.failed_in_row > 0
    }

    /// Events from before this moment belong to an earlier instance, or to its outage. `None`:
    /// there was neither.
    pub(crate) fn baseline(&self) -> Option<Instant> {
        let newest = self.instances.last().filter(|_| self.instances.len() > 1);
        newest
            .map(|instance| instance.first.monotonic)
            .max(self.recovered)
    }

    /// Whether it says of itself that it is active and healthy. `None`: it said nothing yet.
    pub(crate) fn claims_health(&self) -> Option<bool> {
        let (health, _) = self.health.as_ref()?;
        Some(health.healthy && health.state == ClaimedState::Active)
    }

    /// How often it says that it checks itself. `None`: it does not say.
    pub(crate) fn announced_check_interval(&self) -> Option<Duration> {
        let (metrics, _) = self.metrics.as_ref()?;
        let seconds = *metrics.gauges.get(CHECK_INTERVAL_GAUGE)?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Whether it gives the signs of life that it promised.
    pub(crate) fn answers(&self, now: Now) -> bool {
        let kept = match (self.watch.last_message, self.watch.promise) {
            (Some(last), Some(promise)) => now.since(last.monotonic) <= promise,
            _ => true,
        };
        !self.is_down() && (kept || self.watch.phase != WatchPhase::Alive)
    }

    /// Since when the watch stream has been silent. What the monitor slept through is nobody's
    /// silence, and the silence of an outage belongs to the outage. `None`: it never spoke.
    pub(crate) fn watch_silent_from(&self, awake_since: Instant) -> Option<Instant> {
        let last = self.watch.last_message?.monotonic;
        Some(last.max(awake_since).max(self.recovered.unwrap_or(last)))
    }

    /// Since when the watch stream has been away, counted likewise.
    pub(crate) fn watch_away_from(&self, awake_since: Instant) -> Instant {
        let since = self.watch.since.monotonic.max(awake_since);
        since.max(self.recovered.unwrap_or(since))
    }

    /// When the watch stream's silence passes what is allowed. `None`: it is not alive, or
    /// promised nothing.
    pub(crate) fn watch_overdue_at(
        &self,
        grace: Duration,
        awake_since: Instant,
    ) -> Option<Instant> {
        if self.watch.phase != WatchPhase::Alive {
            return None;
        }
        let silent_from = self.watch_silent_from(awake_since)?;
        Some(silent_from + self.watch.promise? + grace)
    }

    /// Whether the stream is silent or gone, and no audit was made since.
    pub(crate) fn needs_audit(&self, grace: Duration, awake_since: Instant, now: Now) -> bool {
        let trouble = match self.watch.phase {
            WatchPhase::Alive => self
                .watch_overdue_at(grace, awake_since)
                .filter(|overdue| now.monotonic > *overdue),
            WatchPhase::Ended | WatchPhase::Failed(_) => Some(self.watch.since.monotonic),
            WatchPhase::Waiting => None,
        };
        let audited = self.calls.last.map(|last| last.monotonic);
        trouble.is_some_and(|trouble| audited.is_none_or(|audited| audited < trouble))
    }

    /// When to ask again one that said that it drains and has no stream any more: what it said last
    /// must not be older than what it may take to go. `None`: it has one, or does not drain.
    fn drain_audit_at(&self, settings: &RuleSettings) -> Option<Instant> {
        let streams = self.watch.phase == WatchPhase::Alive;
        let answered = self.calls.answered.filter(|_| !self.is_down())?;
        (self.drains_still() && !streams).then(|| answered.monotonic + settings.recheck)
    }

    /// Whether the newest that it said is that it drains.
    pub(crate) fn drains_still(&self) -> bool {
        let newest = self.health.as_ref().map(|(health, _)| health.state);
        newest == Some(ClaimedState::Draining)
    }

    /// Whether something that it said wants to be looked at by calling, now.
    pub(crate) fn wants_audit(&self, settings: &RuleSettings, now: Now) -> bool {
        let drain = self.drain_audit_at(settings);
        drain.is_some_and(|at| at <= now.monotonic) || self.track.wants_audit(settings, now)
    }

    /// Whether it said that it drains, and neither its time is over nor has it said more since.
    pub(crate) fn is_draining(&self, grace: Duration, now: Now) -> bool {
        let Some(at) = self.draining else {
            return false;
        };
        let said_since = self.health.as_ref().is_some_and(|(health, said)| {
            said.monotonic > at.monotonic && health.state != ClaimedState::Draining
        });
        !said_since && now.since(at.monotonic) < grace
    }

    /// Since when something is wrong with reaching it: calls fail, or its stream is broken or
    /// silent. `None`: nothing is, it drains, or it was never reached.
    pub(crate) fn trouble_since(
        &self,
        settings: &RuleSettings,
        awake_since: Instant,
        now: Now,
    ) -> Option<Instant> {
        self.health.as_ref()?;
        if self.is_draining(settings.restart_grace, now) {
            return None;
        }
        let calls = self.calls.failed_since.map(|since| since.monotonic);
        let stream = match &self.watch.phase {
            WatchPhase::Failed(error) if blames_component(error) => {
                Some(self.watch_away_from(awake_since))
            }
            WatchPhase::Alive => self
                .watch_overdue_at(settings.watch_grace / 2, awake_since)
                .filter(|overdue| *overdue <= now.monotonic),
            _ => None,
        };
        calls.into_iter().chain(stream).min()
    }

    /// The next moment at which time alone may break a rule or mend it.
    pub(crate) fn next_deadline(
        &self,
        settings: &RuleSettings,
        awake_since: Instant,
        now: Now,
    ) -> Option<Instant> {
        let overdue = self.watch_overdue_at(settings.watch_grace, awake_since);
        let lost = (self.watch.phase != WatchPhase::Alive)
            .then(|| self.watch_away_from(awake_since) + settings.reconnect_grace);
        let drained = self
            .draining
            .map(|at| at.monotonic + settings.restart_grace);
        let newest = self.instances.last().map(|newest| newest.first.monotonic);
        let moments = [
            overdue,
            overdue.map(|at| at + settings.watch_audit_grace),
            lost,
            drained,
            newest.map(|at| at + settings.drain_notice_grace),
            newest.map(|at| at + settings.restart_shown),
        ];
        moments
            .into_iter()
            .chain(self.track.deadlines(settings, now))
            .chain([self.drain_audit_at(settings)])
            .flatten()
            .filter(|at| *at >= now.monotonic)
            .min()
    }

    /// The end of a long drain: how long it may be away counts from here.
    fn goes_as_it_said(&mut self, now: Now) {
        if self.drains_still() {
            self.draining = Some(now);
        }
    }

    fn said(
        &mut self,
        health: Arc<HealthClaim>,
        promise: Option<Duration>,
        draining: bool,
        now: Now,
    ) -> Pulse {
        let draining = draining || health.state == ClaimedState::Draining;
        if draining {
            self.draining = Some(now);
        } else if self.drains_still() {
            self.returned = Some(now.monotonic);
        }
        let instance = self.seen_instance(&health.instance_id, draining, now);
        if let Some(checked) = health.last_health_check_time {
            self.note_check_time(checked, now);
        }
        let pulse = Pulse {
            instance,
            sequence: health.sequence,
            observe_time: health.observe_time,
            at: now,
            promise,
        };
        self.health = Some((health, now));
        pulse
    }

    fn seen_instance(&mut self, id: &str, draining: bool, now: Now) -> Arc<str> {
        if let Some(known) = self.instances.iter_mut().find(|known| &*known.id == id) {
            known.last = now;
            known.drained |= draining;
            return known.id.clone();
        }
        if self.instances.len() == INSTANCES_MAX {
            self.instances.remove(0);
        }
        let id: Arc<str> = id.into();
        self.instances.push(Instance {
            id: id.clone(),
            first: now,
            last: now,
            drained: draining,
            after_outage: self.is_down(),
        });
        // Another process has checks of its own.
        self.check_times = None;
        id
    }

    fn note_check_time(&mut self, checked: SystemTime, now: Now) {
        let interval = match self.check_times {
            Some(known) if checked <= known.last => return,
            Some(known) => {
                let passed = checked.duration_since(known.last).ok();
                known.interval.max(passed)
            }
            None => None,
        };
        self.check_times = Some(CheckTimes {
            last: checked,
            since: now,
            interval,
        });
    }
}

fn push(pulses: &mut VecDeque<Pulse>, pulse: Pulse, max: usize) {
    if pulses.len() >= max {
        pulses.pop_front();
    }
    pulses.push_back(pulse);
}
