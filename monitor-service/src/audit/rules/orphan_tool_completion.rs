//! `orphan_tool_completion`: a tool ended that, where it was seen to end, never began.

use service_kit::clock::Now;

use crate::audit::format::span;
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity, Vantage};
use crate::evidence::run::{Run, ToolCall};

pub(crate) const RULE: Rule = Rule {
    id: "orphan_tool_completion",
    severity: Severity::Warning,
    summary: "a tool completed that was never seen to begin",
    part: Part::Evidence,
    judges_outage: false,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let mut violations = Vec::new();
    for (id, run) in view.evidence.runs().orphaned() {
        // A gap in the thread explains it: one cause, one finding.
        let explained =
            |missing: &crate::evidence::loss::Missing| missing.thread_id == run.thread_id;
        if view.losses.missing.iter().any(explained) {
            continue;
        }
        let orphans = run.tools.iter().filter_map(|(call_id, call)| {
            let subject = format!("{id}/{call_id}");
            violation(view, subject, run, (call_id, call), settings, now)
        });
        violations.extend(orphans);
    }
    Outcome::Decided(violations)
}

fn violation(
    view: &View<'_>,
    subject: String,
    run: &Run,
    (call_id, call): (&str, &ToolCall),
    settings: &RuleSettings,
    now: Now,
) -> Option<Violation> {
    // One that came late to the run may have missed the start.
    let witness = run
        .full_witnesses(call)
        .filter_map(|key| view.evidence.observer(key))
        .find(|witness| !call.executing_seen(witness.vantage))?;
    // Where it began before a restart or an outage, its start may have gone with the instance.
    let of_before = |baseline| call.executing.is_some_and(|began| began < baseline);
    if view.claims.baseline().is_some_and(of_before) {
        return None;
    }
    let vantage = witness.vantage;
    let completed = call.completed_seen(vantage)?;
    let age = now.since(completed);
    if age <= settings.lateness_grace {
        return None;
    }
    let began_elsewhere = match vantage {
        Vantage::Consumer => call.executing_seen(Vantage::Producer),
        Vantage::Producer => false,
    };
    Some(Violation {
        subject,
        message: format!(
            "Tool call {call_id} completed {} ago without a tool_executing before it; 0 are \
             allowed, and {} for it to be late.",
            span(age),
            span(settings.lateness_grace),
        ),
        evidence: vec![EvidenceItem {
            source: witness.source(),
            claimed: if began_elsewhere {
                "a producer handed in its tool_executing".into()
            } else {
                String::new()
            },
            observed: format!("tool_completed for {call_id}, and no tool_executing"),
            at: now.wall - age,
        }],
        // What a producer handed in and the consumer did not get is the component's doing.
        conclusive: began_elsewhere,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;

    const ID: &str = "orphan_tool_completion";

    #[test]
    fn an_end_without_its_start_is_found_after_the_grace() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "agent_started", "");
        scene.run_event("p", "r", "tool_completed", "call-1");
        scene.passes(Duration::from_secs(2));
        scene.assert_quiet(ID);
        scene.passes(Duration::from_secs(1));
        scene.assert_suspected(ID);
    }

    #[test]
    fn a_start_that_was_handed_in_and_did_not_arrive_is_conclusive() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "agent_started", "");
        scene.run_event("p", "r", "tool_executing", "call-1");
        scene.run_event("p", "r", "tool_completed", "call-1");
        scene.consumer_run_event("c", "r", "agent_started", "");
        scene.consumer_run_event("c", "r", "tool_completed", "call-1");
        scene.passes(Duration::from_secs(3));
        scene.assert_conclusive(
            ID,
            "Tool call call-1 completed 3 s ago without a tool_executing",
        );
    }

    #[test]
    fn a_start_that_went_with_an_earlier_instance_is_quiet() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "agent_started", "");
        scene.consumer_run_event("c", "r", "agent_started", "");
        // Nobody is connected when it is handed in, and then the component restarts.
        scene.run_event("p", "r", "tool_executing", "call-1");
        scene.drains();
        scene.passes(Duration::from_secs(3));
        scene.restarts_as("instance-b");
        scene.probe();
        scene.run_event("p", "r", "tool_completed", "call-1");
        scene.consumer_run_event("c", "r", "tool_completed", "call-1");
        scene.passes(Duration::from_secs(3));
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_start_that_is_reported_late_is_quiet() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "agent_started", "");
        scene.run_event("p", "r", "tool_completed", "call-1");
        scene.passes(Duration::from_secs(1));
        scene.run_event("p", "r", "tool_executing", "call-1");
        scene.passes(Duration::from_secs(5));
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_witness_that_joined_late_proves_nothing() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "tool_completed", "call-1");
        scene.passes(Duration::from_secs(5));
        scene.assert_quiet(ID);
    }

    #[test]
    fn parallel_tools_interleaved_are_quiet() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "agent_started", "");
        for call in ["a", "b", "c"] {
            scene.run_event("p", "r", "tool_executing", call);
        }
        for call in ["c", "a", "b"] {
            scene.run_event("p", "r", "tool_completed", call);
        }
        scene.passes(Duration::from_secs(5));
        scene.assert_quiet(ID);
    }
}
