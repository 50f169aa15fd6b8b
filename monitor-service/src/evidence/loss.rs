//! What was handed in and did not arrive, as far as the witnesses can tell.

use std::sync::Arc;
use std::time::Instant;

use service_kit::clock::Now;

use super::Evidence;
use super::event::Event;
use super::keys::Lacking;
pub(crate) use super::keys::{Key, LostKey};
use super::observer::Observer;
pub(crate) use super::phantom::Phantom;
use super::reader::Reader;
use super::reading::Reading;
pub(crate) use super::reading::Scope;
use super::thread::Thread;
use crate::domain::Vantage;

/// Consumers whose word is asked for before an event counts as seen by nobody.
const READERS_ASKED_MAX: usize = 8;
/// Events beyond what a consumer has that are looked at; what is missing is said by then.
const BEHIND_MAX: usize = 200;
/// Missing ranges named for one consumer.
const RANGES_NAMED_MAX: usize = 8;
/// Missing events whose kinds are looked up.
const KINDS_ASKED_MAX: u64 = 64;

/// Everything that is missing now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Produced events, older than the grace, on a thread that was being read, that no consumer
    /// reported.
    pub(crate) unseen: u64,
    /// Those of them after which nothing arrived anywhere.
    pub(crate) hole: Option<Hole>,
    /// What single consumers lack of what passed them by; by thread.
    pub(crate) missing: Vec<Missing>,
    /// Keys that get nothing while the rest flows.
    pub(crate) lost_keys: Vec<LostKey>,
    /// Events that arrived and that nobody handed in.
    pub(crate) phantoms: Vec<Phantom>,
}

impl Losses {
    /// Whether something that is missing on a thread is known already.
    pub(crate) fn explains(&self, thread_id: &str) -> bool {
        self.missing
            .iter()
            .any(|lost| *lost.thread_id == *thread_id)
    }
}

impl Losses {
    /// Whether more than one event in a row is gone: a single one may be that event's loss alone.
    pub(crate) fn conclusive_hole(&self) -> bool {
        self.hole.as_ref().is_some_and(|hole| hole.events >= 2)
    }
}

/// Everything handed in since a moment is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) events: u64,
    pub(crate) threads: u64,
    /// When the first of them was reported by its producer.
    pub(crate) since: Instant,
    /// A consumer that was reading and gave signs of life all the while.
    pub(crate) consumer: Arc<str>,
    /// When it last gave one.
    pub(crate) consumer_alive: Instant,
    /// When something last arrived. `None`: nothing ever did.
    pub(crate) last_arrival: Option<Instant>,
}

/// What one consumer lacks of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) thread_id: Arc<str>,
    pub(crate) consumer: Arc<str>,
    pub(crate) events: u64,
    /// The first few ranges of sequences, inclusive.
    pub(crate) ranges: Vec<(u64, u64)>,
    /// Since when the oldest of them could be seen to be missing.
    pub(crate) since: Instant,
    pub(crate) place: Place,
    /// A lost key explains it: one cause, one finding.
    pub(crate) explained: bool,
}

/// Where events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It has events from before and after them.
    Skipped,
    /// It has nothing after them.
    Behind {
        /// 0: it has none.
        position: u64,
        /// Reports that it made since its position last moved.
        reports: u64,
        /// Whether other consumers of the thread went on.
        others_went_on: bool,
    },
}

/// One thread and who reads it.
pub(super) struct Looked<'a> {
    pub(super) id: Arc<str>,
    pub(super) thread: &'a Thread,
    pub(super) readings: Vec<Reading<'a>>,
}

