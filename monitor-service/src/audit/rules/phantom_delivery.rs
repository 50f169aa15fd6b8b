//! `phantom_delivery`: deliveries are claimed that nobody saw, or events arrive that nobody sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use service_kit::clock::Now;

use crate::audit::deliveries::Point;
use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, SUBJECTS_MAX, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};
use crate::evidence::loss::Phantom;

pub(crate) const RULE: Rule = Rule {
    id: "phantom_delivery",
    severity: Severity::Critical,
    summary: "more deliveries are claimed than witnessed, or unknown events arrive",
    part: Part::Evidence,
    judges_outage: false,
    has_waited: true,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let mut found = unsent(view, settings, now);
    match unwitnessed(view, settings, now) {
        Ok(violation) => found.extend(violation),
        Err(why) if found.is_empty() => return Outcome::Undecided(why),
        Err(_) => {}
    }
    Outcome::Decided(found)
}

/// Deliveries that are claimed, and that no consumer saw although all of them tell.
fn unwitnessed(
    view: &View<'_>,
    settings: &RuleSettings,
    now: Now,
) -> Result<Option<Violation>, &'static str> {
    let told = view.evidence.consumers_told_until(now);
    let told = told.ok_or("no consumer tells what it reads")?;
    let covered = |point: &Point| {
        let open = point.delivery.connections_open;
        open > 0 && open <= point.connections
    };
    // The same readers all the while, and a witness beside each.
    let streak = view
        .claims
        .deliveries
        .streak(view.awake_since, |older, newer| {
            covered(older) && covered(newer) && older.same_connections(newer)
        });
    // The oldest claim only says what was witnessed before the first delivery that counts.
    let [.., first, before] = streak[..] else {
        return Err("there are readers without a witness beside them");
    };
    let grace = view.evidence.grace(settings.delivery_grace, now);
    let settled = |point: &&&Point| point.received.monotonic + grace <= told;
    let Some(last) = streak.iter().find(settled) else {
        return Ok(None);
    };
    // What was witnessed when all of that had been told; what came later is none of it.
    let all_told = last.received.monotonic + grace;
    let seen_by = streak
        .iter()
        .rev()
        .find(|point| point.told_until >= Some(all_told));
    let consumed = seen_by.map_or(view.evidence.counters().consumed, |point| point.consumed);
    let claimed = last
        .delivery
        .delivered
        .saturating_sub(first.delivery.delivered);
    let witnessed = consumed.saturating_sub(before.consumed);
    // What is known to be missing is another rule's finding.
    let explained = settings.phantom_events.saturating_add(view.losses.unseen);
    if claimed <= witnessed.saturating_add(explained) {
        return Ok(None);
    }
    let lasted = last.received.since(first.sent.monotonic);
    Ok(Some(Violation {
        subject: String::new(),
        message: format!(
            "{} claimed as delivered in {}, and {witnessed} reached consumers, although each of \
             {} has a witness; {} more are allowed.",
            count(claimed, "event"),
            span(lasted),
            count(last.delivery.connections_open, "connection"),
            settings.phantom_events,
        ),
        evidence: vec![
            EvidenceItem {
                source: "claim".into(),
                claimed: format!("{} delivered", count(claimed, "event")),
                observed: format!("{} reported by consumers", count(witnessed, "event")),
                at: now.wall - now.since(last.received.monotonic),
            },
            EvidenceItem {
                source: "consumer".into(),
                claimed: String::new(),
                observed: format!(
                    "every consumer told what it got until {} ago",
                    span(now.since(told))
                ),
                at: now.wall - now.since(told),
            },
        ],
        // The claim and the witnesses are two kinds of evidence.
        conclusive: view.claims.claims_health() == Some(true),
    }))
}

