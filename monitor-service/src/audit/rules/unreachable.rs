//! `unreachable`: nobody answers. Not a silent failure but the outage itself, so that the history
//! has it.

use service_kit::clock::Now;

use crate::audit::blame::blames_component;
use crate::audit::claims::WatchPhase;
use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "unreachable",
    severity: Severity::Critical,
    summary: "the component does not answer",
    part: Part::Claims,
    judges_outage: true,
    has_waited: false,
    check,
};

/// The allowed value: one failed audit while the watch stream still tells of life.
const FAILED_AUDITS_ALLOWED: u32 = 1;

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let calls = &view.claims.calls;
    let (Some(last), Some(error)) = (calls.last, calls.error.as_ref()) else {
        return Outcome::clear();
    };
    if !blames_component(error) {
        return Outcome::Undecided("the monitor itself could not call");
    }
    let drained = view.claims.draining;
    if drained.is_some_and(|at| now.since(at.monotonic) < settings.restart_grace) {
        return Outcome::Undecided("it said that it was draining, and may take its time to return");
    }
    let stream_lost = view.claims.watch.phase != WatchPhase::Alive || stream_silent(view, now);
    let unanswered = calls.failed_since.unwrap_or(last);
    let message = format!(
        "No call has been answered for {}, and {} failed in a row ({error}); \
         {FAILED_AUDITS_ALLOWED} may fail while the watch stream is alive, and none when it is not.",
        span(now.since(unanswered.monotonic)),
        count(calls.failed_in_row.into(), "audit"),
    );
    Outcome::broken(Violation {
        subject: String::new(),
        message,
        evidence: vec![EvidenceItem {
            source: "probe".into(),
            claimed: String::new(),
            observed: error.to_string(),
            at: last.wall,
        }],
        conclusive: stream_lost || calls.failed_in_row > FAILED_AUDITS_ALLOWED,
    })
}

/// Whether the stream broke its promise, however little.
fn stream_silent(view: &View<'_>, now: Now) -> bool {
    let watch = &view.claims.watch;
    match (watch.last_message, watch.promise) {
        (Some(last), Some(promise)) => now.since(last.monotonic.max(view.awake_since)) > promise,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;
    use crate::domain::CallError;

    const ID: &str = "unreachable";

    #[test]
    fn a_dead_process_is_an_outage_at_once() {
        let mut scene = Scene::healthy();
        scene.watch_breaks();
        scene.probe_fails(CallError::Unreachable("connection refused".into()));
        scene.assert_conclusive(
            ID,
            "No call has been answered for 0 ms, and 1 audit failed in a row",
        );
    }

    #[test]
    fn one_slow_call_beside_a_living_stream_is_not() {
        let mut scene = Scene::healthy();
        scene.probe_fails(CallError::TimedOut(Duration::from_secs(2)));
        scene.assert_suspected(ID);
        scene.probe();
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_second_slow_call_is() {
        let mut scene = Scene::healthy();
        scene.probe_fails(CallError::TimedOut(Duration::from_secs(2)));
        scene.beat();
        scene.probe_fails(CallError::TimedOut(Duration::from_secs(2)));
        scene.assert_conclusive(ID, "2 audits failed in a row");
    }

    #[test]
    fn a_restart_in_order_has_its_time() {
        let mut scene = Scene::healthy();
        scene.drains();
        scene.watch_breaks();
        scene.probe_fails(CallError::Unreachable("connection refused".into()));
        scene.assert_quiet(ID);
        scene.passes(Duration::from_secs(11));
        scene.assert_conclusive(ID, "No call has been answered for 11 s");
    }

    #[test]
    fn the_monitors_own_trouble_is_not_the_components_fault() {
        let mut scene = Scene::healthy();
        scene.probe_fails(CallError::Own("too many open files".into()));
        scene.assert_undecided(ID);
    }

    #[test]
    fn the_end_of_a_long_drain_has_its_time_too() {
        for ended in [true, false] {
            let mut scene = Scene::healthy();
            scene.drains();
            scene.passes(Duration::from_secs(25));
            if ended {
                scene.watch_ends();
            }
            scene.probe_fails(CallError::Unreachable("connection refused".into()));
            scene.passes(Duration::from_secs(5));
            scene.probe_fails(CallError::Unreachable("connection refused".into()));
            scene.assert_quiet(ID);
            scene.passes(Duration::from_secs(6));
            scene.assert_conclusive(ID, "2 audits failed in a row");
        }
    }
}
