//! What was seen of one thread.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use service_kit::clock::Now;

use super::connection::{Arrival, Order};
use super::disorder::Disorder;
use super::event::{Event, Left, Noted};
use super::observer::{Observer, ObserverKey, Observers};
use super::ranges::Ranges;
use super::reader::{Placed, Reader};
use super::skew::ClockReading;
use crate::domain::{Sighting, Vantage};

/// Epochs of one thread that are told apart; a report of an older one is late, not a restart.
const EPOCHS_MAX: usize = 8;

/// Who reports, and how.
#[derive(Clone, Copy)]
pub(crate) struct Reporting<'a> {
    pub(crate) observer: ObserverKey,
    pub(crate) name: &'a Arc<str>,
    pub(crate) vantage: Vantage,
    /// The hash of its session: connections are unique inside one.
    pub(crate) session: u64,
    pub(crate) clock: Option<ClockReading>,
    /// How many reports it has made.
    pub(crate) reports: u64,
    pub(crate) gaps_max: usize,
    pub(crate) now: Now,
}

/// Names of one event that others share.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) run_id: Arc<str>,
    pub(crate) kind: Arc<str>,
}

/// One thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Thread {
    /// The log's epochs in the order in which they were first seen; the last one is current.
    epochs: VecDeque<Arc<str>>,
    /// Counts the epochs; the current one's number.
    epoch: u32,
    epoch_since: Option<Instant>,
    pub(super) events: VecDeque<Event>,
    /// The place of the first event held. Places rise with each event and never return.
    base: u64,
    places: HashMap<Arc<str>, u64>,
    /// Produced events of the current epoch, by sequence.
    pub(super) by_sequence: BTreeMap<u64, u64>,
    /// Produced events of the current epoch that no consumer has reported.
    pub(super) unseen: BTreeSet<u64>,
    /// Consumed events of the current epoch that no producer has reported.
    pub(super) unsent: BTreeSet<u64>,
    /// The highest sequence of the current epoch that was forgotten.
    floor: u64,
    /// The highest sequence of the current epoch that reached a consumer.
    pub(super) consumed_top: u64,
    /// When the newest of the events that reached a consumer was first reported.
    pub(super) newest_arrival: Option<Instant>,
    /// When a consumer last reported an event that none had.
    pub(super) last_arrival: Option<Instant>,
    /// Since when a producer reports on it.
    pub(super) produced_since: Option<Instant>,
    /// Boxed, as most threads have one or none.
    pub(super) readers: HashMap<ObserverKey, Box<Reader>>,
    producers: HashMap<ObserverKey, Ranges>,
    pub(super) touched: Option<Instant>,
    pub(super) stamp: u64,
    /// It is listed to be folded.
    pub(super) awaits_fold: bool,
}

impl Thread {
    /// Takes one observer's sighting.
    pub(crate) fn note(&mut self, sighting: &Sighting, names: Names, by: &Reporting<'_>) -> Noted {
        let at = by.now.monotonic;
        self.touched = Some(at);
        let epoch = self.enter_epoch(&sighting.epoch, at);
        let current = epoch == self.epoch;
        let known = self.places.get(sighting.event_id.as_str()).copied();
        let mut noted = Noted::default();
        let placed = (by.vantage == Vantage::Consumer)
            .then(|| self.place(sighting, known, current, by, &mut noted));
        let forgotten = current && sighting.sequence != 0 && sighting.sequence <= self.floor;
        if known.is_none() && forgotten {
            // It fills a gap all the same.
            if by.vantage == Vantage::Consumer {
                noted.consumed_late = true;
                noted.evicted += self.receive(sighting, current, by);
                // Its run does not hear of it any more.
                if let Some(reader) = self.readers.get_mut(&by.observer) {
                    reader.skipped = Some(at);
                }
            }
            return noted;
        }
        let place = known.unwrap_or_else(|| self.add(sighting, names, epoch, at));
        noted.first = known.is_none();
        if !self.mark(by.observer, by.vantage, place) {
            return noted;
        }
        noted.new_here = true;
        if by.vantage == Vantage::Consumer {
            noted.evicted += self.receive(sighting, current, by);
        }
        self.see(place, (sighting, placed), by, &mut noted);
        noted
    }

