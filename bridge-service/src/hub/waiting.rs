//! What readers wait for, and what the bridge waits for from them.

use std::time::Instant;

use super::state::Hub;

impl Hub {
    /// When the oldest pending event was accepted that a connected reader is to get. Events that
    /// nobody asks for wait too, and harm nobody.
    pub(super) fn oldest_read_pending(&self) -> Option<Instant> {
        let users = self.threads.values().filter(|thread| !thread.synthetic);
        users
            .filter_map(|thread| {
                let readers = thread.readers.iter().filter_map(|id| self.readers.get(*id));
                let open = readers.filter(|reader| reader.closing().is_none());
                let next = open.map(|reader| reader.written_through() + 1).min()?;
                thread.window.oldest_pending_from(next)
            })
            .min()
    }

    /// When the oldest event was accepted that was written to a reader and not acknowledged, of
    /// readers that acknowledge at all.
    pub(super) fn oldest_unacknowledged(&self) -> Option<Instant> {
        let users = self.readers.values().filter(|reader| !reader.synthetic);
        users
            .filter_map(|reader| {
                let thread = self.threads.get(reader.thread)?;
                thread.window.accepted_at(reader.first_unacknowledged()?)
            })
            .min()
    }
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

    fn ages(hub: &Hub, second: u64) -> [Option<Duration>; 2] {
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
        assert_eq!(ages(&hub, 9), [None, None]);
        let reader = join(&mut hub, "t");
        publish(&mut hub, "t", "2", 4);
        assert_eq!(ages(&hub, 9), [seconds(5), None]);
        read(&mut hub, reader, 9);
        assert_eq!(ages(&hub, 9), [None, None]);
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
        assert_eq!(ages(&hub, 9), [None, None]);
        hub.acknowledge(one, 1, moment(9_000).monotonic);
        assert_eq!(ages(&hub, 9), [None, seconds(7)]);
        hub.acknowledge(one, 3, moment(9_000).monotonic);
        assert_eq!(ages(&hub, 9), [None, None]);
    }
}
