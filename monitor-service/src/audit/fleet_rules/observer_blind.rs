//! `observer_blind`: the monitor itself can't see. Most of its components fail in the same
//! instant, which one fault of its own explains better than many of theirs; or its own loop is
//! late, again and again.

use std::time::{Duration, Instant};

use service_kit::clock::Now;

use super::{FleetRule, FleetView, Trouble};
use crate::audit::format::span;
use crate::audit::rule::{Outcome, Violation};
use crate::audit::settings::FleetRuleSettings;
use crate::domain::{EvidenceItem, Severity};

pub(crate) const RULE: FleetRule = FleetRule {
    id: "observer_blind",
    severity: Severity::Critical,
    summary: "the monitor cannot trust what it sees",
    check,
};

/// Components that the evidence names.
const NAMED_MAX: usize = 5;

fn check(view: &FleetView<'_>, settings: &FleetRuleSettings, now: Now) -> Outcome {
    let found = late_loop(view, settings, now).or_else(|| correlated(view, settings, now));
    found.map_or_else(Outcome::clear, Outcome::broken)
}

fn late_loop(view: &FleetView<'_>, settings: &FleetRuleSettings, now: Now) -> Option<Violation> {
    let health = view.local_health;
    if health.very_late_in_row < settings.late_ticks.max(1) {
        return None;
    }
    let message = format!(
        "{} ticks of the monitor's own loop in a row came late, the last by {}; {} may be later \
         than {}.",
        health.very_late_in_row,
        span(health.lateness),
        settings.late_ticks.max(1) - 1,
        span(settings.very_late_tick),
    );
    let observed = format!("its last tick was {} late", span(health.lateness));
    Some(violation(message, vec![observed], now))
}

/// Opens where more than half fail together, and holds while more than half are in trouble: those
/// that come back one by one, or follow later, change nothing.
fn correlated(view: &FleetView<'_>, settings: &FleetRuleSettings, now: Now) -> Option<Violation> {
    let all = view.fine + view.troubles.len();
    if view.blind && most(view.troubles.len(), all) {
        let message = format!(
            "{} of {all} components that answered have not come back since most of them failed \
             together; at most {} may be in trouble.",
            view.troubles.len(),
            all / 2,
        );
        return Some(violation(message, named(view.troubles, now), now));
    }
    let together = largest_cluster(view, settings)?;
    let spread = together.last()?.since - together.first()?.since;
    let later = view.troubles.iter().filter(|trouble| {
        let last = together.last().map(|trouble| trouble.since);
        last.is_some_and(|last| trouble.since > last)
    });
    let were_well = view.fine + together.len() + later.count();
    if together.len() < settings.blind_components.max(2) || !most(together.len(), were_well) {
        return None;
    }
    let allowed = (were_well / 2).max(settings.blind_components.max(2) - 1);
    let message = format!(
        "{} of {were_well} components failed within {} of each other; at most {allowed} may. The \
         monitor suspects itself.",
        together.len(),
        span(spread),
    );
    Some(violation(message, named(together, now), now))
}

const fn most(part: usize, all: usize) -> bool {
    part.saturating_mul(2) > all
}

/// The most components whose trouble began within the window.
fn largest_cluster<'a>(
    view: &FleetView<'a>,
    settings: &FleetRuleSettings,
) -> Option<&'a [Trouble]> {
    let troubles = view.troubles;
    let mut best: Option<&[Trouble]> = None;
    let mut end = 0;
    for start in 0..troubles.len() {
        let limit: Instant = troubles[start].since + settings.blind_window;
        while end < troubles.len() && troubles[end].since <= limit {
            end += 1;
        }
        if best.is_none_or(|best| best.len() < end - start) {
            best = troubles.get(start..end);
        }
    }
    best
}

fn named(troubles: &[Trouble], now: Now) -> Vec<String> {
    let named = troubles.iter().take(NAMED_MAX).map(|trouble| {
        let since: Duration = now.since(trouble.since);
        format!("{} in trouble for {}", trouble.component_id, span(since))
    });
    named.collect()
}