    /// Notes where on its connection an event came, and what is wrong with that.
    fn place(
        &mut self,
        sighting: &Sighting,
        known: Option<u64>,
        current: bool,
        by: &Reporting<'_>,
        noted: &mut Noted,
    ) -> Placed {
        let at = by.now.monotonic;
        let remembered = known.and_then(|place| self.event(place));
        let remembered = remembered.map_or(0, |event| event.sequence);
        let epoch = self.epoch;
        let reader = self.readers.entry(by.observer).or_default();
        let placed = reader.place(sighting, by.session, (remembered, epoch), at);
        if !current {
            return placed;
        }
        reader.enter(epoch, at);
        if placed.begins && sighting.sequence != 0 {
            reader.begin(sighting.sequence, at);
        }
        let after = match placed.order {
            Order::Fine | Order::Known => return placed,
            Order::Twice => None,
            Order::After(after) => Some(after),
        };
        noted.disorder = Some(Disorder {
            event_id: sighting.event_id.as_str().into(),
            consumer: by.name.clone(),
            connection: placed.connection.clone().unwrap_or_default(),
            sequence: sighting.sequence,
            after,
            at,
        });
        placed
    }

    /// Marks the event as seen at a vantage.
    fn see(
        &mut self,
        place: u64,
        (sighting, placed): (&Sighting, Option<Placed>),
        by: &Reporting<'_>,
        noted: &mut Noted,
    ) {
        let current_epoch = self.epoch;
        let Some(event) = self.event_mut(place) else {
            return;
        };
        let time = sighting.observe_time;
        let (seen, own_time) = match by.vantage {
            Vantage::Producer => (&mut event.produced, &mut event.produced_time),
            Vantage::Consumer => (&mut event.consumed, &mut event.consumed_time),
        };
        noted.first_at_vantage = seen.is_none();
        seen.get_or_insert(by.now.monotonic);
        *own_time = earliest(*own_time, time);
        if event.sequence == 0 {
            event.sequence = sighting.sequence;
        }
        noted.both_now = noted.first_at_vantage && event.seen_by_both();
        noted.first_seen = Some(event.first_seen);
        time_it(event, (sighting, placed.as_ref()), by, noted);
        self.index(place, current_epoch);
        if by.vantage == Vantage::Producer {
            self.produced_since.get_or_insert(by.now.monotonic);
        } else {
            self.newest_arrival = self.newest_arrival.max(noted.first_seen);
            if noted.first_at_vantage {
                self.last_arrival = Some(by.now.monotonic);
            }
        }
    }

    fn index(&mut self, place: u64, current_epoch: u32) {
        let Some(event) = self.event(place) else {
            return;
        };
        let (sequence, current) = (event.sequence, event.epoch == current_epoch);
        let (produced, consumed) = (event.produced.is_some(), event.consumed.is_some());
        if current && produced && sequence != 0 {
            self.by_sequence.entry(sequence).or_insert(place);
        }
        if current && consumed {
            self.consumed_top = self.consumed_top.max(sequence);
        }
        let mark = |set: &mut BTreeSet<u64>, member: bool| {
            if member {
                set.insert(place);
            } else {
                set.remove(&place);
            }
        };
        mark(&mut self.unseen, current && produced && !consumed);
        mark(&mut self.unsent, current && consumed && !produced);
    }

