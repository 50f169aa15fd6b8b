//! One connected reader: a cursor into its thread's window, never a queue of its own.
//!
//! What a reader has not got yet stands in the window, shared with every other reader; the reader
//! itself keeps a position, the rest of a frame that its socket took in part, and a few frames
//! outside the log. So an idle reader costs next to nothing, and a slow one costs the same.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::batch::{Batch, Item, Stand};
use super::event::{CloseReason, Encoding};
use super::thread::ThreadKey;

slotmap::new_key_type! {
    /// One connected reader.
    pub(crate) struct ConnectionId;
}

/// Frames outside the log that may wait. At the limit a further one (a pong, a heartbeat) is left
/// out: the reader takes nothing anyway.
pub(super) const MAX_CONTROLS: usize = 16;

/// The rest of a frame that was taken in part.
#[derive(Debug)]
struct Partial {
    rest: Bytes,
    item: Item,
}

/// A reader that is being told goodbye.
#[derive(Debug)]
struct Closing {
    reason: CloseReason,
    farewell: Bytes,
    written: bool,
    /// Whether the events that it has not got yet go first.
    after_events: bool,
    deadline: Instant,
}

/// What came of a write.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Events that are now wholly written: the first and the last sequence.
    pub(crate) events: Option<(u64, u64)>,
    /// Whether the farewell is out: the reader is done with.
    pub(crate) farewell: bool,
}

/// One connected reader.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) thread: ThreadKey,
    /// Where its thread lists it.
    pub(crate) place: usize,
    pub(crate) encoding: Encoding,
    /// A self-check's own: in no statistics.
    pub(crate) synthetic: bool,
    /// The next event to write.
    next: u64,
    /// The newest event when the reader came: up to here it catches up, and its lag does not count.
    catch_up_until: u64,
    acknowledged: u64,
    /// Whether it ever acknowledged anything.
    acknowledges: bool,
    partial: Option<Partial>,
    controls: VecDeque<Bytes>,
    closing: Option<Box<Closing>>,
    pub(crate) last_sent: Instant,
    pub(crate) last_alive: Instant,
    blocked_since: Option<Instant>,
    /// Whether it was sent a heartbeat.
    pub(crate) beaten: bool,
    /// Whether it is listed to be flushed.
    pub(crate) dirty: bool,
    /// Whether it is listed because it may owe an acknowledgement.
    pub(crate) owes: bool,
}

impl Reader {
    /// A reader that its thread lists at `place`, whose first frame is the welcome and whose first
    /// event is `next`.
    pub(crate) fn new(
        (thread, place): (ThreadKey, usize),
        encoding: Encoding,
        synthetic: bool,
        (next, last): (u64, u64),
        welcome: Bytes,
        now: Instant,
    ) -> Self {
        Self {
            thread,
            place,
            encoding,
            synthetic,
            next,
            catch_up_until: last,
            acknowledged: next - 1,
            acknowledges: false,
            partial: None,
            controls: VecDeque::from([welcome]),
            closing: None,
            last_sent: now,
            last_alive: now,
            blocked_since: None,
            beaten: false,
            dirty: false,
            owes: false,
        }
    }

    /// The newest event that is wholly written.
    pub(crate) const fn written_through(&self) -> u64 {
        match &self.partial {
            Some(Partial {
                item: Item::Event(sequence),
                ..
            }) => *sequence - 1,
            _ => self.next - 1,
        }
    }

    /// The oldest event that is written and not acknowledged, of a reader that acknowledges and is
    /// not being closed.
    pub(crate) fn first_unacknowledged(&self) -> Option<u64> {
        let waits = self.acknowledges && self.closing.is_none();
        (waits && self.written_through() > self.acknowledged).then_some(self.acknowledged + 1)
    }

    /// The newest event when the reader came.
    pub(crate) const fn catch_up_until(&self) -> u64 {
        self.catch_up_until
    }

    /// The position from which the reader's lag counts.
    pub(crate) fn lag_from(&self) -> u64 {
        (self.next - 1).max(self.catch_up_until)
    }

