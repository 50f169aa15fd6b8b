//! `orphan_tool_completion`: a tool ended that, where it was seen to end, never began.

use service_kit::clock::Now;

use crate::audit::format::span;
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity, Vantage};
use crate::evidence::run::Run;
use crate::evidence::tool::ToolCall;

pub(crate) const RULE: Rule = Rule {
    id: "orphan_tool_completion",
    severity: Severity::Warning,
    summary: "a tool completed that was never seen to begin",
    part: Part::Evidence,
    judges_outage: false,
    has_waited: true,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let mut violations = Vec::new();
    for (id, run) in view.evidence.runs().orphaned() {
        // A gap in the thread explains it: one cause, one finding.
        if view.losses.explains(&run.thread_id) {
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
        .filter(|key| view.evidence.followed(*key, run))
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
    use crate::domain::Vantage;

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
    fn a_start_that_is_told_after_the_restart_that_took_it_is_quiet() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "agent_started", "");
        scene.consumer_run_event("c", "r", "agent_started", "");
        scene.drains();
        scene.passes(Duration::from_secs(3));
        scene.restarts_as("instance-b");
        scene.probe();
        scene.run_event("p", "r", "tool_executing", "call-1");
        scene.epoch("second");
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

    #[test]
    fn a_second_reader_that_tells_later_is_quiet() {
        let mut scene = Scene::healthy();
        scene.run_event("p", "r", "agent_started", "");
        for who in ["c", "d"] {
            scene.consumer_run_event(who, "r", "agent_started", "");
        }
        for call in ["1", "2", "3"] {
            for kind in ["tool_executing", "tool_completed"] {
                scene.run_event("p", "r", kind, call);
                scene.consumer_run_event("c", "r", kind, call);
            }
            scene.consumer_run_event("d", "r", "tool_executing", call);
        }
        // The calls that ended are forgotten for the next one.
        scene.run_event("p", "r", "tool_executing", "4");
        for call in ["1", "2", "3"] {
            scene.consumer_run_event("d", "r", "tool_completed", call);
        }
        scene.passes(Duration::from_secs(5));
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_start_that_was_announced_as_gone_is_quiet() {
        for resumed in [false, true] {
            let mut scene = Scene::healthy();
            let event =
                |scene: &Scene, sequence, kind: &str, (connection, arrival): (&str, u64)| {
                    let mut seen = scene.seen("t", sequence);
                    seen.run_id = "r".into();
                    seen.event_type = kind.into();
                    seen.tool_call_id = "call".into();
                    seen.connection_id = connection.into();
                    seen.arrival = arrival;
                    seen.replayed = resumed && arrival == 1 && connection == "2";
                    seen
                };
            let kinds = ["agent_started", "tool_executing", "tool_completed"];
            let produced: Vec<_> = (1..=3)
                .map(|sequence| event(&scene, sequence, kinds[sequence as usize - 1], ("", 0)))
                .collect();
            scene.tells("p", Vantage::Producer, &produced, &[]);
            let first = event(&scene, 1, kinds[0], ("1", 1));
            scene.tells("c", Vantage::Consumer, &[first], &["t"]);
            scene.passes(Duration::from_millis(500));
            // The start leaves the window before it is back.
            let last = event(&scene, 3, kinds[2], ("2", 1));
            scene.tells("c", Vantage::Consumer, &[last], &["t"]);
            scene.passes(Duration::from_secs(1));
            scene.assert_quiet(ID);
            scene.passes(Duration::from_millis(1_500));
            scene.tells("c", Vantage::Consumer, &[], &["t"]);
            scene.assert_quiet(ID);
            // Where nothing was announced, it is a loss.
            if resumed {
                scene.assert_conclusive("event_loss", "lacked 1 event");
            } else {
                scene.assert_quiet("event_loss");
            }
        }
    }
}
