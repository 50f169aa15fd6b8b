//! The replay window: the newest events of one thread, by sequence.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use smallvec::SmallVec;

use super::encode::Shown;
use super::event::{Encoding, Event};
use super::packed::Packed;
use super::runs::RunKey;

/// What one kept event costs beside its texts, its data and its frames, in bytes: the entry itself
/// and what three allocations cost, rounded up.
const ENTRY_OVERHEAD_BYTES: usize = size_of::<Entry>() + 64;

/// Where an event in the window stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Written to no reader yet.
    Pending,
    /// Written to at least one reader.
    Delivered,
    /// Delivered, and a reader said that it arrived.
    Acknowledged,
}

/// One kept event.
#[derive(Debug)]
pub(crate) struct Entry {
    event: Packed,
    pub(crate) run: RunKey,
    pub(crate) accepted_at: Instant,
    /// What readers see as the event's time.
    shown_time: SystemTime,
    pub(crate) stage: Stage,
    /// Bytes of all events of the thread before this one, kept or gone: the difference of two
    /// entries' is the lag between them.
    bytes_before: u64,
    /// Most threads are read in one encoding.
    frames: SmallVec<[(Encoding, Bytes); 1]>,
}

impl Entry {
    /// The event as readers are shown it.
    pub(crate) fn shown<'a>(
        &'a self,
        thread_id: &'a str,
        epoch: &'a str,
        sequence: u64,
    ) -> Shown<'a> {
        Shown {
            event_id: self.event.event_id(),
            event_type: self.event.event_type,
            thread_id,
            run_id: self.event.run_id(),
            agent_name: self.event.agent_name(),
            tool_name: self.event.tool_name(),
            tool_call_id: self.event.tool_call_id(),
            data: self.event.data(),
            trace: self.event.trace(),
            time: self.shown_time,
            sequence,
            epoch,
        }
    }

    fn framed(&self, encoding: Encoding) -> Option<&Bytes> {
        let mut frames = self.frames.iter();
        let (_, frame) = frames.find(|(kept, _)| *kept == encoding)?;
        Some(frame)
    }

    /// What the entry keeps in memory, in bytes, encoded frames included.
    fn kept_bytes(&self) -> usize {
        ENTRY_OVERHEAD_BYTES
            + self.event.kept_bytes()
            + self
                .frames
                .iter()
                .map(|(_, frame)| frame.len())
                .sum::<usize>()
    }
}

/// The newest events of one thread. Sequences are gapless and start at 1.
#[derive(Debug)]
pub(crate) struct Window {
    entries: VecDeque<Entry>,
    /// Sequence of the oldest kept event; where none is kept, of the next one.
    first: u64,
    bytes_ever: u64,
    kept_bytes: usize,
    pending: u64,
    /// No event before this sequence is pending any more.
    settled_before: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            first: 1,
            bytes_ever: 0,
            kept_bytes: 0,
            pending: 0,
            settled_before: 1,
        }
    }
}

impl Window {
    /// Keeps an event and gives it the next sequence.
    pub(crate) fn push(
        &mut self,
        event: &Event,
        run: RunKey,
        accepted_at: Instant,
        accepted_wall: SystemTime,
    ) -> u64 {
        let kept = Packed::new(event);
        let size = ENTRY_OVERHEAD_BYTES + kept.bytes();
        let entry = Entry {
            event: kept,
            run,
            accepted_at,
            shown_time: event.create_time.unwrap_or(accepted_wall),
            stage: Stage::Pending,
            bytes_before: self.bytes_ever,
            frames: SmallVec::new(),
        };
        self.bytes_ever += size as u64;
        self.kept_bytes += size;
        self.pending += 1;
        self.entries.push_back(entry);
        self.last()
    }

    /// Lets go of the oldest event.
    pub(crate) fn pop_oldest(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.first += 1;
        self.kept_bytes -= entry.kept_bytes();
        self.pending -= u64::from(entry.stage == Stage::Pending);
        Some(entry)
    }

    /// The oldest kept event.
    pub(crate) fn oldest(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// Sequence of the oldest kept event; where none is kept, of the next one to come.
    pub(crate) const fn first(&self) -> u64 {
        self.first
    }

    /// Sequence of the newest event ever; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.first + self.entries.len() as u64 - 1
    }

    /// How many events are kept.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is kept in memory, in bytes, encoded frames included.
    pub(crate) const fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Kept events that were written to no reader yet.
    pub(crate) const fn pending(&self) -> u64 {
        self.pending
    }

    /// Bytes of the events after a sequence; those already gone count.
    pub(crate) fn bytes_after(&self, sequence: u64) -> u64 {
        match self.index(sequence + 1) {
            Some(index) => self.bytes_ever - self.entries[index].bytes_before,
            None if sequence >= self.last() => 0,
            None => self.bytes_ever,
        }
    }

    /// The event as a reader's frame, encoded at the first call for each encoding; `None` where it is
    /// not kept.
    pub(crate) fn frame(
        &mut self,
        sequence: u64,
        encoding: Encoding,
        encode: impl FnOnce(&Entry) -> Bytes,
    ) -> Option<Bytes> {
        let index = self.index(sequence)?;
        let entry = &mut self.entries[index];
        if let Some(frame) = entry.framed(encoding) {
            return Some(frame.clone());
        }
        let before = entry.kept_bytes();
        let frame = encode(entry);
        entry.event.share(&frame);
        entry.frames.push((encoding, frame.clone()));
        self.kept_bytes = self.kept_bytes + entry.kept_bytes() - before;
        Some(frame)
    }

