//! `duplicate_delivery`: events arrive twice.

use service_kit::clock::Now;

use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};
use crate::evidence::disorder::Disorder;

pub(crate) const RULE: Rule = Rule {
    id: "duplicate_delivery",
    severity: Severity::Warning,
    summary: "an event came twice on one connection, outside a declared replay",
    part: Part::Evidence,
    judges_outage: false,
    has_waited: false,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let threads = view.evidence.disorders().iter();
    let found = threads.filter_map(|(thread_id, disorders)| {
        let shown = |at| now.since(at) <= settings.disorder_shown;
        let twice = disorders
            .iter()
            .filter(|d| d.after.is_none() && shown(d.at));
        let twice: Vec<_> = twice.collect();
        Some(violation(
            view,
            thread_id,
            &twice,
            twice.last()?,
            settings,
            now,
        ))
    });
    Outcome::Decided(found.collect())
}

fn violation(
    view: &View<'_>,
    thread_id: &str,
    twice: &[&Disorder],
    newest: &Disorder,
    settings: &RuleSettings,
    now: Now,
) -> Violation {
    let item = |found: &&Disorder| EvidenceItem {
        source: format!("consumer:{}", found.consumer),
        claimed: "an event comes once on a connection, but in a declared replay".into(),
        observed: format!(
            "event {} (sequence {}) again on connection {}",
            found.event_id, found.sequence, found.connection
        ),
        at: now.wall - now.since(found.at),
    };
    Violation {
        subject: thread_id.to_owned(),
        message: format!(
            "{} came twice on one connection of thread {thread_id} in the last {}, such as {} at \
             consumer {}; 0 are allowed.",
            count(twice.len() as u64, "event"),
            span(settings.disorder_shown),
            newest.event_id,
            newest.consumer,
        ),
        evidence: twice.iter().rev().map(item).collect(),
        conclusive: view.claims.claims_health() == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;

    const ID: &str = "duplicate_delivery";

    #[test]
    fn an_event_that_comes_twice_is_found_at_once_and_passes() {
        let mut scene = Scene::healthy();
        scene.arrives("one", 1, &[1, 2, 3], false);
        scene.assert_quiet(ID);
        scene.arrives("one", 4, &[2, 4], false);
        scene.assert_conclusive(ID, "1 event came twice on one connection of thread t");
        scene.assert_quiet("reordering");
        scene.passes(Duration::from_secs(61));
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_report_that_comes_twice_is_no_event_that_does() {
        let mut scene = Scene::healthy();
        for _ in 0..3 {
            scene.arrives("one", 1, &[1, 2, 3], false);
        }
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_resume_that_replays_is_quiet() {
        let mut scene = Scene::healthy();
        scene.arrives("one", 1, &[1, 2, 3], false);
        scene.arrives("one", 4, &[2, 3], true);
        scene.arrives("two", 1, &[1, 2, 3], false);
        scene.arrives("two", 4, &[4], false);
        scene.assert_quiet(ID);
        scene.assert_quiet("reordering");
    }

    #[test]
    fn a_log_that_began_anew_counts_anew() {
        let mut scene = Scene::healthy();
        scene.arrives("one", 1, &[1, 2, 3], false);
        scene.epoch("second");
        scene.arrives("one", 4, &[1, 2, 3], false);
        scene.assert_quiet(ID);
        scene.assert_quiet("reordering");
    }

    #[test]
    fn an_observer_that_names_no_connection_accuses_nobody() {
        let mut scene = Scene::healthy();
        scene.consumed("c", "t", 1..=3);
        scene.consumed("c", "t", 2..=2);
        scene.assert_quiet(ID);
    }
}
