//! `tool_stuck`: a tool never returns.

use service_kit::clock::Now;

use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, SUBJECTS_MAX, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};
use crate::evidence::run::Run;

pub(crate) const RULE: Rule = Rule {
    id: "tool_stuck",
    severity: Severity::Warning,
    summary: "a tool began and does not return",
    part: Part::Evidence,
    judges_outage: false,
    has_waited: true,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let Some(since) = now.monotonic.checked_sub(settings.tool_limit) else {
        return Outcome::clear();
    };
    let stuck = view
        .evidence
        .runs()
        .at_work_since_before(since)
        .filter_map(|(id, run)| violation(view, id, run, settings, now))
        .take(SUBJECTS_MAX);
    Outcome::Decided(stuck.collect())
}

fn violation(
    view: &View<'_>,
    id: &str,
    run: &Run,
    settings: &RuleSettings,
    now: Now,
) -> Option<Violation> {
    let tools = run.open_tools();
    let stuck = |since| now.since(since) > settings.tool_limit;
    let number = tools.iter().filter(|(_, since)| stuck(*since)).count();
    let (call, since) = tools.first().filter(|(_, since)| stuck(*since))?;
    // Where every witness signed off or reads no more, the end may have come unseen.
    let witness = view.evidence.witness_of(run)?;
    let others = match number - 1 {
        0 => String::new(),
        others => format!(" (and {} too)", count(others as u64, "other call")),
    };
    let age = now.since(*since);
    Some(Violation {
        subject: id.to_owned(),
        message: format!(
            "Tool call {call} has been executing for {}{others}; {} are allowed.",
            span(age),
            span(settings.tool_limit),
        ),
        evidence: vec![EvidenceItem {
            source: witness.source(),
            claimed: "every tool_executing is followed by its tool_completed".into(),
            observed: format!("no tool_completed for {call}"),
            at: now.wall - age,
        }],
        // The tool may be to blame as well as the component.
        conclusive: false,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;

    const ID: &str = "tool_stuck";

    #[test]
    fn a_tool_that_never_returns_is_found_once() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "agent_started", "");
        scene.run_event("p", "r", "tool_executing", "call-1");
        scene.passes(Duration::from_secs(60));
        scene.assert_quiet(ID);
        scene.passes(Duration::from_secs(1));
        scene.assert_suspected(ID);
        scene.assert_quiet("run_never_finished");
        scene.run_event("p", "r", "tool_completed", "call-1");
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_slow_tool_inside_its_limit_is_quiet() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "agent_started", "");
        scene.run_event("p", "r", "tool_executing", "call-1");
        scene.passes(Duration::from_secs(59));
        scene.run_event("p", "r", "tool_completed", "call-1");
        scene.passes(Duration::from_secs(20));
        scene.assert_quiet(ID);
    }

    #[test]
    fn the_end_of_the_run_ends_its_tools() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "agent_started", "");
        scene.run_event("p", "r", "tool_executing", "call-1");
        scene.run_event("p", "r", "agent_error", "");
        scene.passes(Duration::from_secs(120));
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_consumer_that_reads_no_more_may_have_missed_the_end() {
        let mut scene = Scene::healthy();
        scene.reads("c", &["runs"]);
        scene.consumer_run_event("c", "r", "agent_started", "");
        scene.consumer_run_event("c", "r", "tool_executing", "call-1");
        scene.reads("c", &[]);
        scene.passes(Duration::from_secs(61));
        scene.assert_quiet(ID);
        scene.reads("c", &["runs"]);
        scene.assert_suspected(ID);
    }
}
