//! Evidence of components that are not registered (yet): kept for a late registration, bounded.

use std::collections::HashMap;
use std::time::Instant;

use service_kit::clock::Now;

use crate::domain::{ComponentId, ReportOutcome};
use crate::evidence::limits::EvidenceLimits;
use crate::evidence::{Evidence, Part};

/// The share of all events that may be of components which nobody registered: what nobody asked
/// for must not take the place of what somebody did.
const SHARE: usize = 10;

/// Evidence by the id that it names.
#[derive(Debug)]
pub(super) struct Unregistered {
    limits: EvidenceLimits,
    by_id: HashMap<ComponentId, (Evidence, Instant)>,
    /// Events of them all.
    held: usize,
    /// Events that left because something was full, of ids that are gone.
    evicted_before: u64,
}

impl Unregistered {
    pub(super) fn new(limits: EvidenceLimits) -> Self {
        Self {
            limits,
            by_id: HashMap::new(),
            held: 0,
            evicted_before: 0,
        }
    }

    /// Events of them all.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Events that left because something was full.
    pub(super) fn evicted(&self) -> u64 {
        let evicted = |(evidence, _): &(Evidence, Instant)| evidence.counters().evicted;
        self.evicted_before + self.by_id.values().map(evicted).sum::<u64>()
    }

    /// Takes a report about an id. At the limit of ids the one leaves that was silent longest; at
    /// the limit of events this one's oldest.
    pub(super) fn record(&mut self, id: &str, part: &Part<'_>, now: Now) -> ReportOutcome {
        if self.limits.unregistered_max == 0 {
            return ReportOutcome::default();
        }
        if !self.by_id.contains_key(id) && self.by_id.len() >= self.limits.unregistered_max {
            self.forget_oldest();
        }
        let known = self
            .by_id
            .entry(id.into())
            .or_insert_with(|| (Evidence::new(self.limits), now.monotonic));
        known.1 = now.monotonic;
        let evidence = &mut known.0;
        let before = evidence.events_held();
        let outcome = evidence.record(part, now);
        self.held = (self.held + evidence.events_held()).saturating_sub(before);
        while self.held > self.limits.events_total_max / SHARE && evidence.give_way() {
            self.held = self.held.saturating_sub(1);
        }
        outcome
    }

    fn forget_oldest(&mut self) {
        let oldest = self.by_id.iter().min_by_key(|(_, (_, touched))| *touched);
        let Some(id) = oldest.map(|(id, _)| id.clone()) else {
            return;
        };
        if let Some((evidence, _)) = self.by_id.remove(&id) {
            let events = evidence.events_held();
            self.held = self.held.saturating_sub(events);
            self.evicted_before += evidence.counters().evicted + events as u64;
        }
    }

    /// Hands over what is known of an id that is being registered.
    pub(super) fn take(&mut self, id: &ComponentId, limits: EvidenceLimits) -> Evidence {
        match self.by_id.remove(id) {
            Some((mut evidence, _)) => {
                self.held = self.held.saturating_sub(evidence.events_held());
                evidence.relimit(limits);
                evidence
            }
            None => Evidence::new(limits),
        }
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Evidence> {
        self.by_id.values_mut().map(|(evidence, _)| evidence)
    }

    /// Forgets what is older than the window; returns how many events left.
    pub(super) fn expire(&mut self, now: Now) -> usize {
        let window = self.limits.window;
        let (mut left, mut evicted) = (0, 0);
        self.by_id.retain(|_, (evidence, touched)| {
            let keep = now.since(*touched) <= window;
            if !keep {
                left += evidence.events_held();
                evicted += evidence.counters().evicted;
            }
            keep
        });
        self.held = self.held.saturating_sub(left);
        self.evicted_before += evicted;
        left
    }
}
