//! `recovery_loop`: it recovers for ever, and says that it is active.

use service_kit::clock::Now;

use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "recovery_loop",
    severity: Severity::Critical,
    summary: "it tries to recover again and again, and claims to be active",
    part: Part::Claims,
    judges_outage: false,
    has_waited: true,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let recovery = &view.claims.track.recovery;
    if recovery.is_empty() {
        return Outcome::Undecided("it has shown no counters yet");
    }
    let window = settings.recovery_window;
    let Some(attempts) = recovery.failing(window, now.monotonic) else {
        return Outcome::clear();
    };
    if attempts.failed < u64::from(settings.recovery_attempts_min) {
        return Outcome::clear();
    }
    Outcome::broken(Violation {
        subject: String::new(),
        message: format!(
            "It claimed to be active throughout {} to recover within {}, of which 0 succeeded; \
             fewer than {} are allowed.",
            count(attempts.failed, "attempt"),
            span(attempts.at.since(attempts.since.monotonic)),
            settings.recovery_attempts_min,
        ),
        evidence: vec![EvidenceItem {
            source: "probe".into(),
            claimed: "state Active".into(),
            observed: format!(
                "recovery_attempts rose by {} to {}, successful_recoveries stayed at {}",
                attempts.failed, attempts.newest.attempts, attempts.newest.successes
            ),
            at: attempts.at.wall,
        }],
        conclusive: true,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;
    use crate::domain::ClaimedState;

    const ID: &str = "recovery_loop";

    fn counts(scene: &mut Scene, attempts: u64, successes: u64) {
        scene.passes(Duration::from_secs(30));
        scene.beat();
        scene.probe_with(|_, metrics| {
            metrics.lifecycle.recovery_attempts = attempts;
            metrics.lifecycle.successful_recoveries = successes;
        });
    }

    #[test]
    fn attempts_that_never_succeed_are_found_and_a_success_ends_it() {
        let mut scene = Scene::healthy();
        counts(&mut scene, 1, 0);
        counts(&mut scene, 2, 0);
        scene.assert_quiet(ID);
        counts(&mut scene, 3, 0);
        scene.assert_conclusive(
            ID,
            "active throughout 3 attempts to recover within 90 s, of which 0 succeeded",
        );
        counts(&mut scene, 4, 1);
        scene.assert_quiet(ID);
    }

    #[test]
    fn many_attempts_between_two_looks_are_found() {
        let mut scene = Scene::healthy();
        counts(&mut scene, 30, 0);
        scene.assert_conclusive(ID, "30 attempts to recover");
    }

    #[test]
    fn recoveries_that_work_are_quiet() {
        let mut scene = Scene::healthy();
        for done in 1..8 {
            counts(&mut scene, done, done - 1);
            counts(&mut scene, done, done);
            scene.assert_quiet(ID);
        }
    }

    #[test]
    fn what_it_admits_is_not_silent() {
        let mut scene = Scene::healthy();
        scene.passes(Duration::from_secs(10));
        let mut health = scene.health();
        health.state = ClaimedState::Degraded;
        health.healthy = false;
        scene.beat_says(health);
        // It is well again without one of its attempts having worked.
        counts(&mut scene, 5, 0);
        scene.assert_quiet(ID);
        counts(&mut scene, 5, 0);
        scene.assert_quiet(ID);
    }

    #[test]
    fn what_nobody_followed_may_have_been_admitted() {
        let mut scene = Scene::healthy();
        scene.watch_breaks();
        counts_without_stream(&mut scene, 5);
        counts_without_stream(&mut scene, 9);
        scene.assert_quiet(ID);
    }

    fn counts_without_stream(scene: &mut Scene, attempts: u64) {
        scene.passes(Duration::from_secs(30));
        scene.probe_with(|_, metrics| metrics.lifecycle.recovery_attempts = attempts);
    }

    #[test]
    fn a_few_over_a_long_time_are_quiet() {
        let mut scene = Scene::healthy();
        for attempts in 1..9 {
            for _ in 0..8 {
                counts(&mut scene, attempts, 0);
                scene.assert_quiet(ID);
            }
        }
    }
}
