//! `silent_restart`: it crashed, came back, and nobody said so.

use service_kit::clock::Now;

use crate::audit::claims::Instance;
use crate::audit::format::span;
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::rules::wrong_identity;
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "silent_restart",
    severity: Severity::Warning,
    summary: "a new process answers, and the old one never said that it would go",
    part: Part::Claims,
    judges_outage: false,
    has_waited: false,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let Some((newest, before)) = view.claims.instances.split_last() else {
        return Outcome::Undecided("it said nothing yet");
    };
    let age = now.since(newest.first.monotonic);
    // Somebody else at this address is `wrong_identity`, and no restart.
    if age > settings.restart_shown || wrong_identity::is_wrong(view) {
        return Outcome::clear();
    }
    let last_seen = |instance: &&Instance| instance.last.monotonic;
    let Some(previous) = before.iter().max_by_key(last_seen) else {
        return Outcome::clear();
    };
    // An outage is in the history already; two at a time are a fleet behind one address.
    let alive_beside = previous.last.monotonic > newest.first.monotonic;
    if previous.drained || newest.after_outage || alive_beside {
        return Outcome::clear();
    }
    if age < settings.drain_notice_grace {
        return Outcome::Undecided("the old process may still say that it drains");
    }
    Outcome::broken(Violation {
        subject: String::new(),
        message: format!(
            "Instance {} answers since {} ago, and instance {} never said DRAINING; 0 restarts \
             without it are allowed.",
            newest.id,
            span(age),
            previous.id,
        ),
        evidence: vec![EvidenceItem {
            source: "claim".into(),
            claimed: format!("instance {}", newest.id),
            observed: format!("instance {} answered until then", previous.id),
            at: newest.first.wall,
        }],
        // It works again: not a failure that lasts.
        conclusive: false,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;
    use crate::domain::CallError;

    const ID: &str = "silent_restart";

    #[test]
    fn a_crash_is_noted_and_passes_by_itself() {
        let mut scene = Scene::healthy();
        scene.restarts_as("instance-b");
        scene.probe();
        scene.assert_undecided(ID);
        scene.passes(Duration::from_secs(2));
        scene.assert_suspected(ID);
        scene.passes(Duration::from_secs(59));
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_restart_in_order_is_quiet() {
        let mut scene = Scene::healthy();
        scene.drains();
        scene.restarts_as("instance-b");
        scene.probe();
        scene.passes(Duration::from_secs(3));
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_rolling_restart_may_say_so_a_little_later() {
        let mut scene = Scene::healthy();
        let old = scene.health();
        scene.restarts_as("instance-b");
        scene.probe();
        scene.passes(Duration::from_millis(500));
        scene.watched_draining(old);
        scene.passes(Duration::from_secs(3));
        scene.assert_quiet(ID);
    }

    #[test]
    fn an_outage_in_between_is_the_finding_and_this_is_not() {
        let mut scene = Scene::healthy();
        scene.watch_breaks();
        scene.probe_fails(CallError::Unreachable("connection refused".into()));
        scene.restarts_as("instance-b");
        scene.probe();
        scene.passes(Duration::from_secs(3));
        scene.assert_quiet(ID);
    }
}
