//! `alert_path_dead`: the alarm rang and nobody heard. An alert was refused or failed after all
//! its attempts, or the dead man's switch is not confirmed any more.

use service_kit::clock::Now;

use super::{FleetRule, FleetView};
use crate::audit::alert_path::{Broken, DeadMan};
use crate::audit::format::span;
use crate::audit::rule::{Outcome, Violation};
use crate::audit::settings::FleetRuleSettings;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: FleetRule = FleetRule {
    id: "alert_path_dead",
    severity: Severity::Critical,
    summary: "alerts reach nobody",
    check,
};

fn check(view: &FleetView<'_>, settings: &FleetRuleSettings, now: Now) -> Outcome {
    let path = view.alert_path;
    let webhook = path.broken.as_ref().map(webhook);
    let dead_man = path.dead_man.as_ref();
    let dead_man = dead_man.and_then(|switch| unconfirmed(switch, view, settings, now));
    Outcome::Decided(webhook.into_iter().chain(dead_man).collect())
}

fn webhook(broken: &Broken) -> Violation {
    Violation {
        subject: "webhook".into(),
        message: format!(
            "The newest alert reached nobody after {}; every one must arrive.",
            broken.what
        ),
        evidence: vec![EvidenceItem {
            source: "monitor".into(),
            claimed: String::new(),
            observed: broken.what.clone(),
            at: broken.at.wall,
        }],
        conclusive: true,
    }
}

fn unconfirmed(
    switch: &DeadMan,
    view: &FleetView<'_>,
    settings: &FleetRuleSettings,
    now: Now,
) -> Option<Violation> {
    let allowed = switch
        .interval
        .saturating_mul(settings.dead_man_intervals.max(1));
    // What the monitor slept through could not be confirmed.
    let silence = now.since(switch.confirmed.monotonic.max(view.awake_since));
    if silence <= allowed {
        return None;
    }
    let why = match switch.error.as_str() {
        "" => "no beat was sent".to_owned(),
        error => error.to_owned(),
    };
    Some(Violation {
        subject: "dead_man".into(),
        message: format!(
            "The dead man's switch has not been confirmed for {} ({why}); {} are allowed.",
            span(silence),
            span(allowed),
        ),
        evidence: vec![EvidenceItem {
            source: "monitor".into(),
            claimed: String::new(),
            observed: why,
            at: now.wall,
        }],
        conclusive: true,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use service_kit::clock::Clock;

    use super::*;
    use crate::audit::alert_path::AlertPath;
    use crate::audit::local_health::LocalHealth;
    use crate::domain::AlertEvent;

    const BEAT: Duration = Duration::from_secs(10);

    struct Story {
        path: AlertPath,
        now: Now,
        awake_since: Now,
    }

    impl Story {
        fn new() -> Self {
            let now = Clock::system().now();
            Self {
                path: AlertPath::new(Some(BEAT), now),
                now,
                awake_since: now,
            }
        }

        fn happens(&mut self, event: AlertEvent) {
            self.path.take(event, self.now);
        }

        fn passes(&mut self, seconds: u64) {
            self.now = self.now.later(Duration::from_secs(seconds));
        }

        fn found(&self) -> Vec<(String, String)> {
            let view = FleetView {
                fine: 0,
                troubles: &[],
                blind: false,
                local_health: &LocalHealth::default(),
                alert_path: &self.path,
                awake_since: self.awake_since.monotonic,
            };
            match check(&view, &FleetRuleSettings::default(), self.now) {
                Outcome::Decided(found) | Outcome::Mild(found) => found
                    .into_iter()
                    .map(|violation| (violation.subject, violation.message))
                    .collect(),
                Outcome::Undecided(why) => panic!("undecided: {why}"),
            }
        }
    }

    #[test]
    fn an_alert_that_failed_is_found_and_one_that_arrives_heals_it() {
        let mut story = Story::new();
        assert_eq!(story.found(), []);
        story.happens(AlertEvent::Failed {
            attempts: 3,
            why: "connection refused".into(),
        });
        let found = story.found();
        assert_eq!(found[0].0, "webhook");
        assert!(
            found[0]
                .1
                .contains("3 attempts, the last of which failed: connection refused"),
            "{found:?}"
        );
        story.happens(AlertEvent::Delivered);
        assert_eq!(story.found(), []);
    }

    #[test]
    fn an_alert_that_found_no_room_is_lost_too() {
        let mut story = Story::new();
        story.happens(AlertEvent::Dropped { queue_max: 5 });
        assert!(story.found()[0].1.contains("5 alerts were waiting already"));
    }

    #[test]
    fn a_receiver_that_answers_in_the_end_is_quiet() {
        let mut story = Story::new();
        story.happens(AlertEvent::Delivered);
        story.happens(AlertEvent::BeatFailed {
            why: "answered 503".into(),
        });
        story.passes(10);
        story.happens(AlertEvent::BeatConfirmed);
        story.passes(30);
        assert_eq!(story.found(), []);
    }

    #[test]
    fn a_switch_that_is_not_confirmed_is_found_after_three_intervals() {
        let mut story = Story::new();
        story.happens(AlertEvent::BeatConfirmed);
        story.happens(AlertEvent::BeatFailed {
            why: "answered 503".into(),
        });
        story.passes(30);
        assert_eq!(story.found(), []);
        story.passes(1);
        let found = story.found();
        assert_eq!(found[0].0, "dead_man");
        assert!(
            found[0]
                .1
                .contains("for 31 s (answered 503); 30 s are allowed"),
            "{found:?}"
        );
    }

    #[test]
    fn a_monitor_that_slept_blames_nobody_for_it() {
        let mut story = Story::new();
        story.passes(3_600);
        story.awake_since = story.now;
        assert_eq!(story.found(), []);
    }

    #[test]
    fn without_a_switch_nothing_is_missed() {
        let mut story = Story::new();
        story.path.dead_man = None;
        story.passes(3_600);
        assert_eq!(story.found(), []);
    }
}
