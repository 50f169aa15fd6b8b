//! What witnesses saw, past the component itself: for each component its observers, threads and
//! runs, bounded and expiring.

mod bounds;
pub(crate) mod limits;
pub(crate) mod loss;
pub(crate) mod observer;
mod ranges;
mod reader;
mod recency;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod thread;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use service_kit::clock::Now;

use crate::domain::{ReportOutcome, Sighting, Vantage};
use limits::EvidenceLimits;
use observer::{Observer, ObserverKey, Observers};
use recency::Recency;
use run::{Runs, Seen};
use thread::{Noted, Thread};

/// The part of a report that is about one component.
#[derive(Clone, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) observer_id: &'a str,
    pub(crate) vantage: Vantage,
    pub(crate) sightings: Vec<&'a Sighting>,
    /// The threads that the observer reads now. `None`: the report does not say.
    pub(crate) reading: Option<&'a [String]>,
    pub(crate) sign_off: bool,
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
    }

    /// Takes an observer's report. What this observer reported before changes nothing.
    pub(crate) fn record(&mut self, part: &Part<'_>, now: Now) -> ReportOutcome {
        let (name, vantage) = (part.observer_id, part.vantage);
        let observer = self
            .observers
            .reported(name, vantage, part.sightings.len(), now);
        self.bound_observers();
        if vantage == Vantage::Consumer
            && let Some(reading) = part.reading
        {
            self.joins(observer, reading, now);
        }
        let mut outcome = ReportOutcome::default();
        for sighting in &part.sightings {
            if self.see(sighting, observer, vantage, now) {
                outcome.recorded += 1;
            } else {
                outcome.repeated += 1;
            }
        }
        if vantage == Vantage::Consumer
            && let Some(reading) = part.reading
        {
            self.leaves(observer, reading, now);
        }
        if part.sign_off {
            self.sign_off(name, vantage, now);
        }
        self.counters.recorded += u64::from(outcome.recorded);
        self.counters.repeated += u64::from(outcome.repeated);
        outcome
    }

    /// Notes that an observer's silence means nothing from now on.
    pub(crate) fn sign_off(&mut self, observer_id: &str, vantage: Vantage, now: Now) {
        let Some(key) = self.observers.find(observer_id, vantage) else {
            return;
        };
        if let Some(observer) = self.observers.get_mut(key) {
            observer.signed_off = true;
            observer.reading.clear();
        }
        for thread in self.threads.values_mut() {
            if let Some(reader) = thread.readers.get_mut(&key) {
                reader.leaves(now.monotonic);
            }
        }
    }

    fn see(
        &mut self,
        sighting: &Sighting,
        observer: ObserverKey,
        vantage: Vantage,
        now: Now,
    ) -> bool {
        let id = self.thread(&sighting.thread_id);
        let gaps_max = self.limits.gaps_per_reader_max;
        let Some(thread) = self.threads.get_mut(&id) else {
            return false;
        };
        let noted = thread.note(sighting, observer, vantage, gaps_max, now);
        self.counters.evicted += noted.evicted;
        if !noted.new_here {
            return false;
        }
        self.count(&noted, vantage);
        self.attention.insert(id.clone());
        let seen = Seen {
            sighting,
            observer,
            vantage,
            at: now,
            first_here: noted.first_at_vantage,
            first: noted.first,
        };
        let (runs_max, tools_max) = (self.limits.runs_max, self.limits.tools_per_run_max);
        self.counters.evicted += self.runs.record(&seen, runs_max, tools_max);
        self.bound_readers(&id);
        self.bound_events(&id);
        true
    }

    fn count(&mut self, noted: &Noted, vantage: Vantage) {
        self.events_held += usize::from(noted.first);
        if noted.first_at_vantage {
            match vantage {
                Vantage::Producer => {
                    self.produced_held += 1;
                    self.counters.produced += 1;
                }
                Vantage::Consumer => {
                    self.consumed_held += 1;
                    self.newest_arrival = self.newest_arrival.max(noted.first_seen);
                }
            }
        }
        if noted.both_now {
            self.newest_confirmed = self.newest_confirmed.max(noted.first_seen);
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

    fn joins(&mut self, key: ObserverKey, reading: &[String], now: Now) {
        let Some(observer) = self.observers.get_mut(key) else {
            return;
        };
        observer.declares_reading |= !reading.is_empty();
        let new: Vec<_> = reading
            .iter()
            .filter(|id| !observer.reading.contains(id.as_str()))
            .collect();
        for thread_id in new {
            let id = self.thread(thread_id);
            if let Some(thread) = self.threads.get_mut(&id) {
                let epoch = thread.epoch();
                let reader = thread.readers.entry(key).or_default();
                if reader.first_event.is_none() {
                    reader.enter(epoch);
                }
                reader.joins(now.monotonic);
                thread.touched = Some(now.monotonic);
                self.attention.insert(id.clone());
            }
            if let Some(observer) = self.observers.get_mut(key) {
                observer.reading.insert(id.clone());
            }
            self.bound_readers(&id);
        }
    }

    fn leaves(&mut self, key: ObserverKey, reading: &[String], now: Now) {
        let Some(observer) = self.observers.get_mut(key) else {
            return;
        };
        let now_reading: HashSet<&str> = reading.iter().map(String::as_str).collect();
        let mut left = Vec::new();
        observer.reading.retain(|id| {
            let stays = now_reading.contains(&**id);
            if !stays {
                left.push(id.clone());
            }
            stays
        });
        for id in left {
            if let Some(thread) = self.threads.get_mut(&id)
                && let Some(reader) = thread.readers.get_mut(&key)
            {
                reader.leaves(now.monotonic);
            }
        }
    }
}
