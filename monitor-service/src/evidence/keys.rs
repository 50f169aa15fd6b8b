//! Keys that lose everything while the rest flows: a thread, a tenant's threads, a kind of event.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::Evidence;
use super::event::Event;
use super::loss::Looked;
use super::reading::Reading;

/// Lost events that make a thread a lost one; a single one may be that event's loss alone.
const THREAD_EVENTS_MIN: u64 = 2;
/// Lost events in a row that make a kind a lost one.
const KIND_EVENTS_MIN: u64 = 3;
/// Lost keys that are told of.
const KEYS_MAX: usize = 100;

/// What is lost as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Thread(Arc<str>),
    /// Threads whose names begin with this and `/` or `:`.
    Tenant(Arc<str>),
    Kind(Arc<str>),
}

/// A key that had demand and a reader, and got nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LostKey {
    pub(crate) key: Key,
    pub(crate) events: u64,
    pub(crate) threads: u64,
    /// When the first of them was reported by its producer.
    pub(crate) since: Instant,
    /// A consumer that was reading, and when it last gave a sign of life.
    pub(crate) consumer: Arc<str>,
    pub(crate) consumer_alive: Instant,
    /// When the newest event was sent that arrived elsewhere.
    pub(crate) last_arrival: Option<Instant>,
}

impl LostKey {
    /// Whether a thread's events are lost with this key.
    pub(super) fn covers(&self, thread_id: &str) -> bool {
        match &self.key {
            Key::Thread(id) => **id == *thread_id,
            Key::Tenant(name) => tenant(thread_id) == Some(name),
            Key::Kind(_) => false,
        }
    }

    pub(crate) fn is_kind(&self, kind: &str) -> bool {
        matches!(&self.key, Key::Kind(name) if **name == *kind)
    }
}

/// Whose thread it is, where its name says so: `TENANT/…` or `TENANT:…`.
fn tenant(thread_id: &str) -> Option<&str> {
    let (name, rest) = thread_id.split_once(['/', ':'])?;
    (!name.is_empty() && !rest.is_empty()).then_some(name)
}

/// Events that are lacking although others arrived.
#[derive(Default)]
pub(super) struct Lacking {
    /// Those with nothing after them on their thread.
    by_thread: BTreeMap<Arc<str>, LostKey>,
    /// The others: when each was first reported.
    by_kind: HashMap<Arc<str>, Vec<(Instant, LostKey)>>,
}

impl Lacking {
    /// Takes an event that a reading consumer lacks. `late`: older ones of its thread still come.
    pub(super) fn add(
        &mut self,
        look: &Looked<'_>,
        event: &Event,
        witness: &Reading<'_>,
        late: bool,
    ) {
        let thread = look.thread;
        let last = match event.sequence {
            0 => thread.newest_arrival.is_none_or(|at| event.first_seen > at),
            sequence => sequence > thread.consumed_top,
        };
        let lost = LostKey {
            key: Key::Thread(look.id.clone()),
            events: 1,
            threads: 1,
            since: event.produced.unwrap_or(event.first_seen),
            consumer: witness.observer.name.clone(),
            consumer_alive: witness.alive,
            last_arrival: None,
        };
        let of_kind = self.by_kind.entry(event.kind.clone()).or_default();
        of_kind.push((event.first_seen, lost.clone()));
        if last && !late {
            let known = self.by_thread.get_mut(&look.id);
            match known {
                Some(known) => known.events += 1,
                None => {
                    self.by_thread.insert(look.id.clone(), lost);
                }
            }
        }
    }
}

impl Evidence {
    /// The keys that are lost, the widest that fits.
    pub(super) fn lost_keys(&self, lacking: Lacking, looked: &[Looked<'_>]) -> Vec<LostKey> {
        let Lacking { by_thread, by_kind } = lacking;
        let threads: Vec<_> = by_thread
            .into_values()
            .filter(|lost| lost.events >= THREAD_EVENTS_MIN)
            .collect();
        let mut keys = self.tenants(threads);
        for (kind, events) in by_kind {
            let lost = self.lost_kind(&kind, events, &keys, looked);
            keys.extend(lost);
        }
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        keys.truncate(KEYS_MAX);
        for key in &mut keys {
            key.last_arrival = self.newest_arrival;
        }
        keys
    }

    /// Puts the threads of one tenant together, where all of them are lost and there are several.
    fn tenants(&self, threads: Vec<LostKey>) -> Vec<LostKey> {
        let mut by_tenant: BTreeMap<Option<Arc<str>>, Vec<LostKey>> = BTreeMap::new();
        for lost in threads {
            let Key::Thread(id) = &lost.key else { continue };
            let tenant = tenant(id).map(Arc::from);
            by_tenant.entry(tenant).or_default().push(lost);
        }
        let mut keys = Vec::new();
        for (name, lost) in by_tenant {
            match name {
                Some(name) if lost.len() > 1 && !self.flows(&name, &lost) => {
                    keys.extend(joined(Key::Tenant(name), lost));
                }
                _ => keys.extend(lost),
            }
        }
        keys
    }

    /// Whether a thread of this tenant got something since the loss began.
    fn flows(&self, name: &str, lost: &[LostKey]) -> bool {
        let since = lost.iter().map(|lost| lost.since).min();
        self.threads
            .iter()
            .any(|(id, thread)| tenant(id) == Some(name) && thread.newest_arrival >= since)
    }

    /// A kind of which several events in a row are lacking, and none after them arrived, on
    /// threads that are not lost themselves.
    fn lost_kind(
        &self,
        kind: &Arc<str>,
        events: Vec<(Instant, LostKey)>,
        keys: &[LostKey],
        looked: &[Looked<'_>],
    ) -> Option<LostKey> {
        let newest = self.kinds.newest_arrival(kind);
        let covered = |lost: &LostKey| match &lost.key {
            Key::Thread(id) => keys.iter().any(|key| key.covers(id)),
            _ => false,
        };
        let events: Vec<_> = events
            .into_iter()
            .filter(|(first_seen, _)| newest.is_none_or(|newest| *first_seen > newest))
            .map(|(_, lost)| lost)
            .filter(|lost| !covered(lost))
            .collect();
        let lost = joined(Key::Kind(kind.clone()), events)?;
        // Other kinds must have gone through on these threads, or it is they that are lost.
        let passed = looked
            .iter()
            .any(|look| look.thread.newest_arrival >= Some(lost.since));
        (lost.events >= KIND_EVENTS_MIN && passed).then_some(lost)
    }
}

/// Several lost keys as one. `None`: of nothing.
fn joined(key: Key, lost: Vec<LostKey>) -> Option<LostKey> {
    let mut threads: Vec<_> = lost.iter().map(|lost| lost.key.clone()).collect();
    threads.sort_unstable();
    threads.dedup();
    let events = lost.iter().map(|lost| lost.events).sum();
    let mut oldest = lost.into_iter().min_by_key(|lost| lost.since)?;
    oldest.key = key;
    oldest.events = events;
    oldest.threads = threads.len() as u64;
    Some(oldest)
}
