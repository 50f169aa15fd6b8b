//! Evidence of components that are not registered (yet): kept for a late registration, bounded.

use std::collections::HashMap;
use std::time::Instant;

use service_kit::clock::Now;

use crate::domain::ComponentId;
use crate::evidence::Evidence;
use crate::evidence::limits::EvidenceLimits;

/// Evidence by the id that it names.
#[derive(Debug)]
pub(super) struct Unregistered {
    limits: EvidenceLimits,
    by_id: HashMap<ComponentId, (Evidence, Instant)>,
}

impl Unregistered {
    pub(super) fn new(limits: EvidenceLimits) -> Self {
        Self {
            limits: EvidenceLimits {
                // What nobody asked for must not take the place of what somebody did.
                events_max: limits.events_max.min(limits.events_total_max / 10),
                ..limits
            },
            by_id: HashMap::new(),
        }
    }

    /// The evidence of an id, and how many events had to leave with another id for it.
    pub(super) fn of(&mut self, id: &str, now: Now) -> (usize, &mut Evidence) {
        let mut left = 0;
        if !self.by_id.contains_key(id) && self.by_id.len() >= self.limits.unregistered_max.max(1) {
            let oldest = self.by_id.iter().min_by_key(|(_, (_, touched))| *touched);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone())
                && let Some((evidence, _)) = self.by_id.remove(&oldest)
            {
                left = evidence.events_held();
            }
        }
        let limits = self.limits;
        let known = self
            .by_id
            .entry(id.into())
            .or_insert_with(|| (Evidence::new(limits), now.monotonic));
        known.1 = now.monotonic;
        (left, &mut known.0)
    }

    /// Hands over what is known of an id that is being registered.
    pub(super) fn take(&mut self, id: &ComponentId, limits: EvidenceLimits) -> Evidence {
        match self.by_id.remove(id) {
            Some((mut evidence, _)) => {
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
        let mut left = 0;
        self.by_id.retain(|_, (evidence, touched)| {
            let keep = now.since(*touched) <= window;
            if !keep {
                left += evidence.events_held();
            }
            keep
        });
        left
    }
}