    /// Whether its socket is full. It is not written to until it may take more.
    pub(crate) const fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    /// Notes whether the socket is full.
    pub(crate) fn set_blocked(&mut self, blocked: bool, now: Instant) {
        self.blocked_since = blocked.then(|| self.blocked_since.unwrap_or(now));
    }

    /// Why it is being closed, if it is.
    pub(crate) fn closing(&self) -> Option<CloseReason> {
        self.closing.as_ref().map(|closing| closing.reason)
    }

    /// Until when it may take its farewell.
    pub(crate) fn closing_deadline(&self) -> Option<Instant> {
        self.closing.as_ref().map(|closing| closing.deadline)
    }

    /// Queues a frame outside the log.
    pub(crate) fn push_control(&mut self, frame: Bytes) {
        if self.controls.len() < MAX_CONTROLS && self.closing.is_none() {
            self.controls.push_back(frame);
        }
    }

    /// Begins to close. The first reason stands.
    pub(crate) fn begin_close(
        &mut self,
        reason: CloseReason,
        farewell: Bytes,
        after_events: bool,
        deadline: Instant,
    ) {
        if self.closing.is_none() {
            let written = false;
            self.closing = Some(Box::new(Closing {
                reason,
                farewell,
                written,
                after_events,
                deadline,
            }));
        }
    }

    /// Notes a cumulative acknowledgement; the sequences that are new to this reader.
    ///
    /// # Errors
    /// The newest sequence that was written, where the acknowledged one is after it.
    pub(crate) fn acknowledge(
        &mut self,
        through: u64,
    ) -> Result<std::ops::RangeInclusive<u64>, u64> {
        if through > self.written_through() {
            return Err(self.written_through());
        }
        let from = self.acknowledged + 1;
        self.acknowledges |= through >= from;
        self.acknowledged = self.acknowledged.max(through);
        Ok(from..=through)
    }

    /// Its place, where it is to get events and nothing else; `last` is the thread's newest.
    pub(super) fn stand(&self, last: u64) -> Option<Stand> {
        let plain = self.partial.is_none() && self.controls.is_empty() && self.closing.is_none();
        plain.then_some(Stand {
            thread: self.thread,
            encoding: self.encoding,
            next: self.next,
            last,
        })
    }

    /// Collects what to write next; `last` is the thread's newest event, `frame` gives an event's.
    /// False: an event that the reader needs is no longer kept.
    pub(crate) fn gather(
        &self,
        batch: &mut Batch,
        last: u64,
        mut frame: impl FnMut(u64) -> Option<Bytes>,
    ) -> bool {
        if let Some(partial) = &self.partial {
            batch.push(partial.rest.clone(), partial.item);
        }
        for control in &self.controls {
            batch.push(control.clone(), Item::Control);
        }
        let abrupt = self
            .closing
            .as_ref()
            .is_some_and(|closing| !closing.after_events);
        let mut next = self.next;
        while !abrupt && next <= last && !batch.full() {
            let Some(chunk) = frame(next) else {
                return false;
            };
            batch.push(chunk, Item::Event(next));
            next += 1;
        }
        if let Some(closing) = &self.closing
            && !closing.written
            && (abrupt || next > last)
        {
            batch.push(closing.farewell.clone(), Item::Farewell);
        }
        true
    }

    /// Accounts for the first `taken` bytes of a gathered batch.
    pub(crate) fn wrote(&mut self, batch: &Batch, taken: usize) -> Written {
        if taken == batch.bytes()
            && let Some((first, last)) = batch.events()
        {
            self.next = last + 1;
            return Written {
                events: Some((first, last)),
                farewell: false,
            };
        }
        let mut written = Written::default();
        let mut left = taken;
        for (chunk, item) in batch.iter() {
            if left == 0 {
                break;
            }
            let begun = self.partial.take().is_some();
            if !begun {
                match item {
                    Item::Control => drop(self.controls.pop_front()),
                    Item::Event(sequence) => self.next = sequence + 1,
                    Item::Farewell => {}
                }
            }
            if left < chunk.len() {
                self.partial = Some(Partial {
                    rest: chunk.slice(left..),
                    item,
                });
                self.mark_farewell(item);
                break;
            }
            left -= chunk.len();
            match item {
                Item::Control => {}
                Item::Event(sequence) => {
                    let (first, _) = written.events.unwrap_or((sequence, 0));
                    written.events = Some((first, sequence));
                }
                Item::Farewell => {
                    self.mark_farewell(item);
                    written.farewell = true;
                }
            }
        }
        written
    }

