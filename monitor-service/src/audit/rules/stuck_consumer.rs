//! `stuck_consumer`: one reader has stopped reading.

use service_kit::clock::Now;

use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};
use crate::evidence::loss::{Missing, Place};

pub(crate) const RULE: Rule = Rule {
    id: "stuck_consumer",
    severity: Severity::Warning,
    summary: "a consumer's position stands still while its lag grows",
    part: Part::Evidence,
    judges_outage: false,
    has_waited: true,
    check,
};

/// Events that a consumer must lag behind: at one, the lag has not grown.
const LAG_MIN: u64 = 2;

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let stuck = view.losses.missing.iter();
    let stuck = stuck.filter_map(|missing| violation(missing, settings, now));
    Outcome::Decided(stuck.collect())
}

fn violation(missing: &Missing, settings: &RuleSettings, now: Now) -> Option<Violation> {
    let Place::Behind {
        position,
        reports,
        others_went_on,
    } = missing.place
    else {
        return None;
    };
    let stalled = reports >= u64::from(settings.stall_reports) && missing.events >= LAG_MIN;
    // Where nobody got them, it is not this consumer that is stuck.
    if !stalled || !others_went_on || missing.explained {
        return None;
    }
    let (consumer, thread) = (&missing.consumer, &missing.thread_id);
    let age = now.since(missing.since);
    Some(Violation {
        subject: format!("{consumer}@{thread}"),
        message: format!(
            "Consumer {consumer} has stood at sequence {position} of thread {thread} for {} and \
             {}, and lags {} behind; {} without a move are allowed.",
            span(age),
            count(reports, "report"),
            count(missing.events, "event"),
            count(settings.stall_reports.into(), "report"),
        ),
        evidence: vec![EvidenceItem {
            source: format!("consumer:{consumer}"),
            claimed: "it reads, and gives signs of life".into(),
            observed: format!(
                "nothing after sequence {position} in {}; other consumers of the thread went on",
                count(reports, "report")
            ),
            at: now.wall - age,
        }],
        // The reader may be to blame as well as the component.
        conclusive: false,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;

    const ID: &str = "stuck_consumer";

    /// Two consumers of one thread.
    fn flowing() -> Scene {
        let mut scene = Scene::healthy();
        scene.reads("c", &["t"]);
        scene.reads("d", &["t"]);
        scene.passes(Duration::from_secs(3));
        scene.produced("p", "t", 1..=2);
        scene.consumed("c", "t", 1..=2);
        scene.consumed("d", "t", 1..=2);
        scene
    }

    #[test]
    fn a_reader_that_stops_while_another_goes_on_is_found() {
        let mut scene = flowing();
        for number in 3..=9 {
            scene.produced("p", "t", number..=number);
            scene.consumed("c", "t", number..=number);
            scene.reads("d", &["t"]);
            scene.passes(Duration::from_millis(500));
        }
        scene.reads("d", &["t"]);
        scene.assert_suspected(ID);
        scene.assert_quiet("event_loss");
        scene.assert_quiet("partial_loss");
        scene.consumed("d", "t", 3..=9);
        scene.assert_quiet(ID);
    }

    #[test]
    fn an_idle_thread_is_quiet() {
        let mut scene = flowing();
        for _ in 0..20 {
            scene.passes(Duration::from_secs(1));
            scene.reads("c", &["t"]);
            scene.reads("d", &["t"]);
            scene.assert_quiet(ID);
        }
    }

    #[test]
    fn a_slow_reader_that_moves_is_quiet() {
        let mut scene = flowing();
        for number in 3..=30 {
            scene.produced("p", "t", number..=number);
            scene.consumed("c", "t", number..=number);
            let slow = number / 3 + 2;
            scene.consumed("d", "t", slow..=slow);
            scene.passes(Duration::from_millis(400));
            scene.assert_quiet(ID);
        }
    }

    #[test]
    fn one_that_no_longer_gives_signs_of_life_is_another_rules() {
        let mut scene = flowing();
        for number in 3..=9 {
            scene.produced("p", "t", number..=number);
            scene.consumed("c", "t", number..=number);
            scene.passes(Duration::from_millis(500));
        }
        scene.assert_quiet(ID);
    }
}
