//! `black_hole`: it accepts everything and delivers nothing.

use service_kit::clock::Now;

use crate::audit::canary::came_first;
use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::rules::startup_false_positive;
use crate::audit::settings::RuleSettings;
use crate::domain::{ClaimedState, EvidenceItem, Severity};
use crate::evidence::loss::Hole;

pub(crate) const RULE: Rule = Rule {
    id: "black_hole",
    severity: Severity::Critical,
    summary: "events are accepted, and none of them arrives",
    part: Part::Evidence,
    judges_outage: false,
    has_waited: false,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let state = view.claims.health.as_ref().map(|(health, _)| health.state);
    if state == Some(ClaimedState::Draining) {
        return Outcome::Undecided("it said that it was draining");
    }
    let Some(hole) = &view.losses.hole else {
        return Outcome::clear();
    };
    if startup_false_positive::explains(view, hole, settings, now) {
        return Outcome::clear();
    }
    if came_first(view, settings) {
        return Outcome::Undecided("the monitor's own runs fail too, which canary_failed says");
    }
    // One event with nothing after it may be that event's loss alone: the next one tells.
    let age = now.since(hole.since);
    if hole.events < 2 && age < settings.lone_event_grace {
        return Outcome::Undecided("a single event is missing, and nothing was sent after it");
    }
    Outcome::broken(Violation {
        subject: String::new(),
        message: format!(
            "{} accepted on {} in the last {} reached no consumer, although one was reading; {} \
             are allowed.",
            count(hole.events, "event"),
            count(hole.threads, "thread"),
            span(age),
            span(settings.delivery_grace),
        ),
        evidence: evidence(view, hole, now),
        // The claim of health and the witnesses are two kinds of evidence.
        conclusive: hole.events >= 2 && view.claims.claims_health() == Some(true),
    })
}

