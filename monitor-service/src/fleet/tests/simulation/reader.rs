//! Chat users: they connect, resume where they were, and lose the connection.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::bridge::Entry;
use super::dice::{Dice, MILLI};
use super::session::SessionStep;
use super::witness::{Note, Observer};
use super::world::{At, What, World};
use crate::domain::Vantage;

/// How an event came, as its reader may tell it. The default: it does not.
#[derive(Clone, Default)]
pub(super) struct Arrival {
    pub(super) connection: String,
    pub(super) number: u64,
    pub(super) replayed: bool,
}

/// A reader's connection to one thread.
pub(super) struct Line {
    number: u64,
    arrivals: u64,
    /// The newest event when a resume was granted.
    granted_through: Option<u64>,
}

/// A chat user.
pub(super) struct Reader {
    pub(super) observer: usize,
    pub(super) threads: Vec<Rc<str>>,
    pub(super) acknowledges: bool,
    pub(super) connected: bool,
    /// Connections that it has made.
    pub(super) connections: u64,
    /// Those that it has now, by thread.
    pub(super) lines: BTreeMap<Rc<str>, Line>,
    /// The epoch and the last sequence that it has, by thread.
    pub(super) positions: BTreeMap<Rc<str>, (Rc<str>, u64)>,
    pub(super) last_arrival: At,
}

impl Reader {
    /// How long after an event came it is acknowledged. `None`: never.
    pub(super) fn acknowledges(&self, dice: &mut Dice) -> Option<At> {
        self.acknowledges.then(|| dice.millis(1, 400))
    }

    /// The next event on its connection to a thread.
    pub(super) fn arrives(&mut self, thread: &Rc<str>, sequence: u64) -> Arrival {
        let Some(line) = self.lines.get_mut(thread) else {
            return Arrival::default();
        };
        line.arrivals += 1;
        let granted = |last| sequence <= last || line.arrivals == 1;
        Arrival {
            connection: format!("connection-{}", line.number),
            number: line.arrivals,
            replayed: line.granted_through.is_some_and(granted),
        }
    }
}

impl World {
    pub(super) fn connects(&mut self, number: usize, who: usize) {
        let at = self.core.at;
        let place = &mut self.places[number];
        let ready = place.up && place.bridge.takes_events();
        let Some(session) = &mut place.session else {
            return;
        };
        let reader = &mut session.readers[who];
        if reader.connected || session.observers[reader.observer].leaves {
            return;
        }
        if !ready {
            let again = self.core.dice.millis(200, 1_000);
            let step = SessionStep::Connects(who);
            self.core
                .later(again, What::Session(number, session.number, step));
            return;
        }
        reader.connected = true;
        reader.last_arrival = reader.last_arrival.max(at + 2 * MILLI);
        for thread in reader.threads.clone() {
            place.bridge.connected();
            let log = place.bridge.log(&thread);
            let epoch = log.epoch.clone();
            let known = reader.positions.get(&thread);
            let after = known.filter(|known| known.0 == epoch).map(|known| known.1);
            let wanted = |entry: &&Entry| after.is_none_or(|after| entry.sequence > after);
            let entries: Vec<_> = log.entries.iter().filter(wanted).cloned().collect();
            let first = entries.first().map_or(log.last + 1, |entry| entry.sequence);
            let granted = after.is_some_and(|after| first <= after + 1);
            reader.connections += 1;
            let line = Line {
                number: reader.connections,
                arrivals: 0,
                granted_through: granted.then_some(log.last),
            };
            reader.lines.insert(thread.clone(), line);
            if let Some(after) = after {
                self.core.troubles.count("resumes", 1);
                if first > after + 1 {
                    self.core.troubles.count("gaps_declared", 1);
                }
                if first > after + 1 && !session.observers[reader.observer].tells_arrivals() {
                    // It was told that something is gone: it loads the page anew, as another.
                    let name = format!("{}+", session.observers[reader.observer].name);
                    session.observers[reader.observer].leaves = true;
                    session.observers[reader.observer].reading.clear();
                    let anew = Observer::new(name, Vantage::Consumer, &mut self.core.dice);
                    session.observers.push(anew);
                    reader.observer = session.observers.len() - 1;
                    let step = SessionStep::Posts(reader.observer);
                    self.core
                        .later(0, What::Session(number, session.number, step));
                }
            }
            for entry in entries {
                reader.last_arrival += 20;
                let arrives = reader.last_arrival;
                let acks = (who, reader.acknowledges(&mut self.core.dice));
                place.bridge.writes(&thread, entry.sequence, acks, arrives);
                let position = (epoch.clone(), entry.sequence);
                reader.positions.insert(thread.clone(), position);
                session.observers[reader.observer].notebook.push_back(Note {
                    seen: arrives,
                    facts: entry.facts,
                    sequence: entry.sequence,
                    arrival: reader.arrives(&thread, entry.sequence),
                    epoch: epoch.clone(),
                });
            }
        }
        let observer = &mut session.observers[reader.observer];
        observer.has_left = false;
        observer.reading.extend(reader.threads.iter().cloned());
    }

    /// Every reader's connection is cut; what was under way is lost, and asked for again.
    pub(super) fn cuts_readers(&mut self, number: usize, longest_ms: u64) {
        let place = &mut self.places[number];
        let Some(session) = &mut place.session else {
            return;
        };
        for who in 0..session.readers.len() {
            let reader = &mut session.readers[who];
            if !std::mem::take(&mut reader.connected) {
                continue;
            }
            let observer = &mut session.observers[reader.observer];
            observer.stops_reading();
            // Some had enough.
            observer.leaves |= self.core.dice.chance(0.1);
            let seen = observer
                .notebook
                .partition_point(|note| note.seen <= self.core.at);
            for lost in observer.notebook.drain(seen..).rev() {
                let thread = lost.facts.thread_id.clone();
                let before = (lost.epoch.clone(), lost.sequence - 1);
                reader.positions.insert(thread, before);
            }
            for _ in &reader.threads {
                place.bridge.disconnected(who, self.core.at);
            }
            reader.lines.clear();
            if !observer.leaves {
                let back = self.core.dice.millis(50, longest_ms);
                let step = SessionStep::Connects(who);
                self.core
                    .later(back, What::Session(number, session.number, step));
            }
        }
    }

    /// The component drains: its readers get what is theirs, and then the goodbye.
    pub(super) fn says_goodbye(&mut self, number: usize) {
        if let Some(session) = &mut self.places[number].session {
            let arrivals = session.readers.iter().map(|reader| reader.last_arrival);
            let last = arrivals.max().unwrap_or(0);
            let id = session.number;
            let cut = last.max(self.core.at) + MILLI;
            self.core
                .plan(cut, What::Session(number, id, SessionStep::Goodbye));
        }
    }
}
