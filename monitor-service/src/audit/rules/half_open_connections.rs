//! `half_open_connections`: events are written to connections at whose other end nobody is.

use std::time::Duration;

use service_kit::clock::Now;

use crate::audit::deliveries::{Point, Unacknowledged};
use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "half_open_connections",
    severity: Severity::Critical,
    summary: "events are written, none is acknowledged, and no connection closes",
    part: Part::Claims,
    judges_outage: false,
    has_waited: true,
    check,
};

/// How often the written events must rise: one write may have crossed its acknowledgement.
const RISES_MIN: u32 = 2;

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let deliveries = &view.claims.deliveries;
    let Some(newest) = deliveries.points().back() else {
        return Outcome::clear();
    };
    let Some(unacknowledged) = deliveries.unacknowledged() else {
        return Outcome::clear();
    };
    let Some(acknowledged_on) = deliveries.acknowledged_on() else {
        // Clients need not acknowledge at all.
        return Outcome::Undecided("no client ever acknowledged");
    };
    // Clients that acknowledge seldom are known by their longest pause.
    let usual = deliveries.longest_pause().saturating_mul(2);
    let allowed = settings.acknowledgement_silence.max(usual);
    let since = unacknowledged.since.monotonic.max(view.awake_since);
    // The component may say it exactly; the counters alone tell it to one reading.
    let counted = newest.received.since(since);
    let silence = newest.unacknowledged_age.unwrap_or(counted);
    let delivery = &newest.delivery;
    if delivery.connections_open == 0 || unacknowledged.rises < RISES_MIN || silence < allowed {
        return Outcome::clear();
    }
    let same = (delivery.connections_opened, delivery.connections_closed) == acknowledged_on;
    let only = same && delivery.connections_open == 1;
    if newest.unacknowledged_age.is_none() && !only {
        return Outcome::Undecided("those who acknowledged may not be those who were written to");
    }
    Outcome::broken(violation(newest, unacknowledged, (silence, allowed), now))
}

fn violation(
    newest: &Point,
    unacknowledged: Unacknowledged,
    (silence, allowed): (Duration, Duration),
    now: Now,
) -> Violation {
    let delivery = &newest.delivery;
    let written = count(unacknowledged.written, "event");
    let open = count(delivery.connections_open, "connection");
    Violation {
        subject: String::new(),
        message: format!(
            "{written} written in {} on {open}, and none was acknowledged, although clients did \
             before; {} are allowed.",
            span(silence),
            span(allowed),
        ),
        evidence: vec![EvidenceItem {
            source: "claim".into(),
            claimed: format!("{open} open, {written} written since the last acknowledgement"),
            observed: format!(
                "events_acknowledged stood at {} for {}",
                delivery.acknowledged,
                span(silence)
            ),
            at: now.wall - now.since(newest.received.monotonic),
        }],
        // The clients may be to blame as well as the component.
        conclusive: false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::deliveries::UNACKNOWLEDGED_GAUGE;
    use crate::audit::testing::Scene;
    use crate::domain::DeliveryClaim;

    const ID: &str = "half_open_connections";

    /// What a component with one reader claims, second by second.
    struct Story {
        scene: Scene,
        counters: DeliveryClaim,
        gauge: Option<f64>,
    }

    impl Story {
        fn new() -> Self {
            let counters = DeliveryClaim {
                connections_open: 1,
                connections_opened: 1,
                ..DeliveryClaim::default()
            };
            Self {
                scene: Scene::healthy(),
                counters,
                gauge: None,
            }
        }

        fn second(&mut self, written: u64, acknowledged: u64) {
            self.counters.accepted += written;
            self.counters.delivered += written;
            self.counters.acknowledged += acknowledged;
            self.scene.passes(Duration::from_secs(1));
            let (counters, gauge) = (self.counters.clone(), self.gauge);
            self.scene.counts_with(&|metrics| {
                metrics.delivery = Some(counters.clone());
                if let Some(seconds) = gauge {
                    metrics.gauges.insert(UNACKNOWLEDGED_GAUGE.into(), seconds);
                }
            });
        }

        fn acknowledging() -> Self {
            let mut story = Self::new();
            for _ in 0..5 {
                story.second(3, 3);
            }
            story
        }
    }

    #[test]
    fn writes_without_acknowledgements_are_found() {
        let mut story = Story::acknowledging();
        for _ in 0..3 {
            story.second(2, 0);
            story.scene.assert_quiet(ID);
        }
        story.second(2, 0);
        story.scene.assert_suspected(ID);
        story.second(2, 10);
        story.scene.assert_quiet(ID);
    }

    #[test]
    fn clients_that_never_acknowledge_are_quiet() {
        let mut story = Story::new();
        for _ in 0..30 {
            story.second(3, 0);
            story.scene.assert_undecided(ID);
        }
    }

    #[test]
    fn clients_that_acknowledge_seldom_are_quiet() {
        let mut story = Story::new();
        for _ in 0..6 {
            for _ in 0..9 {
                story.second(1, 0);
                story.scene.assert_quiet(ID);
            }
            story.second(1, 10);
        }
    }

    #[test]
    fn nothing_written_is_quiet() {
        let mut story = Story::acknowledging();
        for _ in 0..30 {
            story.second(0, 0);
            story.scene.assert_quiet(ID);
        }
    }

    #[test]
    fn another_reader_that_does_not_acknowledge_proves_nothing() {
        let mut story = Story::acknowledging();
        story.counters.connections_open = 2;
        story.counters.connections_opened = 2;
        for _ in 0..9 {
            story.second(2, 0);
        }
        story.scene.assert_undecided(ID);
        story.gauge = Some(0.0);
        story.second(2, 0);
        story.scene.assert_quiet(ID);
        story.gauge = Some(9.0);
        story.second(2, 0);
        story.scene.assert_suspected(ID);
    }

    #[test]
    fn a_new_instance_begins_anew() {
        let mut story = Story::acknowledging();
        for _ in 0..3 {
            story.second(2, 0);
        }
        story.counters = DeliveryClaim {
            connections_open: 1,
            connections_opened: 1,
            ..DeliveryClaim::default()
        };
        for _ in 0..6 {
            story.second(2, 0);
            story.scene.assert_quiet(ID);
        }
    }
}