fn evidence(view: &View<'_>, hole: &Hole, now: Now) -> Vec<EvidenceItem> {
    let health = view.claims.health.as_ref();
    let claimed = health.map_or_else(
        || "nothing".to_owned(),
        |(health, _)| format!("state {:?}, healthy {}", health.state, health.healthy),
    );
    let last = hole.last_arrival.map_or_else(
        || "nothing ever arrived".to_owned(),
        |at| format!("the last arrival was sent {} ago", span(now.since(at))),
    );
    let sent_ago = now.since(hole.since);
    let mut items = vec![
        EvidenceItem {
            source: format!("consumer:{}", hole.consumer),
            claimed: claimed.clone(),
            observed: format!(
                "none of {} while reading; {last}",
                count(hole.events, "event")
            ),
            at: now.wall - now.since(hole.consumer_alive),
        },
        EvidenceItem {
            source: "producer".into(),
            claimed,
            observed: format!(
                "{} accepted on {}, the first {} ago",
                count(hole.events, "event"),
                count(hole.threads, "thread"),
                span(sent_ago)
            ),
            at: now.wall - sent_ago,
        },
    ];
    // It tells whether the component itself is broken, or the way to its users.
    items.extend(view.canary.map(|canary| {
        EvidenceItem {
            source: "canary".into(),
            claimed: String::new(),
            observed: match canary.last_whole() {
                Some(whole) => format!(
                    "the monitor's own last whole run came back {} ago",
                    span(now.since(whole.ended.monotonic))
                ),
                None => "none of the monitor's own runs came back".to_owned(),
            },
            at: canary
                .last_whole()
                .map_or(now.wall, |whole| whole.ended.wall),
        }
    }));
    items
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;
    use crate::domain::ClaimedState;

    const ID: &str = "black_hole";

    /// A producer and a consumer, and one event that went through.
    fn flowing() -> Scene {
        let mut scene = Scene::healthy();
        scene.reads("c", &["t"]);
        scene.passes(Duration::from_secs(3));
        scene.produced("p", "t", 1..=1);
        scene.consumed("c", "t", 1..=1);
        scene.passes(Duration::from_millis(100));
        scene
    }

    #[test]
    fn nothing_that_was_sent_arrives() {
        let mut scene = flowing();
        scene.passes(Duration::from_secs(1));
        scene.produced("p", "t", 2..=4);
        scene.passes(Duration::from_secs(1));
        scene.reads("c", &["t"]);
        scene.assert_quiet(ID);
        scene.passes(Duration::from_secs(1));
        scene.reads("c", &["t"]);
        scene.assert_conclusive(
            ID,
            "3 events accepted on 1 thread in the last 2 s reached no",
        );
        scene.assert_quiet("event_loss");
    }

    #[test]
    fn it_heals_when_something_arrives() {
        let mut scene = flowing();
        scene.produced("p", "t", 2..=4);
        scene.passes(Duration::from_secs(3));
        scene.reads("c", &["t"]);
        scene.consumed("c", "t", 2..=4);
        scene.assert_quiet(ID);
    }

    #[test]
    fn nobody_connected_is_quiet() {
        let mut scene = flowing();
        scene.reads("c", &[]);
        scene.produced("p", "t", 2..=40);
        for _ in 0..10 {
            scene.passes(Duration::from_secs(1));
            scene.reads("c", &[]);
            scene.assert_quiet(ID);
        }
    }

    #[test]
    fn nobody_sending_is_quiet() {
        let mut scene = flowing();
        for _ in 0..10 {
            scene.passes(Duration::from_secs(1));
            scene.reads("c", &["t"]);
            scene.assert_quiet(ID);
        }
    }

    #[test]
    fn a_consumer_that_fell_silent_proves_nothing() {
        let mut scene = flowing();
        scene.produced("p", "t", 2..=40);
        scene.passes(Duration::from_secs(20));
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_consumer_that_signed_off_proves_nothing() {
        let mut scene = flowing();
        scene.signs_off("c");
        scene.produced("p", "t", 2..=40);
        scene.passes(Duration::from_secs(20));
        scene.assert_quiet(ID);
    }

    #[test]
    fn one_silent_thread_while_another_flows_is_a_loss_and_no_hole() {
        let mut scene = flowing();
        scene.reads("c", &["t", "u"]);
        scene.passes(Duration::from_secs(3));
        scene.produced("p", "t", 2..=3);
        scene.passes(Duration::from_secs(1));
        scene.produced("p", "u", 1..=2);
        scene.consumed_while_reading("c", "u", 1..=2, &["t", "u"]);
        scene.passes(Duration::from_secs(2));
        scene.reads("c", &["t", "u"]);
        scene.assert_quiet(ID);
        scene.assert_quiet("event_loss");
        scene.assert_conclusive("partial_loss", "2 events of thread t");
    }

    #[test]
    fn a_single_event_waits_for_the_next_one() {
        let mut scene = flowing();
        scene.produced("p", "t", 2..=2);
        scene.reads("c", &["t"]);
        scene.passes(Duration::from_secs(2));
        scene.reads("c", &["t"]);
        scene.assert_undecided(ID);
        for _ in 0..2 {
            scene.passes(Duration::from_secs(2));
            scene.reads("c", &["t"]);
        }
        scene.assert_suspected(ID);
    }

    #[test]
    fn a_report_that_waited_for_the_line_is_no_sign_of_life() {
        let mut scene = flowing();
        scene.produced("p", "t", 2..=4);
        scene.passes(Duration::from_secs(6));
        // Sent before the events; those with the events are close behind it.
        scene.reads("c", &["t"]);
        scene.assert_quiet(ID);
        scene.passes(Duration::from_millis(20));
        scene.reads("c", &["t"]);
        scene.assert_quiet(ID);
        // The line has been up for a while, and they are still not there.
        scene.passes(Duration::from_secs(1));
        scene.reads("c", &["t"]);
        scene.assert_conclusive(ID, "3 events accepted on 1 thread");
    }

    #[test]
    fn a_component_that_admits_it_is_not_silent() {
        let mut scene = flowing();
        scene.probe_with(|health, _| {
            health.state = ClaimedState::Degraded;
            health.healthy = false;
        });
        scene.produced("p", "t", 2..=4);
        scene.reads("c", &["t"]);
        scene.passes(Duration::from_secs(2));
        scene.reads("c", &["t"]);
        scene.assert_suspected(ID);
    }
}
