//! `backpressure_growth`: a queue grows towards collapse.

use std::time::Duration;

use service_kit::clock::Now;

use crate::audit::deliveries::Point;
use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "backpressure_growth",
    severity: Severity::Critical,
    summary: "the oldest pending event ages while nothing is delivered",
    part: Part::Claims,
    judges_outage: false,
    has_waited: true,
    check,
};

/// Claims that must show it.
const CLAIMS_MIN: usize = 3;

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let streak = view.claims.deliveries.streak(view.awake_since, grows);
    let (Some(newest), Some(oldest)) = (streak.first(), streak.last()) else {
        return Outcome::clear();
    };
    let lasted = newest.sent.since(oldest.sent.monotonic);
    // The component may say it exactly; the counters alone tell it to one reading.
    let waited = newest.read_pending_age.unwrap_or(lasted);
    if streak.len() < CLAIMS_MIN || waited < settings.backlog_growth || !waits(newest) {
        return Outcome::clear();
    }
    // What nobody reads may wait: that harms nobody.
    match newest.read_pending_age {
        Some(_) => {}
        None if misses_as_long(view, newest, settings) => {}
        None => return Outcome::Undecided("whether anybody reads what is pending is not known"),
    }
    Outcome::broken(violation(view, (oldest, newest), lasted, settings, now))
}

/// Whether witnesses have missed everything for as long: one event that is late in a moment in which
/// others wait for a reader is no sign of it.
fn misses_as_long(view: &View<'_>, newest: &Point, settings: &RuleSettings) -> bool {
    let hole = view.losses.hole.as_ref();
    hole.is_some_and(|hole| newest.sent.since(hole.since) >= settings.backlog_growth)
}

fn waits(point: &Point) -> bool {
    point.delivery.pending > 0 && point.delivery.connections_open > 0
}

/// Whether nothing was delivered between two claims, and the oldest pending event is the same; where
/// the newer one says that a reader waits, one must have waited before: who has just come finds what
/// waited for a reader.
fn grows(older: &Point, newer: &Point) -> bool {
    let age = |point: &Point| point.delivery.oldest_pending_age.unwrap_or_default();
    let read = |point: &Point| point.read_pending_age.is_some_and(|age| !age.is_zero());
    let passed = newer.sent.since(older.sent.monotonic);
    older.delivery.delivered == newer.delivery.delivered
        && waits(older)
        && waits(newer)
        && (read(older) || !read(newer))
        && age(newer).saturating_sub(age(older)) >= passed / 2
}

