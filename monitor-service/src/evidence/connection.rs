//! What came on one connection of a consumer, and in which order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::ranges::Ranges;
use super::skew::Timed;
use crate::domain::Sighting;

/// Holes in the arrivals and the sequences of one connection; beyond, the oldest are closed.
const HOLES_MAX: usize = 32;
/// Arrivals whose order is remembered: as far as reports may overtake each other.
const RECENT_MAX: usize = 32;

/// What one arrival says of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Fine,
    /// This arrival was reported before.
    Known,
    /// The event had come before on this connection.
    Twice,
    /// An event with this higher sequence had come before it.
    After(u64),
}

/// One connection, as far as one thread is concerned.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    session: u64,
    id: Arc<str>,
    epoch: u32,
    arrivals: Ranges,
    sequences: Ranges,
    /// Arrival and sequence, in the order of arrival.
    recent: VecDeque<(u64, u64)>,
    /// When the monitor first heard of it.
    pub(super) since: Instant,
}

impl Connection {
    pub(super) fn new(session: u64, id: &str, epoch: u32, at: Instant) -> Self {
        Self {
            session,
            id: id.into(),
            epoch,
            arrivals: Ranges::default(),
            sequences: Ranges::default(),
            recent: VecDeque::new(),
            since: at,
        }
    }

    pub(super) fn is(&self, session: u64, id: &str) -> bool {
        *self.id == *id && self.session == session
    }

    pub(super) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Takes an arrival. `known`: the sequence under which the event is remembered, 0 where it
    /// is not.
    pub(super) fn arrives(&mut self, sighting: &Sighting, known: u64, epoch: u32) -> Order {
        if self.epoch != epoch {
            // A log that began anew counts anew.
            self.epoch = epoch;
            self.sequences = Ranges::default();
            self.recent.clear();
        }
        if sighting.arrival != 0 && !self.arrivals.insert(sighting.arrival) {
            return Order::Known;
        }
        self.arrivals.close_all_but(HOLES_MAX);
        let sequence = sighting.sequence;
        let came = |sequence| sequence != 0 && self.sequences.contains(sequence);
        let twice = sighting.arrival != 0 && (came(sequence) || came(known));
        if sequence != 0 {
            self.sequences.insert(sequence);
            // Closed holes would make late events look repeated.
            if self.sequences.len() > HOLES_MAX {
                self.sequences = Ranges::default();
                self.sequences.insert(sequence);
            }
        }
        if sighting.replayed {
            // The component said that it goes back; the order counts from here.
            self.recent.clear();
            self.remember(sighting.arrival, sequence);
            return Order::Fine;
        }
        if twice {
            return Order::Twice;
        }
        let after = self.overtaken_by(sighting.arrival, sequence);
        self.remember(sighting.arrival, sequence);
        after.map_or(Order::Fine, Order::After)
    }

    /// The higher sequence that came just before, or the lower one that came just after and
    /// makes this one the higher.
    fn overtaken_by(&self, arrival: u64, sequence: u64) -> Option<u64> {
        if arrival == 0 || sequence == 0 {
            return None;
        }
        let place = self.recent.partition_point(|(known, _)| *known < arrival);
        let before = place
            .checked_sub(1)
            .and_then(|place| self.recent.get(place));
        let before = before.filter(|(_, before)| *before > sequence);
        let after = self.recent.get(place);
        let after = after.filter(|(_, after)| *after < sequence);
        before
            .map(|(_, before)| *before)
            .or(after.map(|_| sequence))
    }

    fn remember(&mut self, arrival: u64, sequence: u64) {
        if arrival == 0 || sequence == 0 {
            return;
        }
        let place = self.recent.partition_point(|(known, _)| *known < arrival);
        self.recent.insert(place, (arrival, sequence));
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
    }
}

/// A sighting's time, and since when its consumer was surely connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) time: Timed,
    pub(super) connected: Instant,
}

#[cfg(test)]
mod tests {
    use service_kit::clock::Clock;

    use super::*;
    use crate::audit::testing::sighting;

    fn arrive(connection: &mut Connection, arrival: u64, sequence: u64, replayed: bool) -> Order {
        let mut seen = sighting("t", sequence, "e", Clock::system().now());
        seen.connection_id = "c".into();
        seen.arrival = arrival;
        seen.replayed = replayed;
        connection.arrives(&seen, sequence, 0)
    }

    fn connection() -> Connection {
        Connection::new(1, "c", 0, Clock::system().now().monotonic)
    }

    #[test]
    fn order_on_one_connection() {
        let mut on = connection();
        assert_eq!(arrive(&mut on, 1, 5, false), Order::Fine);
        assert_eq!(arrive(&mut on, 2, 6, false), Order::Fine);
        assert_eq!(arrive(&mut on, 2, 6, false), Order::Known);
        assert_eq!(arrive(&mut on, 3, 6, false), Order::Twice);
        assert_eq!(arrive(&mut on, 4, 8, false), Order::Fine);
        assert_eq!(arrive(&mut on, 5, 7, false), Order::After(8));
        assert_eq!(arrive(&mut on, 6, 9, false), Order::Fine);
    }

    #[test]
    fn late_reports_keep_their_place() {
        let mut on = connection();
        for (arrival, sequence) in [(3, 7), (1, 5), (4, 8), (2, 6)] {
            assert_eq!(arrive(&mut on, arrival, sequence, false), Order::Fine);
        }
        assert_eq!(arrive(&mut on, 6, 9, false), Order::Fine);
        assert_eq!(arrive(&mut on, 5, 11, false), Order::After(11));
    }

    #[test]
    fn a_declared_replay_may_go_back() {
        let mut on = connection();
        arrive(&mut on, 1, 5, false);
        arrive(&mut on, 2, 6, false);
        for (arrival, sequence) in [(3, 5), (4, 6)] {
            assert_eq!(arrive(&mut on, arrival, sequence, true), Order::Fine);
        }
        assert_eq!(arrive(&mut on, 5, 7, false), Order::Fine);
    }

    #[test]
    fn an_event_under_two_sequences_came_twice() {
        let mut on = connection();
        arrive(&mut on, 1, 5, false);
        let mut again = sighting("t", 6, "e", Clock::system().now());
        again.arrival = 2;
        assert_eq!(on.arrives(&again, 5, 0), Order::Twice);
    }
}
