//! What was seen of one run.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use service_kit::clock::Now;
use twox_hash::XxHash3_64;

use super::kinds::Tallies;
use super::observer::ObserverKey;
use super::order::{RunOrder, ends_run};
use super::recency::Recency;
use super::thread::Names;
use super::tool::{ToolCall, Tools, place};
use crate::domain::{RunStatus, Sighting, Vantage};

/// Observers remembered for one run; a few are enough to know that one was there.
const OBSERVERS_MAX: usize = 8;

/// One run. Its events are counted here; one by one they are kept in their thread until they
/// settle.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) thread_id: Arc<str>,
    pub(crate) produced: u64,
    pub(crate) consumed: u64,
    /// The sum of the events' hashes at each vantage, in whichever order they came.
    digests: [u64; 2],
    pub(crate) finished: bool,
    /// When its end was first reported, by vantage.
    finished_at: [Option<Instant>; 2],
    /// When it was first reported.
    pub(crate) first_event: Instant,
    /// When its newest event was first reported.
    pub(crate) last_event: Instant,
    pub(crate) last_event_time: SystemTime,
    pub(crate) last_event_type: Arc<str>,
    last_sequence: u64,
    pub(crate) tallies: Tallies,
    pub(crate) order: RunOrder,
    pub(crate) tools: Tools,
    /// Since when its longest tool is at work. `None`: none is.
    at_work_since: Option<Instant>,
    /// Some of those who saw it begin, and who saw it end.
    started_by: Vec<ObserverKey>,
    ended_by: Vec<ObserverKey>,
    /// Some of those who saw any of it.
    pub(crate) seen_by: Vec<ObserverKey>,
    stamp: u64,
}

impl Run {
    /// Tool calls that began and have not ended, oldest first.
    pub(crate) fn open_tools(&self) -> Vec<(&str, Instant)> {
        if self.finished {
            return Vec::new();
        }
        self.tools.open()
    }

    /// The observers that saw both the run's start and this tool call's end.
    pub(crate) fn full_witnesses(&self, call: &ToolCall) -> impl Iterator<Item = ObserverKey> {
        let started = |key: &&ObserverKey| self.started_by.contains(key);
        call.completed_by().iter().filter(started).copied()
    }

    /// The observers that saw the whole run, as far as one can tell.
    pub(crate) fn whole_witnesses(&self) -> impl Iterator<Item = ObserverKey> {
        let started = |key: &&ObserverKey| self.started_by.contains(key);
        self.ended_by.iter().filter(started).copied()
    }

    /// Whether anybody saw it begin.
    pub(crate) fn was_started(&self) -> bool {
        !self.started_by.is_empty()
    }

    pub(crate) fn finished_at(&self, vantage: Vantage) -> Option<Instant> {
        self.finished_at[place(vantage)]
    }

    /// Whether consumers got exactly what producers handed in.
    pub(crate) fn is_even(&self) -> bool {
        self.produced == self.consumed && self.digests[0] == self.digests[1]
    }

    pub(crate) fn status(&self, run_id: &str, now: Now) -> RunStatus {
        RunStatus {
            run_id: run_id.to_owned(),
            produced: self.produced,
            consumed: self.consumed,
            finished: self.finished,
            open_tools: self
                .open_tools()
                .into_iter()
                .map(|(id, since)| (id.to_owned(), now.since(since)))
                .collect(),
            last_event: Some(self.last_event_time),
        }
    }

    /// When its newest event was seen, by its observer's clock.
    pub(crate) fn newest(&self) -> (SystemTime, u64, &Arc<str>) {
        (
            self.last_event_time,
            self.last_sequence,
            &self.last_event_type,
        )
    }

    fn count(&mut self, seen: &Seen<'_>) {
        let (sighting, kind) = (seen.sighting, &seen.names.kind);
        self.tallies
            .add(kind, seen.vantage, seen.first_here, seen.first);
        if seen.first_here {
            match seen.vantage {
                Vantage::Producer => {
                    self.produced += 1;
                    self.order.add(&sighting.epoch, sighting.sequence, kind);
                }
                Vantage::Consumer => self.consumed += 1,
            }
            let digest = &mut self.digests[place(seen.vantage)];
            let hash = XxHash3_64::oneshot(sighting.event_id.as_bytes());
            *digest = digest.wrapping_add(hash);
        }
        if seen.first {
            self.last_event = self.last_event.max(seen.at.monotonic);
        }
        let time = sighting.observe_time.unwrap_or(seen.at.wall);
        if (time, sighting.sequence) >= (self.last_event_time, self.last_sequence) {
            self.last_event_time = time;
            self.last_sequence = sighting.sequence;
            self.last_event_type = kind.clone();
        }
    }
}