impl Evidence {
    /// What is missing now. Threads on which nothing can be missing are not looked at again
    /// until something happens on them.
    pub(crate) fn losses(&mut self, scope: Scope, now: Now) -> Losses {
        let mut threads: Vec<_> = self.attention.iter().cloned().collect();
        threads.sort_unstable();
        let looked: Vec<_> = threads
            .into_iter()
            .filter_map(|id| {
                let thread = self.threads.get(&id)?;
                let readings = self.readings(thread, scope, now);
                Some(Looked {
                    id,
                    thread,
                    readings,
                })
            })
            .collect();
        let mut losses = Losses::default();
        let mut accused = Vec::new();
        let mut lacking = Lacking::default();
        for look in &looked {
            self.find_unseen(look, scope, &mut losses, (&mut lacking, &mut accused));
        }
        losses.lost_keys = self.lost_keys(lacking, &looked);
        let mut pending = std::collections::HashSet::new();
        for look in &looked {
            let open = self.find_missing(look, (scope, now), &mut losses)
                | self.find_phantoms(look, scope, &mut losses)
                | (!look.readings.is_empty() && !look.thread.unseen.is_empty());
            if open {
                pending.insert(look.id.clone());
            }
        }
        self.attention = pending;
        for (id, place) in accused {
            let thread = self.threads.get_mut(&id);
            if let Some(event) = thread.and_then(|thread| thread.event_mut(place)) {
                event.accused = true;
            }
        }
        losses
    }

    fn find_unseen(
        &self,
        look: &Looked<'_>,
        scope: Scope,
        losses: &mut Losses,
        (lacking, accused): (&mut Lacking, &mut Vec<(Arc<str>, u64)>),
    ) {
        let readings = &look.readings;
        let asked = &readings[..readings.len().min(READERS_ASKED_MAX)];
        if asked.is_empty() {
            return;
        }
        // Where older events went on arriving well after it was sent, an event is late, not lost.
        let late = |event: &Event, last: Option<Instant>| {
            let sent = event.produced.unwrap_or(event.first_seen);
            last.is_some_and(|last| last >= sent + scope.grace / 2)
        };
        let mut in_hole = false;
        for place in &look.thread.unseen {
            let Some(event) = look.thread.event(*place) else {
                continue;
            };
            let Some(witness) = asked.iter().find(|reading| reading.lacks(event, scope)) else {
                continue;
            };
            losses.unseen += 1;
            if self.is_passed(look.thread, event) {
                let late = late(event, look.thread.last_arrival);
                lacking.add(look, event, witness, late);
                continue;
            }
            if late(event, self.last_arrival) {
                continue;
            }
            accused.push((look.id.clone(), *place));
            let produced = event.produced.unwrap_or(event.first_seen);
            let hole = losses.hole.get_or_insert_with(|| Hole {
                events: 0,
                threads: 0,
                since: produced,
                consumer: witness.observer.name.clone(),
                consumer_alive: witness.alive,
                last_arrival: self.newest_arrival,
            });
            hole.events += 1;
            hole.threads += u64::from(!in_hole);
            hole.since = hole.since.min(produced);
            in_hole = true;
        }
    }

    /// Whether something that was sent after an event has arrived, as far as one can tell.
    fn is_passed(&self, thread: &Thread, event: &Event) -> bool {
        let overtaken = event.sequence != 0 && event.sequence <= thread.consumed_top;
        let run = self.runs.get(&event.run_id);
        let ended = run.is_some_and(|run| run.finished_at(Vantage::Consumer).is_some());
        let newer = self.newest_arrival.is_some_and(|at| event.first_seen <= at);
        overtaken || ended || newer
    }

    /// Returns whether something may still turn out to be missing.
    fn find_missing(
        &self,
        look: &Looked<'_>,
        (scope, now): (Scope, Now),
        losses: &mut Losses,
    ) -> bool {
        let (id, thread) = (&look.id, look.thread);
        let mut pending = false;
        for (key, reader) in &thread.readers {
            if reader.gaps.is_empty() || reader.epoch != thread.epoch() {
                continue;
            }
            pending = true;
            if let Some(observer) = self.observers.get(*key) {
                let found = skipped(reader, observer, scope, now);
                let explained = explained_by_kind(&found, thread, losses);
                add_missing(id, observer, found, (Place::Skipped, explained), losses);
            }
        }
        let lost = losses.lost_keys.iter().any(|key| key.covers(id));
        for reading in &look.readings {
            let mut found = Found::default();
            let mut others_went_on = None;
            for event in behind(thread, reading, scope) {
                pending = true;
                // What nothing came after is the component's hole, not this consumer's loss.
                if self.is_passed(thread, event) && reading.lacks(event, scope) {
                    let produced = event.produced.unwrap_or(event.first_seen);
                    found.add(event.sequence, event.sequence, produced.max(reading.since));
                    others_went_on.get_or_insert(event.consumed.is_some());
                }
            }
            let place = Place::Behind {
                position: reading.position().unwrap_or(0),
                reports: reading.reports_at_rest(),
                others_went_on: others_went_on.unwrap_or(false),
            };
            add_missing(id, reading.observer, found, (place, lost), losses);
        }
        pending
    }
}

