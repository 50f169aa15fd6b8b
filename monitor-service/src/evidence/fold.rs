//! What has settled is no longer kept event by event: its run's counts and digest stand for it, so
//! that memory follows the runs and not their events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service_kit::clock::Now;

use super::Evidence;
use super::event::{Event, Left};
use super::observer::ObserverKey;
use super::reader::Reader;
use super::thread::Thread;

/// Slices of the window in which folded events are counted.
const SLICES: u32 = 60;
/// Threads that one report folds; each report brings at most a few more.
pub(super) const THREADS_AT_ONCE: usize = 2_048;
/// Delays of folded events that are remembered.
const DELAYS_MAX: usize = 512;

/// How many events were folded, by when they were first seen; exact to a slice of the window.
#[derive(Clone, Debug, Default)]
pub(super) struct Folded {
    slices: VecDeque<Slice>,
    pub(super) produced: u64,
    pub(super) consumed: u64,
    /// On the observers' clocks, oldest first.
    pub(super) delays: VecDeque<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Slice {
    began: Instant,
    produced: u64,
    consumed: u64,
}

impl Folded {
    fn add(&mut self, left: Left, window: Duration) {
        let at = left.first_seen;
        let new = self
            .slices
            .back()
            .is_none_or(|slice| at.saturating_duration_since(slice.began) >= window / SLICES);
        if new {
            self.slices.push_back(Slice {
                began: at,
                produced: 0,
                consumed: 0,
            });
        }
        let (produced, consumed) = (u64::from(left.produced), u64::from(left.consumed));
        if let Some(slice) = self.slices.back_mut() {
            slice.produced += produced;
            slice.consumed += consumed;
        }
        self.produced += produced;
        self.consumed += consumed;
        if let Some(delay) = left.delay {
            if self.delays.len() == DELAYS_MAX {
                self.delays.pop_front();
            }
            self.delays.push_back(delay);
        }
    }

    /// Forgets what was folded before `horizon`.
    pub(super) fn expire(&mut self, horizon: Instant) {
        while let Some(slice) = self.slices.front().filter(|slice| slice.began < horizon) {
            self.produced = self.produced.saturating_sub(slice.produced);
            self.consumed = self.consumed.saturating_sub(slice.consumed);
            self.slices.pop_front();
        }
        if self.slices.is_empty() {
            self.delays.clear();
        }
    }
}

impl Evidence {
    /// Notes that a thread has events that will settle.
    pub(super) fn fold_later(&mut self, id: &Arc<str>, now: Now) {
        let thread = self
            .threads
            .get_mut(id)
            .filter(|thread| !thread.awaits_fold);
        if let Some(thread) = thread {
            thread.awaits_fold = true;
            self.to_fold
                .push_back((now.monotonic + self.limits.settle, id.clone()));
        }
    }

    /// Folds what has settled on the threads whose turn it is, so many at the most.
    pub(super) fn fold_due(&mut self, threads_max: usize, now: Now) {
        for _ in 0..threads_max {
            let due = self.to_fold.front().filter(|(at, _)| *at < now.monotonic);
            if due.is_none() {
                return;
            }
            let Some((_, id)) = self.to_fold.pop_front() else {
                return;
            };
            if let Some(thread) = self.threads.get_mut(&id) {
                thread.awaits_fold = false;
                self.fold(&id, now);
                if self.threads.get(&id).is_some_and(|thread| thread.len() > 0) {
                    self.fold_later(&id, now);
                }
            }
        }
    }

    /// Folds the oldest events of a thread, as far as they have settled.
    pub(super) fn fold(&mut self, id: &Arc<str>, now: Now) {
        let Some(before) = now.monotonic.checked_sub(self.limits.settle) else {
            return;
        };
        while let Some(thread) = self.threads.get(id)
            && let Some(event) = thread.events.front()
            && event.first_seen < before
            && self.has_settled(thread, event, (before, now))
        {
            let Some(left) = self.forget_first(id) else {
                return;
            };
            self.folded.add(left, self.limits.window);
        }
    }

    /// Whether nothing can be asked of an event any more that its run's counts do not answer.
    fn has_settled(&self, thread: &Thread, event: &Event, (before, now): (Instant, Now)) -> bool {
        // Late repeats of an event without a sequence could not be recognised.
        if event.sequence == 0 {
            return false;
        }
        if event.epoch != thread.epoch() {
            return true;
        }
        let readers = || {
            let readers = thread.readers.iter();
            readers.filter(|(key, reader)| self.is_here(**key, reader, now))
        };
        match (event.produced, event.consumed) {
            (Some(_), Some(consumed)) => {
                let has = |reader: &Reader| match reader.received.last() {
                    Some(last) if reader.epoch == thread.epoch() => last >= event.sequence,
                    _ => reader.reading_since > event.produced,
                };
                consumed < before && readers().all(|(_, reader)| has(reader))
            }
            // Nobody was there to see it.
            (Some(_), None) => readers().next().is_none(),
            // Nobody tells what goes in there.
            (None, _) => thread.produced_since.is_none(),
        }
    }

    /// Whether a consumer may still tell of events on a thread.
    fn is_here(&self, key: ObserverKey, reader: &Reader, now: Now) -> bool {
        let silence = self.limits.observer_silence;
        let lately = || reader.last_event.is_some_and(|at| now.since(at) <= silence);
        let observer = self.observers.get(key);
        observer.is_some_and(|observer| {
            let reads = reader.reading_since.is_some() || (!observer.declares_reading && lately());
            reader.left.is_none() && reads && observer.reports(silence, now)
        })
    }
}