pub(super) fn remember(observers: &mut Vec<ObserverKey>, observer: ObserverKey) {
    if observers.len() < OBSERVERS_MAX && !observers.contains(&observer) {
        observers.push(observer);
    }
}

/// One event that an observer reports for the first time.
pub(crate) struct Seen<'a> {
    pub(crate) sighting: &'a Sighting,
    pub(crate) names: Names,
    pub(crate) observer: ObserverKey,
    pub(crate) vantage: Vantage,
    pub(crate) at: Now,
    /// Whether nobody at this vantage had reported it.
    pub(crate) first_here: bool,
    /// Whether nobody had reported it at all.
    pub(crate) first: bool,
}

/// The runs of one component.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    by_id: HashMap<Arc<str>, Run>,
    recency: Recency<Arc<str>>,
    by_thread: HashMap<Arc<str>, HashSet<Arc<str>>>,
    /// Those not finished, the one that has been silent longest first.
    open: BTreeSet<(Instant, Arc<str>)>,
    /// Those not finished with a tool at work, the longest first.
    at_work: BTreeSet<(Instant, Arc<str>)>,
    /// Those with a tool call that ended without its start.
    orphaned: HashSet<Arc<str>>,
    /// Those whose producers broke the order.
    disorderly: HashSet<Arc<str>>,
    /// Those that ended for consumers without a kind that was produced.
    lacking: HashSet<Arc<str>>,
}

impl Runs {
    /// The run's id, shared where it is known.
    pub(super) fn name(&self, run_id: &str) -> Arc<str> {
        let known = self.by_id.get_key_value(run_id);
        known.map_or_else(|| run_id.into(), |(id, _)| id.clone())
    }

    /// Takes an event into its run; returns how much had to leave for it.
    pub(crate) fn record(&mut self, seen: &Seen<'_>, runs_max: usize, tools_max: usize) -> u64 {
        let id = seen.names.run_id.clone();
        let mut evicted = 0;
        if !self.by_id.contains_key(&id) {
            while self.by_id.len() >= runs_max.max(1) {
                let Some(oldest) = self.recency.oldest() else {
                    break;
                };
                self.remove(&oldest);
                evicted += 1;
            }
            self.add(&id, seen);
        }
        let Some(run) = self.by_id.get_mut(&id) else {
            return evicted;
        };
        self.recency.touch(&mut run.stamp, &id);
        self.open.remove(&(run.last_event, id.clone()));
        run.count(seen);
        remember(&mut run.seen_by, seen.observer);
        match seen.sighting.event_type.as_str() {
            "agent_started" => remember(&mut run.started_by, seen.observer),
            kind if ends_run(kind) => {
                run.finished = true;
                run.finished_at[place(seen.vantage)].get_or_insert(seen.at.monotonic);
                remember(&mut run.ended_by, seen.observer);
            }
            _ => evicted += run.tools.record(seen, tools_max),
        }
        let consumed_whole = run.finished_at(Vantage::Consumer).is_some();
        let lacking =
            consumed_whole && !run.is_even() && run.tallies.never_consumed().next().is_some();
        mark(&mut self.lacking, &id, lacking);
        mark(&mut self.disorderly, &id, run.order.breach().is_some());
        mark(&mut self.orphaned, &id, run.tools.has_orphan());
        if let Some(since) = run.at_work_since.take() {
            self.at_work.remove(&(since, id.clone()));
        }
        if !run.finished
            && let Some(since) = run.tools.open_since()
        {
            run.at_work_since = Some(since);
            self.at_work.insert((since, id.clone()));
        }
        if !run.finished {
            self.open.insert((run.last_event, id));
        }
        evicted
    }

