//! The hub's readers: how they come, get their events, and go.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use slotmap::Key;

use super::batch::Batch;
use super::encode;
use super::event::{CloseReason, Encoding, Position, SubscribeError};
use super::ledger::Step;
use super::limits::MAX_SYNTHETIC_CONNECTIONS;
use super::reader::{ConnectionId, Reader};
use super::state::Hub;
use super::thread::{SELF_PREFIX, Thread, ThreadKey};

impl Hub {
    /// Connects a reader and prepares its welcome.
    pub(crate) fn subscribe(
        &mut self,
        thread_id: &str,
        position: Option<&Position>,
        encoding: Encoding,
        synthetic: bool,
        now: Instant,
    ) -> Result<ConnectionId, SubscribeError> {
        if self.draining {
            return Err(SubscribeError::Draining);
        }
        if let Some(limit) = self.reached_limit(thread_id, synthetic) {
            return Err(SubscribeError::TooManyConnections { limit });
        }
        let key = self.find_or_open_thread(thread_id, now).ok_or_else(|| {
            SubscribeError::TooManyThreads {
                limit: self.threads_limit(thread_id),
            }
        })?;
        let thread = &mut self.threads[key];
        let (next, recovered) = thread.start(position);
        let last = thread.window.last();
        let welcome = encode::welcome(
            encoding,
            encode::Welcome {
                thread_id: &thread.thread_id,
                epoch: thread.epoch.as_str(),
                seq: last,
                recovered,
                heartbeat_ms: encode::milliseconds(self.limits.heartbeat),
            },
        );
        let listed = (key, thread.readers.len());
        let reader = Reader::new(listed, encoding, synthetic, (next, last), welcome, now);
        let id = self.readers.insert(reader);
        thread.readers.push(id);
        if !synthetic {
            self.users_open += 1;
            self.users_opened += 1;
        }
        self.reader_due
            .push(Reverse((now + self.first_beat(id), id)));
        self.note_pending(key);
        self.mark_reader(id);
        Ok(id)
    }

    /// The limit of readers that leaves no room for one more; the self-check's own reader always
    /// has room, so that strangers cannot make it fail.
    fn reached_limit(&self, thread_id: &str, synthetic: bool) -> Option<usize> {
        let (open, limit) = if synthetic {
            (
                self.readers.len() as u64 - self.users_open,
                MAX_SYNTHETIC_CONNECTIONS,
            )
        } else {
            (self.users_open, self.limits.connections)
        };
        let own = thread_id.starts_with(SELF_PREFIX);
        (!own && open >= limit as u64).then_some(limit)
    }

    /// The first heartbeat comes at half to a whole interval, so that readers that came together
    /// don't beat together for ever.
    fn first_beat(&self, id: ConnectionId) -> Duration {
        let spread = (id.data().as_ffi() & 0xff) as u32;
        self.limits.heartbeat / 2 + self.limits.heartbeat / 512 * spread
    }

    /// Lists a reader to be flushed.
    pub(super) fn mark_reader(&mut self, id: ConnectionId) {
        if let Some(reader) = self.readers.get_mut(id)
            && !reader.dirty
        {
            reader.dirty = true;
            self.dirty_readers.push(id);
        }
    }

    /// The readers to be flushed, each once; a full socket's is left out until it may take more.
    pub(crate) fn take_dirty(&mut self, into: &mut Vec<ConnectionId>, now: Instant) {
        self.unflushed = 0;
        for key in std::mem::take(&mut self.dirty_threads) {
            let Some(thread) = self.threads.get_mut(key) else {
                continue;
            };
            thread.dirty = false;
            for &id in &thread.readers {
                if let Some(reader) = self.readers.get_mut(id)
                    && !reader.dirty
                {
                    reader.dirty = true;
                    self.dirty_readers.push(id);
                }
            }
        }
        for id in std::mem::take(&mut self.dirty_readers) {
            let Some(reader) = self.readers.get_mut(id) else {
                continue;
            };
            reader.dirty = false;
            #[cfg(feature = "fault-injection")]
            if let Some(thread) = self.threads.get(reader.thread)
                && self.faults.wedges(&thread.thread_id)
            {
                continue;
            }
            if reader.blocked_since().is_some() {
                self.check_lag(id, now);
            } else {
                into.push(id);
            }
        }
    }

    /// Whether a reader waits to be flushed.
    pub(crate) fn any_dirty(&self) -> bool {
        !self.dirty_threads.is_empty() || !self.dirty_readers.is_empty()
    }

    /// Events accepted since the last flush.
    pub(crate) const fn unflushed(&self) -> usize {
        self.unflushed
    }

    /// Collects what a reader is to be written next.
    pub(crate) fn gather(&mut self, id: ConnectionId, batch: &mut Batch, now: Instant) {
        // A fault hits each reader for itself.
        #[cfg(feature = "fault-injection")]
        batch.clear();
        if self.try_gather(id, batch) {
            return;
        }
        // The window has moved on past the reader.
        self.close(id, CloseReason::TooSlow, now);
        self.try_gather(id, batch);
    }

