//! `event_non_emission`: the work was done, and the user saw nothing of it.

use service_kit::clock::Now;

use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, SUBJECTS_MAX, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity, Vantage};
use crate::evidence::run::Run;

pub(crate) const RULE: Rule = Rule {
    id: "event_non_emission",
    severity: Severity::Critical,
    summary: "a finished run lacks a kind of event that its producer handed in",
    part: Part::Evidence,
    judges_outage: false,
    has_waited: true,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let lacking = view.evidence.runs().lacking();
    let lacking = lacking.filter_map(|(id, run)| violation(view, id, run, settings, now));
    let mut lacking: Vec<_> = lacking.collect();
    lacking.sort_by(|a, b| a.subject.cmp(&b.subject));
    lacking.truncate(SUBJECTS_MAX);
    Outcome::Decided(lacking)
}

fn violation(
    view: &View<'_>,
    id: &str,
    run: &Run,
    settings: &RuleSettings,
    now: Now,
) -> Option<Violation> {
    // A gap in the thread, or a kind that is lost as a whole, explains it.
    let explained = |kind: &str| view.losses.lost_keys.iter().any(|lost| lost.is_kind(kind));
    if view.losses.explains(&run.thread_id) {
        return None;
    }
    let finished = run.finished_at(Vantage::Consumer)?;
    let baseline = view.claims.baseline();
    if baseline.is_some_and(|baseline| run.first_event < baseline) {
        return None;
    }
    // The consumer saw the run from its start to its end, and has told all of it.
    let settled = finished.max(run.last_event) + settings.delivery_grace;
    let consumer = run
        .whole_witnesses()
        .filter(|key| view.evidence.followed(*key, run))
        .filter_map(|key| view.evidence.observer(key))
        .filter(|observer| observer.vantage == Vantage::Consumer)
        .find(|observer| observer.caught_up >= Some(settled))?;
    let mut lacking = run.tallies.never_consumed();
    let (kind, events) = lacking.find(|(kind, _)| !explained(kind))?;
    let age = now.since(finished);
    Some(Violation {
        subject: id.to_owned(),
        message: format!(
            "The run ended {} ago for consumer {}, which saw none of its {} of kind {kind}; every \
             kind is seen within {}.",
            span(age),
            consumer.name,
            count(events.into(), "event"),
            span(settings.delivery_grace),
        ),
        evidence: vec![
            EvidenceItem {
                source: consumer.source(),
                claimed: "every accepted event of a run is delivered before its end".into(),
                observed: format!("the run from start to end, without any {kind}"),
                at: now.wall - age,
            },
            EvidenceItem {
                source: "producer".into(),
                claimed: String::new(),
                observed: format!("{} of kind {kind} accepted", count(events.into(), "event")),
                at: now.wall - now.since(run.last_event),
            },
        ],
        conclusive: view.claims.claims_health() == Some(true),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;

    const ID: &str = "event_non_emission";

    fn both(scene: &mut Scene, kind: &str, call: &str) {
        scene.run_event("p", "r", kind, call);
        scene.consumer_run_event("c", "r", kind, call);
    }

    fn settle(scene: &mut Scene) {
        for _ in 0..3 {
            scene.passes(Duration::from_secs(1));
            scene.reads("c", &["runs"]);
        }
    }

    #[test]
    fn a_kind_that_was_handed_in_and_not_seen_is_found() {
        let mut scene = Scene::healthy();
        both(&mut scene, "agent_started", "");
        scene.run_event("p", "r", "agent_message", "");
        both(&mut scene, "agent_completed", "");
        scene.assert_quiet(ID);
        settle(&mut scene);
        scene.assert_conclusive(ID, "saw none of its 1 event of kind agent_message");
        scene.consumer_run_event("c", "r", "agent_message", "");
    }

    #[test]
    fn what_is_reported_late_is_quiet() {
        let mut scene = Scene::healthy();
        both(&mut scene, "agent_started", "");
        both(&mut scene, "agent_completed", "");
        scene.passes(Duration::from_secs(1));
        both(&mut scene, "agent_message", "");
        settle(&mut scene);
        scene.assert_quiet(ID);
    }

    #[test]
    fn an_agent_that_uses_no_tools_is_quiet() {
        let mut scene = Scene::healthy();
        for kind in ["agent_started", "agent_message", "agent_completed"] {
            both(&mut scene, kind, "");
        }
        settle(&mut scene);
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_consumer_that_joined_late_proves_nothing() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "agent_started", "");
        scene.run_event("p", "r", "tool_executing", "call");
        scene.run_event("p", "r", "tool_completed", "call");
        both(&mut scene, "agent_completed", "");
        settle(&mut scene);
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_gap_in_the_thread_is_its_own_finding() {
        let mut scene = Scene::healthy();
        scene.reads("c", &["t"]);
        for (number, kind) in [
            (1, "agent_started"),
            (2, "agent_message"),
            (3, "agent_completed"),
        ] {
            let mut seen = scene.seen("t", number);
            seen.event_type = kind.into();
            scene.tells("p", crate::domain::Vantage::Producer, &[seen.clone()], &[]);
            if number != 2 {
                scene.tells("c", crate::domain::Vantage::Consumer, &[seen], &["t"]);
            }
        }
        for _ in 0..3 {
            scene.passes(Duration::from_secs(1));
            scene.reads("c", &["t"]);
        }
        scene.assert_quiet(ID);
        scene.assert_conclusive("event_loss", "sequence 2");
    }
}
