//! `reordering`: events arrive out of order.

use service_kit::clock::Now;

use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};
use crate::evidence::disorder::Disorder;

pub(crate) const RULE: Rule = Rule {
    id: "reordering",
    severity: Severity::Warning,
    summary: "sequences fell on one connection",
    part: Part::Evidence,
    judges_outage: false,
    has_waited: false,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let threads = view.evidence.disorders().iter();
    let found = threads.filter_map(|(thread_id, disorders)| {
        let shown = |at| now.since(at) <= settings.disorder_shown;
        let fell = disorders.iter().filter(|d| shown(d.at));
        let fell: Vec<_> = fell.filter_map(|d| Some((d, d.after?))).collect();
        Some(violation(
            view,
            thread_id,
            &fell,
            fell.last()?,
            settings,
            now,
        ))
    });
    Outcome::Decided(found.collect())
}

fn violation(
    view: &View<'_>,
    thread_id: &str,
    fell: &[(&Disorder, u64)],
    (newest, after): &(&Disorder, u64),
    settings: &RuleSettings,
    now: Now,
) -> Violation {
    let item = |(found, after): &(&Disorder, u64)| EvidenceItem {
        source: format!("consumer:{}", found.consumer),
        claimed: "sequences rise on a connection".into(),
        observed: format!(
            "event {}, and sequence {after} before sequence {} on connection {}",
            found.event_id,
            found.sequence.min(*after),
            found.connection
        ),
        at: now.wall - now.since(found.at),
    };
    Violation {
        subject: thread_id.to_owned(),
        message: format!(
            "{} came out of order on one connection of thread {thread_id} in the last {}, such as \
             {} after sequence {after} at consumer {}; 0 are allowed.",
            count(fell.len() as u64, "event"),
            span(settings.disorder_shown),
            newest.event_id,
            newest.consumer,
        ),
        evidence: fell.iter().rev().map(item).collect(),
        conclusive: view.claims.claims_health() == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;
    use crate::domain::Vantage;

    const ID: &str = "reordering";

    #[test]
    fn a_sequence_that_falls_is_found_at_once_and_passes() {
        let mut scene = Scene::healthy();
        scene.arrives("one", 1, &[1, 2, 4, 3, 5], false);
        scene.assert_conclusive(ID, "such as t/first/3 after sequence 4 at consumer c");
        scene.assert_quiet("duplicate_delivery");
        scene.assert_quiet("event_loss");
        scene.passes(Duration::from_secs(61));
        scene.assert_quiet(ID);
    }

    #[test]
    fn reports_that_overtake_each_other_are_quiet() {
        let mut scene = Scene::healthy();
        scene.arrives("one", 5, &[5, 6], false);
        scene.arrives("one", 1, &[1, 2], false);
        scene.arrives("one", 3, &[3, 4], false);
        scene.assert_quiet(ID);
    }

    #[test]
    fn two_threads_interleaved_on_one_connection_are_quiet() {
        let mut scene = Scene::healthy();
        let mut sightings = Vec::new();
        for (arrival, (thread, sequence)) in [("t", 7), ("u", 2), ("t", 8), ("u", 3)]
            .into_iter()
            .enumerate()
        {
            let mut seen = scene.seen(thread, sequence);
            seen.connection_id = "one".into();
            seen.arrival = arrival as u64 + 1;
            sightings.push(seen);
        }
        scene.tells("c", Vantage::Consumer, &sightings, &["t", "u"]);
        scene.assert_quiet(ID);
    }

    #[test]
    fn two_connections_have_an_order_each() {
        let mut scene = Scene::healthy();
        scene.arrives("one", 1, &[5, 6], false);
        scene.arrives("two", 1, &[1, 2], false);
        scene.arrives("one", 3, &[7], false);
        scene.assert_quiet(ID);
    }
}
