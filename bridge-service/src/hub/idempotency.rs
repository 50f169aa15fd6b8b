//! Recognises an event that was handed in before, inside a bounded window.

use std::collections::{HashMap, VecDeque};

use twox_hash::XxHash3_128;

use super::event::Place;

/// An event's place, without the text that its epoch's number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) sequence: u64,
    /// [`super::epoch::Epoch::number`].
    pub(crate) epoch: u64,
}

impl Remembered {
    pub(crate) fn of(place: &Place) -> Self {
        Self {
            sequence: place.sequence,
            epoch: place.epoch.number(),
        }
    }
}

/// The keys are hashes already, seeded ones: one more round is all that they need.
type Placed = HashMap<u128, Remembered, foldhash::fast::RandomState>;

/// The newest event ids and their places.
///
/// Ids are kept as 128-bit hashes, so that an entry's size does not depend on the id's. The seed is
/// new with each process: nobody outside can make two ids collide on purpose, and by chance it
/// happens once in about 10^26 windows.
#[derive(Debug)]
pub(crate) struct IdempotencyWindow {
    seed: u64,
    limit: usize,
    places: Placed,
    order: VecDeque<u128>,
}

impl IdempotencyWindow {
    /// An empty window of `limit` entries, at least one.
    pub(crate) fn new(seed: u64, limit: usize) -> Self {
        Self {
            seed,
            limit: limit.max(1),
            places: Placed::default(),
            order: VecDeque::new(),
        }
    }

    /// The key of an event id, for [`IdempotencyWindow::find`] and [`IdempotencyWindow::remember`].
    pub(crate) fn key(&self, event_id: &str) -> u128 {
        XxHash3_128::oneshot_with_seed(self.seed, event_id.as_bytes())
    }

    /// Where the event of that key stands, if it was handed in before.
    pub(crate) fn find(&self, key: u128) -> Option<Remembered> {
        self.places.get(&key).copied()
    }

    /// Remembers an event's place, and forgets the oldest at the limit.
    pub(crate) fn remember(&mut self, key: u128, place: Remembered) {
        if self.order.len() >= self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
        self.order.push_back(key);
        self.places.insert(key, place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(sequence: u64) -> Remembered {
        Remembered { sequence, epoch: 1 }
    }

    #[test]
    fn a_repeat_is_recognised_inside_the_window_only() {
        let mut window = IdempotencyWindow::new(7, 2);
        for (sequence, id) in (1..).zip(["a", "b", "c"]) {
            window.remember(window.key(id), place(sequence));
        }
        assert_eq!(window.find(window.key("a")), None);
        assert_eq!(window.find(window.key("b")), Some(place(2)));
        assert_eq!(window.find(window.key("c")), Some(place(3)));
        assert_eq!(window.places.len(), window.order.len());
    }
}
