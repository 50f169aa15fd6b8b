//! `canary_failed`: the whole path is broken, with no traffic to show it.

use service_kit::clock::Now;

use crate::audit::canary::{Canary, Failure, Standing, came_second, standing};
use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::rules::startup_false_positive;
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "canary_failed",
    severity: Severity::Critical,
    summary: "the monitor's own synthetic runs do not come back",
    part: Part::Canary,
    judges_outage: false,
    has_waited: false,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let failures = match standing(view, settings) {
        Standing::Clear => return Outcome::clear(),
        Standing::Open(why) => return Outcome::Undecided(why),
        Standing::Against(failures) => failures,
    };
    if came_second(view) {
        return Outcome::Undecided("witnesses see the same, which black_hole says");
    }
    if startup_false_positive::explains_runs(view, settings, now) {
        return Outcome::Undecided("nothing ever went through, which startup_false_positive says");
    }
    let (Some(canary), Some(newest)) = (view.canary, failures.last()) else {
        return Outcome::clear();
    };
    Outcome::broken(Violation {
        subject: String::new(),
        message: format!(
            "{} in a row did not come back whole, the last on {}: {}; {} may fail.",
            count(failures.len() as u64, "synthetic run"),
            newest.key,
            newest.why,
            settings.canary_failures_min.saturating_sub(1),
        ),
        evidence: evidence(view, canary, &failures, now),
        // The claim of health and the runs are two kinds of evidence.
        conclusive: view.claims.claims_health() == Some(true),
    })
}