    fn add(&mut self, id: &Arc<str>, seen: &Seen<'_>) {
        let known = self.by_thread.get_key_value(&*seen.sighting.thread_id);
        let thread_id: Arc<str> = known.map_or_else(
            || seen.sighting.thread_id.as_str().into(),
            |(id, _)| id.clone(),
        );
        let of_thread = self.by_thread.entry(thread_id.clone()).or_default();
        of_thread.insert(id.clone());
        let run = Run {
            thread_id,
            produced: 0,
            consumed: 0,
            digests: [0; 2],
            finished: false,
            finished_at: [None; 2],
            first_event: seen.at.monotonic,
            last_event: seen.at.monotonic,
            last_event_time: SystemTime::UNIX_EPOCH,
            last_event_type: seen.names.kind.clone(),
            last_sequence: 0,
            tallies: Tallies::default(),
            order: RunOrder::default(),
            tools: Tools::default(),
            at_work_since: None,
            started_by: Vec::new(),
            ended_by: Vec::new(),
            seen_by: Vec::new(),
            stamp: 0,
        };
        self.by_id.insert(id.clone(), run);
    }

    fn remove(&mut self, id: &Arc<str>) {
        if let Some(run) = self.by_id.remove(id) {
            self.recency.forget(run.stamp);
            self.open.remove(&(run.last_event, id.clone()));
            if let Some(since) = run.at_work_since {
                self.at_work.remove(&(since, id.clone()));
            }
            if let Some(of_thread) = self.by_thread.get_mut(&run.thread_id) {
                of_thread.remove(id);
                if of_thread.is_empty() {
                    self.by_thread.remove(&run.thread_id);
                }
            }
        }
        for set in [&mut self.orphaned, &mut self.disorderly, &mut self.lacking] {
            set.remove(id);
        }
    }

    /// Forgets the runs without an event since `horizon`.
    pub(crate) fn expire(&mut self, horizon: Instant) {
        let old = |(id, run): (&Arc<str>, &Run)| (run.last_event < horizon).then(|| id.clone());
        let expired: Vec<_> = self.by_id.iter().filter_map(old).collect();
        for id in expired {
            self.remove(&id);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn get(&self, run_id: &str) -> Option<&Run> {
        self.by_id.get(run_id)
    }

    /// Runs not finished and without an event since before `moment`, the longest silent first.
    pub(crate) fn open_since_before(
        &self,
        moment: Instant,
    ) -> impl Iterator<Item = (&Arc<str>, &Run)> {
        let silent = self.open.iter().take_while(move |(last, _)| *last < moment);
        silent.filter_map(|(_, id)| self.by_id.get_key_value(id))
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Runs not finished with a tool at work since before `moment`, the longest first.
    pub(crate) fn at_work_since_before(
        &self,
        moment: Instant,
    ) -> impl Iterator<Item = (&Arc<str>, &Run)> {
        let long = self.at_work.iter();
        let long = long.take_while(move |(since, _)| *since < moment);
        long.filter_map(|(_, id)| self.by_id.get_key_value(id))
    }

    /// Runs with a tool call that ended without its start.
    pub(crate) fn orphaned(&self) -> impl Iterator<Item = (&Arc<str>, &Run)> {
        self.named(&self.orphaned)
    }

    /// Runs whose producers broke the order.
    pub(crate) fn disorderly(&self) -> impl Iterator<Item = (&Arc<str>, &Run)> {
        self.named(&self.disorderly)
    }

    /// Runs that ended for consumers without a kind that was produced.
    pub(crate) fn lacking(&self) -> impl Iterator<Item = (&Arc<str>, &Run)> {
        self.named(&self.lacking)
    }

    fn named<'a>(
        &'a self,
        set: &'a HashSet<Arc<str>>,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Run)> {
        set.iter().filter_map(|id| self.by_id.get_key_value(id))
    }

    /// The runs of one thread, the newest first.
    pub(crate) fn of_thread(&self, thread_id: &str) -> Vec<(&Arc<str>, &Run)> {
        let ids = self.by_thread.get(thread_id);
        let mut runs: Vec<_> = ids.map_or_else(Vec::new, |ids| self.named(ids).collect());
        runs.sort_by(|(a_id, a), (b_id, b)| (b.last_event, b_id).cmp(&(a.last_event, a_id)));
        runs
    }
}

fn mark(set: &mut HashSet<Arc<str>>, id: &Arc<str>, member: bool) {
    if member {
        set.insert(id.clone());
    } else {
        set.remove(id);
    }
}
