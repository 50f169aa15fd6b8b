//! Which threads a consumer reads, and when an observer's silence begins to mean nothing.

use std::collections::HashSet;

use service_kit::clock::Now;

use super::Evidence;
use super::observer::ObserverKey;
use super::thread::Thread;
use crate::domain::Vantage;

impl Evidence {
    /// Notes that an observer's silence means nothing from now on.
    pub(crate) fn sign_off(&mut self, observer_id: &str, vantage: Vantage, now: Now) {
        let Some(key) = self.observers.find(observer_id, vantage) else {
            return;
        };
        let Some(observer) = self.observers.get_mut(key) else {
            return;
        };
        observer.signed_off = true;
        let reading = std::mem::take(&mut observer.reading);
        let leave = |thread: &mut Thread| {
            if let Some(reader) = thread.readers.get_mut(&key) {
                reader.leaves(now.monotonic);
            }
        };
        if observer.declares_reading {
            let read = reading.iter();
            read.for_each(|id| self.threads.get_mut(id).into_iter().for_each(leave));
        } else {
            self.threads.values_mut().for_each(leave);
        }
    }

    pub(super) fn joins(&mut self, key: ObserverKey, reading: &[String], now: Now) {
        let Some(observer) = self.observers.get_mut(key) else {
            return;
        };
        observer.declares_reading |= !reading.is_empty();
        let reports = observer.reports;
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
                    reader.enter(epoch, now.monotonic);
                }
                reader.joins(now.monotonic);
                reader.moved_at_report = reports;
                thread.touched = Some(now.monotonic);
                self.attention.insert(id.clone());
            }
            if let Some(observer) = self.observers.get_mut(key) {
                observer.reading.insert(id.clone());
            }
            self.bound_readers(&id);
        }
    }

    pub(super) fn leaves(&mut self, key: ObserverKey, reading: &[String], now: Now) {
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