    fn mark_farewell(&mut self, item: Item) {
        if item == Item::Farewell
            && let Some(closing) = &mut self.closing
        {
            closing.written = true;
        }
    }

    /// How long it has shown no sign of life.
    pub(crate) fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_alive)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hub::event::{Subprotocol, Transport};
    use crate::hub::testing::moment;

    fn reader(next: u64, last: u64) -> Reader {
        let encoding = Encoding {
            subprotocol: Subprotocol::Json,
            transport: Transport::WebSocket,
        };
        let welcome = Bytes::from_static(b"<welcome>");
        let now = moment(0).monotonic;
        Reader::new(
            (ThreadKey::default(), 0),
            encoding,
            false,
            (next, last),
            welcome,
            now,
        )
    }

    fn frame(sequence: u64) -> Option<Bytes> {
        Some(format!("<{sequence}>").into())
    }

    /// Writes until nothing is left; each write takes as many bytes as the next of `sizes`.
    fn drain(reader: &mut Reader, last: u64, sizes: &[usize]) -> (String, Vec<u64>, bool) {
        let (mut text, mut events, mut farewell) = (String::new(), Vec::new(), false);
        let mut sizes = sizes.iter().copied().cycle();
        loop {
            let mut batch = Batch::default();
            assert!(reader.gather(&mut batch, last, frame));
            if batch.chunks().is_empty() {
                return (text, events, farewell);
            }
            let taken = sizes.next().unwrap().min(batch.bytes());
            let flat = batch.chunks().concat();
            text.push_str(std::str::from_utf8(&flat[..taken]).unwrap());
            let written = reader.wrote(&batch, taken);
            if let Some((first, last)) = written.events {
                events.extend(first..=last);
            }
            farewell |= written.farewell;
        }
    }

    #[test]
    fn an_acknowledgement_of_what_was_not_written_is_refused() {
        let mut reader = reader(1, 0);
        drain(&mut reader, 2, &[100]);
        assert_eq!(reader.acknowledge(3), Err(2));
        assert_eq!(reader.acknowledge(1).unwrap().collect::<Vec<_>>(), [1]);
        assert_eq!(reader.acknowledge(2).unwrap().collect::<Vec<_>>(), [2]);
        assert_eq!(reader.acknowledge(1).unwrap().count(), 0);
    }

    #[test]
    fn an_abrupt_goodbye_finishes_the_frame_under_way_and_no_other() {
        let mut reader = reader(1, 0);
        let mut batch = Batch::default();
        reader.gather(&mut batch, 3, frame);
        reader.wrote(&batch, "<welcome><1".len());
        let deadline = moment(1).monotonic;
        reader.begin_close(
            CloseReason::TooSlow,
            Bytes::from_static(b"<bye>"),
            false,
            deadline,
        );
        let (text, events, farewell) = drain(&mut reader, 3, &[2]);
        assert_eq!((text.as_str(), events, farewell), ("><bye>", vec![1], true));
    }

    proptest! {
        #[test]
        fn however_the_socket_takes_it_each_frame_goes_out_once_and_in_order(
            sizes in prop::collection::vec(1_usize..40, 1..20),
            last in 0_u64..150,
            bye in any::<bool>(),
        ) {
            let mut reader = reader(1, last);
            if bye {
                let farewell = Bytes::from_static(b"<bye>");
                let deadline = moment(1).monotonic;
                reader.begin_close(CloseReason::Draining, farewell, true, deadline);
            }
            let (text, events, farewell) = drain(&mut reader, last, &sizes);
            let mut expected = "<welcome>".to_owned();
            expected.extend((1..=last).map(|sequence| format!("<{sequence}>")));
            if bye {
                expected.push_str("<bye>");
            }
            prop_assert_eq!(text, expected);
            prop_assert_eq!(events, (1..=last).collect::<Vec<_>>());
            prop_assert_eq!(farewell, bye);
            prop_assert_eq!(reader.written_through(), last);
        }
    }
}
