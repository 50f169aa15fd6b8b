//! Which consumers read a thread now, and what each of them should have by now.

use std::time::{Duration, Instant};

use service_kit::clock::Now;

use super::Evidence;
use super::event::Event;
use super::observer::{Observer, ObserverKey};
use super::reader::Reader;
use super::run::Run;
use super::thread::Thread;
use crate::domain::Vantage;

/// Delays that must be known before the grace follows them.
const DELAYS_MIN: usize = 3;
/// The grace follows the measured delay no further than this many times its setting.
const GRACE_FACTOR_MAX: u32 = 3;

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) grace: Duration,
    /// Events from before this moment belong to an earlier instance of the component, or to its
    /// outage. `None`: there was none.
    pub(crate) baseline: Option<Instant>,
    /// An observer that does not name what it reads counts as reading for this long after its
    /// last event there.
    pub(crate) silence: Duration,
}

/// A consumer that reads a thread now, and when it last gave a sign of life.
pub(super) struct Reading<'a> {
    pub(super) observer: &'a Observer,
    pub(super) reader: &'a Reader,
    pub(super) since: Instant,
    pub(super) alive: Instant,
    pub(super) in_epoch: bool,
}

impl Reading<'_> {
    /// Whether this event should have reached this consumer, and the consumer lived on for the
    /// grace without reporting it.
    pub(super) fn lacks(&self, event: &Event, scope: Scope) -> bool {
        let Some(produced) = event.produced else {
            return false;
        };
        // It has it, or was told that it is gone.
        if self.in_epoch && event.sequence != 0 && self.reader.received.contains(event.sequence) {
            return false;
        }
        let observable = produced.max(self.since);
        let ripe = self.alive >= observable + scope.grace;
        let current = scope.baseline.is_none_or(|baseline| produced >= baseline);
        ripe && current && self.had_begun(event, produced, scope)
    }

    /// A consumer's first event defines where it began: what came before is not its loss.
    fn had_begun(&self, event: &Event, produced: Instant, scope: Scope) -> bool {
        match (self.reader.received.first(), self.reader.first_event) {
            (Some(first), _) if self.in_epoch && event.sequence != 0 => event.sequence >= first,
            (_, Some(first)) if self.in_epoch => produced >= first,
            // Without an event of its own, reports that were late when it began must not count.
            _ => produced >= self.since + scope.grace,
        }
    }

    /// Its position. `None`: it has none in this epoch.
    pub(super) fn position(&self) -> Option<u64> {
        self.reader.received.last().filter(|_| self.in_epoch)
    }

    /// Reports that it made since its position last moved.
    pub(super) fn reports_at_rest(&self) -> u64 {
        self.observer
            .reports
            .saturating_sub(self.reader.moved_at_report)
    }
}

impl Evidence {
    /// How long an accepted event may take: the setting, or twice the measured delay where that
    /// is more. Events that are late are not lost.
    pub(crate) fn grace(&self, setting: Duration, now: Now) -> Duration {
        let measured = self.delays.median(DELAYS_MIN, now);
        let twice = measured.map_or(Duration::ZERO, |delay| delay.delay.saturating_mul(2));
        let most = setting.saturating_mul(GRACE_FACTOR_MAX);
        twice.clamp(setting, most)
    }

    pub(super) fn readings<'a>(
        &'a self,
        thread: &'a Thread,
        scope: Scope,
        now: Now,
    ) -> Vec<Reading<'a>> {
        let mut readings: Vec<_> = thread
            .readers
            .iter()
            .filter_map(|(key, reader)| self.reading(*key, reader, thread, scope, now))
            .collect();
        readings.sort_by(|a, b| (a.since, &a.observer.name).cmp(&(b.since, &b.observer.name)));
        readings
    }

    fn reading<'a>(
        &'a self,
        key: ObserverKey,
        reader: &'a Reader,
        thread: &Thread,
        scope: Scope,
        now: Now,
    ) -> Option<Reading<'a>> {
        let observer = self.observers.get(key)?;
        if observer.signed_off || reader.left.is_some() {
            return None;
        }
        let since = match reader.reading_since {
            Some(since) => since,
            None if observer.declares_reading => return None,
            None => {
                let last = reader.last_event?;
                (now.since(last) <= scope.silence).then_some(reader.first_event?)?
            }
        };
        let in_epoch = reader.epoch == thread.epoch();
        let began_anew = thread.epoch_since().filter(|_| !in_epoch);
        Some(Reading {
            observer,
            reader,
            since: began_anew.map_or(since, |epoch| epoch.max(since)),
            alive: observer.caught_up?,
            in_epoch,
        })
    }

    /// An observer that saw something of a run and would see what comes of it: it has not signed
    /// off, and if it is a consumer, it still reads the run's thread.
    pub(crate) fn witness_of(&self, run: &Run) -> Option<&Observer> {
        let thread = self.threads.get(&run.thread_id);
        run.seen_by.iter().find_map(|key| {
            let observer = self.observers.get(*key)?;
            let reads = || {
                let reader = thread.and_then(|thread| thread.readers.get(key));
                reader.is_some_and(|reader| {
                    let named = reader.reading_since.is_some() || !observer.declares_reading;
                    reader.left.is_none() && named
                })
            };
            let sees = observer.vantage == Vantage::Producer || reads();
            (sees && !observer.signed_off).then_some(observer)
        })
    }

    /// Whether an observer that saw a run's beginning saw all of it since: a consumer that was told
    /// that something is gone did not, and of one whose reading is forgotten nobody knows.
    pub(crate) fn followed(&self, key: ObserverKey, run: &Run) -> bool {
        let produces = |observer: &Observer| observer.vantage == Vantage::Producer;
        if self.observer(key).is_some_and(produces) {
            return true;
        }
        let thread = self.threads.get(&run.thread_id);
        let reader = thread.and_then(|thread| thread.readers.get(&key));
        reader.is_some_and(|reader| reader.skipped.is_none_or(|at| at < run.first_event))
    }

    /// Consumers' connections that witnesses tell of now.
    pub(crate) fn connections_witnessed(&self, now: Now) -> u64 {
        let silence = self.limits.observer_silence;
        let reporting = self.observers.iter().filter(|o| o.reports(silence, now));
        reporting
            .map(|observer| observer.reading.len() as u64)
            .sum()
    }

    /// Until when every reading consumer has told what it got. `None`: nobody reads.
    pub(crate) fn consumers_told_until(&self, now: Now) -> Option<Instant> {
        let silence = self.limits.observer_silence;
        let reading = self
            .observers
            .iter()
            .filter(|observer| observer.reports(silence, now) && !observer.reading.is_empty());
        let told = reading.map(|observer| observer.caught_up);
        told.min().flatten()
    }
}
