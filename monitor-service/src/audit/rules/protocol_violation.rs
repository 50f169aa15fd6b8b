//! `protocol_violation`: a producer's events break the order of their run.

use service_kit::clock::Now;

use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, SUBJECTS_MAX, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity, Vantage};
use crate::evidence::order::Breach;
use crate::evidence::run::Run;

pub(crate) const RULE: Rule = Rule {
    id: "protocol_violation",
    severity: Severity::Warning,
    summary: "events before the run's start, after its end, or two ends",
    part: Part::Evidence,
    judges_outage: false,
    has_waited: true,
    check,
};

fn check(view: &View<'_>, _: &RuleSettings, now: Now) -> Outcome {
    let broken = view.evidence.runs().disorderly();
    let broken = broken.filter_map(|(id, run)| violation(view, id, run, now));
    let mut broken: Vec<_> = broken.collect();
    broken.sort_by(|a, b| a.subject.cmp(&b.subject));
    broken.truncate(SUBJECTS_MAX);
    Outcome::Decided(broken)
}

fn violation(view: &View<'_>, id: &str, run: &Run, now: Now) -> Option<Violation> {
    let (observed, message) = match run.order.breach()? {
        Breach::BeforeStart { event, started } => {
            let observed = format!(
                "{} at sequence {}, agent_started at sequence {started}",
                event.kind, event.sequence
            );
            let message = format!(
                "The run's {} came before its agent_started (sequence {} before {started}); \
                 nothing is allowed before it.",
                event.kind, event.sequence
            );
            (observed, message)
        }
        Breach::AfterEnd { event, ended } => {
            let observed = format!(
                "{} at sequence {}, the end at sequence {ended}",
                event.kind, event.sequence
            );
            let message = format!(
                "The run's {} came after its end (sequence {} after {ended}); nothing is allowed \
                 after it.",
                event.kind, event.sequence
            );
            (observed, message)
        }
        Breach::TwoEnds { ends } => {
            let ends = count(ends.into(), "end");
            let message = format!("The run has {ends}; 1 is allowed.");
            (format!("{ends} of one run"), message)
        }
    };
    let producer = run
        .seen_by
        .iter()
        .filter_map(|key| view.evidence.observer(*key))
        .find(|observer| observer.vantage == Vantage::Producer);
    Some(Violation {
        subject: id.to_owned(),
        message,
        evidence: vec![EvidenceItem {
            source: producer.map_or_else(|| "producer".into(), |producer| producer.source()),
            claimed: "a run begins with agent_started and ends once".into(),
            observed: format!(
                "{observed}; its newest event {} ago",
                span(now.since(run.last_event))
            ),
            at: now.wall - now.since(run.last_event),
        }],
        // The agent is to blame rather than the component.
        conclusive: false,
    })
}

#[cfg(test)]
mod tests {
    use crate::audit::testing::Scene;
    use crate::domain::{Sighting, Vantage};

    const ID: &str = "protocol_violation";

    fn events(scene: &Scene, run: &str, events: &[(u64, &str)]) -> Vec<Sighting> {
        let event = |(sequence, kind): &(u64, &str)| {
            let mut seen = scene.seen("t", *sequence);
            seen.run_id = run.to_owned();
            seen.event_type = (*kind).to_owned();
            seen
        };
        events.iter().map(event).collect()
    }

    fn told(reports: &[&[(u64, &str)]]) -> Scene {
        let mut scene = Scene::healthy();
        for report in reports {
            let report = events(&scene, "r", report);
            scene.tells("p", Vantage::Producer, &report, &[]);
        }
        scene
    }

    #[test]
    fn an_event_before_the_start_is_found() {
        let mut scene = told(&[&[
            (1, "agent_thinking"),
            (2, "agent_started"),
            (3, "agent_completed"),
        ]]);
        scene.assert_suspected(ID);
    }

    #[test]
    fn an_event_after_the_end_is_found() {
        let mut scene = told(&[&[
            (1, "agent_started"),
            (2, "agent_completed"),
            (3, "agent_message"),
        ]]);
        scene.assert_suspected(ID);
    }

    #[test]
    fn two_ends_are_found_also_where_sequences_are_not_known() {
        told(&[&[
            (1, "agent_started"),
            (2, "agent_error"),
            (3, "agent_completed"),
        ]])
        .assert_suspected(ID);
        let mut scene = Scene::healthy();
        for call in ["a", "b"] {
            scene.run_event("p", "r", "agent_completed", call);
        }
        scene.assert_suspected(ID);
    }

    #[test]
    fn reports_that_overtake_each_other_are_quiet() {
        let mut scene = told(&[
            &[(3, "agent_completed")],
            &[(2, "agent_message")],
            &[(1, "agent_started")],
            &[(3, "agent_completed")],
        ]);
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_witness_that_joined_late_accuses_nobody() {
        told(&[&[(5, "agent_thinking"), (6, "agent_completed")]]).assert_quiet(ID);
    }

    #[test]
    fn a_new_run_on_the_same_thread_is_quiet() {
        let mut scene = told(&[&[(1, "agent_started"), (2, "agent_completed")]]);
        let next = events(&scene, "s", &[(3, "agent_started"), (4, "agent_completed")]);
        scene.tells("p", Vantage::Producer, &next, &[]);
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_run_that_outlives_a_restart_is_quiet() {
        let mut scene = told(&[&[(7, "agent_started"), (8, "agent_thinking")]]);
        scene.epoch("second");
        let after = events(&scene, "r", &[(1, "agent_message"), (2, "agent_completed")]);
        scene.tells("p", Vantage::Producer, &after, &[]);
        scene.assert_quiet(ID);
    }
}
