//! One event, as long as it is kept one by one.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::connection::Arrival;
use super::disorder::Disorder;
use super::skew::Timed;

/// One event, whoever saw it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: Arc<str>,
    pub(crate) run_id: Arc<str>,
    pub(crate) kind: Arc<str>,
    /// 0: unknown.
    pub(crate) sequence: u64,
    pub(super) epoch: u32,
    /// It was counted as lost: when it arrives at last, that is no second fault.
    pub(super) accused: bool,
    /// When it was first reported, by anybody.
    pub(crate) first_seen: Instant,
    /// When a producer first reported it.
    pub(crate) produced: Option<Instant>,
    /// When a consumer first reported it.
    pub(crate) consumed: Option<Instant>,
    /// By the observers' own clocks, the earliest.
    pub(super) produced_time: Option<SystemTime>,
    pub(super) consumed_time: Option<SystemTime>,
    /// The same on one clock: the earliest at a producer, the latest at a consumer that was
    /// connected all the while.
    pub(super) produced_at: Option<Timed>,
    pub(super) arrived_at: Option<Arrival>,
}

impl Event {
    /// From producer to consumer on the observers' clocks. `None`: not seen by both, or the
    /// clocks disagree so much that it came before it went.
    pub(crate) fn delay(&self) -> Option<Duration> {
        self.consumed_time?.duration_since(self.produced_time?).ok()
    }

    pub(crate) fn seen_by_both(&self) -> bool {
        self.produced.is_some() && self.consumed.is_some()
    }

    /// From producer to consumer on one clock, and how far off that may be. `None`: not known, or
    /// the consumer was not connected yet.
    pub(super) fn sure_delay(&self) -> Option<(Duration, Duration)> {
        let (produced, arrival) = (self.produced_at?, self.arrived_at?);
        let connected = produced.at.checked_sub(produced.within)? >= arrival.connected;
        let delay = arrival.time.at.saturating_duration_since(produced.at);
        connected.then_some((delay, arrival.time.within + produced.within))
    }
}

/// What a report of one event changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    /// This observer had not reported it.
    pub(crate) new_here: bool,
    /// Nobody at this vantage had.
    pub(crate) first_at_vantage: bool,
    /// Nobody at all had.
    pub(crate) first: bool,
    /// It is now seen at both vantages, and was not before.
    pub(crate) both_now: bool,
    /// When it was first reported by anybody.
    pub(crate) first_seen: Option<Instant>,
    /// What had to leave for it.
    pub(crate) evicted: u64,
    /// A consumer got what is no longer remembered.
    pub(crate) consumed_late: bool,
    /// It came twice or out of order.
    pub(crate) disorder: Option<Disorder>,
    /// How long it took, on one clock, and how far off that may be.
    pub(crate) delay: Option<(Duration, Duration)>,
    /// It was seen at both vantages, and how long it took cannot be said.
    pub(crate) unsure: bool,
}

/// What leaves with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) produced: bool,
    pub(crate) consumed: bool,
    pub(crate) first_seen: Instant,
    /// On the observers' clocks.
    pub(crate) delay: Option<Duration>,
}
