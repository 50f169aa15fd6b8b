//! `run_never_finished`: the agent died in the middle of its run.

use std::sync::Arc;

use service_kit::clock::Now;

use crate::audit::format::span;
use crate::audit::rule::{Outcome, Part, Rule, SUBJECTS_MAX, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};
use crate::evidence::run::Run;

pub(crate) const RULE: Rule = Rule {
    id: "run_never_finished",
    severity: Severity::Warning,
    summary: "a run fell silent before its end",
    part: Part::Evidence,
    judges_outage: false,
    has_waited: true,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let Some(since) = now.monotonic.checked_sub(settings.run_silence) else {
        return Outcome::clear();
    };
    let silent = view
        .evidence
        .runs()
        .open_since_before(since)
        // A tool at work is `tool_stuck`'s business: one cause, one finding.
        .filter(|(_, run)| run.open_tools().is_empty())
        .filter_map(|(id, run)| violation(view, id, run, settings, now))
        .take(SUBJECTS_MAX);
    Outcome::Decided(silent.collect())
}

fn violation(
    view: &View<'_>,
    id: &Arc<str>,
    run: &Run,
    settings: &RuleSettings,
    now: Now,
) -> Option<Violation> {
    // Where every witness signed off or reads no more, the end may have come unseen.
    let witness = view.evidence.witness_of(run)?;
    let silence = now.since(run.last_event);
    Some(Violation {
        subject: id.to_string(),
        message: format!(
            "The run has been silent for {} since {:?}, without an end; {} are allowed.",
            span(silence),
            run.last_event_type,
            span(settings.run_silence),
        ),
        evidence: vec![EvidenceItem {
            source: witness.source(),
            claimed: "a run ends with agent_completed or agent_error".into(),
            observed: format!("{:?} was its last event", run.last_event_type),
            at: now.wall - silence,
        }],
        // The agent may be to blame as well as the component.
        conclusive: false,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;

    const ID: &str = "run_never_finished";

    #[test]
    fn a_run_that_falls_silent_is_found() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "agent_started", "");
        scene.run_event("p", "r", "agent_thinking", "");
        scene.passes(Duration::from_secs(30));
        scene.assert_quiet(ID);
        scene.passes(Duration::from_secs(1));
        scene.assert_suspected(ID);
        scene.run_event("p", "r", "agent_completed", "");
        scene.assert_quiet(ID);
    }

    #[test]
    fn an_agent_that_failed_has_finished() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "agent_started", "");
        scene.run_event("p", "r", "agent_error", "");
        scene.passes(Duration::from_secs(300));
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_long_tool_that_reports_progress_is_quiet() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "agent_started", "");
        scene.run_event("p", "r", "tool_executing", "call");
        for _ in 0..10 {
            scene.passes(Duration::from_secs(20));
            scene.run_event("p", "r", "custom", "call");
            scene.assert_quiet(ID);
        }
    }

    #[test]
    fn witnesses_that_signed_off_may_have_missed_the_end() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "agent_started", "");
        scene.producer_signs_off("p");
        scene.passes(Duration::from_secs(300));
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_consumer_that_reads_no_more_may_have_missed_the_end() {
        let mut scene = Scene::healthy();
        scene.reads("c", &["runs"]);
        scene.consumer_run_event("c", "r", "agent_started", "");
        scene.passes(Duration::from_secs(31));
        scene.assert_suspected(ID);
        scene.reads("c", &[]);
        scene.passes(Duration::from_secs(300));
        scene.assert_quiet(ID);
    }
}
