//! `wrong_identity`: another component answers at this address.

use std::time::SystemTime;

use service_kit::clock::Now;

use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "wrong_identity",
    severity: Severity::Critical,
    summary: "another component answers at this address",
    part: Part::Claims,
    judges_outage: false,
    has_waited: false,
    check,
};

/// One id, as it was claimed.
struct Claimed<'a> {
    source: &'static str,
    what: &'static str,
    id: &'a str,
    at: SystemTime,
}

fn check(view: &View<'_>, _settings: &RuleSettings, _now: Now) -> Outcome {
    let claimed = claimed(view);
    let Some(first) = claimed.first() else {
        return Outcome::Undecided("it said nothing yet");
    };
    // Without a registration, the parts must at least agree.
    let expected = view.registered.unwrap_or(first.id);
    let wrong = claimed.iter().filter(|claimed| claimed.id != expected);
    let evidence: Vec<_> = wrong
        .clone()
        .map(|wrong| EvidenceItem {
            source: wrong.source.into(),
            claimed: format!("component_id {:?}", wrong.id),
            observed: format!("expected {expected:?}"),
            at: wrong.at,
        })
        .collect();
    let Some(worst) = wrong.clone().next() else {
        return Outcome::clear();
    };
    let places: Vec<_> = wrong.map(|wrong| wrong.what).collect();
    Outcome::broken(Violation {
        subject: String::new(),
        message: format!(
            "component_id is {:?} ({}); only {expected:?} is allowed here.",
            worst.id,
            places.join(", "),
        ),
        evidence,
        conclusive: true,
    })
}

/// Whether the newest claims are another component's.
pub(crate) fn is_wrong(view: &View<'_>) -> bool {
    view.registered
        .is_some_and(|expected| claimed(view).iter().any(|claimed| claimed.id != expected))
}

/// The newest claims that are still worth something: the calls', and a living stream's.
fn claimed<'a>(view: &View<'a>) -> Vec<Claimed<'a>> {
    let claims = view.claims;
    let words = &claims.track.words;
    let call = words.call.as_ref().map(|word| Claimed {
        source: "probe",
        what: "health report",
        id: &word.health.component_id,
        at: word.at.wall,
    });
    let metrics = claims.metrics.as_ref().map(|(metrics, at)| Claimed {
        source: "probe",
        what: "metrics",
        id: &metrics.component_id,
        at: at.wall,
    });
    let stream = words.stream.as_ref().map(|word| Claimed {
        source: "watch",
        what: "watch stream",
        id: &word.health.component_id,
        at: word.at.wall,
    });
    [call, metrics, stream].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;

    const ID: &str = "wrong_identity";

    #[test]
    fn another_component_is_found_and_is_no_restart() {
        let mut scene = Scene::healthy();
        scene.restarts_as("stranger");
        scene.probe_with(|health, metrics| {
            health.component_id = "postbox".into();
            metrics.component_id = "postbox".into();
        });
        scene.assert_conclusive(
            ID,
            "component_id is \"postbox\" (health report, metrics); only \"bridge\" is allowed",
        );
        scene.passes(Duration::from_secs(3));
        scene.assert_quiet("silent_restart");
        scene.probe();
        scene.assert_quiet(ID);
    }

    #[test]
    fn another_component_on_the_stream_is_found() {
        let mut scene = Scene::healthy();
        let mut health = scene.health();
        health.component_id = String::new();
        scene.beat_says(health);
        scene.assert_conclusive(ID, "component_id is \"\" (watch stream)");
    }

    #[test]
    fn a_redeploy_under_the_same_id_is_quiet() {
        let mut scene = Scene::healthy();
        scene.drains();
        scene.restarts_as("instance-b");
        scene.probe();
        scene.beat();
        scene.assert_quiet(ID);
    }

    #[test]
    fn without_a_registration_the_parts_must_agree() {
        let mut scene = Scene::healthy();
        scene.is_not_registered();
        scene.assert_quiet(ID);
        scene.probe_with(|_, metrics| metrics.component_id = "postbox".into());
        scene.assert_conclusive(ID, "component_id is \"postbox\" (metrics)");
    }
}
