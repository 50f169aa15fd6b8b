//! `late_delivery`: events arrive too late to matter.

use service_kit::clock::Now;

use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};
use crate::evidence::lateness::Delay;

pub(crate) const RULE: Rule = Rule {
    id: "late_delivery",
    severity: Severity::Critical,
    summary: "events take too long from witness to witness",
    part: Part::Evidence,
    judges_outage: false,
    has_waited: false,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let delays = view.evidence.delays();
    let Some(middle) = delays.median(settings.late_events_min as usize, now) else {
        return match delays.is_unsure(now) {
            true => Outcome::Undecided("the witnesses' clocks are not known well enough"),
            false => Outcome::clear(),
        };
    };
    let least = middle.delay.saturating_sub(middle.within);
    if least > settings.late_critical {
        return Outcome::Decided(vec![violation(view, middle, settings, now)]);
    }
    if least > settings.late_warning {
        return Outcome::Mild(vec![violation(view, middle, settings, now)]);
    }
    if middle.delay + middle.within > settings.late_warning && middle.within > settings.late_warning
    {
        return Outcome::Undecided("the witnesses' clocks are not known well enough");
    }
    Outcome::clear()
}

fn violation(view: &View<'_>, middle: &Delay, settings: &RuleSettings, now: Now) -> Violation {
    let least = settings.late_events_min as usize;
    let recent = view.evidence.delays().recent(least, now);
    let known = recent.clone().count() as u64;
    let late = recent.filter(|delay| delay.delay > settings.late_warning);
    let longest = late
        .clone()
        .max_by_key(|delay| delay.delay)
        .unwrap_or(middle);
    let late = late.count() as u64;
    let allowed = match middle.delay.saturating_sub(middle.within) > settings.late_critical {
        true => settings.late_critical,
        false => settings.late_warning,
    };
    Violation {
        subject: String::new(),
        message: format!(
            "{late} of the last {} arrived late, the middle one after {} (give or take {}); {} are \
             allowed.",
            count(known, "event"),
            span(middle.delay),
            span(middle.within),
            span(allowed),
        ),
        evidence: vec![EvidenceItem {
            source: format!("consumer:{}", longest.consumer),
            claimed: String::new(),
            observed: format!(
                "an event of thread {} after {}, on one clock give or take {}",
                longest.thread_id,
                span(longest.delay),
                span(longest.within)
            ),
            at: now.wall - now.since(longest.at),
        }],
        conclusive: view.claims.claims_health() == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::rule::Outcome;
    use crate::audit::testing::{Scene, Speaker};
    use crate::domain::Vantage;

    const ID: &str = "late_delivery";

    /// A producer and a consumer whose clocks the monitor knows.
    struct Pair {
        scene: Scene,
        producer: Speaker,
        consumer: Speaker,
        sequence: u64,
    }

    impl Pair {
        fn new(producer_ahead: u64, consumer_ahead: u64) -> Self {
            let mut pair = Self {
                scene: Scene::healthy(),
                producer: Speaker::new("p", Vantage::Producer),
                consumer: Speaker::new("c", Vantage::Consumer),
                sequence: 0,
            };
            pair.producer.ahead = Duration::from_secs(producer_ahead);
            pair.consumer.ahead = Duration::from_secs(consumer_ahead);
            for _ in 0..8 {
                pair.beat();
            }
            pair
        }

        fn beat(&mut self) {
            self.scene.passes(Duration::from_millis(300));
            self.scene.speaks(&mut self.producer, &[], &[]);
            self.scene.speaks(&mut self.consumer, &[], &["t"]);
        }

        /// One event that arrives after a delay.
        fn event(&mut self, millis: u64, replayed: bool) {
            self.sequence += 1;
            let mut seen = self.scene.seen("t", self.sequence);
            let at = self.scene.now.wall;
            seen.observe_time = Some(at + self.producer.ahead);
            self.scene.speaks(&mut self.producer, &[seen.clone()], &[]);
            let delay = Duration::from_millis(millis);
            self.scene.passes(delay);
            seen.observe_time = Some(at + delay + self.consumer.ahead);
            seen.connection_id = "one".into();
            seen.arrival = self.sequence;
            seen.replayed = replayed;
            self.scene.speaks(&mut self.consumer, &[seen], &["t"]);
            self.scene.speaks(&mut self.producer, &[], &[]);
        }
    }

    #[test]
    fn a_second_and_more_is_a_warning_and_five_are_critical() {
        let mut pair = Pair::new(0, 0);
        for _ in 0..3 {
            pair.event(1_200, false);
        }
        let outcome = pair.scene.check(ID);
        let Outcome::Mild(found) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(
            found[0].message.contains("the middle one after 1.2 s"),
            "{found:?}"
        );
        let mut pair = Pair::new(0, 0);
        for _ in 0..2 {
            pair.event(4_900, false);
        }
        pair.event(100, false);
        pair.scene.assert_quiet("black_hole");
        let mut pair = Pair::new(0, 0);
        for _ in 0..3 {
            pair.event(1_900, false);
        }
        assert!(matches!(pair.scene.check(ID), Outcome::Mild(_)));
    }

    #[test]
    fn skewed_clocks_without_delay_are_quiet() {
        for (producer, consumer) in [(0, 90), (90, 0), (3_600, 7)] {
            let mut pair = Pair::new(producer, consumer);
            for _ in 0..10 {
                pair.event(20, false);
                pair.scene.passes(Duration::from_millis(100));
                assert_eq!(pair.scene.check(ID), Outcome::clear());
            }
        }
    }

    #[test]
    fn skewed_clocks_do_not_hide_a_delay() {
        let mut pair = Pair::new(90, 30);
        for _ in 0..4 {
            pair.event(1_500, false);
        }
        assert!(matches!(pair.scene.check(ID), Outcome::Mild(_)));
    }

    #[test]
    fn clocks_that_are_not_known_decide_nothing() {
        let mut scene = Scene::healthy();
        for number in 1..=5 {
            scene.produced("p", "t", number..=number);
            scene.passes(Duration::from_millis(1_500));
            scene.consumed("c", "t", number..=number);
        }
        scene.assert_undecided(ID);
    }

    #[test]
    fn a_clock_that_is_set_raises_no_alarm() {
        for back in [true, false] {
            let mut pair = Pair::new(100, 100);
            for _ in 0..4 {
                pair.event(20, false);
            }
            let step = Duration::from_secs(30);
            let ahead = &mut pair.producer.ahead;
            *ahead = if back { *ahead - step } else { *ahead + step };
            for _ in 0..12 {
                pair.event(20, false);
                pair.scene.assert_quiet(ID);
            }
        }
    }

    #[test]
    fn what_a_reconnect_catches_up_on_is_not_late() {
        let mut pair = Pair::new(0, 0);
        for _ in 0..4 {
            pair.event(1_900, true);
        }
        pair.scene.assert_quiet(ID);
    }

    #[test]
    fn it_is_over_when_events_are_quick_again() {
        let mut pair = Pair::new(0, 0);
        for _ in 0..4 {
            pair.event(1_500, false);
        }
        assert!(matches!(pair.scene.check(ID), Outcome::Mild(_)));
        for _ in 0..10 {
            pair.event(10, false);
        }
        assert_eq!(pair.scene.check(ID), Outcome::clear());
    }
}
