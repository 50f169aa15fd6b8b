//! `tool_stuck`: a tool never returns.

use service_kit::clock::Now;

use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};
use crate::evidence::run::Run;

pub(crate) const RULE: Rule = Rule {
    id: "tool_stuck",
    severity: Severity::Warning,
    summary: "a tool began and does not return",
    part: Part::Evidence,
    judges_outage: false,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let stuck = view
        .evidence
        .runs()
        .open()
        .filter_map(|(id, run)| violation(view, id, run, settings, now));
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
    let witness = run
        .seen_by
        .iter()
        .filter_map(|key| view.evidence.observer(*key))
        .find(|observer| !observer.signed_off)?;
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
}
