//! What was handed in and did not arrive, as far as the witnesses can tell.

use std::sync::Arc;
use std::time::{Duration, Instant};

use service_kit::clock::Now;

use super::Evidence;
use super::observer::{Observer, ObserverKey};
use super::reader::Reader;
use super::thread::{Event, Thread};

/// Consumers whose word is asked for before an event counts as seen by nobody.
const READERS_ASKED_MAX: usize = 8;
/// Events beyond what a consumer has that are looked at; what is missing is said by then.
const BEHIND_MAX: usize = 200;
/// Missing ranges named for one consumer.
const RANGES_NAMED_MAX: usize = 8;

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
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) grace: Duration,
    /// Events from before this moment belong to an earlier instance of the component, or to its
    /// outage. `None`: there was none.
    pub(crate) baseline: Option<Instant>,
    /// An observer that does not name what it reads counts as reading for this long after its
    /// last event there.
    pub(crate) silence: Duration,
}

/// A consumer that reads a thread now, and when it last gave a sign of life.
struct Reading<'a> {
    observer: &'a Observer,
    reader: &'a Reader,
    since: Instant,
    alive: Instant,
    in_epoch: bool,
}

impl Reading<'_> {
    /// Whether this event should have reached this consumer, and the consumer lived on for the
    /// grace without reporting it.
    fn lacks(&self, event: &Event, scope: Scope) -> bool {
        let Some(produced) = event.produced else {
            return false;
        };
        let observable = produced.max(self.since);
        let ripe = self.alive >= observable + scope.grace;
        let current = scope.baseline.is_none_or(|baseline| produced >= baseline);
        ripe && current && self.had_begun(event, produced, scope)
    }

    /// A consumer's first event defines where it began: what came before is not its loss.
    fn had_begun(&self, event: &Event, produced: Instant, scope: Scope) -> bool {
        match (self.reader.received.first(), self.reader.first_event) {
            (Some(first), _) if self.in_epoch && event.sequence != 0 => event.sequence >= first,
            (_, Some(first)) if self.in_epoch => produced >= first,
            // Without an event of its own, reports that were late when it began must not count.
            _ => produced >= self.since + scope.grace,
        }
    }
}

impl Evidence {
    /// What is missing now. Threads on which nothing can be missing are not looked at again
    /// until something happens on them.
    pub(crate) fn losses(&mut self, scope: Scope, now: Now) -> Losses {
        let mut losses = Losses::default();
        let mut settled = Vec::new();
        let mut threads: Vec<_> = self.attention.iter().cloned().collect();
        threads.sort_unstable();
        for id in threads {
            let Some(thread) = self.threads.get(&id) else {
                settled.push(id);
                continue;
            };
            let readings = self.readings(thread, scope, now);
            self.find_unseen(thread, &readings, scope, &mut losses);
            let mut pending = !readings.is_empty() && !thread.unseen.is_empty();
            pending |= self.find_missing(&id, thread, &readings, (scope, now), &mut losses);
            if !pending {
                settled.push(id);
            }
        }
        for id in settled {
            self.attention.remove(&id);
        }
        losses
    }

    fn readings<'a>(&'a self, thread: &'a Thread, scope: Scope, now: Now) -> Vec<Reading<'a>> {
        let mut readings: Vec<_> = thread
            .readers
            .iter()
            .filter_map(|(key, reader)| self.reading(*key, reader, thread, scope, now))
            .collect();
        readings.sort_by(|a, b| (a.since, &a.observer.name).cmp(&(b.since, &b.observer.name)));
        readings
    }

    fn reading<'a>(
        &'a self,
        key: ObserverKey,
        reader: &'a Reader,
        thread: &Thread,
        scope: Scope,
        now: Now,
    ) -> Option<Reading<'a>> {
        let observer = self.observers.get(key)?;
        if observer.signed_off || reader.left.is_some() {
            return None;
        }
        let since = match reader.reading_since {
            Some(since) => since,
            None if observer.declares_reading => return None,
            None => {
                let last = reader.last_event?;
                (now.since(last) <= scope.silence).then_some(reader.first_event?)?
            }
        };
        let in_epoch = reader.epoch == thread.epoch();
        let began_anew = thread.epoch_since().filter(|_| !in_epoch);
        Some(Reading {
            observer,
            reader,
            since: began_anew.map_or(since, |epoch| epoch.max(since)),
            alive: observer.caught_up?,
            in_epoch,
        })
    }

    fn find_unseen(
        &self,
        thread: &Thread,
        readings: &[Reading<'_>],
        scope: Scope,
        losses: &mut Losses,
    ) {
        let asked = &readings[..readings.len().min(READERS_ASKED_MAX)];
        if asked.is_empty() {
            return;
        }
        let mut in_hole = false;
        for event in thread
            .unseen
            .iter()
            .filter_map(|place| thread.event(*place))
        {
            let Some(witness) = asked.iter().find(|reading| reading.lacks(event, scope)) else {
                continue;
            };
            losses.unseen += 1;
            if self
                .newest_arrival
                .is_some_and(|arrival| event.first_seen <= arrival)
            {
                continue;
            }
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

    /// Returns whether something may still turn out to be missing.
    fn find_missing(
        &self,
        id: &Arc<str>,
        thread: &Thread,
        readings: &[Reading<'_>],
        (scope, now): (Scope, Now),
        losses: &mut Losses,
    ) -> bool {
        let mut pending = false;
        for (key, reader) in &thread.readers {
            if reader.gaps.is_empty() || reader.epoch != thread.epoch() {
                continue;
            }
            pending = true;
            if let Some(observer) = self.observers.get(*key) {
                let found = skipped(reader, scope, now);
                self.add_missing(id, observer, found, losses);
            }
        }
        for reading in readings {
            let mut found = Found::default();
            for event in behind(thread, reading, scope) {
                pending = true;
                // What nothing came after is the component's hole, not this consumer's loss.
                let passed = self.newest_arrival.is_some_and(|at| event.first_seen <= at);
                if passed && reading.lacks(event, scope) {
                    let since = event
                        .produced
                        .unwrap_or(event.first_seen)
                        .max(reading.since);
                    found.add(event.sequence, event.sequence, since);
                }
            }
            self.add_missing(id, reading.observer, found, losses);
        }
        pending
    }

    fn add_missing(&self, id: &Arc<str>, observer: &Observer, found: Found, losses: &mut Losses) {
        let Some(since) = found.since else { return };
        losses.missing.push(Missing {
            thread_id: id.clone(),
            consumer: observer.name.clone(),
            events: found.events,
            ranges: found.ranges,
            since,
        });
    }
}

/// What was produced beyond what a consumer has; of one without any event, since it began.
fn behind<'a>(
    thread: &'a Thread,
    reading: &'a Reading<'_>,
    scope: Scope,
) -> Box<dyn Iterator<Item = &'a Event> + 'a> {
    let event = |(_, place): (&u64, &u64)| thread.event(*place);
    match reading.reader.received.last().filter(|_| reading.in_epoch) {
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
fn skipped(reader: &Reader, scope: Scope, now: Now) -> Found {
    let mut found = Found::default();
    for gap in &reader.gaps {
        // A consumer that left before the grace was over may have been about to report it.
        let until = reader.left.unwrap_or(now.monotonic);
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
        self.events += to - from + 1;
        self.since = Some(self.since.map_or(since, |known| known.min(since)));
        let named = self.ranges.len();
        match self.ranges.last_mut() {
            Some(last) if last.1 + 1 == from => last.1 = to,
            _ if named < RANGES_NAMED_MAX => self.ranges.push((from, to)),
            _ => {}
        }
    }
}