    fn receive(&mut self, sighting: &Sighting, current: bool, by: &Reporting<'_>) -> u64 {
        let epoch = self.epoch;
        let at = by.now.monotonic;
        let reader = self.readers.entry(by.observer).or_default();
        if !current {
            return 0;
        }
        reader.enter(epoch, at);
        reader.first_event.get_or_insert(at);
        reader.last_event = Some(at);
        if reader
            .received
            .last()
            .is_none_or(|last| sighting.sequence > last)
        {
            reader.moved_at_report = by.reports;
        }
        reader.receive(sighting.sequence, at, by.gaps_max)
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
            self.unsent.clear();
            self.floor = 0;
            self.consumed_top = 0;
        }
        self.epoch_since = Some(at);
        self.epoch
    }

    fn add(&mut self, sighting: &Sighting, names: Names, epoch: u32, at: Instant) -> u64 {
        let id: Arc<str> = sighting.event_id.as_str().into();
        let place = self.base + self.events.len() as u64;
        self.places.insert(id.clone(), place);
        self.events.push_back(Event {
            id,
            run_id: names.run_id,
            kind: names.kind,
            sequence: sighting.sequence,
            epoch,
            accused: false,
            first_seen: at,
            produced: None,
            consumed: None,
            produced_time: None,
            consumed_time: None,
            produced_at: None,
            arrived_at: None,
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
        self.unsent.remove(&place);
        if self.by_sequence.get(&event.sequence) == Some(&place) {
            self.by_sequence.remove(&event.sequence);
        }
        if event.epoch == self.epoch {
            self.floor = self.floor.max(event.sequence);
        }
        if self.events.is_empty() {
            // A quiet thread must cost little.
            self.events = VecDeque::new();
            self.places = HashMap::new();
        }
        Some(Left {
            produced: event.produced.is_some(),
            consumed: event.consumed.is_some(),
            first_seen: event.first_seen,
            delay: event.delay(),
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

    pub(super) fn event_mut(&mut self, place: u64) -> Option<&mut Event> {
        let index = usize::try_from(place.checked_sub(self.base)?).ok()?;
        self.events.get_mut(index)
    }

    /// The events held, oldest first.
    pub(crate) fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter()
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Since when the current epoch is known. `None`: no event came yet.
    pub(crate) fn epoch_since(&self) -> Option<Instant> {
        self.epoch_since
    }

    /// Whether producers told of the events just before and just after a sequence.
    pub(super) fn surrounds(&self, sequence: u64) -> bool {
        let told =
            |sequence: u64| sequence <= self.floor || self.by_sequence.contains_key(&sequence);
        sequence > 1 && told(sequence - 1) && told(sequence.saturating_add(1))
    }

    /// Who reports what is handed in on it.
    pub(super) fn producers<'a>(
        &'a self,
        observers: &'a Observers,
    ) -> impl Iterator<Item = &'a Observer> {
        self.producers.keys().filter_map(|key| observers.get(*key))
    }

    /// Forgets who no longer reports.
    pub(crate) fn forget_observers(&mut self, gone: &[ObserverKey]) {
        for key in gone {
            self.readers.remove(key);
            self.producers.remove(key);
        }
    }
}

/// Puts a sighting on the monitor's clock, and says how long the event took.
fn time_it(
    event: &mut Event,
    (sighting, placed): (&Sighting, Option<&Placed>),
    by: &Reporting<'_>,
    noted: &mut Noted,
) {
    let time = by.clock.zip(sighting.observe_time);
    let time = time.and_then(|(clock, time)| clock.moment(time));
    let expected = !sighting.replayed && !event.accused;
    match placed {
        None => {
            if event.produced_at.is_none() {
                event.produced_at = time;
                noted.delay = event.sure_delay().filter(|_| expected);
            }
        }
        Some(placed) if expected => {
            let before = event.arrived_at;
            let connected = placed.connected.unwrap_or(by.now.monotonic);
            event.arrived_at = time.map(|time| Arrival { time, connected });
            noted.delay = event.sure_delay();
            let later = |known: &Arrival| {
                event
                    .arrived_at
                    .is_none_or(|arrival| known.time.at > arrival.time.at)
            };
            if let Some(known) = before.filter(later) {
                event.arrived_at = Some(known);
            }
        }
        Some(_) => {}
    }
    noted.unsure =
        noted.both_now && expected && !(event.produced_at.is_some() && event.arrived_at.is_some());
}

fn earliest(known: Option<SystemTime>, new: Option<SystemTime>) -> Option<SystemTime> {
    match (known, new) {
        (Some(known), Some(new)) => Some(known.min(new)),
        (known, new) => known.or(new),
    }
}
