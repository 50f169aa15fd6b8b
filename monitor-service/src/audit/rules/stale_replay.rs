//! `stale_replay`: a proxy or a cache answers for the component.

use service_kit::clock::Now;

use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::audit::track::counters::CounterFall;
use crate::audit::track::freshness::{Nonce, Replay};
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "stale_replay",
    severity: Severity::Critical,
    summary: "old answers are given again",
    part: Part::Claims,
    judges_outage: false,
    has_waited: false,
    check,
};

fn check(view: &View<'_>, _settings: &RuleSettings, now: Now) -> Outcome {
    let track = &view.claims.track;
    if view.claims.calls.answered.is_none() && track.words.stream.is_none() {
        return Outcome::Undecided("it said nothing yet");
    }
    let replayed = missed(&track.nonce, now)
        .or_else(|| track.calls.replay.as_ref().map(|found| old("probe", found)))
        .or_else(|| {
            track
                .stream
                .replay
                .as_ref()
                .map(|found| old("watch", found))
        })
        .or_else(|| track.counters.replay.as_ref().map(old_counters));
    replayed.map_or_else(Outcome::clear, Outcome::broken)
}

fn missed(nonce: &Nonce, now: Now) -> Option<Violation> {
    let since = nonce.since?;
    let answers = count(nonce.missed.into(), "answer");
    Some(violation(
        format!(
            "{answers} in a row did not carry the call's nonce, the first {} ago; 0 without it are \
             allowed.",
            span(now.since(since.monotonic)),
        ),
        EvidenceItem {
            source: "probe".into(),
            claimed: "the answer was made for this call".into(),
            observed: format!("another nonce, or none, in {answers}"),
            at: since.wall,
        },
    ))
}

fn old(source: &str, replay: &Replay) -> Violation {
    let Replay {
        instance,
        sequence,
        known,
        ..
    } = replay;
    let returned = match &replay.between {
        Some(between) => format!(" after instance {between} had answered"),
        None => String::new(),
    };
    violation(
        format!(
            "Instance {instance} said sequence {sequence}{returned}, and had said {} before; a \
             status made now has a higher one.",
            known.sequence,
        ),
        EvidenceItem {
            source: source.to_owned(),
            claimed: format!("sequence {sequence} of instance {instance}, made just now"),
            observed: format!("sequence {} was there before", known.sequence),
            at: replay.at.wall,
        },
    )
}

fn old_counters(replay: &CounterFall) -> Violation {
    let first = replay.counters.first();
    let (name, before, after) = first.map_or(("", 0, 0), |(name, b, a)| (name.as_str(), *b, *a));
    violation(
        format!(
            "Counters of instance {} came with an older time than the ones before, {name} {after} \
             after {before}; an answer made now has a later time.",
            replay.instance,
        ),
        EvidenceItem {
            source: "probe".into(),
            claimed: format!("{name} is {after}"),
            observed: format!("{name} was {before} before, with a later observe_time"),
            at: replay.at.wall,
        },
    )
}

fn violation(message: String, evidence: EvidenceItem) -> Violation {
    Violation {
        subject: String::new(),
        message,
        evidence: vec![evidence],
        conclusive: true,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;

    const ID: &str = "stale_replay";

    #[test]
    fn an_answer_without_the_nonce_is_found_at_once_and_heals() {
        let mut scene = Scene::healthy();
        scene.passes(Duration::from_secs(1));
        scene.probe_without_nonce();
        scene.assert_conclusive(ID, "1 answer in a row did not carry the call's nonce");
        scene.passes(Duration::from_secs(1));
        scene.probe();
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_cache_that_repeats_one_answer_is_one_finding() {
        let mut scene = Scene::healthy();
        let cached = scene.health();
        for _ in 0..4 {
            scene.passes(Duration::from_secs(1));
            scene.beat();
            scene.probe_says_without_nonce(&cached);
        }
        scene.assert_conclusive(ID, "4 answers in a row");
        scene.assert_quiet("frozen_health");
        scene.assert_quiet("silent_restart");
    }

    #[test]
    fn an_old_process_that_returns_is_found() {
        let mut scene = Scene::healthy();
        scene.passes(Duration::from_secs(1));
        let old = scene.health();
        scene.probe_says(&old);
        scene.drains();
        scene.restarts_as("instance-b");
        scene.passes(Duration::from_secs(1));
        scene.probe();
        scene.assert_quiet(ID);
        for _ in 0..3 {
            scene.passes(Duration::from_secs(1));
            scene.probe_says(&old);
            scene.assert_conclusive(ID, "after instance instance-b had answered");
        }
        scene.assert_quiet("frozen_health");
        // Two new answers in a row end it.
        scene.probe();
        scene.assert_conclusive(ID, "Instance instance-a said sequence");
        scene.probe();
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_lower_sequence_of_the_same_process_is_found() {
        let mut scene = Scene::healthy();
        let old = scene.health();
        scene.passes(Duration::from_secs(1));
        scene.probe();
        scene.passes(Duration::from_secs(1));
        scene.probe_says(&old);
        scene.assert_conclusive(ID, "a status made now has a higher one");
        scene.assert_quiet("counter_regression");
        scene.assert_quiet("clock_skew");
    }

    #[test]
    fn an_old_stream_is_found() {
        let mut scene = Scene::healthy();
        let old = scene.health();
        scene.passes(Duration::from_secs(1));
        scene.beat();
        scene.beat_says(old);
        scene.assert_conclusive(ID, "Instance instance-a said sequence");
    }

    #[test]
    fn old_counters_are_found() {
        let mut scene = Scene::healthy();
        let before = scene.now.wall;
        scene.passes(Duration::from_secs(30));
        scene.probe_with(|_, metrics| metrics.lifecycle.health_checks_performed = 9);
        scene.passes(Duration::from_secs(30));
        scene.probe_with(|_, metrics| {
            metrics.lifecycle.health_checks_performed = 8;
            metrics.observe_time = Some(before);
        });
        scene.assert_conclusive(ID, "health_checks_performed 8 after 9");
        scene.assert_quiet("counter_regression");
    }

    #[test]
    fn a_load_balancer_over_two_honest_processes_is_quiet() {
        let mut scene = Scene::healthy();
        for round in 1..10 {
            for instance in ["instance-a", "instance-b"] {
                scene.passes(Duration::from_secs(1));
                scene.speaks_as(instance, round * 5);
                scene.probe();
                for rule in [ID, "silent_restart", "frozen_health", "counter_regression"] {
                    scene.assert_quiet(rule);
                }
            }
            scene.beat();
            for rule in [ID, "watch_contradiction", "clock_skew", "flapping"] {
                scene.assert_quiet(rule);
            }
        }
    }

    #[test]
    fn a_clock_that_steps_back_is_no_replay() {
        let mut scene = Scene::healthy();
        for _ in 0..3 {
            scene.passes(Duration::from_secs(30));
            let past = scene.now.wall - Duration::from_secs(3_600);
            scene.probe_with(|health, metrics| {
                health.observe_time = Some(past);
                metrics.observe_time = Some(past);
            });
            scene.assert_quiet(ID);
        }
    }

    #[test]
    fn a_restart_that_counts_from_one_is_quiet() {
        let mut scene = Scene::healthy();
        for instance in ["b", "c", "d"] {
            scene.drains();
            scene.restarts_as(instance);
            scene.beat();
            scene.probe();
            scene.assert_quiet(ID);
        }
    }
}
