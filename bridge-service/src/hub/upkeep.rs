//! What time does to the hub: events leave the window, idle threads and runs are forgotten, and
//! the state is checked against itself.

use std::cmp::Reverse;
use std::time::Instant;

use service_kit::clock::Now;

use super::connections::spread;
use super::event::{CloseReason, DROPPED_AT_SHUTDOWN};
use super::ledger::Step;
use super::state::Hub;
use super::thread::ThreadKey;
use super::waiting::Waiting;

/// Batches in which readers leave at the drain, at the most.
const MAX_DRAIN_BATCHES: usize = 20;
/// Readers that may leave in one go: a server takes so many handshakes without being felt.
const MIN_DRAIN_BATCH: usize = 100;
/// Kept events that one inspection counts anew; the rest has its turn when threads come and go.
const MAX_INSPECTED_EVENTS: usize = 100_000;

impl Hub {
    /// Does all that is due.
    pub(crate) fn tick(&mut self, now: Now) {
        self.let_old_events_go(now.monotonic);
        self.forget_idle_threads(now.monotonic);
        self.look_at_readers(now.monotonic);
        self.see_off(now.monotonic);
        self.runs.forget_idle(now.monotonic, self.limits.run_idle);
    }

    /// When the next thing is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let aging = self.aging.peek().map(|Reverse((due, _))| *due);
        let idling = self.idling.peek().map(|Reverse((due, _))| *due);
        let reader = self.reader_due.peek().map(|Reverse((due, _))| *due);
        let leaving = self.leaving.front().map(|(due, _)| *due);
        [aging, idling, reader, leaving, self.runs.next_look()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lists a thread to be looked at when its oldest event ages out.
    pub(super) fn schedule_thread(&mut self, key: ThreadKey) {
        let limits = self.limits;
        let Some(thread) = self.threads.get_mut(key) else {
            return;
        };
        let Some(oldest) = thread.window.oldest() else {
            return;
        };
        let due = oldest.accepted_at + limits.age_of(thread.synthetic);
        if thread.due.is_none_or(|listed| due < listed) {
            thread.due = Some(due);
            self.aging.push(Reverse((due, key)));
        }
    }

    /// The next thread that is listed for up to a moment; items that were overtaken are left out.
    fn pop_aging_thread(&mut self, until: Option<Instant>) -> Option<ThreadKey> {
        while let Some(&Reverse((due, key))) = self.aging.peek() {
            if until.is_some_and(|until| due > until) {
                return None;
            }
            self.aging.pop();
            if let Some(thread) = self.threads.get_mut(key)
                && thread.due == Some(due)
            {
                thread.due = None;
                return Some(key);
            }
        }
        None
    }

    fn let_old_events_go(&mut self, now: Instant) {
        while let Some(key) = self.pop_aging_thread(Some(now)) {
            let age = self.limits.age_of(self.threads[key].synthetic);
            while let Some(entry) = self.threads[key].window.oldest()
                && entry.accepted_at + age <= now
            {
                self.let_go(key);
            }
            self.schedule_thread(key);
        }
    }

    fn forget_idle_threads(&mut self, now: Instant) {
        while let Some(&Reverse((due, key))) = self.idling.peek() {
            if due > now {
                return;
            }
            self.idling.pop();
            if let Some(next) = self.forget_if_idle(key, now) {
                self.idling.push(Reverse((next, key)));
            }
        }
    }

    /// When to look again; `None`: the thread is gone.
    fn forget_if_idle(&mut self, key: ThreadKey, now: Instant) -> Option<Instant> {
        let thread = self.threads.get(key)?;
        let idle = self.limits.idle_of(thread.synthetic);
        let due = thread.last_used + idle;
        if due > now {
            return Some(due);
        }
        if thread.window.len() > 0 || !thread.readers.is_empty() {
            return Some(now + idle);
        }
        self.thread_by_id.remove(&thread.thread_id);
        self.synthetic_threads -= usize::from(thread.synthetic);
        self.threads.remove(key);
        None
    }

    /// Lets the event go that is the next to age out. False: none is kept.
    pub(super) fn let_oldest_go(&mut self) -> bool {
        while let Some(key) = self.pop_aging_thread(None) {
            // A thread may be listed for an event that is gone; then the next one has its turn.
            let oldest = self.threads[key]
                .window
                .oldest()
                .map(|entry| entry.accepted_at);
            let next = self.aging.peek().map(|Reverse((due, _))| *due);
            let age = self.limits.age_of(self.threads[key].synthetic);
            let found = oldest.is_some_and(|oldest| next.is_none_or(|next| oldest + age <= next));
            if found {
                self.let_go(key);
            }
            self.schedule_thread(key);
            if found {
                return true;
            }
        }
        false
    }

    /// Refuses new work, and lists every reader to be told goodbye: as many as make a batch at
    /// once, the others in jittered batches within the spread.
    pub(crate) fn drain(&mut self, now: Now) {
        self.draining = true;
        let batch = self.readers.len().div_ceil(MAX_DRAIN_BATCHES);
        let batch = batch.max(MIN_DRAIN_BATCH);
        let pause = self.limits.drain_spread / MAX_DRAIN_BATCHES as u32;
        for (place, id) in self.readers.keys().enumerate() {
            let number = (place / batch) as u32;
            // A batch leaves somewhere in the pause before the next; the first one at once.
            let jitter = if number == 0 { 0 } else { spread(id) };
            let due = now.monotonic + pause * number - pause / 256 * jitter;
            self.leaving.push_back((due, id));
        }
        self.leaving.make_contiguous().sort_unstable();
        self.see_off(now.monotonic);
    }

    /// Tells goodbye to the readers whose time to leave has come.
    fn see_off(&mut self, now: Instant) {
        while let Some(&(due, id)) = self.leaving.front()
            && due <= now
        {
            self.leaving.pop_front();
            self.close(id, CloseReason::Draining, now);
        }
    }

    /// The process ends: what no reader got is dropped, and counted.
    pub(crate) fn drop_pending(&mut self) -> u64 {
        let before = self
            .ledger
            .users
            .dropped
            .get(DROPPED_AT_SHUTDOWN)
            .copied()
            .unwrap_or(0);
        for thread in self.threads.values_mut() {
            while let Some(entry) = thread.window.pop_oldest() {
                if entry.stage == super::window::Stage::Pending {
                    let step = Step::Drop(DROPPED_AT_SHUTDOWN);
                    self.ledger
                        .take(&mut self.runs, entry.run, thread.synthetic, step);
                }
            }
        }
        self.window_bytes = 0;
        self.ledger
            .users
            .dropped
            .get(DROPPED_AT_SHUTDOWN)
            .copied()
            .unwrap_or(0)
            - before
    }

    /// Checks the indexes and the ledgers against each other.
    ///
    /// # Errors
    /// The first thing that does not agree.
    pub(crate) fn inspect(&self) -> Result<String, String> {
        if self.thread_by_id.len() != self.threads.len() {
            let (ids, threads) = (self.thread_by_id.len(), self.threads.len());
            return Err(format!(
                "{ids} thread ids for {threads} threads; allowed is one each"
            ));
        }
        if self.idling.len() != self.threads.len() {
            let (items, threads) = (self.idling.len(), self.threads.len());
            return Err(format!(
                "{items} items to look whether {threads} threads are idle; allowed is one each"
            ));
        }
        let (mut listed, mut pending, mut bytes, mut counted) = (0, 0, 0, 0);
        for (key, thread) in &self.threads {
            if self.thread_by_id.get(&thread.thread_id) != Some(&key) {
                return Err(format!(
                    "thread {:?} is not found by its id",
                    thread.thread_id
                ));
            }
            for (place, id) in thread.readers.iter().enumerate() {
                let reader = self.readers.get(*id);
                if reader.is_none_or(|reader| (reader.thread, reader.place) != (key, place)) {
                    return Err(format!("thread {:?} lists a stranger", thread.thread_id));
                }
            }
            listed += thread.readers.len();
            pending += thread.window.pending();
            bytes += thread.window.kept_bytes();
            if counted < MAX_INSPECTED_EVENTS {
                counted += thread.window.len();
                let (kept, real) = (thread.window.pending(), thread.window.count_pending());
                if kept != real {
                    return Err(format!(
                        "thread {:?} counts {kept} pending events and keeps {real}",
                        thread.thread_id
                    ));
                }
            }
        }
        self.inspect_totals(listed, pending, bytes)
    }

    fn inspect_totals(&self, listed: usize, pending: u64, bytes: usize) -> Result<String, String> {
        let readers = self.readers.len();
        if listed != readers {
            return Err(format!("threads list {listed} readers of {readers}"));
        }
        #[cfg(feature = "fault-injection")]
        if self.faults.hides_loss() {
            return Ok("all agree".to_owned());
        }
        let claimed = self.ledger.users.pending + self.ledger.synthetic.pending;
        if claimed != pending {
            return Err(format!(
                "the ledger has {claimed} pending events, the windows {pending}"
            ));
        }
        if bytes != self.window_bytes {
            return Err(format!(
                "{} window bytes are counted, {bytes} kept",
                self.window_bytes
            ));
        }
        if !self.ledger.users.balanced() || !self.ledger.synthetic.balanced() {
            return Err("the ledger's total does not balance".to_owned());
        }
        if let Some(run) = self.runs.first_unbalanced() {
            return Err(format!("the ledger of run {run:?} does not balance"));
        }
        Ok(format!(
            "{} threads and {readers} readers agree",
            self.threads.len()
        ))
    }

    /// Rebuilds the indexes from the threads and readers themselves, and has every reader flushed
    /// and every thread looked at.
    pub(crate) fn rebuild(&mut self, now: Now) {
        self.thread_by_id = self
            .threads
            .iter()
            .map(|(key, thread)| (thread.thread_id.clone(), key))
            .collect();
        self.aging.clear();
        self.idling.clear();
        self.reader_due.clear();
        self.dirty_threads.clear();
        self.dirty_readers.clear();
        self.waiting = Waiting::default();
        for thread in self.threads.values_mut() {
            thread.readers.clear();
            thread.dirty = false;
            thread.waits = false;
            thread.due = None;
        }
        let ids: Vec<_> = self.readers.keys().collect();
        for id in ids {
            let reader = &mut self.readers[id];
            reader.dirty = false;
            reader.owes = false;
            reader.set_blocked(false, now.monotonic);
            if let Some(thread) = self.threads.get_mut(reader.thread) {
                reader.place = thread.readers.len();
                thread.readers.push(id);
            }
            self.reader_due.push(Reverse((now.monotonic, id)));
            self.mark_reader(id);
            self.note_unacknowledged(id);
        }
        self.window_bytes = self
            .threads
            .values()
            .map(|thread| thread.window.kept_bytes())
            .sum();
        for key in self.threads.keys().collect::<Vec<_>>() {
            self.idling.push(Reverse((now.monotonic, key)));
            self.schedule_thread(key);
            self.note_pending(key);
        }
    }
}
