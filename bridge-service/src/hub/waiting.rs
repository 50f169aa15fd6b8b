//! What readers wait for, and what the bridge waits for from them.
//!
//! Whoever may wait is listed when it begins; a report looks at the listed alone, and leaves out
//! who waits no more. So it costs what happened since the last one, whatever is held beside.

use std::time::Instant;

use slotmap::SlotMap;

use super::reader::{ConnectionId, Reader};
use super::state::Hub;
use super::thread::{Thread, ThreadKey};

/// Who may wait. Synthetic threads and readers are in no statistics.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// With readers and a pending event.
    threads: Vec<ThreadKey>,
    /// With an event that is written and not acknowledged.
    readers: Vec<ConnectionId>,
}

/// When the oldest event was accepted of those that wait. `None`: none does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Oldest {
    /// Pending, on a thread with readers.
    pub(super) pending: Option<Instant>,
    /// Pending, and a connected reader is to get it. Events that nobody asks for wait too, and harm
    /// nobody.
    pub(super) read_pending: Option<Instant>,
    /// Written to a reader and not acknowledged, of readers that acknowledge at all.
    pub(super) unacknowledged: Option<Instant>,
}

impl Hub {
    /// Lists a thread where readers may wait for an event of it.
    pub(super) fn note_pending(&mut self, key: ThreadKey) {
        if let Some(thread) = self.threads.get_mut(key)
            && !(thread.waits || thread.synthetic || thread.readers.is_empty())
            && thread.window.pending() > 0
        {
            thread.waits = true;
            let threads = &self.threads;
            list(&mut self.waiting.threads, key, threads.len(), |key| {
                threads.contains_key(key)
            });
        }
    }

    /// Lists a reader where it may owe an acknowledgement.
    pub(super) fn note_unacknowledged(&mut self, id: ConnectionId) {
        if let Some(reader) = self.readers.get_mut(id)
            && !(reader.owes || reader.synthetic)
            && reader.first_unacknowledged().is_some()
        {
            reader.owes = true;
            let readers = &self.readers;
            list(&mut self.waiting.readers, id, readers.len(), |id| {
                readers.contains_key(id)
            });
        }
    }

    /// Looks at whoever is listed.
    pub(super) fn oldest(&mut self) -> Oldest {
        let (threads, readers) = (&mut self.threads, &mut self.readers);
        let mut oldest = Oldest::default();
        self.waiting.threads.retain(|key| {
            let Some(thread) = threads.get_mut(*key) else {
                return false;
            };
            let first = thread.window.first_pending();
            let first = first.filter(|_| !thread.readers.is_empty());
            thread.waits = first.is_some();
            if let Some(first) = first {
                oldest.pending = earlier(oldest.pending, thread.window.accepted_at(first));
                let read = read_pending(thread, readers, first);
                oldest.read_pending = earlier(oldest.read_pending, read);
            }
            thread.waits
        });
        self.waiting.readers.retain(|id| {
            let Some(reader) = readers.get_mut(*id) else {
                return false;
            };
            let first = reader.first_unacknowledged();
            reader.owes = first.is_some();
            if let (Some(first), Some(thread)) = (first, threads.get(reader.thread)) {
                let accepted = thread.window.accepted_at(first);
                oldest.unacknowledged = earlier(oldest.unacknowledged, accepted);
            }
            reader.owes
        });
        oldest
    }
}

