//! What witnesses saw, past the component itself: for each component its observers, threads and
//! runs, bounded and expiring.

mod bounds;
mod connection;
pub(crate) mod disorder;
mod event;
mod fold;
mod joining;
mod keys;
mod kinds;
pub(crate) mod lateness;
pub(crate) mod limits;
pub(crate) mod loss;
pub(crate) mod observer;
pub(crate) mod order;
mod phantom;
mod ranges;
mod reader;
mod reading;
mod recency;
pub(crate) mod run;
pub(crate) mod session;
pub(crate) mod skew;
pub(crate) mod status;
pub(crate) mod thread;
pub(crate) mod tool;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use service_kit::clock::Now;
use twox_hash::XxHash3_64;

use crate::domain::{Posting, ReportOutcome, Sighting, Vantage};
use disorder::Disorders;
use event::Noted;
use fold::{Folded, THREADS_AT_ONCE};
use kinds::Kinds;
use lateness::{Delay, Delays};
use limits::EvidenceLimits;
use observer::{Observer, ObserverKey, Observers};
use recency::Recency;
use run::{Runs, Seen};
use session::Standing;
use thread::{Names, Reporting, Thread};

/// The part of a report that is about one component.
#[derive(Clone, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) observer_id: &'a str,
    pub(crate) vantage: Vantage,
    pub(crate) sightings: Vec<&'a Sighting>,
    /// The threads that the observer reads now. `None`: the report does not say.
    pub(crate) reading: Option<&'a [String]>,
    pub(crate) sign_off: bool,
    pub(crate) posting: &'a Posting,
    pub(crate) standing: Standing,
}

/// What was taken and what had to leave, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) recorded: u64,
    pub(crate) repeated: u64,
    /// Left over a bound, before its time.
    pub(crate) evicted: u64,
    /// Different events that producers reported.
    pub(crate) produced: u64,
    /// Different events that consumers reported; one that is reported when it is no longer
    /// remembered counts again.
    pub(crate) consumed: u64,
}

/// One component's evidence.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    limits: EvidenceLimits,
    observers: Observers,
    threads: HashMap<Arc<str>, Thread>,
    thread_recency: Recency<Arc<str>>,
    runs: Runs,
    /// Threads on which something may be missing.
    attention: HashSet<Arc<str>>,
    /// When the newest of the events that reached a consumer was first reported.
    newest_arrival: Option<Instant>,
    /// When the newest of the events seen at both vantages was first reported.
    newest_confirmed: Option<Instant>,
    /// When a consumer last reported an event that none had.
    last_arrival: Option<Instant>,
    kinds: Kinds,
    delays: Delays,
    disorders: Disorders,
    folded: Folded,
    /// Threads with events that will settle, and when to look.
    to_fold: VecDeque<(Instant, Arc<str>)>,
    events_held: usize,
    produced_held: u64,
    consumed_held: u64,
    counters: Counters,
}

impl Evidence {
    pub(crate) fn new(limits: EvidenceLimits) -> Self {
        Self {
            limits,
            observers: Observers::default(),
            threads: HashMap::new(),
            thread_recency: Recency::default(),
            runs: Runs::default(),
            attention: HashSet::new(),
            newest_arrival: None,
            newest_confirmed: None,
            last_arrival: None,
            kinds: Kinds::default(),
            delays: Delays::default(),
            disorders: Disorders::default(),
            folded: Folded::default(),
            to_fold: VecDeque::new(),
            events_held: 0,
            produced_held: 0,
            consumed_held: 0,
            counters: Counters::default(),
        }
    }

    /// Changes the bounds; what is over them leaves with the next report.
    pub(crate) fn relimit(&mut self, limits: EvidenceLimits) {
        self.limits = limits;
    }

    pub(crate) fn runs(&self) -> &Runs {
        &self.runs
    }

    pub(crate) fn observer(&self, key: ObserverKey) -> Option<&Observer> {
        self.observers.get(key)
    }

    pub(crate) fn observers(&self) -> impl Iterator<Item = &Observer> {
        self.observers.iter()
    }

    pub(crate) fn delays(&self) -> &Delays {
        &self.delays
    }

    pub(crate) fn disorders(&self) -> &Disorders {
        &self.disorders
    }

    pub(crate) fn observers_count(&self) -> usize {
        self.observers.len()
    }

    pub(crate) fn threads_count(&self) -> usize {
        self.threads.len()
    }

