//! `event_loss`: some events never arrive.

use std::collections::BTreeMap;
use std::sync::Arc;

use service_kit::clock::Now;

use crate::audit::format::{count, sequences, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};
use crate::evidence::loss::{Missing, Place};

pub(crate) const RULE: Rule = Rule {
    id: "event_loss",
    severity: Severity::Critical,
    summary: "a connected consumer lacks events that passed it by",
    part: Part::Evidence,
    judges_outage: false,
    has_waited: false,
    check,
};

/// Consumers named in one finding.
const CONSUMERS_NAMED_MAX: usize = 8;

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let mut by_thread: BTreeMap<&Arc<str>, Vec<&Missing>> = BTreeMap::new();
    let missing = view.losses.missing.iter();
    for missing in missing.filter(|missing| is_loss(missing, settings, now)) {
        by_thread
            .entry(&missing.thread_id)
            .or_default()
            .push(missing);
    }
    let violations = by_thread
        .into_iter()
        .map(|(thread_id, missing)| violation(thread_id, missing, settings, now))
        .collect();
    Outcome::Decided(violations)
}

/// What has more behind it is another rule's: `partial_loss`, or `stuck_consumer`.
fn is_loss(missing: &Missing, settings: &RuleSettings, now: Now) -> bool {
    !missing.explained
        && match missing.place {
            Place::Skipped => true,
            Place::Behind { .. } => {
                missing.events == 1 && now.since(missing.since) >= settings.lone_event_grace
            }
        }
}

fn violation(
    thread_id: &str,
    mut missing: Vec<&Missing>,
    settings: &RuleSettings,
    now: Now,
) -> Violation {
    missing.sort_by(|a, b| (a.since, &a.consumer).cmp(&(b.since, &b.consumer)));
    let worst = missing[0];
    let others = match missing.len() - 1 {
        0 => String::new(),
        others => format!(" (and {} too)", count(others as u64, "other consumer")),
    };
    Violation {
        subject: thread_id.to_owned(),
        message: format!(
            "Consumer {} has lacked {} ({}) for {}{others}; {} are allowed.",
            worst.consumer,
            count(worst.events, "event"),
            sequences(&worst.ranges),
            span(now.since(worst.since)),
            span(settings.delivery_grace),
        ),
        evidence: missing
            .iter()
            .take(CONSUMERS_NAMED_MAX)
            .map(|missing| item(missing, now))
            .collect(),
        conclusive: true,
    }
}

fn item(missing: &Missing, now: Now) -> EvidenceItem {
    EvidenceItem {
        source: format!("consumer:{}", missing.consumer),
        claimed: "every accepted event is delivered in sequence".into(),
        observed: format!("no event with {}", sequences(&missing.ranges)),
        at: now.wall - now.since(missing.since),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::{Scene, Speaker};
    use crate::domain::Vantage;

    const ID: &str = "event_loss";

    #[test]
    fn a_gap_at_a_connected_consumer_is_found_after_the_grace() {
        let mut scene = Scene::healthy();
        scene.reads("c", &["t"]);
        scene.produced("p", "t", 1..=5);
        scene.consumed("c", "t", 1..=2);
        scene.consumed("c", "t", 5..=5);
        scene.passes(Duration::from_millis(1_900));
        scene.assert_quiet(ID);
        scene.passes(Duration::from_millis(200));
        scene.assert_conclusive(
            ID,
            "Consumer c has lacked 2 events (sequences 3-4) for 2.1 s; 2 s",
        );
    }

    #[test]
    fn a_resume_that_fills_it_heals_it() {
        let mut scene = Scene::healthy();
        scene.reads("c", &["t"]);
        scene.consumed("c", "t", 1..=2);
        scene.reads("c", &[]);
        scene.produced("p", "t", 1..=5);
        scene.passes(Duration::from_secs(60));
        scene.assert_quiet(ID);
        scene.reads("c", &["t"]);
        scene.consumed("c", "t", 3..=5);
        scene.passes(Duration::from_secs(10));
        scene.reads("c", &["t"]);
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_consumer_that_joined_late_lacks_nothing() {
        let mut scene = Scene::healthy();
        scene.produced("p", "t", 1..=5);
        scene.passes(Duration::from_secs(60));
        scene.consumed("c", "t", 5..=5);
        scene.passes(Duration::from_secs(5));
        scene.reads("c", &["t"]);
        scene.assert_quiet(ID);
    }

    #[test]
    fn the_tail_counts_when_others_got_it() {
        let mut scene = Scene::healthy();
        scene.reads("c", &["t"]);
        scene.reads("d", &["t"]);
        scene.passes(Duration::from_secs(3));
        scene.produced("p", "t", 1..=3);
        scene.consumed("c", "t", 1..=3);
        scene.consumed("d", "t", 1..=2);
        scene.passes(Duration::from_secs(2));
        scene.reads("c", &["t"]);
        scene.reads("d", &["t"]);
        // More may be missing by now, and then it is not an event but the consumer.
        scene.assert_quiet(ID);
        scene.passes(Duration::from_secs(3));
        scene.reads("d", &["t"]);
        scene.assert_conclusive(ID, "Consumer d has lacked 1 event (sequence 3)");
    }

    #[test]
    fn reports_out_of_order_are_no_gap() {
        let mut scene = Scene::healthy();
        scene.consumed("c", "t", 3..=4);
        scene.consumed("c", "t", 1..=2);
        scene.passes(Duration::from_secs(5));
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_new_epoch_begins_anew() {
        let mut scene = Scene::healthy();
        scene.consumed("c", "t", 1..=5);
        scene.epoch("second");
        scene.consumed("c", "t", 1..=2);
        scene.produced("p", "t", 1..=2);
        scene.passes(Duration::from_secs(5));
        scene.reads("c", &["t"]);
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_reconnect_that_was_told_of_its_gap_lacks_nothing() {
        let mut scene = Scene::healthy();
        scene.produced("p", "t", 1..=20);
        scene.arrives("first", 1, &[1, 2, 3], false);
        scene.arrives("second", 1, &[9, 10], false);
        scene.passes(Duration::from_secs(5));
        scene.reads("c", &["t"]);
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_resume_that_was_granted_and_skips_is_a_loss() {
        let mut scene = Scene::healthy();
        scene.produced("p", "t", 1..=20);
        scene.arrives("first", 1, &[1, 2, 3], false);
        scene.arrives("second", 1, &[9], true);
        scene.arrives("second", 2, &[10], false);
        scene.passes(Duration::from_secs(5));
        scene.reads("c", &["t"]);
        scene.assert_conclusive(ID, "5 events (sequences 4-8)");
    }

    #[test]
    fn a_report_that_is_missing_is_waited_for() {
        let mut scene = Scene::healthy();
        let mut consumer = Speaker::new("c", Vantage::Consumer);
        scene.produced("p", "t", 1..=3);
        let first = [scene.seen("t", 1)];
        scene.speaks(&mut consumer, &first, &["t"]);
        consumer.loses_a_report();
        let third = [scene.seen("t", 3)];
        scene.speaks(&mut consumer, &third, &["t"]);
        for _ in 0..4 {
            scene.passes(Duration::from_secs(2));
            scene.speaks(&mut consumer, &[], &["t"]);
            scene.assert_quiet(ID);
        }
        scene.passes(Duration::from_secs(4));
        scene.speaks(&mut consumer, &[], &["t"]);
        scene.assert_conclusive(ID, "1 event (sequence 2)");
    }
}