fn add_missing(
    id: &Arc<str>,
    observer: &Observer,
    found: Found,
    (place, explained): (Place, bool),
    losses: &mut Losses,
) {
    let Some(since) = found.since else { return };
    losses.missing.push(Missing {
        thread_id: id.clone(),
        consumer: observer.name.clone(),
        events: found.events,
        ranges: found.ranges,
        since,
        place,
        explained,
    });
}

/// Whether every missing event is of a kind that is lost as a whole.
fn explained_by_kind(found: &Found, thread: &Thread, losses: &Losses) -> bool {
    if losses.lost_keys.is_empty() || found.events > KINDS_ASKED_MAX {
        return false;
    }
    let sequences = found.ranges.iter().flat_map(|(from, to)| *from..=*to);
    let mut events = sequences.map(|sequence| {
        let place = thread.by_sequence.get(&sequence);
        place.and_then(|place| thread.event(*place))
    });
    found.since.is_some()
        && events.all(|event| {
            let kind = event.map(|event| &event.kind);
            kind.is_some_and(|kind| losses.lost_keys.iter().any(|key| key.is_kind(kind)))
        })
}

/// What was produced beyond what a consumer has; of one without any event, since it began.
fn behind<'a>(
    thread: &'a Thread,
    reading: &'a Reading<'_>,
    scope: Scope,
) -> Box<dyn Iterator<Item = &'a Event> + 'a> {
    let event = |(_, place): (&u64, &u64)| thread.event(*place);
    match reading.position() {
        Some(last) => {
            let later = thread.by_sequence.range(last.saturating_add(1)..);
            Box::new(later.filter_map(event).take(BEHIND_MAX))
        }
        None => {
            let begun = reading.since + scope.grace;
            let later = thread.by_sequence.iter().rev().filter_map(event);
            let since = move |event: &&Event| event.produced.is_some_and(|at| at >= begun);
            let mut later: Vec<_> = later.take(BEHIND_MAX).take_while(since).collect();
            later.reverse();
            Box::new(later.into_iter())
        }
    }
}

/// What one consumer skipped for longer than the grace.
fn skipped(reader: &Reader, observer: &Observer, scope: Scope, now: Now) -> Found {
    let mut found = Found::default();
    // What it told in a report that is missing cannot be known.
    let told = match observer.waited_for {
        true => observer.caught_up.unwrap_or(observer.last_report),
        false => now.monotonic,
    };
    for gap in &reader.gaps {
        // A consumer that left before the grace was over may have been about to report it.
        let until = reader.left.unwrap_or(told).min(told);
        let current = scope.baseline.is_none_or(|baseline| gap.since >= baseline);
        if current && until.saturating_duration_since(gap.since) >= scope.grace {
            found.add(gap.from, gap.to, gap.since);
        }
    }
    found
}

#[derive(Default)]
struct Found {
    events: u64,
    ranges: Vec<(u64, u64)>,
    since: Option<Instant>,
}

impl Found {
    fn add(&mut self, from: u64, to: u64, since: Instant) {
        self.events = self.events.saturating_add(to - from).saturating_add(1);
        self.since = Some(self.since.map_or(since, |known| known.min(since)));
        let named = self.ranges.len();
        match self.ranges.last_mut() {
            Some(last) if last.1.checked_add(1) == Some(from) => last.1 = to,
            _ if named < RANGES_NAMED_MAX => self.ranges.push((from, to)),
            _ => {}
        }
    }
}
