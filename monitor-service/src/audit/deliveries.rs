//! How a component's delivery counters moved, and what witnesses told meanwhile.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service_kit::clock::Now;

use crate::domain::{Answer, DeliveryClaim, MetricsClaim};

/// Counters remembered; at one in 2 s, two minutes.
const POINTS_MAX: usize = 64;
/// Share of the accepted events that producers must report before an event that none of them knows
/// counts as nobody's.
const PRODUCERS_PERCENT: u64 = 90;
/// The gauge in which a component may say how long the oldest event has waited that a connected
/// reader should have.
pub(crate) const READ_PENDING_GAUGE: &str = "oldest_read_pending_age_seconds";
/// The gauge in which a component may say how long the oldest event has waited for the
/// acknowledgement of a reader that acknowledges.
pub(crate) const UNACKNOWLEDGED_GAUGE: &str = "oldest_unacknowledged_age_seconds";

/// What witnesses had told when the counters were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Witnessed {
    /// Different events that consumers reported so far.
    pub(crate) consumed: u64,
    /// Connections that consumers tell of.
    pub(crate) connections: u64,
    /// Different events that producers reported so far.
    pub(crate) produced: u64,
    /// Until when every reading consumer had told what it got. `None`: nobody read.
    pub(crate) told_until: Option<Instant>,
}

/// What was counted at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Counted {
    pub(crate) delivery: DeliveryClaim,
    /// How long the oldest event has waited that a connected reader should have. `None`: not said.
    pub(crate) read_pending_age: Option<Duration>,
    /// How long the oldest event has waited for its acknowledgement. `None`: not said.
    pub(crate) unacknowledged_age: Option<Duration>,
    /// As in [`Witnessed`].
    pub(crate) consumed: u64,
    /// As in [`Witnessed`].
    pub(crate) connections: u64,
    /// As in [`Witnessed`].
    pub(crate) produced: u64,
}

/// The counters of one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) sent: Now,
    pub(crate) received: Now,
    /// Shared with the moments before, as long as it stands still.
    counted: Arc<Counted>,
    /// As in [`Witnessed`].
    pub(crate) told_until: Option<Instant>,
}

impl Deref for Point {
    type Target = Counted;

    fn deref(&self) -> &Counted {
        &self.counted
    }
}

impl Point {
    /// The same connections are open at both.
    pub(crate) fn same_connections(&self, other: &Self) -> bool {
        let connections = |point: &Self| {
            let delivery = &point.delivery;
            (delivery.connections_opened, delivery.connections_closed)
        };
        connections(self) == connections(other)
    }
}

/// Events are being written and none is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unacknowledged {
    /// When the counters first showed an event written after the last acknowledgement.
    pub(crate) since: Now,
    /// How often the written events rose since.
    pub(crate) rises: u32,
    pub(crate) written: u64,
}

/// The counters of the present instance, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deliveries {
    instance: Arc<str>,
    points: VecDeque<Point>,
    /// What was written since the last acknowledgement. `None`: nothing.
    unacknowledged: Option<Unacknowledged>,
    /// The longest time that acknowledgements stood still before they went on.
    longest_pause: Duration,
    /// Connections opened and closed when acknowledgements last rose.
    acknowledged_on: Option<(u64, u64)>,
}