fn evidence(
    view: &View<'_>,
    canary: &Canary,
    failures: &[&Failure],
    now: Now,
) -> Vec<EvidenceItem> {
    let claimed = view.claims.health.as_ref().map_or_else(
        || "nothing".to_owned(),
        |(health, _)| format!("state {:?}, healthy {}", health.state, health.healthy),
    );
    let failed = failures.iter().rev().map(|failure| EvidenceItem {
        source: format!("canary:{}", failure.key),
        claimed: claimed.clone(),
        observed: failure.why.clone(),
        at: failure.ended.wall,
    });
    let whole = canary.last_whole().map(|whole| EvidenceItem {
        source: "canary".into(),
        claimed: String::new(),
        observed: format!(
            "the last whole run was {} ago and took {}",
            span(now.since(whole.ended.monotonic)),
            span(whole.delay)
        ),
        at: whole.ended.wall,
    });
    failed.chain(whole).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;
    use crate::domain::{CallError, ClaimedState};

    const ID: &str = "canary_failed";
    const LATE: &str = "no event came back within 2 s";

    /// A component whose runs came back so far.
    fn proven() -> Scene {
        let mut scene = Scene::healthy();
        scene.canary_whole(1);
        scene.passes(Duration::from_secs(1));
        scene.beat();
        scene.assert_quiet(ID);
        scene
    }

    #[test]
    fn two_failures_on_two_threads_beside_a_claim_of_health() {
        let mut scene = proven();
        scene.canary_fails(2, LATE);
        scene.beat();
        scene.assert_undecided(ID);
        scene.canary_fails(3, LATE);
        scene.assert_undecided(ID);
        scene.beat();
        scene.assert_conclusive(
            ID,
            "2 synthetic runs in a row did not come back whole, the last on $canary/m/3: no event \
             came back within 2 s; 1 may fail.",
        );
        scene.assert_quiet("black_hole");
    }

    #[test]
    fn one_failure_is_a_suspicion_and_the_next_whole_run_ends_it() {
        let mut scene = proven();
        scene.canary_fails(2, LATE);
        for _ in 0..5 {
            scene.beat();
            scene.assert_undecided(ID);
            scene.passes(Duration::from_millis(300));
        }
        scene.canary_whole(3);
        scene.beat();
        scene.assert_quiet(ID);
        scene.canary_fails(4, LATE);
        scene.beat();
        scene.assert_undecided(ID);
    }

    #[test]
    fn it_heals_with_the_first_whole_run() {
        let mut scene = proven();
        scene.canary_fails(2, LATE);
        scene.canary_fails(3, LATE);
        scene.beat();
        scene.assert_conclusive(ID, "2 synthetic runs");
        scene.canary_whole(4);
        scene.assert_clear(ID);
    }

    #[test]
    fn one_broken_thread_is_not_the_whole_path() {
        let mut scene = proven();
        scene.canary_fails(2, LATE);
        scene.canary_fails(2, LATE);
        scene.beat();
        scene.assert_undecided(ID);
    }

    #[test]
    fn a_draining_bridge_is_quiet() {
        let mut scene = proven();
        scene.drains();
        scene.canary_fails(2, "connection refused");
        scene.canary_fails(3, "connection refused");
        scene.assert_undecided(ID);
        scene.watch_ends();
        scene.passes(Duration::from_secs(3));
        scene.canary_fails(4, "connection refused");
        scene.assert_undecided(ID);
        scene.restarts_as("instance-b");
        scene.beat();
        scene.assert_clear(ID);
    }

    #[test]
    fn a_run_that_is_told_of_a_drain_counts_when_the_drain_never_ends() {
        let mut scene = proven();
        for key in 2..5 {
            scene.canary_drains(key);
            scene.beat();
            scene.assert_quiet(ID);
            scene.passes(Duration::from_secs(3));
        }
        for key in 5..7 {
            scene.passes(Duration::from_secs(3));
            scene.beat();
            scene.canary_drains(key);
        }
        scene.beat();
        scene.assert_conclusive(ID, "2 synthetic runs");
    }

    #[test]
    fn a_crash_is_the_outages_own_finding() {
        let mut scene = proven();
        scene.canary_fails(2, "connection reset");
        scene.canary_fails(3, "connection refused");
        scene.assert_undecided(ID);
        scene.watch_breaks();
        scene.probe_fails(CallError::Unreachable("connection refused".into()));
        scene.assert_undecided(ID);
        // A new process has nothing to do with the runs of the old one.
        scene.restarts_as("instance-b");
        scene.beat();
        scene.probe();
        scene.assert_clear(ID);
    }

    #[test]
    fn a_component_that_hung_as_a_whole_is_another_matter() {
        let mut scene = proven();
        scene.passes(Duration::from_secs(3));
        scene.canary_fails(2, LATE);
        scene.canary_fails(3, LATE);
        scene.beat();
        scene.assert_clear(ID);
    }

    #[test]
    fn a_monitor_that_slept_blames_nobody() {
        let mut scene = proven();
        scene.canary_fails(2, LATE);
        scene.canary_fails(3, LATE);
        scene.monitor_sleeps(Duration::from_secs(20));
        scene.beat();
        scene.assert_undecided(ID);
    }

    #[test]
    fn what_the_monitor_could_not_do_says_nothing() {
        let mut scene = proven();
        for key in 2..6 {
            scene.canary_says_nothing(key, "too many open files");
            scene.beat();
            scene.assert_quiet(ID);
        }
    }

    #[test]
    fn a_component_that_admits_it_is_not_silent() {
        let mut scene = proven();
        scene.canary_fails(2, LATE);
        scene.canary_fails(3, LATE);
        scene.probe_with(|health, _| {
            health.state = ClaimedState::Degraded;
            health.healthy = false;
        });
        scene.assert_suspected(ID);
    }

    #[test]
    fn one_that_is_not_ready_yet_has_its_time() {
        let mut scene = Scene::healthy();
        scene.probe_with(|health, _| {
            health.state = ClaimedState::Initializing;
            health.healthy = false;
        });
        scene.canary_fails(2, LATE);
        scene.canary_fails(3, LATE);
        scene.probe_with(|health, _| health.state = ClaimedState::Initializing);
        scene.assert_undecided(ID);
    }

    /// Producer and consumer, and what is sent no longer arrives.
    fn with_witnesses() -> Scene {
        let mut scene = proven();
        scene.reads("c", &["t"]);
        scene.passes(Duration::from_secs(3));
        scene.beat();
        scene.produced("p", "t", 1..=1);
        scene.consumed("c", "t", 1..=1);
        scene.passes(Duration::from_millis(500));
        scene.produced("p", "t", 2..=4);
        scene
    }

    #[test]
    fn where_witnesses_saw_it_first_the_finding_is_theirs() {
        let mut scene = with_witnesses();
        scene.canary_fails(2, LATE);
        for _ in 0..3 {
            scene.passes(Duration::from_millis(700));
            scene.reads("c", &["t"]);
        }
        scene.beat();
        scene.assert_conclusive("black_hole", "3 events");
        scene.canary_fails(3, LATE);
        scene.beat();
        scene.assert_undecided(ID);
        scene.assert_conclusive("black_hole", "3 events");
    }

    #[test]
    fn where_the_runs_saw_it_first_the_finding_is_theirs() {
        let mut scene = with_witnesses();
        scene.canary_fails(2, LATE);
        scene.canary_fails(3, LATE);
        scene.beat();
        scene.assert_conclusive(ID, "2 synthetic runs");
        for _ in 0..3 {
            scene.passes(Duration::from_millis(700));
            scene.reads("c", &["t"]);
        }
        scene.beat();
        scene.assert_undecided("black_hole");
        scene.assert_conclusive(ID, "2 synthetic runs");
        scene.canary_whole(4);
        scene.assert_clear(ID);
        scene.assert_conclusive("black_hole", "3 events");
    }

    #[test]
    fn what_a_long_drain_turned_away_is_past_when_it_returns() {
        let mut scene = proven();
        scene.drains();
        for key in [2, 3, 2, 3, 2] {
            scene.canary_drains(key);
            scene.passes(Duration::from_secs(3));
        }
        scene.beat();
        scene.assert_quiet(ID);
        for key in [2, 3] {
            scene.canary_fails(key, LATE);
            scene.beat();
        }
        scene.assert_conclusive(ID, "2 synthetic runs in a row");
    }
}