/// Adds to a list. Where nobody asks for a report, those who are gone leave it here: once they
/// may be more than half.
fn list<K: Copy>(listed: &mut Vec<K>, key: K, held: usize, is_held: impl Fn(K) -> bool) {
    if listed.len() >= 2 * held {
        listed.retain(|key| is_held(*key));
    }
    listed.push(key);
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// When the oldest pending event was accepted that an open reader is to get; `first` is the oldest
/// pending one of all.
fn read_pending(
    thread: &Thread,
    readers: &SlotMap<ConnectionId, Reader>,
    first: u64,
) -> Option<Instant> {
    let mut next = u64::MAX;
    for id in &thread.readers {
        if let Some(reader) = readers.get(*id)
            && reader.closing().is_none()
        {
            next = next.min(reader.written_through() + 1);
        }
        if next <= first {
            break;
        }
    }
    thread.window.oldest_pending_from(next.max(first))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::hub::batch::Batch;
    use crate::hub::event::{Encoding, Subprotocol, Transport};
    use crate::hub::limits::HubLimits;
    use crate::hub::reader::ConnectionId;
    use crate::hub::state::Hub;
    use crate::hub::testing::{event, moment};

    const ENCODING: Encoding = Encoding {
        subprotocol: Subprotocol::Json,
        transport: Transport::WebSocket,
    };

    fn publish(hub: &mut Hub, thread: &str, id: &str, second: u64) {
        hub.publish(vec![event(thread, thread, id)], 0, moment(second * 1_000));
    }

    fn join(hub: &mut Hub, thread: &str) -> ConnectionId {
        let now = moment(0).monotonic;
        hub.subscribe(thread, None, ENCODING, false, now).unwrap()
    }

    fn read(hub: &mut Hub, reader: ConnectionId, second: u64) {
        let mut batch = Batch::default();
        hub.gather(reader, &mut batch, moment(second * 1_000).monotonic);
        let taken = batch.bytes();
        hub.wrote(reader, &batch, taken, moment(second * 1_000).monotonic);
    }

    fn ages(hub: &mut Hub, second: u64) -> [Option<Duration>; 2] {
        let report = hub.report(moment(second * 1_000));
        [
            report.oldest_read_pending_age,
            report.oldest_unacknowledged_age,
        ]
    }

    const fn seconds(count: u64) -> Option<Duration> {
        Some(Duration::from_secs(count))
    }

    #[test]
    fn what_nobody_reads_keeps_nobody_waiting() {
        let mut hub = Hub::new(HubLimits::default(), 1);
        publish(&mut hub, "unread", "1", 0);
        assert_eq!(ages(&mut hub, 9), [None, None]);
        let reader = join(&mut hub, "t");
        publish(&mut hub, "t", "2", 4);
        assert_eq!(ages(&mut hub, 9), [seconds(5), None]);
        read(&mut hub, reader, 9);
        assert_eq!(ages(&mut hub, 9), [None, None]);
    }

    #[test]
    fn a_reader_that_acknowledges_is_waited_for() {
        let mut hub = Hub::new(HubLimits::default(), 1);
        let (one, never) = (join(&mut hub, "t"), join(&mut hub, "t"));
        for (id, second) in [("1", 1), ("2", 2), ("3", 3)] {
            publish(&mut hub, "t", id, second);
            read(&mut hub, one, second);
            read(&mut hub, never, second);
        }
        assert_eq!(ages(&mut hub, 9), [None, None]);
        hub.acknowledge(one, 1, moment(9_000).monotonic);
        assert_eq!(ages(&mut hub, 9), [None, seconds(7)]);
        hub.acknowledge(one, 3, moment(9_000).monotonic);
        assert_eq!(ages(&mut hub, 9), [None, None]);
    }

    #[test]
    fn who_is_gone_is_not_listed_for_ever() {
        let mut hub = Hub::new(HubLimits::default(), 1);
        for n in 0..100 {
            let reader = join(&mut hub, "t");
            publish(&mut hub, "t", &n.to_string(), n);
            read(&mut hub, reader, n);
            hub.acknowledge(reader, n, moment(n * 1_000).monotonic);
            publish(&mut hub, "t", &format!("{n}-again"), n);
            read(&mut hub, reader, n);
            hub.remove_reader(reader, moment(n * 1_000).monotonic);
        }
        let listed = hub.waiting.readers.len();
        assert!(listed <= 3, "{listed} listed, and nobody is connected");
    }

    #[test]
    fn a_report_looks_only_where_something_may_wait() {
        let mut hub = Hub::new(HubLimits::default(), 1);
        for n in 0..100 {
            publish(&mut hub, &format!("unread-{n}"), &n.to_string(), 0);
            join(&mut hub, &format!("quiet-{n}"));
        }
        assert!(hub.waiting.threads.is_empty() && hub.waiting.readers.is_empty());
        let reader = join(&mut hub, "t");
        for (id, second) in [("a", 1), ("b", 2)] {
            publish(&mut hub, "t", id, second);
            read(&mut hub, reader, second);
            hub.acknowledge(reader, second, moment(second * 1_000).monotonic);
        }
        assert_eq!(hub.waiting.threads.len() + hub.waiting.readers.len(), 2);
        assert_eq!(ages(&mut hub, 9), [None, None]);
        assert!(hub.waiting.threads.is_empty() && hub.waiting.readers.is_empty());
    }

    #[test]
    fn a_thread_that_waited_before_is_listed_again() {
        let mut hub = Hub::new(HubLimits::default(), 1);
        let reader = join(&mut hub, "t");
        for second in 1..4 {
            publish(&mut hub, "t", &second.to_string(), second);
            assert_eq!(ages(&mut hub, 9), [seconds(9 - second), None]);
            read(&mut hub, reader, 9);
            assert_eq!(ages(&mut hub, 9), [None, None]);
        }
    }
}