impl Deliveries {
    /// Takes new counters. Another instance counts anew; so does one whose counters fell.
    pub(crate) fn add(&mut self, answer: &Answer<MetricsClaim>, witnessed: Witnessed) {
        let metrics = &answer.value;
        let Some(delivery) = &metrics.delivery else {
            return;
        };
        let fell = self.points.back().is_some_and(|last| {
            delivery.accepted < last.delivery.accepted
                || delivery.delivered < last.delivery.delivered
                || delivery.acknowledged < last.delivery.acknowledged
        });
        if *self.instance != *metrics.instance_id || fell {
            *self = Self {
                instance: metrics.instance_id.as_str().into(),
                ..Self::default()
            };
        }
        let age = |gauge| {
            let seconds = metrics.gauges.get(gauge);
            seconds.and_then(|seconds| Duration::try_from_secs_f64(*seconds).ok())
        };
        let counted = Counted {
            delivery: delivery.clone(),
            read_pending_age: age(READ_PENDING_GAUGE),
            unacknowledged_age: age(UNACKNOWLEDGED_GAUGE),
            consumed: witnessed.consumed,
            connections: witnessed.connections,
            produced: witnessed.produced,
        };
        let last = self.points.back().map(|last| &last.counted);
        let still = last.filter(|last| ***last == counted).cloned();
        let point = Point {
            sent: answer.sent,
            received: answer.received,
            counted: still.unwrap_or_else(|| Arc::new(counted)),
            told_until: witnessed.told_until,
        };
        if let Some(last) = self.points.back() {
            // An audit's answer may come after one that was asked for later.
            if point.sent.monotonic < last.received.monotonic {
                return;
            }
            let last = last.clone();
            self.follow_acknowledgements(&last, &point);
        }
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    fn follow_acknowledgements(&mut self, last: &Point, point: &Point) {
        let (before, now) = (&last.delivery, &point.delivery);
        if now.acknowledged > before.acknowledged {
            // Who acknowledged and went before this reading is none of those who are left.
            let on = if last.same_connections(point) {
                now
            } else {
                before
            };
            self.acknowledged_on = Some((on.connections_opened, on.connections_closed));
            if let Some(pause) = self.unacknowledged.take() {
                let pause = point.received.since(pause.since.monotonic);
                let waited = last.unacknowledged_age.unwrap_or_default();
                self.longest_pause = self.longest_pause.max(pause).max(waited);
            }
            return;
        }
        let written = now.delivered - before.delivered;
        if written > 0 {
            let known = self.unacknowledged.get_or_insert(Unacknowledged {
                since: point.sent,
                rises: 0,
                written: 0,
            });
            known.rises += 1;
            known.written += written;
        }
    }

    /// What was written since the last acknowledgement. `None`: nothing.
    pub(crate) const fn unacknowledged(&self) -> Option<Unacknowledged> {
        self.unacknowledged
    }

    pub(crate) const fn longest_pause(&self) -> Duration {
        self.longest_pause
    }

    /// Connections opened and closed when acknowledgements last rose. `None`: none ever came.
    pub(crate) const fn acknowledged_on(&self) -> Option<(u64, u64)> {
        self.acknowledged_on
    }

    /// Whether nearly all that was accepted before a moment was reported by a producer. Reports
    /// come a little later than the claims, so a small rest may be under way.
    pub(crate) fn producers_told_all(&self, until: Instant) -> bool {
        let mut before = self.points.iter();
        let first = before.next();
        let last = before
            .take_while(|point| point.received.monotonic <= until)
            .last();
        let (Some(first), Some(last)) = (first, last) else {
            return false;
        };
        let accepted = last.delivery.accepted - first.delivery.accepted;
        let reported = last.produced.saturating_sub(first.produced);
        accepted > 0 && reported.saturating_mul(100) >= accepted.saturating_mul(PRODUCERS_PERCENT)
    }

    pub(crate) fn points(&self) -> &VecDeque<Point> {
        &self.points
    }

    /// The newest counters and those before them, newest first, as long as `holds` of each and
    /// the next newer one. Points from before `since` are left out.
    pub(crate) fn streak(
        &self,
        since: Instant,
        holds: impl Fn(&Point, &Point) -> bool,
    ) -> Vec<&Point> {
        let mut streak: Vec<&Point> = Vec::new();
        for point in self.points.iter().rev() {
            let fits = streak.last().is_none_or(|newer| holds(point, newer));
            if !fits || point.sent.monotonic < since {
                break;
            }
            streak.push(point);
        }
        streak
    }
}
