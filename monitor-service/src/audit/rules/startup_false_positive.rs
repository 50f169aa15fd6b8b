//! `startup_false_positive`: active before anything was proven.

use std::time::Duration;

use service_kit::clock::Now;

use crate::audit::canary::proven;
use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};
use crate::evidence::loss::Hole;

pub(crate) const RULE: Rule = Rule {
    id: "startup_false_positive",
    severity: Severity::Critical,
    summary: "it claims to be active, and nothing ever went through",
    part: Part::Evidence,
    judges_outage: false,
    has_waited: false,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    if view.claims.claims_health() != Some(true) {
        return Outcome::Undecided("it does not claim to be active");
    }
    let proven = proven(view, settings);
    if has_delivered(view) || proven == Some(true) {
        return Outcome::clear();
    }
    let Some(age) = age(view, now) else {
        return Outcome::Undecided("it said nothing yet");
    };
    if age < settings.startup_grace {
        return Outcome::clear();
    }
    let hole = view.losses.hole.as_ref();
    if let Some(hole) = hole.filter(|hole| explains(view, hole, settings, now)) {
        return Outcome::broken(unseen(view, hole, age, now));
    }
    if is_confirmed(view, now) {
        return Outcome::clear();
    }
    if proven == Some(false) {
        return Outcome::broken(canary(view, age, now));
    }
    // What was found stays so until something goes through.
    Outcome::Undecided("no witness reads what was handed in, and no synthetic run was sent")
}

/// Whether a hole has been there from the start: what the component itself counts agrees.
pub(crate) fn explains(view: &View<'_>, hole: &Hole, settings: &RuleSettings, now: Now) -> bool {
    let counts_nothing =
        view.claims.metrics.as_ref().is_some_and(|(metrics, _)| {
            metrics.delivery.as_ref().is_some_and(|d| d.delivered == 0)
        });
    counts_nothing
        && hole.last_arrival.is_none()
        && proven(view, settings) != Some(true)
        && view.claims.claims_health() == Some(true)
        && !is_confirmed(view, now)
}

/// Whether the runs that stand against it are of a component through which nothing ever went.
pub(crate) fn explains_runs(view: &View<'_>, settings: &RuleSettings, now: Now) -> bool {
    proven(view, settings) == Some(false)
        && view.claims.claims_health() == Some(true)
        && !has_delivered(view)
        && !is_confirmed(view, now)
}

/// Whether the component itself counts a delivery.
fn has_delivered(view: &View<'_>) -> bool {
    let metrics = view.claims.metrics.as_ref();
    let delivery = metrics.and_then(|(metrics, _)| metrics.delivery.as_ref());
    delivery.is_some_and(|delivery| delivery.delivered > 0)
}

/// Whether witnesses saw an event on both sides since it started.
fn is_confirmed(view: &View<'_>, now: Now) -> bool {
    let confirmed = view.evidence.newest_confirmed(now);
    let baseline = view.claims.baseline();
    confirmed.is_some_and(|at| baseline.is_none_or(|baseline| at >= baseline))
}

/// For how long it has been seen, or claims to be up, whichever is longer.
fn age(view: &View<'_>, now: Now) -> Option<Duration> {
    let newest = view.claims.instances.last()?;
    let seen = now.since(newest.first.monotonic);
    let (health, said) = view.claims.health.as_ref()?;
    let claimed = health.uptime.unwrap_or_default() + now.since(said.monotonic);
    Some(seen.max(claimed))
}

fn unseen(view: &View<'_>, hole: &Hole, age: Duration, now: Now) -> Violation {
    let (observed, at) = match view.claims.metrics.as_ref() {
        // An event may have gone through since it was asked.
        Some((_, at)) => (at.monotonic >= hole.since, at.wall),
        None => (false, now.wall),
    };
    let handed_in = format!(
        "{} on {}",
        count(hole.events, "event"),
        count(hole.threads, "thread")
    );
    Violation {
        subject: String::new(),
        message: format!(
            "It claims to be active for {}, and 0 of {handed_in} that were accepted went through; \
             nothing ever did, and the first has to.",
            span(age),
        ),
        evidence: vec![
            EvidenceItem {
                source: format!("consumer:{}", hole.consumer),
                claimed: "state Active".into(),
                observed: format!("none of {handed_in}"),
                at: now.wall - now.since(hole.consumer_alive),
            },
            EvidenceItem {
                source: "probe".into(),
                claimed: "state Active".into(),
                observed: "events_delivered is 0".into(),
                at,
            },
        ],
        conclusive: observed,
    }
}