    fn try_gather(&mut self, id: ConnectionId, batch: &mut Batch) -> bool {
        let found = self.readers.get(id);
        let found = found.and_then(|reader| Some((reader, self.threads.get_mut(reader.thread)?)));
        let Some((reader, thread)) = found else {
            batch.clear();
            return true;
        };
        let last = thread.window.last();
        let stand = reader.stand(last);
        if batch.serves(stand) {
            return true;
        }
        batch.clear();
        batch.gathered_for(stand);
        let encoding = reader.encoding;
        let Thread {
            thread_id,
            epoch,
            window,
            ..
        } = thread;
        let before = window.kept_bytes();
        #[cfg(feature = "fault-injection")]
        let faults = &self.faults;
        let complete = reader.gather(batch, last, |sequence| {
            #[cfg(feature = "fault-injection")]
            let sequence = faults.stands_in(thread_id, sequence, last);
            let frame = window.frame(sequence, encoding, |entry| {
                encode::event(encoding, entry.shown(thread_id, epoch.as_str(), sequence))
            });
            #[cfg(feature = "fault-injection")]
            let frame = frame.map(|frame| faults.frame(thread_id, sequence, encoding, frame));
            frame
        });
        self.window_bytes = self.window_bytes + window.kept_bytes() - before;
        complete
    }

    /// Accounts for the first `taken` bytes of what was gathered. True: the reader is done with.
    pub(crate) fn wrote(
        &mut self,
        id: ConnectionId,
        batch: &Batch,
        taken: usize,
        now: Instant,
    ) -> bool {
        let Some(reader) = self.readers.get_mut(id) else {
            return true;
        };
        let written = reader.wrote(batch, taken);
        if taken > 0 {
            reader.last_sent = now;
        }
        let full = taken < batch.bytes();
        reader.set_blocked(full, now);
        let (key, late_until) = (reader.thread, reader.catch_up_until());
        if let Some((first, last)) = written.events {
            self.deliver(key, (first, last), late_until, now);
            self.note_unacknowledged(id);
        }
        if written.farewell {
            return true;
        }
        if full {
            self.check_lag(id, now);
        }
        false
    }

    /// Whether the reader's socket is full.
    pub(crate) fn is_blocked(&self, id: ConnectionId) -> bool {
        self.readers
            .get(id)
            .is_some_and(|reader| reader.blocked_since().is_some())
    }

    /// Through `late_until` it is the reader that came late, and no delay of the bridge's.
    fn deliver(
        &mut self,
        key: ThreadKey,
        (first, last): (u64, u64),
        late_until: u64,
        now: Instant,
    ) {
        let Some(thread) = self.threads.get_mut(key) else {
            return;
        };
        for sequence in first..=last {
            // Other readers got them before.
            if thread.window.pending() == 0 {
                return;
            }
            if let Some((run, accepted_at)) = thread.window.deliver(sequence) {
                if !thread.synthetic && sequence > late_until {
                    let delay = now.saturating_duration_since(accepted_at);
                    self.delivery_delay.record(delay);
                }
                self.ledger
                    .take(&mut self.runs, run, thread.synthetic, Step::Deliver);
            }
        }
    }

    /// Closes a reader whose lag is over the limit.
    fn check_lag(&mut self, id: ConnectionId, now: Instant) {
        let Some(reader) = self.readers.get(id) else {
            return;
        };
        let Some(thread) = self.threads.get(reader.thread) else {
            return;
        };
        let from = reader.lag_from();
        let events = thread.window.last().saturating_sub(from);
        let bytes = thread.window.bytes_after(from);
        if events > self.limits.reader_lag_events || bytes > self.limits.reader_lag_bytes {
            self.close(id, CloseReason::TooSlow, now);
        }
    }

    /// The reader's socket may take more.
    pub(crate) fn writable(&mut self, id: ConnectionId, now: Instant) {
        if let Some(reader) = self.readers.get_mut(id) {
            reader.set_blocked(false, now);
            self.mark_reader(id);
        }
    }

    /// The reader showed a sign of life.
    pub(crate) fn alive(&mut self, id: ConnectionId, now: Instant) {
        if let Some(reader) = self.readers.get_mut(id) {
            reader.last_alive = now;
        }
    }

    /// Everything through this sequence has reached the reader. One that acknowledges what it was
    /// not sent has broken the protocol.
    pub(crate) fn acknowledge(&mut self, id: ConnectionId, through: u64, now: Instant) {
        self.alive(id, now);
        let Some(reader) = self.readers.get_mut(id) else {
            return;
        };
        let key = reader.thread;
        let Ok(sequences) = reader.acknowledge(through) else {
            return self.close(id, CloseReason::ProtocolError, now);
        };
        self.note_unacknowledged(id);
        let Some(thread) = self.threads.get_mut(key) else {
            return;
        };
        let first = (*sequences.start()).max(thread.window.first());
        for sequence in first..=*sequences.end() {
            if let Some(run) = thread.window.acknowledge(sequence) {
                self.ledger
                    .take(&mut self.runs, run, thread.synthetic, Step::Acknowledge);
            }
        }
    }

