//! `limping`: alive, and far too slow.

use std::time::Duration;

use service_kit::clock::Now;

use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::audit::track::latency::Slow;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "limping",
    severity: Severity::Warning,
    summary: "calls take far longer than they did, and than its peers' do",
    part: Part::Claims,
    judges_outage: false,
    has_waited: true,
    check,
};

/// A load is more than usual from this many times the highest that was usual.
const LOAD_FACTOR: f64 = 2.0;
/// A load of fewer events a second explains nothing.
const LOAD_FLOOR: f64 = 100.0;

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let latency = &view.claims.track.latency;
    let Some(usual) = latency.usual() else {
        return Outcome::Undecided("too few calls were made to know what is usual");
    };
    let Some(since) = latency.streak_since() else {
        return Outcome::clear();
    };
    let Some(slow) = latency.streak(settings.limping_calls_min, view.awake_since) else {
        return Outcome::Undecided("too few slow calls were made in a row");
    };
    let allowed = usual
        .saturating_mul(settings.limping_factor)
        .max(settings.limping_floor);
    let least = slow.iter().map(|slow| slow.latency).min();
    let least = least.unwrap_or_default();
    if least < allowed {
        return Outcome::clear();
    }
    if is_loaded(&slow, latency.usual_load()) {
        return Outcome::Undecided("it bears more than ever before");
    }
    if view.peers.lateness >= settings.limping_floor {
        return Outcome::Undecided("the monitor itself is late");
    }
    let own = view.registered.unwrap_or_default();
    // Newest first.
    let from = slow.last().map_or(since, |slow| slow.sent);
    let Ok(peers) = view.peers.slowdown(own, since, from) else {
        return Outcome::Undecided("its peers were not asked since");
    };
    let slowdown = least.as_secs_f64() / usual.as_secs_f64();
    let margin = f64::from(settings.limping_peer_factor);
    if peers.is_some_and(|peers| slowdown < peers.max(1.0) * margin) {
        // Slower together: whatever it is, it is not this one's alone.
        return Outcome::clear();
    }
    Outcome::broken(violation(&slow, usual, allowed, peers, now))
}

fn is_loaded(slow: &[Slow], usual: Option<f64>) -> bool {
    let load = slow.iter().filter_map(|slow| slow.load).reduce(f64::max);
    match (load, usual) {
        (Some(load), Some(usual)) => load > (usual * LOAD_FACTOR).max(LOAD_FLOOR),
        _ => false,
    }
}

fn violation(
    slow: &[Slow],
    usual: Duration,
    allowed: Duration,
    peers: Option<f64>,
    now: Now,
) -> Violation {
    let least = slow.iter().map(|slow| slow.latency).min();
    let beside = match peers {
        Some(peers) => format!("its peers' calls took {peers:.1} times as long as usual"),
        None => "there is no peer to compare it with".to_owned(),
    };
    let evidence = slow.iter().map(|slow| EvidenceItem {
        source: "probe".into(),
        claimed: "healthy".into(),
        observed: format!("a call took {}; {beside}", span(slow.latency)),
        at: now.wall - now.since(slow.sent),
    });
    Violation {
        subject: String::new(),
        message: format!(
            "The last {} took {} or more, where {} are usual; less than {} are allowed, and {beside}.",
            count(slow.len() as u64, "call"),
            span(least.unwrap_or_default()),
            span(usual),
            span(allowed),
        ),
        evidence: evidence.collect(),
        conclusive: false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;
    use crate::domain::DeliveryClaim;

    const ID: &str = "limping";

    /// A component whose calls usually take 5 ms.
    fn usual() -> Scene {
        let mut scene = Scene::healthy();
        for _ in 0..8 {
            calls(&mut scene, 5);
        }
        scene
    }

    fn calls(scene: &mut Scene, millis: u64) {
        scene.passes(Duration::from_secs(1));
        scene.probe_sent_before(Duration::from_millis(millis), |_, _| {});
    }

    #[test]
    fn three_slow_calls_in_a_row_are_found_and_a_quick_one_ends_it() {
        let mut scene = usual();
        calls(&mut scene, 700);
        calls(&mut scene, 600);
        scene.assert_undecided(ID);
        calls(&mut scene, 800);
        scene.assert_suspected(ID);
        calls(&mut scene, 6);
        scene.assert_decided_quiet(ID);
    }

    #[test]
    fn what_is_slow_never_becomes_usual_by_itself() {
        let mut scene = usual();
        for _ in 0..500 {
            calls(&mut scene, 700);
        }
        scene.assert_suspected(ID);
    }

    #[test]
    fn slower_than_its_peers_is_found_with_two_of_them() {
        let mut scene = usual();
        for _ in 0..3 {
            calls(&mut scene, 700);
        }
        scene.has_peers(&[(1.2, 0.0)]);
        scene.assert_suspected(ID);
        scene.has_peers(&[(1.2, 0.0), (0.9, 0.0)]);
        scene.assert_suspected(ID);
    }

    #[test]
    fn the_whole_fleet_slower_together_is_quiet() {
        let mut scene = usual();
        for _ in 0..3 {
            calls(&mut scene, 700);
        }
        scene.has_peers(&[(150.0, 0.0), (120.0, 0.0), (1.0, 0.0)]);
        scene.assert_decided_quiet(ID);
    }

    #[test]
    fn peers_that_were_asked_before_prove_nothing() {
        let mut scene = usual();
        scene.has_peers(&[(1.0, 0.0), (1.0, 0.0)]);
        for _ in 0..3 {
            calls(&mut scene, 700);
        }
        scene.assert_undecided(ID);
    }

    #[test]
    fn a_single_slow_call_and_a_call_under_the_floor_are_quiet() {
        let mut scene = usual();
        for _ in 0..4 {
            calls(&mut scene, 900);
            calls(&mut scene, 5);
            scene.assert_quiet(ID);
        }
        for _ in 0..6 {
            calls(&mut scene, 240);
        }
        scene.assert_decided_quiet(ID);
    }

    #[test]
    fn one_that_always_took_long_is_quiet() {
        let mut scene = Scene::healthy();
        for _ in 0..40 {
            calls(&mut scene, 400);
        }
        for _ in 0..4 {
            calls(&mut scene, 900);
        }
        scene.assert_decided_quiet(ID);
    }

    #[test]
    fn more_work_than_ever_explains_it() {
        let mut scene = Scene::healthy();
        let mut accepted = 0;
        let mut call = |scene: &mut Scene, millis, events| {
            scene.passes(Duration::from_secs(1));
            accepted += events;
            scene.probe_sent_before(Duration::from_millis(millis), |_, metrics| {
                metrics.delivery = Some(DeliveryClaim {
                    accepted,
                    delivered: accepted,
                    ..DeliveryClaim::default()
                });
            });
        };
        for _ in 0..8 {
            call(&mut scene, 5, 200);
        }
        for _ in 0..3 {
            call(&mut scene, 700, 5_000);
        }
        scene.assert_undecided(ID);
        for _ in 0..3 {
            call(&mut scene, 700, 200);
        }
        scene.assert_suspected(ID);
    }

    #[test]
    fn a_monitor_that_stood_still_measured_itself() {
        let mut scene = usual();
        calls(&mut scene, 700);
        calls(&mut scene, 700);
        scene.monitor_sleeps(Duration::from_secs(20));
        scene.probe_sent_before(Duration::from_secs(19), |_, _| {});
        scene.assert_quiet(ID);
    }
}