    /// Events held now.
    pub(crate) fn events_held(&self) -> usize {
        self.events_held
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether passing time alone may bring something to light.
    pub(crate) fn is_pending(&self) -> bool {
        !self.attention.is_empty()
            || self.runs.open_count() > 0
            || self.runs.orphaned().next().is_some()
            || self.runs.lacking().next().is_some()
            || !self.disorders.is_empty()
            || self.observers.iter().any(|observer| !observer.signed_off)
    }

    /// Takes an observer's report. What this observer reported before changes nothing.
    pub(crate) fn record(&mut self, part: &Part<'_>, now: Now) -> ReportOutcome {
        let (name, vantage) = (part.observer_id, part.vantage);
        let mut outcome = ReportOutcome::default();
        if part.standing.repeated {
            outcome.repeated = u32::try_from(part.sightings.len()).unwrap_or(u32::MAX);
            self.counters.repeated += u64::from(outcome.repeated);
            self.observers.heard(name, vantage, now);
            return outcome;
        }
        self.fold_due(THREADS_AT_ONCE, now);
        let posted = (part.standing, part.posting.next_within);
        let key = self
            .observers
            .reported((name, vantage), part.sightings.len(), posted, now);
        self.bound_observers();
        if part.reading.is_some_and(|reading| !reading.is_empty()) {
            self.observers.names_reading(key);
        }
        // What an overtaken report says of the present is past.
        let reading = part.reading.filter(|_| part.standing.newest);
        let reading = reading.filter(|_| vantage == Vantage::Consumer);
        if let Some(reading) = reading {
            self.joins(key, reading, now);
        }
        let Some((name, reports)) = self.observers.get(key).map(|o| (o.name.clone(), o.reports))
        else {
            return outcome;
        };
        let by = Reporting {
            observer: key,
            name: &name,
            vantage,
            session: XxHash3_64::oneshot(part.posting.session_id.as_bytes()),
            clock: part.standing.clock,
            reports,
            gaps_max: self.limits.gaps_per_reader_max,
            now,
        };
        for sighting in &part.sightings {
            if self.see(sighting, &by) {
                outcome.recorded += 1;
            } else {
                outcome.repeated += 1;
            }
        }
        if let Some(reading) = reading {
            self.leaves(key, reading, now);
        }
        if part.sign_off && part.standing.newest {
            self.sign_off(part.observer_id, vantage, now);
        }
        self.counters.recorded += u64::from(outcome.recorded);
        self.counters.repeated += u64::from(outcome.repeated);
        outcome
    }

    fn see(&mut self, sighting: &Sighting, by: &Reporting<'_>) -> bool {
        let id = self.thread(&sighting.thread_id);
        let names = Names {
            run_id: self.runs.name(&sighting.run_id),
            kind: self.kinds.name(&sighting.event_type),
        };
        let Some(thread) = self.threads.get_mut(&id) else {
            return false;
        };
        let noted = thread.note(sighting, names.clone(), by);
        self.counters.evicted += noted.evicted;
        self.counters.consumed += u64::from(noted.consumed_late);
        let new_here = noted.new_here;
        if let Some(disorder) = noted.disorder.clone() {
            self.counters.evicted += self.disorders.add(&id, disorder);
        }
        if !new_here {
            return false;
        }
        self.count(&noted, &names.kind, (&id, by));
        self.attention.insert(id.clone());
        let seen = Seen {
            sighting,
            names,
            observer: by.observer,
            vantage: by.vantage,
            at: by.now,
            first_here: noted.first_at_vantage,
            first: noted.first,
        };
        let (runs_max, tools_max) = (self.limits.runs_max, self.limits.tools_per_run_max);
        self.counters.evicted += self.runs.record(&seen, runs_max, tools_max);
        self.bound_readers(&id);
        self.fold_later(&id, by.now);
        self.bound_events(&id);
        true
    }

    fn count(&mut self, noted: &Noted, kind: &str, (id, by): (&Arc<str>, &Reporting<'_>)) {
        self.events_held += usize::from(noted.first);
        if noted.first_at_vantage {
            match by.vantage {
                Vantage::Producer => {
                    self.produced_held += 1;
                    self.counters.produced += 1;
                }
                Vantage::Consumer => {
                    self.consumed_held += 1;
                    self.counters.consumed += 1;
                    self.newest_arrival = self.newest_arrival.max(noted.first_seen);
                    self.last_arrival = Some(by.now.monotonic);
                    self.kinds.arrived(kind, noted.first_seen);
                }
            }
        }
        if noted.both_now {
            self.newest_confirmed = self.newest_confirmed.max(noted.first_seen);
        }
        if noted.unsure {
            self.delays.unsure(by.now.monotonic);
        }
        if let Some((delay, within)) = noted.delay {
            self.delays.add(Delay {
                thread_id: id.clone(),
                consumer: by.name.clone(),
                delay,
                within,
                at: by.now.monotonic,
            });
        }
    }

    /// The thread of that id, made where it was not there.
    fn thread(&mut self, thread_id: &str) -> Arc<str> {
        let known = self.threads.get_key_value(thread_id);
        let id: Arc<str> = match known {
            Some((id, _)) => id.clone(),
            None => {
                while self.threads.len() >= self.limits.threads_max.max(1) {
                    let Some(oldest) = self.thread_recency.oldest() else {
                        break;
                    };
                    self.counters.evicted += 1 + self.remove_thread(&oldest);
                }
                let id: Arc<str> = thread_id.into();
                self.threads.insert(id.clone(), Thread::default());
                id
            }
        };
        if let Some(thread) = self.threads.get_mut(&id) {
            self.thread_recency.touch(&mut thread.stamp, &id);
        }
        id
    }
}
