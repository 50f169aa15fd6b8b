//! Those who watch the health: each is told at once, and again inside the interval it asked for.
//! One that does not take what it is sent is dropped and counted; it delays nobody.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use service_kit::clock::Now;
use slotmap::SlotMap;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::machine::HealthMachine;
use super::report::{HealthReport, UpdateReason};
use crate::hub::api::{HealthUpdate, HubError};

/// Updates that may wait for a watcher before it is dropped.
const MAX_WAITING_UPDATES: usize = 8;

slotmap::new_key_type! {
    struct WatcherId;
}

struct Watcher {
    sender: mpsc::Sender<HealthUpdate>,
    /// The promise made with each update.
    interval: Duration,
    due: Instant,
}

/// The open health streams.
pub(crate) struct Watchers {
    watchers: SlotMap<WatcherId, Watcher>,
    due: BTreeSet<(Instant, WatcherId)>,
    limit: usize,
    dropped: u64,
}

impl Watchers {
    /// None yet; at most `limit` at once.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            watchers: SlotMap::with_key(),
            due: BTreeSet::new(),
            limit,
            dropped: 0,
        }
    }

    /// How many are open, and how many were dropped because they fell behind.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.watchers.len() as u64, self.dropped)
    }

    /// Opens a stream; its first update is already in it.
    pub(crate) fn add(
        &mut self,
        interval: Duration,
        health: &mut HealthMachine,
        now: Now,
    ) -> Result<mpsc::Receiver<HealthUpdate>, HubError> {
        if self.watchers.len() >= self.limit {
            self.forget_closed();
        }
        if self.watchers.len() >= self.limit {
            return Err(HubError::TooManyWatchers(self.limit));
        }
        let (sender, receiver) = mpsc::channel(MAX_WAITING_UPDATES);
        let due = now.monotonic;
        let id = self.watchers.insert(Watcher {
            sender,
            interval,
            due,
        });
        self.due.insert((due, id));
        self.tell(
            id,
            &health.report(now),
            UpdateReason::Initial,
            now.monotonic,
        );
        Ok(receiver)
    }

    /// When the next heartbeat is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Sends the heartbeats that are due.
    pub(crate) fn beat(&mut self, health: &mut HealthMachine, now: Now) {
        while let Some(&(due, id)) = self.due.first()
            && due <= now.monotonic
        {
            self.tell(
                id,
                &health.report(now),
                UpdateReason::Heartbeat,
                now.monotonic,
            );
        }
    }

    /// Sends one status to everybody. After DRAINING every stream is over.
    pub(crate) fn tell_all(&mut self, reason: UpdateReason, health: &mut HealthMachine, now: Now) {
        let report = health.report(now);
        for id in self.watchers.keys().collect::<Vec<_>>() {
            self.tell(id, &report, reason, now.monotonic);
        }
        if reason == UpdateReason::Draining {
            self.watchers.clear();
            self.due.clear();
        }
    }

    fn tell(&mut self, id: WatcherId, report: &HealthReport, reason: UpdateReason, now: Instant) {
        let Some(watcher) = self.watchers.get_mut(id) else {
            return;
        };
        self.due.remove(&(watcher.due, id));
        let last = reason == UpdateReason::Draining;
        let next_within = (!last).then_some(watcher.interval);
        let update = HealthUpdate {
            health: report.clone(),
            reason,
            next_within,
        };
        match watcher.sender.try_send(update) {
            Ok(()) => {
                // A quarter of the interval is left for the way.
                watcher.due = now + watcher.interval / 4 * 3;
                self.due.insert((watcher.due, id));
            }
            Err(error) => {
                self.dropped += u64::from(matches!(error, TrySendError::Full(_)));
                self.watchers.remove(id);
            }
        }
    }

    fn forget_closed(&mut self) {
        self.watchers
            .retain(|_, watcher| !watcher.sender.is_closed());
        let watchers = &self.watchers;
        self.due.retain(|(_, id)| watchers.contains_key(*id));
    }
}

#[cfg(test)]
mod tests {
    use service_kit::clock::Clock;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_heartbeat_comes_inside_the_promise() {
        let now = Clock::system().now();
        let mut health = HealthMachine::new(now);
        let mut watchers = Watchers::new(1);
        let mut stream = watchers.add(SECOND, &mut health, now).unwrap();
        let first = stream.try_recv().unwrap();
        assert_eq!(
            (first.reason, first.next_within),
            (UpdateReason::Initial, Some(SECOND))
        );
        let due = watchers.next_due().unwrap();
        assert!(due < now.monotonic + SECOND);
        watchers.beat(&mut health, now.later(due - now.monotonic));
        let second = stream.try_recv().unwrap();
        assert_eq!(second.reason, UpdateReason::Heartbeat);
        assert!(second.health.sequence > first.health.sequence);
    }

    #[test]
    fn one_that_does_not_read_is_dropped_and_counted() {
        let now = Clock::system().now();
        let mut health = HealthMachine::new(now);
        let mut watchers = Watchers::new(2);
        let _stalled = watchers.add(SECOND, &mut health, now).unwrap();
        let mut reading = watchers.add(SECOND, &mut health, now).unwrap();
        for _ in 0..=MAX_WAITING_UPDATES {
            watchers.tell_all(UpdateReason::Changed, &mut health, now);
            while reading.try_recv().is_ok() {}
        }
        assert_eq!(watchers.counts(), (1, 1));
    }

    #[test]
    fn one_that_left_makes_room() {
        let now = Clock::system().now();
        let mut health = HealthMachine::new(now);
        let mut watchers = Watchers::new(1);
        let first = watchers.add(SECOND, &mut health, now).unwrap();
        assert!(watchers.add(SECOND, &mut health, now).is_err());
        drop(first);
        assert!(watchers.add(SECOND, &mut health, now).is_ok());
        assert_eq!(watchers.counts(), (1, 0));
    }

    #[test]
    fn a_drain_is_the_last_word() {
        let now = Clock::system().now();
        let mut health = HealthMachine::new(now);
        let mut watchers = Watchers::new(1);
        let mut stream = watchers.add(SECOND, &mut health, now).unwrap();
        watchers.tell_all(UpdateReason::Draining, &mut health, now);
        stream.try_recv().unwrap();
        let last = stream.try_recv().unwrap();
        assert_eq!(
            (last.reason, last.next_within),
            (UpdateReason::Draining, None)
        );
        assert_eq!(
            stream.try_recv().unwrap_err(),
            mpsc::error::TryRecvError::Disconnected
        );
    }
}
