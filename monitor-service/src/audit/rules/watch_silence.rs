//! `watch_silence`: a half-open stream. The component promised the next message, and none came.

use service_kit::clock::Now;

use crate::audit::claims::{Watch, WatchPhase};
use crate::audit::format::span;
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "watch_silence",
    severity: Severity::Critical,
    summary: "the watch stream is silent past its promise",
    part: Part::Claims,
    judges_outage: true,
    has_waited: false,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    if view.claims.is_down() {
        // Nobody answers at all: that is `unreachable`, one cause and one finding.
        return Outcome::clear();
    }
    let drained = view.claims.draining;
    if drained.is_some_and(|at| now.since(at.monotonic) < settings.restart_grace) {
        return Outcome::clear();
    }
    let watch = &view.claims.watch;
    match watch.phase {
        WatchPhase::Alive => check_promise(view, watch, settings, now),
        WatchPhase::Waiting | WatchPhase::Ended | WatchPhase::Failed(_) => {
            check_absence(view, watch, settings, now)
        }
    }
}

fn check_promise(view: &View<'_>, watch: &Watch, settings: &RuleSettings, now: Now) -> Outcome {
    let silent_from = view.claims.watch_silent_from(view.awake_since);
    let (Some(silent_from), Some(promise)) = (silent_from, watch.promise) else {
        return Outcome::Undecided("the stream promised nothing");
    };
    let allowed = promise + settings.watch_grace;
    let silence = now.since(silent_from);
    if silence <= allowed {
        return Outcome::clear();
    }
    let overdue_at = silent_from + allowed;
    let answered = view.claims.calls.answered;
    let answered_since = answered.is_some_and(|at| at.monotonic >= overdue_at);
    let waited = now.since(overdue_at) >= settings.watch_audit_grace;
    // Whether only the stream or the whole process hangs, the audit under way will tell.
    if !answered_since && !waited {
        return Outcome::Undecided("the audit that the silence asked for is under way");
    }
    Outcome::broken(Violation {
        subject: String::new(),
        message: format!(
            "The watch stream has been silent for {}; {} were promised, and {} more are allowed.",
            span(silence),
            span(promise),
            span(settings.watch_grace),
        ),
        evidence: vec![EvidenceItem {
            source: "watch".into(),
            claimed: format!("the next message comes within {}", span(promise)),
            observed: format!("no message for {}", span(silence)),
            at: now.wall,
        }],
        conclusive: true,
    })
}

fn check_absence(view: &View<'_>, watch: &Watch, settings: &RuleSettings, now: Now) -> Outcome {
    let absence = now.since(view.claims.watch_away_from(view.awake_since));
    if absence <= settings.reconnect_grace {
        return Outcome::clear();
    }
    let answered = view.claims.calls.answered;
    if answered.is_none_or(|at| at.monotonic < watch.since.monotonic) {
        return Outcome::Undecided("no audit was answered since the stream was lost");
    }
    if view.claims.drains_still() {
        // It admits that it goes; while it does, it need not take new streams.
        return Outcome::Undecided("it says that it is draining");
    }
    let why = match &watch.phase {
        WatchPhase::Failed(error) => error.to_string(),
        WatchPhase::Ended => "it ended, and was not opened again".into(),
        WatchPhase::Waiting | WatchPhase::Alive => "it was never opened".into(),
    };
    Outcome::broken(Violation {
        subject: String::new(),
        message: format!(
            "There has been no watch stream for {} ({why}) although calls are answered; {} are \
             allowed.",
            span(absence),
            span(settings.reconnect_grace),
        ),
        evidence: vec![EvidenceItem {
            source: "watch".into(),
            claimed: "calls are answered".into(),
            observed: format!("no stream for {}: {why}", span(absence)),
            at: now.wall,
        }],
        conclusive: true,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::settings::RuleSettings;
    use crate::audit::testing::Scene;
    use crate::domain::{CallError, ClaimedState};

    const ID: &str = "watch_silence";

    #[test]
    fn a_half_open_stream_is_found_when_calls_still_answer() {
        let mut scene = Scene::healthy();
        scene.passes(Duration::from_millis(2_100));
        scene.assert_undecided(ID);
        scene.probe();
        scene.assert_conclusive(ID, "silent for 2.1 s; 1 s were promised, and 1 s more are");
    }

    #[test]
    fn a_silence_that_no_audit_explains_is_found_all_the_same() {
        let mut scene = Scene::healthy();
        scene.passes(Duration::from_secs(6));
        scene.assert_conclusive(ID, "silent for 6 s");
    }

    #[test]
    fn a_kept_promise_is_quiet() {
        let mut scene = Scene::healthy();
        for _ in 0..10 {
            scene.passes(Duration::from_secs(1));
            scene.beat();
            scene.probe();
            scene.assert_quiet(ID);
        }
    }

    #[test]
    fn an_outage_is_not_reported_twice() {
        let mut scene = Scene::healthy();
        scene.passes(Duration::from_secs(3));
        scene.probe_fails(CallError::TimedOut(Duration::from_secs(2)));
        scene.passes(Duration::from_secs(60));
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_reconnect_inside_the_grace_is_quiet_and_a_longer_one_is_not() {
        let mut scene = Scene::healthy();
        scene.watch_ends();
        scene.probe();
        scene.passes(Duration::from_secs(5));
        scene.assert_quiet(ID);
        scene.passes(Duration::from_secs(1));
        scene.assert_conclusive(ID, "no watch stream for 6 s");
        scene.beat();
        scene.assert_quiet(ID);
    }

    #[test]
    fn the_end_of_an_outage_starts_the_count_anew() {
        let mut scene = Scene::healthy();
        scene.passes(Duration::from_secs(3));
        scene.probe_fails(CallError::TimedOut(Duration::from_secs(2)));
        scene.passes(Duration::from_secs(5));
        scene.probe();
        scene.assert_quiet(ID);
        scene.passes(Duration::from_millis(2_100));
        scene.probe();
        scene.assert_conclusive(ID, "silent for 2.1 s");
    }

    #[test]
    fn a_drain_is_quiet() {
        let mut scene = Scene::healthy();
        scene.drains();
        scene.watch_ends();
        scene.probe();
        scene.passes(Duration::from_secs(9));
        scene.assert_quiet(ID);
    }

    #[test]
    fn what_the_monitor_slept_through_is_nobodys_silence() {
        let mut scene = Scene::healthy();
        scene.monitor_sleeps(Duration::from_secs(20));
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_long_drain_that_takes_no_streams_is_quiet_while_it_says_so() {
        let mut scene = Scene::healthy();
        scene.drains();
        scene.watch_ends();
        for _ in 0..20 {
            scene.passes(Duration::from_secs(5));
            scene.probe_with(|health, _| {
                health.state = ClaimedState::Draining;
                health.healthy = false;
            });
            scene.assert_quiet(ID);
        }
        // Back at work without a stream: that is what this is about.
        scene.passes(Duration::from_secs(11));
        scene.probe();
        scene.assert_conclusive(ID, "There has been no watch stream for");
    }

    #[test]
    fn one_that_drains_without_a_stream_is_asked_again_in_time() {
        let mut scene = Scene::healthy();
        let settings = RuleSettings::default();
        for _ in 0..3 {
            scene.probe();
        }
        scene.drains();
        scene.probe_with(|health, _| health.state = ClaimedState::Draining);
        scene.passes(settings.recheck);
        assert!(!scene.wants_audit());
        scene.watch_ends();
        assert!(scene.wants_audit());
        assert!(settings.recheck < settings.restart_grace);
    }
}
