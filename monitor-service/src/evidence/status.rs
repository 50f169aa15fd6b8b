//! The evidence in numbers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use service_kit::clock::Now;

use super::Evidence;
use super::event::Event;
use super::thread::Thread;
use crate::domain::{ComponentId, ThreadStatus, Vantage};

/// Events of one thread that a delay is taken from, the newest ones.
const DELAYS_OF_THREAD_MAX: usize = 512;
/// Events of one component that a delay is taken from.
const DELAYS_MAX: usize = 512;

/// What the witnesses of one component saw inside the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) produced: u64,
    pub(crate) consumed: u64,
    pub(crate) producers: u32,
    pub(crate) consumers: u32,
    pub(crate) threads: u32,
    pub(crate) runs_open: u32,
    pub(crate) delay_median: Option<Duration>,
    /// When the newest of the events seen at both vantages was first reported.
    pub(crate) newest_confirmed: Option<Instant>,
}

impl Evidence {
    pub(crate) fn totals(&self, now: Now) -> Totals {
        let silence = self.limits.observer_silence;
        Totals {
            produced: self.produced_held + self.folded.produced,
            consumed: self.consumed_held + self.folded.consumed,
            producers: self.observers.reporting(Vantage::Producer, silence, now),
            consumers: self.observers.reporting(Vantage::Consumer, silence, now),
            threads: count(self.threads.len()),
            runs_open: count(self.runs.open_count()),
            delay_median: self.delay_median(),
            newest_confirmed: self.newest_confirmed(now),
        }
    }

    /// When the newest of the events seen at both vantages was first reported. `None`: there is
    /// none inside the window.
    pub(crate) fn newest_confirmed(&self, now: Now) -> Option<Instant> {
        let horizon = now.monotonic.checked_sub(self.limits.window);
        self.newest_confirmed.filter(|at| Some(*at) >= horizon)
    }

    /// Observers that report now.
    pub(crate) fn reporting(&self, now: Now) -> u32 {
        let silence = self.limits.observer_silence;
        self.observers.reporting(Vantage::Producer, silence, now)
            + self.observers.reporting(Vantage::Consumer, silence, now)
    }

    /// Only threads that wait to be folded have events: the others are not looked at, however many
    /// are held.
    fn delay_median(&self) -> Option<Duration> {
        let each = (DELAYS_MAX / self.to_fold.len().max(1)).max(1);
        let newest = self.to_fold.iter().rev().take(DELAYS_MAX);
        let newest = newest
            .filter_map(|(_, id)| self.threads.get(id))
            .flat_map(|thread| thread.events().rev().filter_map(Event::delay).take(each));
        let delays = newest.chain(self.folded.delays.iter().rev().copied());
        median(delays.take(DELAYS_MAX).collect())
    }

    /// What was seen of a thread. `None`: nothing inside the window.
    pub(crate) fn thread_status(
        &self,
        component_id: &ComponentId,
        thread_id: &str,
        now: Now,
    ) -> Option<ThreadStatus> {
        let runs = self.runs.of_thread(thread_id);
        let newest = runs.iter().map(|(_, run)| run.newest()).max()?;
        let mut counts_by_type = BTreeMap::new();
        for (kind, tally) in runs.iter().flat_map(|(_, run)| run.tallies.iter()) {
            *counts_by_type.entry(kind.to_string()).or_insert(0) += u64::from(tally.seen);
        }
        let thread = self.threads.get(thread_id);
        let events = thread.into_iter().flat_map(|thread| thread.events().rev());
        let delays = events.filter_map(Event::delay).take(DELAYS_OF_THREAD_MAX);
        Some(ThreadStatus {
            thread_id: thread_id.to_owned(),
            component_id: component_id.clone(),
            produced: runs.iter().map(|(_, run)| run.produced).sum(),
            consumed: runs.iter().map(|(_, run)| run.consumed).sum(),
            counts_by_type,
            last_event: Some(newest.0),
            last_event_type: newest.2.to_string(),
            consumers: thread.map_or(0, |thread| self.consumers_of(thread, now)),
            delay_median: median(delays.collect()),
            runs: runs.iter().map(|(id, run)| run.status(id, now)).collect(),
        })
    }

    /// Consumers that read a thread now.
    fn consumers_of(&self, thread: &Thread, now: Now) -> u32 {
        let silence = self.limits.observer_silence;
        let reads = thread.readers.iter().filter(|(key, reader)| {
            let observer = self.observers.get(**key);
            let declared = reader.reading_since.is_some();
            let lately = || reader.last_event.is_some_and(|at| now.since(at) <= silence);
            reader.left.is_none()
                && observer.is_some_and(|observer| observer.reports(silence, now))
                && (declared || lately())
        });
        count(reads.count())
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn median(mut delays: Vec<Duration>) -> Option<Duration> {
    delays.sort_unstable();
    delays.get(delays.len() / 2).copied()
}
