//! What was seen of one thread.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use service_kit::clock::Now;

use super::observer::ObserverKey;
use super::ranges::Ranges;
use super::reader::Reader;
use crate::domain::{Sighting, Vantage};

/// Epochs of one thread that are told apart; a report of an older one is late, not a restart.
const EPOCHS_MAX: usize = 8;

/// One event, whoever saw it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    id: Arc<str>,
    /// 0: unknown.
    pub(crate) sequence: u64,
    epoch: u32,
    pub(crate) kind: Arc<str>,
    /// When it was first reported, by anybody.
    pub(crate) first_seen: Instant,
    /// When a producer first reported it.
    pub(crate) produced: Option<Instant>,
    /// When a consumer first reported it.
    pub(crate) consumed: Option<Instant>,
    /// By the observers' own clocks, the earliest.
    produced_time: Option<SystemTime>,
    consumed_time: Option<SystemTime>,
    seen_time: SystemTime,
}

impl Event {
    /// From producer to consumer on the observers' clocks. `None`: not seen by both, or the
    /// clocks disagree so much that it came before it went.
    pub(crate) fn delay(&self) -> Option<Duration> {
        self.consumed_time?.duration_since(self.produced_time?).ok()
    }

    pub(crate) fn seen_by_both(&self) -> bool {
        self.produced.is_some() && self.consumed.is_some()
    }
}

/// What a report of one event changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    /// This observer had not reported it.
    pub(crate) new_here: bool,
    /// Nobody at this vantage had.
    pub(crate) first_at_vantage: bool,
    /// Nobody at all had.
    pub(crate) first: bool,
    /// It is now seen at both vantages, and was not before.
    pub(crate) both_now: bool,
    /// When it was first reported by anybody.
    pub(crate) first_seen: Option<Instant>,
    /// What had to leave for it.
    pub(crate) evicted: u64,
}

/// What leaves with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) produced: bool,
    pub(crate) consumed: bool,
}

/// One thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Thread {
    /// The log's epochs in the order in which they were first seen; the last one is current.
    epochs: VecDeque<Arc<str>>,
    /// Counts the epochs; the current one's number.
    epoch: u32,
    epoch_since: Option<Instant>,
    events: VecDeque<Event>,
    /// The place of the first event held. Places rise with each event and never return.
    base: u64,
    places: HashMap<Arc<str>, u64>,
    /// Produced events of the current epoch, by sequence.
    pub(super) by_sequence: BTreeMap<u64, u64>,
    /// Produced events of the current epoch that no consumer has reported.
    pub(super) unseen: BTreeSet<u64>,
    /// The highest sequence of the current epoch that was forgotten.
    floor: u64,
    pub(super) readers: HashMap<ObserverKey, Reader>,
    producers: HashMap<ObserverKey, Ranges>,
    pub(super) touched: Option<Instant>,
    pub(super) stamp: u64,
}

impl Thread {
    /// Takes one observer's sighting.
    pub(crate) fn note(
        &mut self,
        sighting: &Sighting,
        observer: ObserverKey,
        vantage: Vantage,
        gaps_max: usize,
        now: Now,
    ) -> Noted {
        self.touched = Some(now.monotonic);
        let epoch = self.enter_epoch(&sighting.epoch, now.monotonic);
        let current = epoch == self.epoch;
        let forgotten = current && sighting.sequence != 0 && sighting.sequence <= self.floor;
        let (place, first) = match self.places.get(sighting.event_id.as_str()) {
            Some(place) => (*place, false),
            None if forgotten => return Noted::default(),
            None => (self.add(sighting, epoch, now), true),
        };
        if !self.mark(observer, vantage, place) {
            return Noted::default();
        }
        let mut noted = Noted {
            new_here: true,
            first,
            ..Noted::default()
        };
        if vantage == Vantage::Consumer {
            noted.evicted = self.receive(observer, sighting, current, gaps_max, now.monotonic);
        }
        self.see(place, sighting, vantage, now, &mut noted);
        noted
    }

    /// Marks the event as seen at a vantage.
    fn see(
        &mut self,
        place: u64,
        sighting: &Sighting,
        vantage: Vantage,
        now: Now,
        noted: &mut Noted,
    ) {
        let current_epoch = self.epoch;
        let Some(event) = self.event_mut(place) else {
            return;
        };
        let time = sighting.observe_time;
        let (seen, own_time) = match vantage {
            Vantage::Producer => (&mut event.produced, &mut event.produced_time),
            Vantage::Consumer => (&mut event.consumed, &mut event.consumed_time),
        };
        noted.first_at_vantage = seen.is_none();
        seen.get_or_insert(now.monotonic);
        *own_time = earliest(*own_time, time);
        event.seen_time = event.seen_time.max(time.unwrap_or(now.wall));
        if event.sequence == 0 {
            event.sequence = sighting.sequence;
        }
        noted.both_now = noted.first_at_vantage && event.seen_by_both();
        noted.first_seen = Some(event.first_seen);
        let (sequence, consumed) = (event.sequence, event.consumed.is_some());
        let produced = event.produced.is_some() && event.epoch == current_epoch;
        if produced && sequence != 0 {
            self.by_sequence.entry(sequence).or_insert(place);
        }
        if produced && !consumed {
            self.unseen.insert(place);
        } else {
            self.unseen.remove(&place);
        }
    }

