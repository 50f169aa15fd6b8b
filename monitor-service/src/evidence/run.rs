//! What was seen of one run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use service_kit::clock::Now;

use super::observer::ObserverKey;
use super::recency::Recency;
use crate::domain::{RunStatus, Sighting, Vantage};

/// Observers remembered for one run; a few are enough to know that one was there.
const OBSERVERS_MAX: usize = 8;

/// One tool call of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct ToolCall {
    /// When its start was first reported.
    pub(crate) executing: Option<Instant>,
    executing_at: [bool; 2],
    /// When its end was first reported, by vantage.
    completed_at: [Option<Instant>; 2],
    completed_by: Vec<ObserverKey>,
}

impl ToolCall {
    pub(crate) fn completed(&self) -> bool {
        self.completed_at.iter().any(Option::is_some)
    }

    pub(crate) fn executing_seen(&self, vantage: Vantage) -> bool {
        self.executing_at[place(vantage)]
    }

    pub(crate) fn completed_seen(&self, vantage: Vantage) -> Option<Instant> {
        self.completed_at[place(vantage)]
    }

    /// Ended at a vantage where its start was not seen.
    fn lacks_its_start(&self) -> bool {
        [Vantage::Producer, Vantage::Consumer]
            .into_iter()
            .any(|at| self.completed_seen(at).is_some() && !self.executing_seen(at))
    }
}

const fn place(vantage: Vantage) -> usize {
    match vantage {
        Vantage::Producer => 0,
        Vantage::Consumer => 1,
    }
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) thread_id: Arc<str>,
    pub(crate) produced: u64,
    pub(crate) consumed: u64,
    pub(crate) finished: bool,
    /// When its newest event was first reported.
    pub(crate) last_event: Instant,
    pub(crate) last_event_time: SystemTime,
    pub(crate) last_event_type: Box<str>,
    pub(crate) tools: BTreeMap<Box<str>, ToolCall>,
    /// Some of those who saw it begin.
    started_by: Vec<ObserverKey>,
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
        let mut tools: Vec<(&str, Instant)> = self
            .tools
            .iter()
            .filter(|(_, call)| !call.completed())
            .filter_map(|(id, call)| call.executing.map(|since| (&**id, since)))
            .collect();
        tools.sort_by_key(|(_, since)| *since);
        tools
    }

    /// The observers that saw both the run's start and this tool call's end.
    pub(crate) fn full_witnesses(&self, call: &ToolCall) -> impl Iterator<Item = ObserverKey> {
        let started = |key: &&ObserverKey| self.started_by.contains(key);
        call.completed_by.iter().filter(started).copied()
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

    fn record_tool(&mut self, seen: &Seen<'_>, tools_max: usize) -> u64 {
        let id = seen.sighting.tool_call_id.as_str();
        let executing = seen.sighting.event_type == "tool_executing";
        // Without an id, a start and an end cannot be told to belong together.
        if id.is_empty() || !(executing || seen.sighting.event_type == "tool_completed") {
            return 0;
        }
        let mut evicted = 0;
        if !self.tools.contains_key(id) && self.tools.len() >= tools_max {
            evicted = u64::from(self.forget_one_tool());
        }
        let call = self.tools.entry(id.into()).or_default();
        let vantage = place(seen.vantage);
        if executing {
            call.executing_at[vantage] = true;
            call.executing.get_or_insert(seen.at.monotonic);
        } else {
            call.completed_at[vantage].get_or_insert(seen.at.monotonic);
            remember(&mut call.completed_by, seen.observer);
        }
        evicted
    }

    /// Completed calls leave before open ones.
    fn forget_one_tool(&mut self) -> bool {
        let done = self.tools.iter().find(|(_, call)| call.completed());
        let Some(id) = done
            .or_else(|| self.tools.iter().next())
            .map(|(id, _)| id.clone())
        else {
            return false;
        };
        self.tools.remove(&id).is_some()
    }
}

fn remember(observers: &mut Vec<ObserverKey>, observer: ObserverKey) {
    if observers.len() < OBSERVERS_MAX && !observers.contains(&observer) {
        observers.push(observer);
    }
}

