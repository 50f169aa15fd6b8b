//! The hub's whole state and every decision about it: what comes in, under which number it is
//! kept, who gets it, and how it is accounted for. It does no I/O and reads no clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use service_kit::clock::Now;
use service_kit::histogram::Histogram;
use slotmap::SlotMap;

use super::epoch::Epoch;
use super::event::{Event, HubReport, Outcome, Place, RunReport};
use super::idempotency::{IdempotencyWindow, Remembered};
use super::index::Index;
use super::ledger::{Ledger, Step};
use super::limits::{HubLimits, MAX_SYNTHETIC_THREADS};
use super::reader::{ConnectionId, Reader};
use super::runs::{RunRefusal, Runs};
use super::thread::{SELF_PREFIX, Thread, ThreadKey, is_synthetic};
use super::waiting::{Oldest, Waiting};

/// The hub's state. The halves that look after readers and after age are in `connections` and
/// `upkeep`.
pub(crate) struct Hub {
    pub(super) limits: HubLimits,
    epoch_seed: u64,
    epochs: u64,
    pub(super) threads: SlotMap<ThreadKey, Thread>,
    pub(super) thread_by_id: Index<ThreadKey>,
    pub(super) readers: SlotMap<ConnectionId, Reader>,
    pub(super) runs: Runs,
    pub(super) ledger: Ledger,
    ids: IdempotencyWindow,
    /// What all windows keep, in bytes.
    pub(super) window_bytes: usize,
    /// When to look at a thread that keeps events; the oldest kept event of all is near the top. An
    /// item that its thread does not name any more is stale.
    pub(super) aging: BinaryHeap<Reverse<(Instant, ThreadKey)>>,
    /// When to look whether a thread is idle; one item for each thread.
    pub(super) idling: BinaryHeap<Reverse<(Instant, ThreadKey)>>,
    /// When to look at a reader next.
    pub(super) reader_due: BinaryHeap<Reverse<(Instant, ConnectionId)>>,
    pub(super) dirty_threads: Vec<ThreadKey>,
    pub(super) dirty_readers: Vec<ConnectionId>,
    pub(super) waiting: Waiting,
    /// Readers to be cut: their time is up.
    pub(super) overdue: Vec<ConnectionId>,
    pub(super) unflushed: usize,
    pub(super) draining: bool,
    /// Readers that have yet to be told goodbye at the drain, and when.
    pub(super) leaving: VecDeque<(Instant, ConnectionId)>,
    pub(super) users_open: u64,
    pub(super) users_opened: u64,
    pub(super) users_closed: u64,
    pub(super) closes_by_reason: BTreeMap<&'static str, u64>,
    /// Threads among those held that are synthetic.
    pub(super) synthetic_threads: usize,
    rejected: u64,
    duplicates: u64,
    synthetic_rejected: u64,
    synthetic_duplicates: u64,
    pub(super) delivery_delay: Histogram,
    #[cfg(feature = "fault-injection")]
    pub(super) faults: super::faults::Faults,
}

impl Hub {
    /// An empty hub. The seed makes its epochs differ from those of every other process.
    pub(crate) fn new(limits: HubLimits, seed: u64) -> Self {
        Self {
            limits,
            epoch_seed: seed,
            epochs: 0,
            threads: SlotMap::with_key(),
            thread_by_id: Index::default(),
            readers: SlotMap::with_key(),
            runs: Runs::default(),
            ledger: Ledger::default(),
            ids: IdempotencyWindow::new(seed, limits.idempotency_entries),
            window_bytes: 0,
            aging: BinaryHeap::new(),
            idling: BinaryHeap::new(),
            reader_due: BinaryHeap::new(),
            dirty_threads: Vec::new(),
            dirty_readers: Vec::new(),
            waiting: Waiting::default(),
            overdue: Vec::new(),
            unflushed: 0,
            draining: false,
            leaving: VecDeque::new(),
            users_open: 0,
            users_opened: 0,
            users_closed: 0,
            closes_by_reason: BTreeMap::new(),
            synthetic_threads: 0,
            rejected: 0,
            duplicates: 0,
            synthetic_rejected: 0,
            synthetic_duplicates: 0,
            delivery_delay: Histogram::default(),
            #[cfg(feature = "fault-injection")]
            faults: super::faults::Faults::default(),
        }
    }