fn violation(message: String, observed: Vec<String>, now: Now) -> Violation {
    let evidence = observed.into_iter().map(|observed| EvidenceItem {
        source: "monitor".into(),
        claimed: String::new(),
        observed,
        at: now.wall,
    });
    Violation {
        subject: String::new(),
        message,
        evidence: evidence.collect(),
        conclusive: true,
    }
}

#[cfg(test)]
mod tests {
    use service_kit::clock::Clock;

    use super::*;
    use crate::audit::alert_path::AlertPath;
    use crate::audit::local_health::{LocalHealth, LocalHealthSettings};

    const LOCAL: LocalHealthSettings = LocalHealthSettings {
        tick: Duration::from_millis(500),
        late_tick: Duration::from_millis(250),
        very_late_tick: Duration::from_secs(1),
        score_max: 8,
    };

    /// What the rule finds with `fine` components well and the others in trouble for this long.
    fn found(fine: usize, in_trouble_ms: &[u64], blind: bool, late: u32) -> Option<String> {
        let now = Clock::system().now().later(Duration::from_secs(1_000_000));
        let troubles: Vec<_> = in_trouble_ms
            .iter()
            .enumerate()
            .map(|(index, millis)| Trouble {
                component_id: format!("c{index}").into(),
                since: now.monotonic - Duration::from_millis(*millis),
            })
            .collect();
        assert!(troubles.is_sorted_by_key(|trouble| trouble.since));
        let mut local_health = LocalHealth::default();
        for _ in 0..late {
            local_health.ticked(Duration::from_millis(1_200), &LOCAL);
        }
        let view = FleetView {
            fine,
            troubles: &troubles,
            blind,
            local_health: &local_health,
            alert_path: &AlertPath::new(None, now),
            awake_since: now.monotonic,
        };
        match check(&view, &FleetRuleSettings::default(), now) {
            Outcome::Decided(violations) | Outcome::Mild(violations) => {
                let violation = violations.into_iter().next()?;
                assert!(violation.conclusive && !violation.evidence.is_empty());
                Some(violation.message)
            }
            Outcome::Undecided(why) => panic!("undecided: {why}"),
        }
    }

    #[test]
    fn most_that_fail_together_are_the_monitors_fault() {
        let message = found(2, &[1_200, 700, 600], false, 0).unwrap();
        assert!(
            message.starts_with(
                "3 of 5 components failed within 600 ms of each other; at most 2 may."
            ),
            "{message}"
        );
    }

    #[test]
    fn one_bad_target_is_its_own_fault() {
        assert_eq!(found(4, &[700], false, 0), None);
        assert_eq!(found(0, &[700], false, 0), None);
    }

    #[test]
    fn too_few_or_only_half_prove_nothing() {
        assert_eq!(found(0, &[700, 600], false, 0), None);
        assert_eq!(found(3, &[800, 700, 600], false, 0), None);
    }

    #[test]
    fn failures_one_after_another_are_no_cluster() {
        assert_eq!(found(0, &[60_000, 40_000, 20_000, 500], false, 0), None);
    }

    #[test]
    fn those_that_were_down_before_do_not_count() {
        let old = [900_000, 800_000, 700_000, 600_000];
        let message = found(1, &[&old[..], &[900, 800, 700]].concat(), false, 0).unwrap();
        assert!(message.starts_with("3 of 4 components"), "{message}");
    }

    #[test]
    fn it_holds_while_most_are_in_trouble() {
        let message = found(2, &[90_000, 89_900, 5_000], true, 0).unwrap();
        assert!(message.starts_with("3 of 5 components"), "{message}");
        assert_eq!(found(3, &[90_000, 89_900, 5_000], true, 0), None);
    }

    #[test]
    fn a_loop_that_is_late_again_and_again_sees_nothing() {
        let message = found(5, &[], false, 3).unwrap();
        assert!(
            message.starts_with("3 ticks of the monitor's own loop in a row came late"),
            "{message}"
        );
    }

    #[test]
    fn one_pause_is_no_blindness() {
        assert_eq!(found(5, &[], false, 1), None);
        assert_eq!(found(5, &[], false, 2), None);
    }
}