    /// Sends a frame outside the log.
    pub(crate) fn control(&mut self, id: ConnectionId, frame: bytes::Bytes) {
        if let Some(reader) = self.readers.get_mut(id) {
            reader.push_control(frame);
            self.mark_reader(id);
        }
    }

    /// Tells a reader goodbye. One that is being drained gets the events that it lacks first.
    pub(crate) fn close(&mut self, id: ConnectionId, reason: CloseReason, now: Instant) {
        let retry_after = self.retry_after(id);
        let deadline = now + self.limits.goodbye;
        let Some(reader) = self.readers.get_mut(id) else {
            return;
        };
        if reader.closing().is_some() {
            return;
        }
        let farewell = encode::goodbye(reader.encoding, reason, retry_after);
        let after_events = reason == CloseReason::Draining;
        reader.begin_close(reason, farewell, after_events, deadline);
        if !reader.synthetic {
            *self.closes_by_reason.entry(reason.name()).or_default() += 1;
        }
        self.reader_due.push(Reverse((deadline, id)));
        self.mark_reader(id);
    }

    /// Once to twice the configured time, spread by the reader's number, so that readers that are
    /// sent away together don't come back together.
    fn retry_after(&self, id: ConnectionId) -> Duration {
        self.limits.retry_after + self.limits.retry_after / 256 * spread(id)
    }

    /// Forgets a reader; what it did not get stays for others, and for its return.
    pub(crate) fn remove_reader(&mut self, id: ConnectionId, now: Instant) {
        let Some(reader) = self.readers.remove(id) else {
            return;
        };
        if !reader.synthetic {
            self.users_open -= 1;
            self.users_closed += 1;
        }
        if let Some(thread) = self.threads.get_mut(reader.thread) {
            thread.readers.swap_remove(reader.place);
            if let Some(moved) = thread.readers.get(reader.place)
                && let Some(moved) = self.readers.get_mut(*moved)
            {
                moved.place = reader.place;
            }
            thread.last_used = now;
        }
    }

    /// Readers whose time to take their goodbye is up.
    pub(crate) fn take_overdue(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.overdue)
    }

    /// Looks at each reader whose time it is: heartbeat, silence, overdue goodbye. Heartbeats that
    /// are due a little later go out along with one that is due, so that idle readers share the
    /// loop's turns; a goodbye keeps its whole time.
    pub(super) fn look_at_readers(&mut self, now: Instant) {
        let soon = now + self.limits.heartbeat_slack();
        while let Some(&Reverse((due, id))) = self.reader_due.peek() {
            if due > soon || (due > now && self.is_closing(id)) {
                return;
            }
            self.reader_due.pop();
            if let Some(next) = self.look_at_reader(id, now) {
                self.reader_due.push(Reverse((next, id)));
            }
        }
    }

    fn is_closing(&self, id: ConnectionId) -> bool {
        self.readers
            .get(id)
            .is_some_and(|reader| reader.closing().is_some())
    }

    /// When to look again; `None` where it is listed already or gone.
    fn look_at_reader(&mut self, id: ConnectionId, now: Instant) -> Option<Instant> {
        let limits = self.limits;
        let reader = self.readers.get_mut(id)?;
        if let Some(deadline) = reader.closing_deadline() {
            if deadline <= now {
                self.overdue.push(id);
                return None;
            }
            return Some(deadline);
        }
        let web_socket = reader.encoding.transport == super::event::Transport::WebSocket;
        let blocked = reader
            .blocked_since()
            .map(|since| now.saturating_duration_since(since));
        let silent = web_socket && reader.silent_for(now) >= limits.reader_silence;
        if silent || blocked.is_some_and(|time| time >= limits.reader_silence) {
            self.close(id, CloseReason::Silent, now);
            return None;
        }
        let quiet_for = now.saturating_duration_since(reader.last_sent);
        // The first one comes early, by as much as the reader's number says.
        let interval = if reader.beaten {
            limits.heartbeat
        } else {
            limits.heartbeat / 2
        };
        if quiet_for + limits.heartbeat_slack() >= interval {
            reader.beaten = true;
            let last = self
                .threads
                .get(reader.thread)
                .map_or(0, |thread| thread.window.last());
            reader.push_control(encode::heartbeat(reader.encoding, last));
            self.mark_reader(id);
            return Some(now + limits.heartbeat);
        }
        if web_socket && reader.silent_for(now) >= limits.heartbeat {
            reader.push_control(bytes::Bytes::from_static(encode::ping()));
            self.mark_reader(id);
        }
        Some(now + (limits.heartbeat - quiet_for))
    }
}

/// A number from 0 to 255 for a reader; neighbours are far apart (Fibonacci hashing).
pub(super) fn spread(id: ConnectionId) -> u32 {
    (id.data().as_ffi().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u32
}