    /// Whether new events and readers are refused because the service shuts down.
    pub(crate) const fn draining(&self) -> bool {
        self.draining
    }

    /// Takes checked events; `rejected` counts those that were refused at the door before.
    pub(crate) fn publish(&mut self, events: Vec<Event>, rejected: u64, now: Now) -> Vec<Outcome> {
        self.rejected += rejected;
        events
            .into_iter()
            .map(|event| self.accept(&event, now))
            .collect()
    }

    fn accept(&mut self, event: &Event, now: Now) -> Outcome {
        let id = self.ids.key(&event.event_id);
        let synthetic = is_synthetic(&event.thread_id);
        if let Some(place) = self.ids.find(id) {
            self.duplicates += u64::from(!synthetic);
            self.synthetic_duplicates += u64::from(synthetic);
            return Outcome::Duplicate(Place {
                sequence: place.sequence,
                epoch: Epoch::new(self.epoch_seed, place.epoch),
            });
        }
        #[cfg(feature = "fault-injection")]
        if self.faults.swallows(event)
            && let Some(key) = self.find_or_open_thread(&event.thread_id, now.monotonic)
        {
            let thread = &self.threads[key];
            return Outcome::Accepted(Place {
                sequence: thread.window.last() + 1,
                epoch: thread.epoch,
            });
        }
        match self.place(event, now) {
            Ok(place) => {
                self.ids.remember(id, Remembered::of(&place));
                Outcome::Accepted(place)
            }
            Err(why) => {
                self.rejected += u64::from(!synthetic);
                self.synthetic_rejected += u64::from(synthetic);
                Outcome::Rejected(why)
            }
        }
    }

    fn place(&mut self, event: &Event, now: Now) -> Result<Place, String> {
        let key = self
            .find_or_open_thread(&event.thread_id, now.monotonic)
            .ok_or_else(|| {
                let limit = self.threads_limit(&event.thread_id);
                format!("thread_id: {limit} threads are held, and no more are allowed")
            })?;
        let limits = self.limits;
        let thread = &mut self.threads[key];
        let run = self
            .runs
            .find_or_open(
                event,
                (&thread.thread_id, thread.epoch),
                limits.runs,
                now.monotonic,
                limits.run_idle,
            )
            .map_err(|refusal| match refusal {
                RunRefusal::OtherThread => {
                    format!("run_id: {:?} belongs to another thread", event.run_id)
                }
                RunRefusal::TooMany => format!(
                    "run_id: {} unfinished runs are held, and no more are allowed",
                    limits.runs
                ),
            })?;
        let before = thread.window.kept_bytes();
        let sequence = thread.window.last() + 1;
        self.runs.note(run, event, sequence, now.monotonic);
        thread.window.push(event, run, now.monotonic, now.wall);
        self.window_bytes += thread.window.kept_bytes() - before;
        thread.last_used = now.monotonic;
        let place = Place {
            sequence,
            epoch: thread.epoch,
        };
        let synthetic = thread.synthetic;
        self.ledger
            .take(&mut self.runs, run, synthetic, Step::Accept);
        #[cfg(feature = "fault-injection")]
        self.hit(key, sequence);
        self.make_room(key);
        self.schedule_thread(key);
        self.mark_thread(key);
        self.note_pending(key);
        self.unflushed += 1;
        Ok(place)
    }

    /// Lets an armed fault hit an event that was just taken in.
    #[cfg(feature = "fault-injection")]
    fn hit(&mut self, key: ThreadKey, sequence: u64) {
        let thread = &mut self.threads[key];
        let vanishes = self.faults.taken_in(&thread.thread_id, sequence);
        if vanishes && let Some((run, _)) = thread.window.deliver(sequence) {
            self.ledger.lose_one(&mut self.runs, run);
        }
    }

