//! The runs that are held, each with its ledger.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slotmap::SlotMap;
use twox_hash::XxHash3_64;

use super::epoch::Epoch;
use super::event::{Event, RunReport, Stages};
use super::index::Index;
use super::limits::SYNTHETIC_IDLE;
use super::thread::{SELF_PREFIX, is_synthetic};

slotmap::new_key_type! {
    /// One held run.
    pub(crate) struct RunKey;
}

/// One run.
#[derive(Debug)]
pub(crate) struct Run {
    run_id: Arc<str>,
    pub(crate) thread_id: Arc<str>,
    epoch: Epoch,
    pub(crate) stages: Stages,
    first_sequence: u64,
    last_sequence: u64,
    digest: u64,
    finished: bool,
    last_event: Instant,
    /// Of a synthetic thread: not counted among the open ones.
    synthetic: bool,
}

/// The held runs.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    runs: SlotMap<RunKey, Run>,
    by_id: Index<RunKey>,
    /// In the order in which they finished. A key may be stale.
    finished: VecDeque<RunKey>,
    /// When to look whether a run is idle; one item for each run.
    idle: BinaryHeap<Reverse<(Instant, RunKey)>>,
    open: u64,
}

/// Why a run takes no event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RunRefusal {
    /// The run belongs to another thread.
    OtherThread,
    /// The limit of held runs is reached and none is finished.
    TooMany,
}

impl Runs {
    /// The run of an event, made where it is new.
    pub(crate) fn find_or_open(
        &mut self,
        event: &Event,
        thread: (&Arc<str>, Epoch),
        limit: usize,
        now: Instant,
        idle: Duration,
    ) -> Result<RunKey, RunRefusal> {
        let (thread_id, epoch) = thread;
        if let Some(&key) = self.by_id.get(event.run_id.as_str()) {
            let same = self
                .runs
                .get(key)
                .is_some_and(|run| run.thread_id == *thread_id);
            return if same {
                Ok(key)
            } else {
                Err(RunRefusal::OtherThread)
            };
        }
        while self.runs.len() >= limit {
            match self.finished.pop_front() {
                Some(oldest) => self.forget(oldest),
                // The self-check's own runs always have room, so that strangers cannot make it fail.
                None if thread_id.starts_with(SELF_PREFIX) => break,
                None => return Err(RunRefusal::TooMany),
            }
        }
        let synthetic = is_synthetic(thread_id);
        let run_id: Arc<str> = event.run_id.as_str().into();
        let key = self.runs.insert(Run {
            run_id: run_id.clone(),
            thread_id: thread_id.clone(),
            epoch,
            stages: Stages::default(),
            first_sequence: 0,
            last_sequence: 0,
            digest: 0,
            finished: false,
            last_event: now,
            synthetic,
        });
        self.by_id.insert(run_id, key);
        let idle = idle_of(synthetic, idle);
        self.idle.push(Reverse((now + idle, key)));
        self.open += u64::from(!synthetic);
        Ok(key)
    }

    /// Notes an accepted event: its place, its part of the digest, and whether the run ends.
    pub(crate) fn note(&mut self, key: RunKey, event: &Event, sequence: u64, now: Instant) {
        let Some(run) = self.runs.get_mut(key) else {
            return;
        };
        if run.first_sequence == 0 {
            run.first_sequence = sequence;
        }
        run.last_sequence = sequence;
        run.digest = run
            .digest
            .wrapping_add(XxHash3_64::oneshot(event.event_id.as_bytes()));
        run.last_event = now;
        if event.event_type.ends_run() && !run.finished {
            run.finished = true;
            self.finished.push_back(key);
            self.open -= u64::from(!run.synthetic);
        }
    }

    /// Forgets the runs that had no event for as long as `idle`, synthetic ones earlier.
    pub(crate) fn forget_idle(&mut self, now: Instant, idle: Duration) {
        while let Some(&Reverse((due, key))) = self.idle.peek() {
            if due > now {
                return;
            }
            self.idle.pop();
            let Some(run) = self.runs.get(key) else {
                continue;
            };
            let next_look = run.last_event + idle_of(run.synthetic, idle);
            if next_look <= now {
                self.forget(key);
            } else {
                self.idle.push(Reverse((next_look, key)));
            }
        }
        let stale = |key: &RunKey| !self.runs.contains_key(*key);
        while self.finished.front().is_some_and(stale) {
            self.finished.pop_front();
        }
    }

    /// When a run may become idle next.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.idle.peek().map(|Reverse((due, _))| *due)
    }

    pub(crate) fn get_mut(&mut self, key: RunKey) -> Option<&mut Run> {
        self.runs.get_mut(key)
    }

    /// Runs started and not ended, synthetic ones not counted.
    pub(crate) const fn open(&self) -> u64 {
        self.open
    }

    /// Runs held.
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether every held run's ledger balances; the first that does not otherwise.
    pub(crate) fn first_unbalanced(&self) -> Option<&str> {
        let unbalanced = self.runs.values().find(|run| !run.stages.balanced());
        unbalanced.map(|run| run.run_id.as_ref())
    }

    /// A run's ledger.
    pub(crate) fn report(&self, run_id: &str) -> Option<RunReport> {
        let run = self.runs.get(*self.by_id.get(run_id)?)?;
        Some(RunReport {
            run_id: run.run_id.to_string(),
            thread_id: run.thread_id.to_string(),
            epoch: run.epoch,
            stages: run.stages.clone(),
            first_sequence: run.first_sequence,
            last_sequence: run.last_sequence,
            digest: run.digest,
            finished: run.finished,
        })
    }

    fn forget(&mut self, key: RunKey) {
        if let Some(run) = self.runs.remove(key) {
            self.by_id.remove(&run.run_id);
            self.open -= u64::from(!run.finished && !run.synthetic);
        }
    }
}

/// How long a run without events is held.
fn idle_of(synthetic: bool, idle: Duration) -> Duration {
    if synthetic {
        idle.min(SYNTHETIC_IDLE)
    } else {
        idle
    }
}
