//! What one consumer has of one thread.

use std::time::Instant;

use super::ranges::Ranges;

/// Sequences that a consumer skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// When it could first be seen.
    pub(crate) since: Instant,
}

/// One consumer's place on one thread, in one epoch of the thread's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader {
    /// Which events it reported, by their place in the thread's memory.
    pub(crate) reported: Ranges,
    /// Which sequences it has. What it has first is where it began.
    pub(crate) received: Ranges,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) epoch: u32,
    /// When its first event in this epoch was reported.
    pub(crate) first_event: Option<Instant>,
    pub(crate) last_event: Option<Instant>,
    /// Since when it says that it is reading. `None`: it does not say so.
    pub(crate) reading_since: Option<Instant>,
    /// When it stopped. `None`: it has not.
    pub(crate) left: Option<Instant>,
}

impl Reader {
    /// Notes that it says it is reading.
    pub(crate) fn joins(&mut self, at: Instant) {
        if self.reading_since.is_none() || self.left.is_some() {
            self.reading_since = Some(at);
        }
        self.left = None;
    }

    /// Notes that it reads no more.
    pub(crate) fn leaves(&mut self, at: Instant) {
        if self.left.is_none() {
            self.left = Some(at);
        }
    }

    /// A log that began anew has nothing in common with the one before.
    pub(crate) fn enter(&mut self, epoch: u32) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.received.clear();
            self.gaps.clear();
            self.first_event = None;
        }
    }

    /// Takes a sequence; returns how many old gaps had to be given up.
    pub(crate) fn receive(&mut self, sequence: u64, at: Instant, gaps_max: usize) -> u64 {
        if sequence != 0 && self.received.insert(sequence) {
            self.find_gaps(at);
        }
        let over = self.gaps.len().saturating_sub(gaps_max);
        for gap in self.gaps.drain(..over) {
            self.received.fill(gap.from, gap.to);
        }
        over as u64
    }

    fn find_gaps(&mut self, at: Instant) {
        let before = std::mem::take(&mut self.gaps);
        let since = |from: u64, to: u64| {
            let older = before.iter().find(|gap| gap.from <= from && to <= gap.to);
            older.map_or(at, |gap| gap.since)
        };
        self.gaps = self
            .received
            .missing()
            .map(|(from, to)| Gap {
                from,
                to,
                since: since(from, to),
            })
            .collect();
    }

    /// Forgets the gaps seen before `horizon`.
    pub(crate) fn forget_gaps(&mut self, horizon: Instant) {
        let received = &mut self.received;
        self.gaps.retain(|gap| {
            let keep = gap.since >= horizon;
            if !keep {
                received.fill(gap.from, gap.to);
            }
            keep
        });
    }
}
