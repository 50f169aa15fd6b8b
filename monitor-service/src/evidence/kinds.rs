//! Events by kind: of one component how each flows, of one run how many were seen.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::domain::Vantage;

/// Kinds told apart in one component; the contract has eight.
const KINDS_MAX: usize = 256;
/// Kinds told apart in one run.
const KINDS_OF_RUN_MAX: usize = 16;
/// Stands for all further kinds of a run.
const OTHER: &str = "other";

/// The kinds of one component.
#[derive(Clone, Debug, Default)]
pub(super) struct Kinds {
    /// When the newest event of that kind that reached a consumer was first reported.
    newest_arrival: HashMap<Arc<str>, Option<Instant>>,
}

impl Kinds {
    /// The name, shared.
    pub(super) fn name(&mut self, kind: &str) -> Arc<str> {
        if let Some((name, _)) = self.newest_arrival.get_key_value(kind) {
            return name.clone();
        }
        let name: Arc<str> = kind.into();
        if self.newest_arrival.len() < KINDS_MAX {
            self.newest_arrival.insert(name.clone(), None);
        }
        name
    }

    /// Notes that an event that was first reported at `first_seen` reached a consumer.
    pub(super) fn arrived(&mut self, kind: &str, first_seen: Option<Instant>) {
        if let Some(newest) = self.newest_arrival.get_mut(kind) {
            *newest = (*newest).max(first_seen);
        }
    }

    /// `None`: none of that kind ever arrived.
    pub(super) fn newest_arrival(&self, kind: &str) -> Option<Instant> {
        self.newest_arrival.get(kind).copied().flatten()
    }
}

/// How often events of one kind were seen, each event once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) produced: u32,
    pub(crate) consumed: u32,
    /// By anybody.
    pub(crate) seen: u32,
}

/// The events of one run, by kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tallies {
    by_kind: Vec<(Arc<str>, Tally)>,
}

impl Tallies {
    pub(super) fn add(&mut self, kind: &Arc<str>, vantage: Vantage, here: bool, first: bool) {
        let place = self.by_kind.iter().position(|(known, _)| known == kind);
        let place = place.unwrap_or_else(|| {
            let full = self.by_kind.len() >= KINDS_OF_RUN_MAX;
            let other = || self.by_kind.iter().position(|(known, _)| &**known == OTHER);
            full.then(other).flatten().unwrap_or_else(|| {
                let name = if full { OTHER.into() } else { kind.clone() };
                // A run has few kinds, and there are many runs.
                self.by_kind.reserve_exact(1);
                self.by_kind.push((name, Tally::default()));
                self.by_kind.len() - 1
            })
        });
        let tally = &mut self.by_kind[place].1;
        match vantage {
            Vantage::Producer => tally.produced += u32::from(here),
            Vantage::Consumer => tally.consumed += u32::from(here),
        }
        tally.seen += u32::from(first);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Tally)> {
        self.by_kind.iter().map(|(kind, tally)| (kind, *tally))
    }

    /// Kinds that a producer reported and no consumer did.
    pub(crate) fn never_consumed(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.iter()
            .filter(|(_, tally)| tally.produced > 0 && tally.consumed == 0)
            .map(|(kind, tally)| (kind, tally.produced))
    }
}