    fn receive(
        &mut self,
        observer: ObserverKey,
        sighting: &Sighting,
        current: bool,
        gaps_max: usize,
        at: Instant,
    ) -> u64 {
        let epoch = self.epoch;
        let reader = self.readers.entry(observer).or_default();
        if !current {
            return 0;
        }
        reader.enter(epoch);
        reader.first_event.get_or_insert(at);
        reader.last_event = Some(at);
        reader.receive(sighting.sequence, at, gaps_max)
    }

    /// Which epoch a report belongs to; an unknown one begins anew.
    fn enter_epoch(&mut self, name: &str, at: Instant) -> u32 {
        let newest = self.epochs.len();
        match self.epochs.iter().position(|known| &**known == name) {
            Some(place) => {
                let back = u32::try_from(newest - 1 - place).unwrap_or(u32::MAX);
                return self.epoch.wrapping_sub(back);
            }
            // An observer that does not know the epoch means the current one.
            None if name.is_empty() && newest > 0 => return self.epoch,
            None => {}
        }
        if self.epochs.back().is_some_and(|last| last.is_empty()) {
            // Until now nobody knew the name of the epoch that all of this is about.
            self.epochs.pop_back();
            self.epochs.push_back(name.into());
            return self.epoch;
        }
        if newest == EPOCHS_MAX {
            self.epochs.pop_front();
        }
        self.epochs.push_back(name.into());
        if newest > 0 {
            self.epoch = self.epoch.wrapping_add(1);
            self.by_sequence.clear();
            self.unseen.clear();
            self.floor = 0;
        }
        self.epoch_since = Some(at);
        self.epoch
    }

    fn add(&mut self, sighting: &Sighting, epoch: u32, now: Now) -> u64 {
        let id: Arc<str> = sighting.event_id.as_str().into();
        let place = self.base + self.events.len() as u64;
        self.places.insert(id.clone(), place);
        self.events.push_back(Event {
            id,
            sequence: sighting.sequence,
            epoch,
            kind: sighting.event_type.as_str().into(),
            first_seen: now.monotonic,
            produced: None,
            consumed: None,
            produced_time: None,
            consumed_time: None,
            seen_time: sighting.observe_time.unwrap_or(now.wall),
        });
        place
    }

    /// False where this observer reported the event before.
    fn mark(&mut self, observer: ObserverKey, vantage: Vantage, place: u64) -> bool {
        let reported = match vantage {
            Vantage::Producer => self.producers.entry(observer).or_default(),
            Vantage::Consumer => &mut self.readers.entry(observer).or_default().reported,
        };
        reported.forget_under(self.base);
        reported.insert(place)
    }

    /// Forgets the oldest event.
    pub(crate) fn forget_first(&mut self) -> Option<Left> {
        let event = self.events.pop_front()?;
        let place = self.base;
        self.base += 1;
        self.places.remove(&event.id);
        self.unseen.remove(&place);
        if self.by_sequence.get(&event.sequence) == Some(&place) {
            self.by_sequence.remove(&event.sequence);
        }
        if event.epoch == self.epoch {
            self.floor = self.floor.max(event.sequence);
        }
        Some(Left {
            produced: event.produced.is_some(),
            consumed: event.consumed.is_some(),
        })
    }

    /// Whether the oldest event was first seen before `horizon`.
    pub(crate) fn first_is_older(&self, horizon: Instant) -> bool {
        self.events
            .front()
            .is_some_and(|event| event.first_seen < horizon)
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn event(&self, place: u64) -> Option<&Event> {
        let index = usize::try_from(place.checked_sub(self.base)?).ok()?;
        self.events.get(index)
    }

    fn event_mut(&mut self, place: u64) -> Option<&mut Event> {
        let index = usize::try_from(place.checked_sub(self.base)?).ok()?;
        self.events.get_mut(index)
    }

    /// The events held, oldest first.
    pub(crate) fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter()
    }

    /// The newest event by its observer's clock.
    pub(crate) fn newest(&self) -> Option<(SystemTime, &Arc<str>)> {
        let newest = self
            .events
            .iter()
            .max_by_key(|event| (event.seen_time, event.sequence))?;
        Some((newest.seen_time, &newest.kind))
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Since when the current epoch is known. `None`: no event came yet.
    pub(crate) fn epoch_since(&self) -> Option<Instant> {
        self.epoch_since
    }

    /// Forgets who no longer reports.
    pub(crate) fn forget_observers(&mut self, gone: &[ObserverKey]) {
        for key in gone {
            self.readers.remove(key);
            self.producers.remove(key);
        }
    }
}

fn earliest(known: Option<SystemTime>, new: Option<SystemTime>) -> Option<SystemTime> {
    match (known, new) {
        (Some(known), Some(new)) => Some(known.min(new)),
        (known, new) => known.or(new),
    }
}