fn canary(view: &View<'_>, age: Duration, now: Now) -> Violation {
    let at = view.claims.health.as_ref().map_or(now, |(_, at)| *at);
    Violation {
        subject: String::new(),
        message: format!(
            "It claims to be active for {}, and 0 synthetic runs came back; the first has to.",
            span(age),
        ),
        evidence: vec![EvidenceItem {
            source: "canary".into(),
            claimed: "state Active".into(),
            observed: "no synthetic run ever came back, and one failed".into(),
            at: at.wall,
        }],
        conclusive: true,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;
    use crate::domain::DeliveryClaim;

    const ID: &str = "startup_false_positive";

    fn started() -> Scene {
        let mut scene = Scene::healthy();
        scene.drains();
        scene.restarts_as("instance-b");
        scene.is_up_for(Duration::ZERO);
        scene.beat();
        scene.probe();
        scene
    }

    /// Events are handed in while somebody reads, and nobody gets one.
    fn hands_in(scene: &mut Scene) {
        scene.reads("c", &["t"]);
        scene.passes(Duration::from_secs(3));
        scene.produced("p", "t", 1..=3);
        scene.passes(Duration::from_secs(3));
        scene.reads("c", &["t"]);
        scene.probe();
    }

    #[test]
    fn nothing_ever_went_through() {
        let mut scene = started();
        hands_in(&mut scene);
        scene.assert_decided_quiet(ID);
        scene.assert_quiet("black_hole");
        scene.passes(Duration::from_secs(5));
        scene.reads("c", &["t"]);
        scene.beat();
        scene.assert_conclusive(
            ID,
            "0 of 3 events on 1 thread that were accepted went through",
        );
        scene.assert_quiet("black_hole");
    }

    #[test]
    fn a_fresh_start_is_quiet_inside_its_grace() {
        let mut scene = started();
        hands_in(&mut scene);
        scene.assert_decided_quiet(ID);
        scene.consumed("c", "t", 1..=3);
        scene.passes(Duration::from_secs(20));
        scene.assert_decided_quiet(ID);
    }

    #[test]
    fn what_once_delivered_is_a_hole() {
        let mut scene = started();
        hands_in(&mut scene);
        scene.probe_with(|_, metrics| {
            metrics.delivery = Some(DeliveryClaim {
                accepted: 9,
                delivered: 6,
                pending: 3,
                ..DeliveryClaim::default()
            });
        });
        scene.passes(Duration::from_secs(10));
        scene.reads("c", &["t"]);
        scene.assert_quiet(ID);
        scene.assert_conclusive("black_hole", "3 events accepted on 1 thread");
    }

    #[test]
    fn without_evidence_there_is_no_alarm() {
        let mut scene = started();
        scene.passes(Duration::from_secs(3_600));
        scene.beat();
        scene.assert_undecided(ID);
        // A producer alone proves nothing: nobody may be there to get it.
        scene.produced("p", "t", 1..=30);
        scene.passes(Duration::from_secs(60));
        scene.assert_undecided(ID);
    }

    #[test]
    fn a_synthetic_run_decides() {
        let mut scene = started();
        scene.canary_fails(1, "no event came back within 2 s");
        scene.canary_fails(2, "no event came back within 2 s");
        scene.passes(Duration::from_secs(1));
        scene.beat();
        scene.assert_decided_quiet(ID);
        scene.assert_undecided("canary_failed");
        scene.passes(Duration::from_secs(9));
        scene.beat();
        scene.assert_conclusive(ID, "0 synthetic runs came back");
        scene.assert_undecided("canary_failed");
        scene.canary_whole(3);
        scene.assert_decided_quiet(ID);
    }

    #[test]
    fn where_the_first_run_came_back_the_next_ones_are_another_matter() {
        let mut scene = started();
        scene.canary_whole(1);
        scene.canary_fails(2, "no event came back within 2 s");
        scene.canary_fails(3, "no event came back within 2 s");
        scene.passes(Duration::from_secs(10));
        scene.beat();
        scene.assert_decided_quiet(ID);
        scene.assert_conclusive("canary_failed", "2 synthetic runs");
    }
}