    /// Moves an event from pending to delivered; its run, and when it was accepted. `None` where it
    /// is not kept or was before.
    pub(crate) fn deliver(&mut self, sequence: u64) -> Option<(RunKey, Instant)> {
        let index = self.index(sequence)?;
        let entry = &mut self.entries[index];
        if entry.stage != Stage::Pending {
            return None;
        }
        entry.stage = Stage::Delivered;
        self.pending -= 1;
        Some((entry.run, entry.accepted_at))
    }

    /// Marks a delivered event as acknowledged. `None` where it is not kept, not delivered or was
    /// acknowledged before.
    pub(crate) fn acknowledge(&mut self, sequence: u64) -> Option<RunKey> {
        let index = self.index(sequence)?;
        let entry = &mut self.entries[index];
        if entry.stage != Stage::Delivered {
            return None;
        }
        entry.stage = Stage::Acknowledged;
        Some(entry.run)
    }

    /// Sequence of the oldest pending event. Each event is passed once, whatever the number of calls.
    pub(crate) fn first_pending(&mut self) -> Option<u64> {
        if self.pending == 0 {
            return None;
        }
        let from = self.settled_before.max(self.first);
        let mut later = self.entries.iter().skip(self.index(from)?);
        let settled = later.position(|entry| entry.stage == Stage::Pending)?;
        self.settled_before = from + settled as u64;
        Some(self.settled_before)
    }

    /// When the oldest pending event at or after a sequence was accepted.
    pub(crate) fn oldest_pending_from(&self, sequence: u64) -> Option<Instant> {
        if self.pending == 0 {
            return None;
        }
        let from = usize::try_from(sequence.saturating_sub(self.first)).ok()?;
        let mut later = self.entries.iter().skip(from);
        let oldest = later.find(|entry| entry.stage == Stage::Pending);
        oldest.map(|entry| entry.accepted_at)
    }

    /// When an event was accepted. `None`: it is not kept.
    pub(crate) fn accepted_at(&self, sequence: u64) -> Option<Instant> {
        let index = self.index(sequence)?;
        self.entries.get(index).map(|entry| entry.accepted_at)
    }

    /// Counts the pending events anew, for the self-check.
    pub(crate) fn count_pending(&self) -> u64 {
        self.entries
            .iter()
            .filter(|entry| entry.stage == Stage::Pending)
            .count() as u64
    }

    fn index(&self, sequence: u64) -> Option<usize> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        (index < self.entries.len()).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hub::event::{Subprotocol, Transport};
    use crate::hub::testing::{event, moment};

    const ENCODING: Encoding = Encoding {
        subprotocol: Subprotocol::Json,
        transport: Transport::WebSocket,
    };

    fn window_of(count: u64) -> Window {
        let mut window = Window::default();
        let now = moment(0);
        for n in 1..=count {
            let sequence = window.push(
                &event("t", "r", &format!("e{n}")),
                RunKey::default(),
                now.monotonic,
                now.wall,
            );
            assert_eq!(sequence, n);
        }
        window
    }

    #[test]
    fn an_event_is_encoded_once() {
        let mut window = window_of(1);
        let first = window
            .frame(1, ENCODING, |_| Bytes::from_static(b"once"))
            .unwrap();
        let second = window
            .frame(1, ENCODING, |_| panic!("encoded twice"))
            .unwrap();
        assert_eq!(first.as_ptr(), second.as_ptr());
    }

    #[test]
    fn an_event_is_delivered_and_acknowledged_once() {
        let mut window = window_of(1);
        assert!(
            window.acknowledge(1).is_none(),
            "acknowledged before it was delivered"
        );
        assert!(window.deliver(1).is_some());
        assert!(window.deliver(1).is_none());
        assert!(window.acknowledge(1).is_some());
        assert!(window.acknowledge(1).is_none());
        assert_eq!(window.pending(), 0);
    }

    proptest! {
        #[test]
        fn sequences_stay_gapless_and_counts_exact(steps in prop::collection::vec(0_u8..4, 0..200)) {
            let mut window = Window::default();
            let now = moment(0);
            let (mut pushed, mut popped) = (0_u64, 0_u64);
            for step in steps {
                match step {
                    0 | 1 => {
                        pushed += 1;
                        let event = event("t", "r", &format!("e{pushed}"));
                        let sequence =
                            window.push(&event, RunKey::default(), now.monotonic, now.wall);
                        prop_assert_eq!(sequence, pushed);
                    }
                    2 => popped += u64::from(window.pop_oldest().is_some()),
                    _ => {
                        let middle = window.first() + (window.len() as u64) / 2;
                        let _ = window.deliver(middle);
                        let _ = window.frame(middle, ENCODING, |_| Bytes::from_static(b"frame"));
                    }
                }
                prop_assert_eq!(window.first(), popped + 1);
                prop_assert_eq!(window.last(), pushed);
                prop_assert_eq!(window.pending(), window.count_pending());
                let kept: usize = window.entries.iter().map(Entry::kept_bytes).sum();
                prop_assert_eq!(window.kept_bytes(), kept);
                let size = |entry: &Entry| (ENTRY_OVERHEAD_BYTES + entry.event.bytes()) as u64;
                let sizes: u64 = window.entries.iter().map(size).sum();
                prop_assert_eq!(window.bytes_after(popped), sizes);
            }
        }
    }
}
