//! `flapping`: never down long enough to alarm, and never up for long.

use service_kit::clock::Now;

use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::audit::track::flaps::OBSERVATIONS;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "flapping",
    severity: Severity::Warning,
    summary: "it changes between healthy and not healthy all the time",
    part: Part::Claims,
    judges_outage: false,
    has_waited: true,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let flaps = &view.claims.track.flaps;
    if flaps.is_empty() {
        return Outcome::Undecided("it claimed neither health nor failure yet");
    }
    let percent = flaps.percent();
    if percent <= settings.flap_low_percent {
        return Outcome::clear();
    }
    if percent < settings.flap_high_percent {
        // An open finding stays open, and none opens.
        return Outcome::Undecided("the share of changes is between both thresholds");
    }
    let changes = flaps.count();
    Outcome::broken(Violation {
        subject: String::new(),
        message: format!(
            "It changed between healthy and not healthy {changes} times in its last {OBSERVATIONS} \
             observations, {percent} %; less than {} % is allowed.",
            settings.flap_high_percent,
        ),
        evidence: vec![EvidenceItem {
            source: "claim".into(),
            claimed: "each state, as if it would stay".into(),
            observed: format!("{changes} changes in {OBSERVATIONS} observations"),
            at: now.wall,
        }],
        // It admits each failure.
        conclusive: false,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;
    use crate::domain::ClaimedState;

    const ID: &str = "flapping";

    fn says(scene: &mut Scene, well: bool) {
        scene.passes(Duration::from_secs(1));
        let mut health = scene.health();
        if !well {
            health.state = ClaimedState::Degraded;
            health.healthy = false;
        }
        scene.beat_says(health);
    }

    #[test]
    fn three_short_failures_in_a_row_are_found_and_calm_ends_it() {
        let mut scene = Scene::healthy();
        for _ in 0..2 {
            says(&mut scene, false);
            says(&mut scene, true);
            says(&mut scene, true);
        }
        scene.assert_quiet(ID);
        says(&mut scene, false);
        scene.assert_undecided(ID);
        says(&mut scene, true);
        scene.assert_suspected(ID);
        let mut calm = 0;
        while calm < 21 {
            says(&mut scene, true);
            calm += 1;
        }
        scene.assert_quiet(ID);
    }

    #[test]
    fn it_ends_below_the_lower_threshold_only() {
        let mut scene = Scene::healthy();
        for _ in 0..3 {
            says(&mut scene, false);
            says(&mut scene, true);
        }
        scene.assert_suspected(ID);
        for _ in 0..14 {
            says(&mut scene, true);
        }
        scene.assert_suspected(ID);
        says(&mut scene, true);
        // Five changes of twenty: what is open stays open.
        scene.assert_undecided(ID);
        says(&mut scene, true);
        scene.assert_decided_quiet(ID);
    }

    #[test]
    fn one_clean_failover_is_quiet() {
        let mut scene = Scene::healthy();
        for _ in 0..5 {
            says(&mut scene, true);
        }
        for _ in 0..5 {
            says(&mut scene, false);
        }
        for _ in 0..30 {
            says(&mut scene, true);
            scene.assert_decided_quiet(ID);
        }
    }

    #[test]
    fn beats_that_repeat_the_last_checks_are_no_observations() {
        let mut scene = Scene::healthy();
        for round in 0..8 {
            scene.checks_stop();
            for _ in 0..60 {
                says(&mut scene, round % 2 == 0);
            }
            scene.checks_go_on();
        }
        // Each round of checks came out otherwise than the one before.
        scene.assert_suspected(ID);
    }

    #[test]
    fn restarts_are_no_flapping() {
        let mut scene = Scene::healthy();
        for number in 0..20 {
            scene.drains();
            scene.restarts_as(&format!("instance-{number}"));
            let mut health = scene.health();
            health.state = ClaimedState::Initializing;
            health.healthy = false;
            scene.beat_says(health);
            says(&mut scene, true);
            scene.assert_quiet(ID);
        }
    }
}
