//! `frozen_health`: the answer is cached, and the worker behind it is dead.

use std::collections::VecDeque;
use std::time::Duration;

use service_kit::clock::Now;

use crate::audit::claims::{Claims, Pulse};
use crate::audit::format::span;
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "frozen_health",
    severity: Severity::Critical,
    summary: "the health report does not advance",
    part: Part::Claims,
    judges_outage: false,
    has_waited: false,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let claims = view.claims;
    // Old answers that come again, or that were not made for the call, are `stale_replay`.
    let track = &claims.track;
    let replayed = track.stream.replay.is_some();
    let messages = || frozen_pulses("watch", &claims.messages, settings);
    let foreign = track.calls.replay.is_some() || track.nonce.missed > 0;
    let answers = || frozen_pulses("probe", &claims.answers, settings);
    let frozen = (!replayed)
        .then(messages)
        .flatten()
        .or_else(|| (!foreign).then(answers).flatten())
        .or_else(|| frozen_checks(claims, view, settings, now));
    match frozen {
        Some(violation) => Outcome::broken(violation),
        None if claims.messages.is_empty() && claims.answers.is_empty() => {
            Outcome::Undecided("it said nothing yet")
        }
        None => Outcome::clear(),
    }
}

/// The newest answers, where they are all the same one.
fn frozen_pulses(
    source: &'static str,
    pulses: &VecDeque<Pulse>,
    settings: &RuleSettings,
) -> Option<Violation> {
    let newest = pulses.back()?;
    let same_instance = || {
        pulses
            .iter()
            .rev()
            .take_while(|pulse| pulse.instance == newest.instance)
    };
    let sequences = same_instance().take_while(|pulse| pulse.sequence == newest.sequence);
    let times = same_instance()
        .take_while(|pulse| pulse.observe_time.is_some())
        .take_while(|pulse| pulse.observe_time == newest.observe_time);
    let (what, equal): (_, Vec<&Pulse>) = {
        let (sequences, times): (Vec<_>, Vec<_>) = (sequences.collect(), times.collect());
        if sequences.len() >= times.len() {
            (format!("sequence {}", newest.sequence), sequences)
        } else {
            ("the same observe_time".into(), times)
        }
    };
    let oldest = equal.last()?;
    let spans = newest.at.since(oldest.at.monotonic);
    let promise = equal.iter().filter_map(|pulse| pulse.promise).max();
    let promised = promise.unwrap_or(Duration::from_secs(1));
    let enough = equal.len() >= settings.frozen_answers_min.max(2) as usize;
    if !enough || spans < promised {
        return None;
    }
    Some(Violation {
        subject: String::new(),
        message: format!(
            "{} answers in a row over {} carried {what}; each must be a new one.",
            equal.len(),
            span(spans),
        ),
        evidence: vec![EvidenceItem {
            source: source.into(),
            claimed: format!("{what} is a status just made"),
            observed: format!("the same in {} answers over {}", equal.len(), span(spans)),
            at: newest.at.wall,
        }],
        conclusive: true,
    })
}

/// The checks, where they have stopped.
fn frozen_checks(
    claims: &Claims,
    view: &View<'_>,
    settings: &RuleSettings,
    now: Now,
) -> Option<Violation> {
    let checks = claims.check_times?;
    let (_, said) = claims.health.as_ref()?;
    let known = claims.announced_check_interval().max(checks.interval);
    let allowed = match known {
        Some(interval) => {
            let times = interval.saturating_mul(settings.health_check_intervals);
            times.max(
                claims
                    .announced_check_interval()
                    .map_or(settings.health_check_silence, |_| Duration::ZERO),
            )
        }
        None => settings.health_check_silence,
    };
    // Only what was claimed counts: after the newest claim, nothing could have advanced.
    let stands = said.since(checks.since.monotonic.max(view.awake_since));
    if stands <= allowed {
        return None;
    }
    Some(Violation {
        subject: String::new(),
        message: format!(
            "last_health_check_time has not advanced for {}; {} are allowed.",
            span(stands),
            span(allowed),
        ),
        evidence: vec![EvidenceItem {
            source: "claim".into(),
            claimed: "checks run at regular intervals".into(),
            observed: format!("no check ended for {}", span(stands)),
            at: now.wall,
        }],
        conclusive: true,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;

    const ID: &str = "frozen_health";

    #[test]
    fn a_cached_stream_is_found_after_three_messages() {
        let mut scene = Scene::healthy();
        scene.freezes();
        scene.passes(Duration::from_secs(1));
        scene.beat();
        scene.assert_quiet(ID);
        scene.passes(Duration::from_secs(1));
        scene.beat();
        scene.passes(Duration::from_secs(1));
        scene.beat();
        scene.assert_conclusive(ID, "answers in a row over 2 s carried sequence");
        scene.thaws();
        scene.passes(Duration::from_secs(1));
        scene.beat();
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_cached_unary_answer_is_found_beside_an_honest_stream() {
        let mut scene = Scene::healthy();
        scene.passes(Duration::from_secs(1));
        let cached = scene.health();
        for _ in 0..3 {
            scene.passes(Duration::from_secs(30));
            scene.beat();
            scene.probe_says(&cached);
        }
        scene.assert_conclusive(ID, "3 answers in a row over 60 s carried sequence");
    }

    #[test]
    fn a_new_instance_that_counts_from_the_same_number_is_quiet() {
        let mut scene = Scene::healthy();
        for instance in ["b", "c", "d"] {
            scene.passes(Duration::from_secs(1));
            scene.restarts_as(instance);
            scene.beat();
            scene.probe();
        }
        scene.assert_quiet(ID);
    }

    #[test]
    fn checks_that_stopped_are_found_after_five_minutes() {
        let mut scene = Scene::healthy();
        scene.checks_stop();
        scene.passes(Duration::from_secs(300));
        scene.beat();
        scene.assert_quiet(ID);
        scene.passes(Duration::from_secs(1));
        scene.beat();
        scene.assert_conclusive(ID, "has not advanced for 5 min 1 s; 5 min are allowed");
    }

    #[test]
    fn a_slow_interval_that_is_announced_is_quiet() {
        let mut scene = Scene::healthy();
        scene.announces_checks_every(Duration::from_secs(600));
        scene.probe();
        scene.checks_stop();
        scene.passes(Duration::from_secs(1_700));
        scene.beat();
        scene.assert_quiet(ID);
        scene.passes(Duration::from_secs(200));
        scene.beat();
        scene.assert_conclusive(ID, "30 min are allowed");
    }
}
