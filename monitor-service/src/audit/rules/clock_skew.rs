//! `clock_skew`: its times cannot be trusted.

use std::time::Duration;

use service_kit::clock::Now;

use crate::audit::format::span;
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "clock_skew",
    severity: Severity::Warning,
    summary: "its times lie outside of the calls that they belong to",
    part: Part::Claims,
    judges_outage: false,
    has_waited: true,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let clocks = &view.claims.track.clocks;
    let tolerance = settings.clock_tolerance;
    let limit = tolerance.as_secs_f64();
    let mut pairs = clocks.pairs(now).peekable();
    if pairs.peek().is_none() {
        return Outcome::Undecided("fewer than two answers with a time are there");
    }
    let outside = pairs.find(|(before, newest, _)| {
        before.abs() > limit && newest.abs() > limit && (*before > 0.0) == (*newest > 0.0)
    });
    let Some((_, skew, newest)) = outside else {
        return Outcome::clear();
    };
    if clocks.explains(&newest, tolerance, now) {
        return Outcome::Undecided("the monitor's own clock stepped, and may be the wrong one");
    }
    let own = view.registered.unwrap_or_default();
    if view.peers.asked.is_empty() && view.peers.answering > 1 {
        return Outcome::Undecided("its peers were not looked at yet");
    }
    if view.peers.share_skew(own, skew, tolerance) {
        return Outcome::Undecided("most clocks differ from the monitor's, which may be wrong");
    }
    let off = span(Duration::from_secs_f64(skew.abs()));
    let (direction, bound) = if skew > 0.0 {
        ("after the answer had come", "ahead")
    } else {
        ("before the call was sent", "behind")
    };
    Outcome::broken(Violation {
        subject: String::new(),
        message: format!(
            "observe_time is {off} {direction}, in two answers in a row; {} are allowed.",
            span(tolerance),
        ),
        evidence: vec![EvidenceItem {
            source: "probe".into(),
            claimed: "observe_time is when the status was made".into(),
            observed: format!("its clock is {off} {bound} at the least"),
            at: now.wall,
        }],
        // Its work may be fine.
        conclusive: false,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use crate::audit::testing::Scene;

    const ID: &str = "clock_skew";
    const MINUTE: Duration = Duration::from_secs(60);

    fn answers_at(scene: &mut Scene, time: impl Fn(SystemTime) -> SystemTime) {
        scene.passes(Duration::from_secs(30));
        let made = time(scene.now.wall);
        scene.probe_with(|health, _| health.observe_time = Some(made));
    }

    #[test]
    fn a_clock_that_is_ahead_twice_in_a_row_is_found_and_heals() {
        let mut scene = Scene::healthy();
        answers_at(&mut scene, |now| now + MINUTE);
        scene.assert_quiet(ID);
        answers_at(&mut scene, |now| now + MINUTE);
        scene.assert_suspected(ID);
        answers_at(&mut scene, |now| now);
        scene.assert_decided_quiet(ID);
    }

    #[test]
    fn a_clock_that_is_behind_is_found() {
        let mut scene = Scene::healthy();
        answers_at(&mut scene, |now| now - MINUTE);
        answers_at(&mut scene, |now| now - MINUTE);
        scene.assert_suspected(ID);
    }

    #[test]
    fn a_step_inside_the_tolerance_is_quiet() {
        let mut scene = Scene::healthy();
        for millis in [490, 500, 0, 400] {
            answers_at(&mut scene, |now| now + Duration::from_millis(millis));
            answers_at(&mut scene, |now| now - Duration::from_millis(millis));
            scene.assert_decided_quiet(ID);
        }
    }

    #[test]
    fn a_slow_call_leaves_room_for_the_time() {
        let mut scene = Scene::healthy();
        for _ in 0..4 {
            scene.passes(Duration::from_secs(30));
            let made = scene.now.wall - Duration::from_millis(1_400);
            let took = Duration::from_millis(1_500);
            scene.probe_sent_before(took, |health, _| health.observe_time = Some(made));
            scene.assert_decided_quiet(ID);
        }
    }

    #[test]
    fn a_step_of_the_monitors_own_clock_accuses_nobody() {
        for ahead in [true, false] {
            let mut scene = Scene::healthy();
            answers_at(&mut scene, |now| now);
            let honest = |now: SystemTime| if ahead { now - MINUTE } else { now + MINUTE };
            scene.own_clock_steps(MINUTE, ahead);
            for _ in 0..5 {
                answers_at(&mut scene, honest);
                scene.assert_quiet(ID);
            }
            // One that follows the new time is fine, and a third time is wrong by both clocks.
            answers_at(&mut scene, |now| now);
            scene.assert_decided_quiet(ID);
            let third = |now: SystemTime| if ahead { now + MINUTE } else { now - MINUTE };
            answers_at(&mut scene, third);
            answers_at(&mut scene, third);
            scene.assert_suspected(ID);
        }
    }

    #[test]
    fn a_time_that_most_clocks_tell_is_the_right_one() {
        let mut scene = Scene::healthy();
        answers_at(&mut scene, |now| now + MINUTE);
        answers_at(&mut scene, |now| now + MINUTE);
        scene.has_peers(&[(1.0, 60.0), (1.0, 60.0), (1.0, 0.0)]);
        scene.assert_undecided(ID);
        scene.has_peers(&[(1.0, 60.0), (1.0, 0.0), (1.0, 0.0)]);
        scene.assert_suspected(ID);
    }

    #[test]
    fn old_answers_are_not_a_matter_of_the_clock() {
        let mut scene = Scene::healthy();
        let cached = scene.health();
        for _ in 0..5 {
            scene.passes(MINUTE);
            scene.probe_says(&cached);
            scene.assert_quiet(ID);
        }
    }

    #[test]
    fn a_clock_that_was_set_twice_or_is_slewed_for_hours_accuses_nobody() {
        let mut scene = Scene::healthy();
        let honest = scene.now.wall;
        let began = scene.now.monotonic;
        let made = |scene: &Scene| honest + scene.now.since(began);
        // An hour of drift with a step in it, a few milliseconds at a time.
        for round in 0..110 {
            if round == 10 {
                scene.own_clock_steps(MINUTE, true);
            }
            scene.own_clock_steps(Duration::from_millis(25), true);
            scene.passes(Duration::from_secs(30));
            let made = made(&scene);
            scene.probe_with(|health, _| health.observe_time = Some(made));
            scene.assert_quiet(ID);
        }
    }

    #[test]
    fn answers_on_both_sides_of_the_monitors_own_step_are_compared_on_one_clock() {
        let mut scene = Scene::healthy();
        answers_at(&mut scene, |now| now + MINUTE / 2);
        // Its clock was ahead, and the monitor's is put right: the old answer is fine too.
        scene.own_clock_steps(MINUTE / 2, true);
        scene.assert_quiet(ID);
        answers_at(&mut scene, |now| now);
        scene.assert_decided_quiet(ID);
    }
}
