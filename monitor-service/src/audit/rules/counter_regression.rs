//! `counter_regression`: state was lost without a restart.

use std::sync::Arc;

use service_kit::clock::Now;

use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "counter_regression",
    severity: Severity::Critical,
    summary: "counters fell, and the process is the same",
    part: Part::Claims,
    judges_outage: false,
    has_waited: false,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let track = &view.claims.track;
    if view.claims.metrics.is_none() {
        return Outcome::Undecided("it has shown no counters yet");
    }
    let shown = |at: Now| now.since(at.monotonic) <= settings.regression_shown;
    let counters = track.counters.fall.iter().filter(|fall| shown(fall.at));
    let sequence = track.newest_sequence_fall();
    let sequence = sequence.filter(|fall| shown(fall.at));
    let mut fallen = Vec::new();
    let mut newest: Option<(Arc<str>, Now)> = None;
    for fall in counters {
        fallen.extend(fall.counters.iter().cloned());
        newest = Some((fall.instance.clone(), fall.at));
    }
    if let Some(fall) = sequence {
        fallen.push(("sequence".to_owned(), fall.from, fall.to));
        newest.get_or_insert((fall.instance.clone(), fall.at));
    }
    let (Some((name, before, after)), Some((instance, at))) = (fallen.first(), newest) else {
        return Outcome::clear();
    };
    let others = match fallen.len() - 1 {
        0 => String::new(),
        others => format!(" and {}", count(others as u64, "other counter")),
    };
    let evidence = fallen.iter().map(|(name, before, after)| EvidenceItem {
        source: "probe".into(),
        claimed: format!("{name} is {after}"),
        observed: format!("the same instance had said {before}"),
        at: at.wall,
    });
    Outcome::broken(Violation {
        subject: String::new(),
        message: format!(
            "{name} fell from {before} to {after}{others} in instance {instance}, {} ago; within \
             one instance a counter may fall by 0.",
            span(now.since(at.monotonic)),
        ),
        evidence: evidence.collect(),
        conclusive: true,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;
    use crate::domain::{DeliveryClaim, MetricsClaim};

    const ID: &str = "counter_regression";

    fn delivered(metrics: &mut MetricsClaim, count: u64) {
        metrics.delivery = Some(DeliveryClaim {
            accepted: count,
            delivered: count,
            ..DeliveryClaim::default()
        });
    }

    #[test]
    fn counters_that_fall_are_one_finding_that_passes_by_itself() {
        let mut scene = Scene::healthy();
        scene.passes(Duration::from_secs(30));
        scene.probe_with(|_, metrics| delivered(metrics, 50));
        scene.assert_quiet(ID);
        scene.passes(Duration::from_secs(30));
        scene.probe_with(|_, metrics| delivered(metrics, 3));
        scene.assert_conclusive(
            ID,
            "events_accepted fell from 50 to 3 and 1 other counter in instance instance-a",
        );
        scene.passes(Duration::from_secs(30));
        scene.probe_with(|_, metrics| delivered(metrics, 4));
        scene.assert_conclusive(ID, "30 s ago");
        scene.passes(Duration::from_secs(31));
        scene.assert_quiet(ID);
    }

    #[test]
    fn every_kind_of_counter_is_looked_at() {
        let mut scene = Scene::healthy();
        scene.probe_with(|_, metrics| {
            metrics.lifecycle.health_checks_performed = 7;
            let delivery = metrics.delivery.get_or_insert_default();
            delivery.dropped = [("too_old".to_owned(), 4), ("no_room".to_owned(), 1)].into();
        });
        scene.passes(Duration::from_secs(1));
        scene.probe_with(|_, metrics| {
            metrics.lifecycle.health_checks_performed = 6;
            let delivery = metrics.delivery.get_or_insert_default();
            delivery.dropped = [("too_old".to_owned(), 3), ("no_room".to_owned(), 2)].into();
        });
        scene.assert_conclusive(ID, "health_checks_performed fell from 7 to 6 and 1 other");
    }

    #[test]
    fn a_process_that_began_anew_under_its_old_name_is_one_finding() {
        let mut scene = Scene::healthy();
        for _ in 0..5 {
            scene.passes(Duration::from_secs(1));
            scene.beat();
            scene.probe();
        }
        scene.restarts_as("instance-a");
        scene.passes(Duration::from_secs(1));
        scene.beat();
        scene.probe();
        scene.assert_conclusive(ID, "sequence fell from");
        scene.assert_quiet("stale_replay");
    }

    #[test]
    fn a_restart_begins_at_zero_and_is_quiet() {
        let mut scene = Scene::healthy();
        scene.probe_with(|_, metrics| delivered(metrics, 50));
        scene.drains();
        scene.restarts_as("instance-b");
        scene.probe_with(|_, metrics| {
            metrics.instance_id = "instance-b".into();
            delivered(metrics, 0);
        });
        scene.assert_quiet(ID);
    }

    #[test]
    fn two_processes_behind_one_address_have_their_own_counters() {
        let mut scene = Scene::healthy();
        for round in 1..6 {
            for (instance, base) in [("instance-a", 1_000), ("instance-b", 10)] {
                scene.passes(Duration::from_secs(1));
                scene.speaks_as(instance, round * 3);
                scene.probe_with(|_, metrics| {
                    metrics.instance_id = instance.into();
                    delivered(metrics, base + round);
                });
                scene.assert_quiet(ID);
            }
        }
    }

    #[test]
    fn an_answer_that_was_overtaken_is_quiet() {
        let mut scene = Scene::healthy();
        scene.passes(Duration::from_secs(5));
        scene.probe_with(|_, metrics| delivered(metrics, 50));
        scene.probe_sent_before(Duration::from_secs(1), |_, metrics| delivered(metrics, 40));
        scene.assert_quiet(ID);
    }
}