/// Events that arrived, and that the producer of their run does not know.
fn unsent(view: &View<'_>, settings: &RuleSettings, now: Now) -> Vec<Violation> {
    let mut by_thread: BTreeMap<&Arc<str>, Vec<&Phantom>> = BTreeMap::new();
    let deliveries = &view.claims.deliveries;
    for phantom in &view.losses.phantoms {
        // A run that no producer reports may be that of one that does not report at all.
        if !phantom.run_known && !deliveries.producers_told_all(phantom.since) {
            continue;
        }
        by_thread
            .entry(&phantom.thread_id)
            .or_default()
            .push(phantom);
    }
    let threads = by_thread.into_iter().take(SUBJECTS_MAX);
    let violation = |(thread_id, phantoms): (&Arc<str>, Vec<&Phantom>)| {
        let first = phantoms[0];
        let item = |phantom: &&Phantom| EvidenceItem {
            source: format!("producer:{}", phantom.producer),
            claimed: format!("what it handed in of run {}", phantom.run_id),
            observed: format!(
                "{} {} (sequence {}) arrived, and it is none of that",
                phantom.kind, phantom.event_id, phantom.sequence
            ),
            at: now.wall - now.since(phantom.since),
        };
        Violation {
            subject: thread_id.to_string(),
            message: format!(
                "{} of thread {thread_id} arrived, such as {} {} ago, that no producer handed in; \
                 0 are allowed after {}.",
                count(phantoms.len() as u64, "event"),
                first.event_id,
                span(now.since(first.since)),
                span(settings.delivery_grace),
            ),
            evidence: phantoms.iter().map(item).collect(),
            // Another producer may have handed it in, and not told.
            conclusive: false,
        }
    };
    threads.map(violation).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::{Scene, Telling};
    use crate::domain::{Posting, Vantage};

    const ID: &str = "phantom_delivery";

    /// A component with readers, second by second: how much it claims as delivered, and how much
    /// consumer `c` really gets.
    struct Story {
        scene: Scene,
        delivered: u64,
        consumed: u64,
        connections: u64,
    }

    impl Story {
        fn new() -> Self {
            let mut scene = Scene::healthy();
            scene.reads("c", &["t"]);
            Self {
                scene,
                delivered: 100,
                consumed: 0,
                connections: 1,
            }
        }

        fn second(&mut self, claimed: u64, got: u64) {
            self.scene.passes(Duration::from_millis(500));
            let from = self.consumed + 1;
            self.consumed += got;
            self.scene.consumed("c", "t", from..=self.consumed);
            self.scene.passes(Duration::from_millis(500));
            self.claims(claimed);
        }

        fn second_without_word(&mut self, claimed: u64) {
            self.scene.passes(Duration::from_secs(1));
            self.claims(claimed);
        }

        fn claims(&mut self, more: u64) {
            self.delivered += more;
            let (delivered, connections) = (self.delivered, self.connections);
            self.scene.counts(|claim| {
                claim.accepted = delivered;
                claim.delivered = delivered;
                claim.connections_open = connections;
                claim.connections_opened = connections;
            });
        }
    }

    #[test]
    fn deliveries_that_nobody_saw_are_found() {
        let mut story = Story::new();
        for _ in 0..4 {
            story.second(2, 2);
            story.scene.assert_quiet(ID);
        }
        for _ in 0..6 {
            story.second(2, 0);
        }
        story.scene.assert_conclusive(ID, "claimed as delivered in");
    }

    #[test]
    fn deliveries_that_were_seen_are_quiet() {
        let mut story = Story::new();
        for _ in 0..30 {
            story.second(5, 5);
            story.scene.assert_quiet(ID);
        }
    }

    #[test]
    fn a_report_that_was_held_up_counts_for_what_it_tells() {
        let mut story = Story::new();
        for _ in 0..4 {
            story.second(2, 2);
        }
        let report = |number: u64| Telling {
            reading: Some(&["t"]),
            posting: Posting {
                session_id: "s".to_owned(),
                number,
                ..Posting::default()
            },
            ..Telling::default()
        };
        // The same report again and again: its observer is there, and waits for the answer.
        for _ in 0..8 {
            story.scene.tell(&[], report(1));
            story.second_without_word(2);
        }
        let mut held_up: Vec<_> = (9..=24)
            .map(|number| story.scene.seen("t", number))
            .collect();
        let rest = held_up.split_off(2);
        story.scene.tell(&held_up, report(2));
        story.second_without_word(2);
        story.scene.passes(Duration::from_millis(100));
        story.scene.tell(&rest, report(3));
        story.scene.assert_quiet(ID);
    }

    #[test]
    fn consumers_that_do_not_report_leave_it_open() {
        let mut story = Story::new();
        story.connections = 2;
        for _ in 0..10 {
            story.second(5, 2);
        }
        story.scene.assert_undecided(ID);
    }

    #[test]
    fn a_reader_that_came_in_between_leaves_it_open() {
        let mut story = Story::new();
        for _ in 0..5 {
            story.second(2, 2);
        }
        story.connections = 2;
        for _ in 0..2 {
            story.second(40, 2);
            story.scene.assert_quiet(ID);
        }
    }

    #[test]
    fn a_consumer_that_fell_silent_leaves_it_open() {
        let mut story = Story::new();
        for _ in 0..4 {
            story.second(2, 2);
        }
        for _ in 0..10 {
            story.scene.passes(Duration::from_secs(1));
            story.delivered += 5;
            let delivered = story.delivered;
            story.scene.counts(|claim| {
                claim.accepted = delivered;
                claim.delivered = delivered;
                claim.connections_open = 1;
                claim.connections_opened = 1;
            });
            story.scene.assert_quiet(ID);
        }
    }

    fn beats(scene: &mut Scene, seconds: u64) {
        for _ in 0..seconds {
            scene.passes(Duration::from_secs(1));
            scene.tells("p", Vantage::Producer, &[], &[]);
            scene.reads("c", &["t"]);
        }
    }

    #[test]
    fn an_event_that_nobody_sent_is_found_when_its_producer_has_told_of_later_ones() {
        let mut scene = Scene::healthy();
        scene.reads("c", &["t"]);
        scene.produced("p", "t", 1..=3);
        scene.consumed("c", "t", 1..=4);
        beats(&mut scene, 3);
        scene.assert_quiet(ID);
        scene.produced("p", "t", 5..=6);
        scene.consumed("c", "t", 5..=6);
        beats(&mut scene, 1);
        scene.assert_suspected(ID);
        scene.produced("p", "t", 4..=4);
        scene.assert_quiet(ID);
    }

    /// A run from its start to its end, and in its midst an event of a run that nobody knows.
    fn invented(reported: u64) -> Scene {
        let mut scene = Scene::healthy();
        scene.reads("c", &["t"]);
        for accepted in [0, reported] {
            scene.counts(|claim| {
                claim.accepted = accepted;
                claim.pending = accepted;
            });
            scene.passes(Duration::from_secs(1));
            scene.produced("p", "t", 1..=3);
        }
        scene.consumed("c", "t", 1..=3);
        let mut unknown = scene.seen("t", 4);
        unknown.event_id = "invented".into();
        unknown.run_id = "invented".into();
        scene.tells("c", Vantage::Consumer, &[unknown], &["t"]);
        scene.produced("p", "t", 5..=6);
        scene.consumed("c", "t", 5..=6);
        beats(&mut scene, 3);
        scene
    }

    #[test]
    fn an_event_of_a_run_that_nobody_sent_is_found_where_all_producers_tell() {
        invented(3).assert_suspected(ID);
    }

    #[test]
    fn it_may_be_that_of_a_producer_that_does_not_tell() {
        invented(30).assert_quiet(ID);
    }

    #[test]
    fn a_run_whose_producer_does_not_report_is_quiet() {
        let mut scene = Scene::healthy();
        scene.consumed("c", "t", 1..=4);
        beats(&mut scene, 10);
        scene.assert_quiet(ID);
    }
}