/// One event that an observer reports for the first time.
pub(crate) struct Seen<'a> {
    pub(crate) sighting: &'a Sighting,
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
    /// Those not finished.
    open: HashSet<Arc<str>>,
    /// Those with a tool call that ended without its start.
    orphaned: HashSet<Arc<str>>,
}

impl Runs {
    /// Takes an event into its run; returns how much had to leave for it.
    pub(crate) fn record(&mut self, seen: &Seen<'_>, runs_max: usize, tools_max: usize) -> u64 {
        let sighting = seen.sighting;
        let mut evicted = 0;
        let id = match self.by_id.get_key_value(sighting.run_id.as_str()) {
            Some((id, _)) => id.clone(),
            None => {
                while self.by_id.len() >= runs_max.max(1) {
                    let Some(oldest) = self.recency.oldest() else {
                        break;
                    };
                    self.remove(&oldest);
                    evicted += 1;
                }
                self.add(seen)
            }
        };
        let Some(run) = self.by_id.get_mut(&id) else {
            return evicted;
        };
        self.recency.touch(&mut run.stamp, &id);
        match seen.vantage {
            Vantage::Producer => run.produced += u64::from(seen.first_here),
            Vantage::Consumer => run.consumed += u64::from(seen.first_here),
        }
        if seen.first {
            run.last_event = run.last_event.max(seen.at.monotonic);
            let time = sighting.observe_time.unwrap_or(seen.at.wall);
            if time >= run.last_event_time {
                run.last_event_time = time;
                run.last_event_type = sighting.event_type.as_str().into();
            }
        }
        remember(&mut run.seen_by, seen.observer);
        match sighting.event_type.as_str() {
            "agent_started" => remember(&mut run.started_by, seen.observer),
            "agent_completed" | "agent_error" => run.finished = true,
            _ => evicted += run.record_tool(seen, tools_max),
        }
        let orphaned = run.tools.values().any(ToolCall::lacks_its_start);
        let finished = run.finished;
        mark(&mut self.open, &id, !finished);
        mark(&mut self.orphaned, &id, orphaned);
        evicted
    }

    fn add(&mut self, seen: &Seen<'_>) -> Arc<str> {
        let id: Arc<str> = seen.sighting.run_id.as_str().into();
        let run = Run {
            thread_id: seen.sighting.thread_id.as_str().into(),
            produced: 0,
            consumed: 0,
            finished: false,
            last_event: seen.at.monotonic,
            last_event_time: SystemTime::UNIX_EPOCH,
            last_event_type: Box::default(),
            tools: BTreeMap::new(),
            started_by: Vec::new(),
            seen_by: Vec::new(),
            stamp: 0,
        };
        self.by_id.insert(id.clone(), run);
        id
    }

    fn remove(&mut self, id: &Arc<str>) {
        if let Some(run) = self.by_id.remove(id) {
            self.recency.forget(run.stamp);
        }
        self.open.remove(id);
        self.orphaned.remove(id);
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

    /// Runs not finished.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&Arc<str>, &Run)> {
        self.open
            .iter()
            .filter_map(|id| self.by_id.get_key_value(id))
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Runs with a tool call that ended without its start.
    pub(crate) fn orphaned(&self) -> impl Iterator<Item = (&Arc<str>, &Run)> {
        self.orphaned
            .iter()
            .filter_map(|id| self.by_id.get_key_value(id))
    }

    /// The runs of one thread, the newest first.
    pub(crate) fn of_thread(&self, thread_id: &str, now: Now) -> Vec<RunStatus> {
        let mut runs: Vec<_> = self
            .by_id
            .iter()
            .filter(|(_, run)| &*run.thread_id == thread_id)
            .collect();
        runs.sort_by(|(a_id, a), (b_id, b)| (b.last_event, b_id).cmp(&(a.last_event, a_id)));
        runs.into_iter()
            .map(|(id, run)| run.status(id, now))
            .collect()
    }
}

fn mark(set: &mut HashSet<Arc<str>>, id: &Arc<str>, member: bool) {
    if member {
        set.insert(id.clone());
    } else {
        set.remove(id);
    }
}
