//! What is over a bound or older than the window leaves.

use std::sync::Arc;

use service_kit::clock::Now;

use super::Evidence;
use super::event::Left;
use super::observer::ObserverKey;

impl Evidence {
    /// Forgets what is older than the window. Returns whether anything left.
    pub(crate) fn expire(&mut self, now: Now) -> bool {
        let Some(horizon) = now.monotonic.checked_sub(self.limits.window) else {
            return false;
        };
        let before = (self.events_held, self.runs.len(), self.observers.len());
        self.runs.expire(horizon);
        self.folded.expire(horizon);
        self.delays.expire(horizon);
        self.disorders.expire(horizon);
        let gone = self.observers.silent_before(horizon);
        for key in &gone {
            self.observers.remove(*key);
        }
        self.fold_due(self.to_fold.len(), now);
        let ids: Vec<_> = self.threads.keys().cloned().collect();
        for id in ids {
            while self
                .threads
                .get(&id)
                .is_some_and(|thread| thread.first_is_older(horizon))
            {
                self.forget_first(&id);
            }
            let Some(thread) = self.threads.get_mut(&id) else {
                continue;
            };
            thread.forget_observers(&gone);
            for reader in thread.readers.values_mut() {
                reader.forget_gaps(horizon);
            }
            thread
                .readers
                .retain(|_, reader| reader.left.is_none_or(|left| left >= horizon));
            let idle = thread.touched.is_none_or(|touched| touched < horizon);
            if idle && thread.len() == 0 && thread.readers.is_empty() {
                self.remove_thread(&id);
            }
        }
        before != (self.events_held, self.runs.len(), self.observers.len())
    }

    /// Makes room for others: forgets the oldest event of the thread that was silent longest.
    /// Returns whether there was one.
    pub(crate) fn give_way(&mut self) -> bool {
        let left = self.forget_oldest();
        self.counters.evicted += u64::from(left);
        left
    }

    fn forget_oldest(&mut self) -> bool {
        while let Some(oldest) = self.thread_recency.oldest() {
            if self.forget_first(&oldest).is_some() {
                return true;
            }
            // Nothing is left to know of it but who read it.
            if self.threads.len() <= 1 {
                return false;
            }
            self.remove_thread(&oldest);
        }
        false
    }

    pub(super) fn bound_events(&mut self, id: &Arc<str>) {
        let held = |evidence: &Self| evidence.threads.get(id).map_or(0, |thread| thread.len());
        while held(self) > self.limits.events_per_thread_max.max(1)
            && self.forget_first(id).is_some()
        {
            self.counters.evicted += 1;
        }
        while self.events_held > self.limits.events_max.max(1) && self.forget_oldest() {
            self.counters.evicted += 1;
        }
    }

    pub(super) fn bound_observers(&mut self) {
        while self.observers.len() > self.limits.observers_max.max(1) {
            let Some(oldest) = self.observers.oldest() else {
                return;
            };
            self.observers.remove(oldest);
            for thread in self.threads.values_mut() {
                thread.forget_observers(&[oldest]);
            }
            self.counters.evicted += 1;
        }
    }

    /// The consumer whose last word is oldest leaves first.
    pub(super) fn bound_readers(&mut self, id: &Arc<str>) {
        let Some(thread) = self.threads.get_mut(id) else {
            return;
        };
        while thread.readers.len() > self.limits.readers_per_thread_max.max(1) {
            let observers = &self.observers;
            let last_report = |key: &ObserverKey| observers.get(*key).map(|seen| seen.last_report);
            let Some(oldest) = thread.readers.keys().copied().min_by_key(last_report) else {
                return;
            };
            thread.readers.remove(&oldest);
            self.counters.evicted += 1;
        }
    }

    pub(super) fn remove_thread(&mut self, id: &Arc<str>) -> u64 {
        let mut events = 0;
        while self.forget_first(id).is_some() {
            events += 1;
        }
        if let Some(thread) = self.threads.remove(id) {
            self.thread_recency.forget(thread.stamp);
            for key in thread.readers.keys() {
                if let Some(observer) = self.observers.get_mut(*key) {
                    observer.reading.remove(id);
                }
            }
        }
        self.attention.remove(id);
        self.disorders.forget(id);
        events
    }

    /// Forgets the oldest event of a thread.
    pub(super) fn forget_first(&mut self, id: &Arc<str>) -> Option<Left> {
        let left = self
            .threads
            .get_mut(id)
            .and_then(|thread| thread.forget_first());
        let left = left?;
        self.events_held = self.events_held.saturating_sub(1);
        self.produced_held = self.produced_held.saturating_sub(u64::from(left.produced));
        self.consumed_held = self.consumed_held.saturating_sub(u64::from(left.consumed));
        Some(left)
    }
}