fn violation(
    view: &View<'_>,
    (oldest, newest): (&Point, &Point),
    lasted: Duration,
    settings: &RuleSettings,
    now: Now,
) -> Violation {
    let delivery = &newest.delivery;
    let pending = count(delivery.pending, "event");
    let age = newest.read_pending_age.or(delivery.oldest_pending_age);
    let age = span(age.unwrap_or_default());
    Violation {
        subject: String::new(),
        message: format!(
            "{pending} pending, {} accepted and none delivered in {} while readers were connected, \
             the oldest waiting for {age}; {} are allowed.",
            delivery.accepted - oldest.delivery.accepted,
            span(lasted),
            span(settings.backlog_growth),
        ),
        evidence: vec![EvidenceItem {
            source: "claim".into(),
            claimed: format!(
                "{pending} pending, the oldest for {age}, {} open",
                count(delivery.connections_open, "connection")
            ),
            observed: format!(
                "events_delivered stood at {} for {}",
                delivery.delivered,
                span(lasted)
            ),
            at: now.wall - now.since(newest.received.monotonic),
        }],
        // Witnesses that wait for these events are a second kind of evidence.
        conclusive: view.losses.unseen > 0 && view.claims.claims_health() == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::deliveries::READ_PENDING_GAUGE;
    use crate::audit::testing::Scene;

    const ID: &str = "backpressure_growth";

    /// What a component claims, second by second.
    struct Story {
        scene: Scene,
        accepted: u64,
        delivered: u64,
        connections: u64,
        /// Since when the oldest pending event waits, and a reader for it.
        oldest: u64,
        read: Option<u64>,
        seconds: u64,
    }

    impl Story {
        fn new() -> Self {
            let mut story = Self {
                scene: Scene::healthy(),
                accepted: 10,
                delivered: 10,
                connections: 1,
                oldest: 0,
                read: None,
                seconds: 0,
            };
            for _ in 0..3 {
                story.second(2, 2);
            }
            story
        }

        fn second(&mut self, accepted: u64, delivered: u64) {
            self.seconds += 1;
            self.accepted += accepted;
            self.delivered += delivered;
            if delivered > 0 || self.accepted - accepted == self.delivered {
                self.oldest = self.seconds;
            }
            self.scene.passes(Duration::from_secs(1));
            let age = Duration::from_secs(self.seconds - self.oldest);
            let (accepted, delivered) = (self.accepted, self.delivered);
            let (connections, read) = (self.connections, self.read);
            self.scene.counts_with(&|metrics| {
                let claim = metrics.delivery.get_or_insert_default();
                claim.accepted = accepted;
                claim.delivered = delivered;
                claim.pending = accepted - delivered;
                claim.connections_open = connections;
                claim.oldest_pending_age = (accepted > delivered).then_some(age);
                if let Some(read) = read {
                    metrics
                        .gauges
                        .insert(READ_PENDING_GAUGE.into(), read as f64);
                }
            });
        }
    }

    #[test]
    fn a_queue_that_grows_while_readers_wait_is_found() {
        let mut story = Story::new();
        for second in 0..3 {
            story.read = Some(second);
            story.second(2, 0);
            story.scene.assert_quiet(ID);
        }
        story.read = Some(3);
        story.second(2, 0);
        story.scene.assert_suspected(ID);
        story.read = Some(0);
        story.second(2, 10);
        story.scene.assert_quiet(ID);
    }

    #[test]
    fn witnesses_that_wait_are_a_second_kind_of_evidence() {
        let mut story = Story::new();
        story.scene.reads("c", &["t"]);
        story.second(0, 0);
        story.second(0, 0);
        story.second(0, 0);
        story.scene.produced("p", "t", 1..=2);
        for _ in 0..6 {
            story.second(1, 0);
            story.scene.reads("c", &["t"]);
        }
        story.scene.assert_conclusive(ID, "none delivered in");
    }

    #[test]
    fn a_burst_that_drains_is_quiet() {
        let mut story = Story::new();
        story.read = Some(9);
        story.second(1_000, 10);
        for _ in 0..12 {
            story.second(0, 60);
            story.scene.assert_quiet(ID);
        }
    }

    #[test]
    fn nobody_connected_is_quiet() {
        let mut story = Story::new();
        story.connections = 0;
        for _ in 0..20 {
            story.second(2, 0);
            story.scene.assert_quiet(ID);
        }
    }

    #[test]
    fn what_nobody_reads_may_wait() {
        let mut story = Story::new();
        for _ in 0..6 {
            story.second(2, 0);
        }
        story.scene.assert_undecided(ID);
        // A reader comes, who takes it a moment later.
        story.read = Some(6);
        story.second(2, 0);
        story.scene.assert_quiet(ID);
        story.read = Some(0);
        story.second(2, 0);
        story.scene.assert_quiet(ID);
        // Another one gets nothing.
        for age in 8..10 {
            story.read = Some(age);
            story.second(2, 0);
            story.scene.assert_quiet(ID);
        }
        story.read = Some(10);
        story.second(2, 0);
        story.scene.assert_suspected(ID);
    }

    #[test]
    fn one_event_that_is_late_while_others_wait_for_a_reader_is_quiet() {
        let mut story = Story::new();
        let second = |story: &mut Story| {
            story.second(2, 0);
            story.scene.reads("c", &["t"]);
        };
        (0..6).for_each(|_| second(&mut story));
        story.scene.produced("p", "t", 1..=2);
        second(&mut story);
        second(&mut story);
        story.scene.assert_undecided(ID);
        second(&mut story);
        story.scene.assert_conclusive(ID, "none delivered in");
    }

    #[test]
    fn an_idle_component_is_quiet() {
        let mut story = Story::new();
        for _ in 0..20 {
            story.second(0, 0);
            story.scene.assert_quiet(ID);
        }
    }
}
