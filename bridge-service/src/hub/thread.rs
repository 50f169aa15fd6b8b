//! One chat thread: its log and who reads it.

use std::sync::Arc;
use std::time::Instant;

use super::epoch::Epoch;
use super::event::Position;
use super::reader::ConnectionId;
use super::window::Window;

slotmap::new_key_type! {
    /// One held thread.
    pub(crate) struct ThreadKey;
}

/// Threads whose name begins so are of the service itself or of its auditors: their events are
/// accounted apart and reach no user.
pub(crate) const SYNTHETIC_PREFIX: char = '$';

/// Synthetic threads of the service's own self-checks; nobody outside can name one.
pub(crate) const SELF_PREFIX: &str = "$self/";

/// Whether a thread is one of those.
pub(crate) fn is_synthetic(thread_id: &str) -> bool {
    thread_id.starts_with(SYNTHETIC_PREFIX)
}

/// One chat thread.
#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) thread_id: Arc<str>,
    pub(crate) epoch: Epoch,
    pub(crate) synthetic: bool,
    pub(crate) window: Window,
    /// Each knows its place in here, so that one that leaves is found at once.
    pub(crate) readers: Vec<ConnectionId>,
    /// When the last event came or the last reader left.
    pub(crate) last_used: Instant,
    /// When it is listed to be looked at because an event of it ages out.
    pub(crate) due: Option<Instant>,
    /// Whether it is listed for its readers to be flushed.
    pub(crate) dirty: bool,
    /// Whether it is listed because readers may wait for an event of it.
    pub(crate) waits: bool,
}

impl Thread {
    /// A thread without events.
    pub(crate) fn new(thread_id: Arc<str>, epoch: Epoch, now: Instant) -> Self {
        Self {
            synthetic: is_synthetic(&thread_id),
            thread_id,
            epoch,
            window: Window::default(),
            readers: Vec::new(),
            last_used: now,
            due: None,
            dirty: false,
            waits: false,
        }
    }

    /// Where a reader that asks for a position begins, and whether nothing is missing between the
    /// two. A reader that asks for none begins with the oldest event kept.
    pub(crate) fn start(&self, position: Option<&Position>) -> (u64, bool) {
        let first = self.window.first();
        let Some(position) = position else {
            return (first, first == 1);
        };
        let known = position.epoch == self.epoch.as_str() && position.after <= self.window.last();
        let next = position.after.saturating_add(1);
        if known && next >= first {
            (next, true)
        } else {
            (first, false)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hub::runs::RunKey;
    use crate::hub::testing::{event, moment};

    fn epoch() -> Epoch {
        Epoch::new(7, 1)
    }

    fn thread(pushed: u64, popped: u64) -> Thread {
        let now = moment(0);
        let mut thread = Thread::new("t".into(), epoch(), now.monotonic);
        for n in 1..=pushed {
            let event = event("t", "r", &format!("e{n}"));
            thread
                .window
                .push(&event, RunKey::default(), now.monotonic, now.wall);
        }
        for _ in 0..popped {
            thread.window.pop_oldest();
        }
        thread
    }

    #[test]
    fn a_thread_without_events_can_be_resumed() {
        let position = Position {
            epoch: epoch().as_str().to_owned(),
            after: 0,
        };
        assert_eq!(thread(0, 0).start(Some(&position)), (1, true));
    }

    #[test]
    fn another_epoch_is_never_a_recovery() {
        let position = Position {
            epoch: "then".to_owned(),
            after: 2,
        };
        assert_eq!(thread(3, 0).start(Some(&position)), (1, false));
    }

    #[test]
    fn a_fresh_reader_is_told_when_the_beginning_is_gone() {
        assert_eq!(thread(3, 0).start(None), (1, true));
        assert_eq!(thread(3, 1).start(None), (2, false));
    }

    proptest! {
        #[test]
        fn a_resume_replays_exactly_or_says_that_it_does_not(
            pushed in 0_u64..50, popped in 0_u64..50, after in 0_u64..60,
        ) {
            let popped = popped.min(pushed);
            let position = Position { epoch: epoch().as_str().to_owned(), after };
            let (next, recovered) = thread(pushed, popped).start(Some(&position));
            prop_assert!(next > popped && next <= pushed + 1, "it begins inside the window");
            prop_assert_eq!(recovered, after >= popped && after <= pushed);
            if recovered {
                prop_assert_eq!(next, after + 1);
            }
        }
    }
}
