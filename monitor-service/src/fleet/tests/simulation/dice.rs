//! Chance that can be thrown again: everything follows from one seed.

use super::world::At;

/// One second on the simulation's clock.
pub(super) const SECOND: At = 1_000_000;
/// One millisecond.
pub(super) const MILLI: At = 1_000;

/// Seeded pseudo-randomness.
pub(super) struct Dice(fastrand::Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// True in this share of throws.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.0.f64() < share
    }

    /// A number from `from` to `to`, both possible.
    pub(super) fn number(&mut self, from: u64, to: u64) -> u64 {
        self.0.u64(from..=to)
    }

    /// An index under `len`, which must not be 0.
    pub(super) fn index(&mut self, len: usize) -> usize {
        self.0.usize(..len)
    }

    pub(super) fn millis(&mut self, from: u64, to: u64) -> At {
        self.number(from * MILLI, to * MILLI)
    }

    pub(super) fn seconds(&mut self, from: u64, to: u64) -> At {
        self.number(from * SECOND, to * SECOND)
    }
}
