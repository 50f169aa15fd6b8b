//! `watch_contradiction`: the stream and the calls tell different stories.

use service_kit::clock::Now;

use crate::audit::format::span;
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::audit::track::words::Word;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "watch_contradiction",
    severity: Severity::Critical,
    summary: "the watch stream and the calls tell different stories",
    part: Part::Claims,
    judges_outage: false,
    has_waited: false,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let words = &view.claims.track.words;
    let (Some(stream), Some(call)) = (&words.stream, &words.call) else {
        return Outcome::Undecided("there is no stream to compare the calls with, or no call");
    };
    if stream.health.instance_id != call.health.instance_id {
        return Outcome::Undecided("the calls reach another process than the stream");
    }
    let Some(dispute) = words.dispute else {
        return Outcome::clear();
    };
    let allowed = words.allowed(settings.contradiction_grace);
    let since = dispute.since.monotonic.max(view.awake_since);
    let late = |said: Option<Now>| said.is_some_and(|at| at.since(since) >= allowed);
    // Both must have insisted: either may only have been the last to hear of a change.
    if !late(dispute.streamed) || !late(dispute.answered) {
        return Outcome::Undecided("a change may be under way");
    }
    Outcome::broken(Violation {
        subject: String::new(),
        message: format!(
            "The stream says {} and the calls say {} for {}; they may differ for {}.",
            said(stream),
            said(call),
            span(now.since(since)),
            span(allowed),
        ),
        evidence: vec![
            evidence("watch", stream, call),
            evidence("probe", call, stream),
        ],
        conclusive: true,
    })
}

fn said(word: &Word) -> String {
    let healthy = if word.health.healthy {
        "healthy"
    } else {
        "not healthy"
    };
    format!("{:?}, {healthy}", word.health.state)
}

fn evidence(source: &str, word: &Word, other: &Word) -> EvidenceItem {
    EvidenceItem {
        source: source.to_owned(),
        claimed: said(word),
        observed: format!("the other way says {}", said(other)),
        at: word.at.wall,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;
    use crate::domain::{ClaimedState, HealthClaim};

    const ID: &str = "watch_contradiction";

    fn unwell(health: &mut HealthClaim) {
        health.state = ClaimedState::Degraded;
        health.healthy = false;
    }

    /// A second later, both ways are asked; the stream speaks first.
    fn round(scene: &mut Scene, stream_unwell: bool, calls_unwell: bool) {
        scene.passes(Duration::from_secs(1));
        let mut health = scene.health();
        if stream_unwell {
            unwell(&mut health);
        }
        scene.beat_says(health);
        scene.probe_with(|health, _| {
            if calls_unwell {
                unwell(health);
            }
        });
    }

    #[test]
    fn calls_that_hide_what_the_stream_admits_are_found() {
        let mut scene = Scene::healthy();
        round(&mut scene, true, false);
        scene.assert_undecided(ID);
        round(&mut scene, true, false);
        scene.assert_undecided(ID);
        round(&mut scene, true, false);
        scene.assert_conclusive(
            ID,
            "The stream says Degraded, not healthy and the calls say Active, healthy for 2 s; they \
             may differ for 2 s",
        );
        round(&mut scene, true, true);
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_stream_that_hides_what_the_calls_admit_is_found() {
        let mut scene = Scene::healthy();
        for _ in 0..3 {
            round(&mut scene, false, true);
        }
        scene.assert_conclusive(
            ID,
            "The stream says Active, healthy and the calls say Degraded",
        );
    }

    #[test]
    fn a_change_under_way_is_quiet() {
        let mut scene = Scene::healthy();
        for change in [true, false, true, false] {
            scene.passes(Duration::from_secs(30));
            scene.beat();
            // The call hears of it first, the stream a beat later.
            scene.probe_with(|health, _| {
                if change {
                    unwell(health);
                }
            });
            scene.assert_quiet(ID);
            round(&mut scene, change, change);
            scene.assert_quiet(ID);
        }
    }

    #[test]
    fn an_old_call_beside_a_new_stream_proves_nothing() {
        let mut scene = Scene::healthy();
        for _ in 0..20 {
            scene.passes(Duration::from_secs(1));
            let mut health = scene.health();
            unwell(&mut health);
            scene.beat_says(health);
            scene.assert_quiet(ID);
        }
    }

    #[test]
    fn a_frozen_answer_is_frozen_and_no_contradiction() {
        let mut scene = Scene::healthy();
        let cached = scene.health();
        for _ in 0..6 {
            scene.passes(Duration::from_secs(1));
            let mut health = scene.health();
            unwell(&mut health);
            scene.beat_says(health);
            scene.probe_says(&cached);
            scene.assert_quiet(ID);
        }
        scene.assert_conclusive("frozen_health", "7 answers in a row");
    }

    #[test]
    fn two_processes_may_differ() {
        let mut scene = Scene::healthy();
        for round in 0..6 {
            scene.passes(Duration::from_secs(1));
            scene.beat();
            scene.probe_with(|health, _| {
                health.instance_id = "instance-b".into();
                health.sequence = 100 + round_number(round);
                unwell(health);
            });
            scene.assert_undecided(ID);
        }
    }

    fn round_number(round: i32) -> u64 {
        u64::try_from(round).unwrap()
    }

    #[test]
    fn what_the_monitor_slept_through_does_not_count() {
        let mut scene = Scene::healthy();
        round(&mut scene, true, false);
        scene.monitor_sleeps(Duration::from_secs(20));
        let mut health = scene.health();
        unwell(&mut health);
        scene.beat_says(health);
        scene.probe();
        scene.assert_undecided(ID);
    }
}