    /// Arms a fault, and takes in the events that it invents.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn arm(&mut self, fault: super::faults::Fault, now: Now) {
        let heals = fault == super::faults::Fault::Heal;
        let invented = self.faults.arm(fault);
        if heals {
            let ids: Vec<_> = self.readers.keys().collect();
            ids.into_iter().for_each(|id| self.mark_reader(id));
        }
        self.publish(invented, 0, now);
    }

    /// The thread of that id, made where it is new; `None` at the limit of threads.
    pub(super) fn find_or_open_thread(
        &mut self,
        thread_id: &str,
        now: Instant,
    ) -> Option<ThreadKey> {
        if let Some(&key) = self.thread_by_id.get(thread_id) {
            return Some(key);
        }
        let synthetic = is_synthetic(thread_id);
        let (held, limit) = if synthetic {
            (self.synthetic_threads, MAX_SYNTHETIC_THREADS)
        } else {
            (
                self.threads.len() - self.synthetic_threads,
                self.limits.threads,
            )
        };
        // The self-check's own thread always has room, so that strangers cannot make it fail.
        if held >= limit && !thread_id.starts_with(SELF_PREFIX) {
            return None;
        }
        self.synthetic_threads += usize::from(synthetic);
        self.epochs += 1;
        let epoch = Epoch::new(self.epoch_seed, self.epochs);
        let thread_id: Arc<str> = thread_id.into();
        let key = self
            .threads
            .insert(Thread::new(thread_id.clone(), epoch, now));
        self.thread_by_id.insert(thread_id, key);
        let idle = self.limits.idle_of(synthetic);
        self.idling.push(Reverse((now + idle, key)));
        Some(key)
    }

    /// The limit that leaves no room for one more thread of that name.
    pub(super) fn threads_limit(&self, thread_id: &str) -> usize {
        if is_synthetic(thread_id) {
            MAX_SYNTHETIC_THREADS
        } else {
            self.limits.threads
        }
    }

    /// Lists a thread so that its readers are flushed at the end of the turn.
    pub(super) fn mark_thread(&mut self, key: ThreadKey) {
        if let Some(thread) = self.threads.get_mut(key)
            && !thread.dirty
            && !thread.readers.is_empty()
        {
            thread.dirty = true;
            self.dirty_threads.push(key);
        }
    }

    /// Lets events go until the thread and the whole are within their limits.
    fn make_room(&mut self, key: ThreadKey) {
        let limits = self.limits;
        loop {
            let window = &self.threads[key].window;
            let over = window.len() > limits.window_events
                || (window.len() > 1 && window.kept_bytes() > limits.window_thread_bytes);
            if !over {
                break;
            }
            self.let_go(key);
        }
        while self.window_bytes > limits.window_total_bytes && self.let_oldest_go() {}
    }

    /// Lets the oldest event of one thread go; one that no reader got has expired.
    pub(super) fn let_go(&mut self, key: ThreadKey) {
        let Some(thread) = self.threads.get_mut(key) else {
            return;
        };
        let before = thread.window.kept_bytes();
        let Some(entry) = thread.window.pop_oldest() else {
            return;
        };
        self.window_bytes -= before - thread.window.kept_bytes();
        let synthetic = thread.synthetic;
        if entry.stage == super::window::Stage::Pending {
            self.ledger
                .take(&mut self.runs, entry.run, synthetic, Step::Expire);
        }
    }

    /// One run's ledger.
    pub(crate) fn run_report(&self, run_id: &str) -> Option<RunReport> {
        self.runs.report(run_id)
    }

    /// The counters, as they stand now.
    pub(crate) fn report(&mut self, now: Now) -> HubReport {
        let Oldest {
            pending,
            read_pending,
            unacknowledged,
        } = self.oldest();
        HubReport {
            stages: self.ledger.users.clone(),
            rejected: self.rejected,
            duplicates: self.duplicates,
            synthetic: self.ledger.synthetic.clone(),
            synthetic_rejected: self.synthetic_rejected,
            synthetic_duplicates: self.synthetic_duplicates,
            connections_open: self.users_open,
            connections_max: self.limits.connections as u64,
            connections_opened: self.users_opened,
            connections_closed: self.users_closed,
            closes_by_reason: self.closes_by_reason.clone(),
            runs_open: self.runs.open(),
            runs_held: self.runs.len() as u64,
            threads_held: self.threads.len() as u64,
            window_bytes: self.window_bytes as u64,
            delivery_delay: self.delivery_delay.clone(),
            oldest_pending_age: pending.map(|at| now.since(at)),
            watchers_open: 0,
            watchers_dropped: 0,
            oldest_read_pending_age: read_pending.map(|at| now.since(at)),
            oldest_unacknowledged_age: unacknowledged.map(|at| now.since(at)),
        }
    }
}
