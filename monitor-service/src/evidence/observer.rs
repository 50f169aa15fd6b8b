//! Who reports, and how regularly.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use service_kit::clock::Now;

use super::recency::Recency;
use super::session::Standing;
use crate::domain::Vantage;

/// A report that carries this many events may have more behind it: it does not show that its
/// observer has told everything.
const FULL_REPORT_EVENTS: usize = 1_000;
/// After a silence of more than this, what arrives first may have been sent long before it.
const SILENCE: Duration = Duration::from_secs(2);
/// How long after a silence reports that waited for the line may come one by one.
const CATCHING_UP: Duration = Duration::from_secs(1);
/// Intervals that the regular one is taken from.
const INTERVALS: usize = 8;

/// A short name for an observer of one component.
pub(crate) type ObserverKey = u32;

/// One observer.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    pub(crate) name: Arc<str>,
    pub(crate) vantage: Vantage,
    pub(crate) last_report: Instant,
    /// When anything last came from it, one report that came again included.
    pub(crate) heard: Instant,
    /// The last report after which nothing was waiting to be told, and none was missing.
    pub(crate) caught_up: Option<Instant>,
    pub(crate) signed_off: bool,
    /// Whether it ever named the threads that it reads. If not, its events must do.
    pub(crate) declares_reading: bool,
    /// The threads that it says it is reading.
    pub(crate) reading: HashSet<Arc<str>>,
    /// In which time it promised its next report. `None`: no promise.
    pub(crate) promise: Option<Duration>,
    /// Reports taken, those that overtook another not counted.
    pub(crate) reports: u64,
    /// Whether a report is missing that it sent before the newest one.
    pub(crate) waited_for: bool,
    intervals: VecDeque<Duration>,
    /// When its last silence ended.
    resumed: Option<Instant>,
    stamp: u64,
}

impl Observer {
    /// Notes a report with nothing waiting behind it. The first after a silence may be old, and
    /// so may those close behind it: they only show that it had told everything before.
    fn told_everything(&mut self, interval: Duration, now: Now) {
        let told_until = if interval > SILENCE {
            self.resumed = Some(now.monotonic);
            self.last_report
        } else if self.resumed.is_some_and(|at| now.since(at) < CATCHING_UP) {
            return;
        } else {
            now.monotonic
        };
        self.caught_up = self.caught_up.max(Some(told_until));
    }

    fn reported(&mut self, events: usize, standing: Standing, promise: Option<Duration>, now: Now) {
        let interval = now.since(self.last_report);
        if !interval.is_zero() {
            if self.intervals.len() == INTERVALS {
                self.intervals.pop_front();
            }
            self.intervals.push_back(interval);
        }
        self.waited_for = !standing.complete;
        if events < FULL_REPORT_EVENTS && standing.complete {
            self.told_everything(interval, now);
        }
        self.last_report = self.last_report.max(now.monotonic);
        self.heard = now.monotonic;
        if standing.newest {
            self.reports += 1;
            self.promise = promise;
            self.signed_off = false;
        }
    }

    /// Whether it reported lately and has not signed off.
    pub(crate) fn reports(&self, silence: Duration, now: Now) -> bool {
        !self.signed_off && now.since(self.last_report) <= silence
    }

    /// The usual time between two of its reports. `None`: too few came, or they come as they
    /// please.
    pub(crate) fn regular_interval(&self) -> Option<Duration> {
        if self.intervals.len() < INTERVALS {
            return None;
        }
        let mut sorted: Vec<_> = self.intervals.iter().copied().collect();
        sorted.sort_unstable();
        let median = *sorted.get(sorted.len() / 2)?;
        let longest = *sorted.last()?;
        (longest <= median.saturating_mul(2)).then_some(median)
    }

    /// `consumer:ID` or `producer:ID`.
    pub(crate) fn source(&self) -> String {
        format!("{}:{}", self.vantage.name(), self.name)
    }
}

/// The observers of one component.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observers {
    by_key: HashMap<ObserverKey, Observer>,
    names: HashMap<(Vantage, Arc<str>), ObserverKey>,
    recency: Recency<ObserverKey>,
    next: ObserverKey,
}

impl Observers {
    /// Notes a report, and says who it is from.
    pub(crate) fn reported(
        &mut self,
        (name, vantage): (&str, Vantage),
        events: usize,
        (standing, promise): (Standing, Option<Duration>),
        now: Now,
    ) -> ObserverKey {
        let key = self
            .find(name, vantage)
            .unwrap_or_else(|| self.add(name, vantage, now));
        if let Some(observer) = self.by_key.get_mut(&key) {
            observer.reported(events, standing, promise, now);
            self.recency.touch(&mut observer.stamp, &key);
        }
        key
    }

    /// Notes that an observer names what it reads.
    pub(super) fn names_reading(&mut self, key: ObserverKey) {
        if let Some(observer) = self.by_key.get_mut(&key) {
            observer.declares_reading = true;
        }
    }

    /// Notes that a report came again: nothing new is in it, and its observer lives.
    pub(super) fn heard(&mut self, name: &str, vantage: Vantage, now: Now) {
        let key = self.find(name, vantage);
        if let Some(observer) = key.and_then(|key| self.by_key.get_mut(&key)) {
            observer.heard = now.monotonic;
        }
    }

    pub(crate) fn find(&self, name: &str, vantage: Vantage) -> Option<ObserverKey> {
        self.names.get(&(vantage, Arc::from(name))).copied()
    }

    fn add(&mut self, name: &str, vantage: Vantage, now: Now) -> ObserverKey {
        let name: Arc<str> = name.into();
        let key = self.next;
        self.next = self.next.wrapping_add(1);
        self.names.insert((vantage, name.clone()), key);
        let observer = Observer {
            name,
            vantage,
            last_report: now.monotonic,
            heard: now.monotonic,
            caught_up: None,
            signed_off: false,
            declares_reading: false,
            reading: HashSet::new(),
            promise: None,
            reports: 0,
            waited_for: false,
            intervals: VecDeque::new(),
            resumed: None,
            stamp: 0,
        };
        self.by_key.insert(key, observer);
        key
    }

    pub(crate) fn get(&self, key: ObserverKey) -> Option<&Observer> {
        self.by_key.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: ObserverKey) -> Option<&mut Observer> {
        self.by_key.get_mut(&key)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Observer> {
        self.by_key.values()
    }

    pub(crate) fn oldest(&self) -> Option<ObserverKey> {
        self.recency.oldest()
    }

    pub(crate) fn remove(&mut self, key: ObserverKey) {
        if let Some(observer) = self.by_key.remove(&key) {
            self.names.remove(&(observer.vantage, observer.name));
            self.recency.forget(observer.stamp);
        }
    }

    /// Those that have been silent since before `horizon`.
    pub(crate) fn silent_before(&self, horizon: Instant) -> Vec<ObserverKey> {
        let silent = |(key, observer): (&ObserverKey, &Observer)| {
            (observer.last_report < horizon).then_some(*key)
        };
        self.by_key.iter().filter_map(silent).collect()
    }

    /// How many report at a vantage now.
    pub(crate) fn reporting(&self, vantage: Vantage, silence: Duration, now: Now) -> u32 {
        let count = self
            .by_key
            .values()
            .filter(|observer| observer.vantage == vantage && observer.reports(silence, now))
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}
