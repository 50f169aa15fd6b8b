//! What one consumer has of one thread.

use std::sync::Arc;
use std::time::Instant;

use super::connection::{Connection, Order};
use super::ranges::Ranges;
use crate::domain::Sighting;

/// Connections of one consumer to one thread that are told apart.
const CONNECTIONS_MAX: usize = 4;

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
    /// When it last began anew with something announced as gone, or in another log, or told of what
    /// was settled: what it saw of a run before is not whole. `None`: it never did.
    pub(super) skipped: Option<Instant>,
    /// Which of its observer's reports last moved its position.
    pub(crate) moved_at_report: u64,
    /// Oldest first.
    connections: Vec<Connection>,
}

/// What the connection says of one sighting.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) order: Order,
    /// The connection is new, and did not promise to go on where the one before ended.
    pub(super) begins: bool,
    pub(super) connection: Option<Arc<str>>,
    /// Since when the consumer was surely connected on it.
    pub(super) connected: Option<Instant>,
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

    /// A log that began anew has nothing in common with the one before: what was under way went
    /// with it.
    pub(crate) fn enter(&mut self, epoch: u32, at: Instant) {
        if self.epoch != epoch {
            if self.first_event.is_some() {
                self.skipped = Some(at);
            }
            self.epoch = epoch;
            self.received.clear();
            self.gaps.clear();
            self.first_event = None;
        }
    }

    /// Notes on which connection an event came. `known`: the sequence under which the event is
    /// remembered, 0 where it is not.
    pub(super) fn place(
        &mut self,
        sighting: &Sighting,
        session: u64,
        (known, epoch): (u64, u32),
        at: Instant,
    ) -> Placed {
        let id = sighting.connection_id.as_str();
        if id.is_empty() {
            return Placed {
                order: Order::Fine,
                begins: false,
                connection: None,
                connected: self.reading_since,
            };
        }
        let found = self.connections.iter().position(|on| on.is(session, id));
        let new = found.is_none();
        let place = found.unwrap_or_else(|| {
            if self.connections.len() == CONNECTIONS_MAX {
                self.connections.remove(0);
            }
            let connection = Connection::new(session, id, epoch, at);
            self.connections.push(connection);
            self.connections.len() - 1
        });
        let only = self.connections.len() == 1;
        let connection = &mut self.connections[place];
        // It may have said that it reads before its first event came.
        let connected = match self.reading_since {
            Some(since) if only => since.min(connection.since),
            _ => connection.since,
        };
        let first = sighting.arrival == 1 || (new && sighting.arrival == 0);
        Placed {
            order: connection.arrives(sighting, known, epoch),
            begins: first && !sighting.replayed,
            connection: Some(connection.id().clone()),
            connected: Some(connected),
        }
    }

    /// Begins at a sequence: what lies between it and the position before was announced as gone,
    /// or never asked for.
    pub(super) fn begin(&mut self, sequence: u64, at: Instant) {
        if let Some(before) = self.received.last_under(sequence)
            && before + 1 < sequence
        {
            self.received.fill(before + 1, sequence - 1);
            self.find_gaps(at);
            self.skipped = Some(at);
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
