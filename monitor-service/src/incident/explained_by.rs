//! One cause, one finding: which rule's finding explains which other rules' signs.
//!
//! While a cause is open on a component, what it explains does not open there; what opened only a
//! moment before it is resolved as explained. A cause about one subject explains that subject
//! alone. Signs go on being listed as suspicions, and open when the cause is gone and they are not.
//!
//! Rules are named here by their ids; one that does not exist (yet) explains nothing.

/// What a cause explains.
enum Explains {
    Everything,
    Rules(&'static [&'static str]),
}

/// Causes, each with its reason.
const EXPLAINED_BY: &[(&str, Explains)] = &[
    // Nobody answers: whatever else is missing is missing for that.
    ("unreachable", Explains::Everything),
    // Another component's claims say nothing of this one.
    (
        "wrong_identity",
        Explains::Rules(&[
            "stale_replay",
            "frozen_health",
            "counter_regression",
            "silent_restart",
            "watch_contradiction",
            "clock_skew",
            "inconsistent_claims",
            "unbalanced_ledger",
            "startup_false_positive",
            "recovery_loop",
            "limping",
        ]),
    ),
    // An old answer has an old sequence, old counters and an old time.
    (
        "stale_replay",
        Explains::Rules(&[
            "frozen_health",
            "counter_regression",
            "silent_restart",
            "watch_contradiction",
            "clock_skew",
        ]),
    ),
    // What stands still falls behind the clock and behind the other channel.
    (
        "frozen_health",
        Explains::Rules(&["watch_contradiction", "clock_skew"]),
    ),
    // A stream that says nothing goes on saying what it said last.
    ("watch_silence", Explains::Rules(&["watch_contradiction"])),
    // Nothing arrives: not the single events, nor the ends of runs, nor the synthetic ones.
    (
        "black_hole",
        Explains::Rules(&[
            "event_loss",
            "partial_loss",
            "late_delivery",
            "phantom_delivery",
            "half_open_connections",
            "backpressure_growth",
            "stuck_consumer",
            "event_non_emission",
            "canary_failed",
            "limping",
        ]),
    ),
    // A key that lost all of its events has lost each of them.
    ("partial_loss", Explains::Rules(&["event_loss"])),
    // What waits in a growing queue comes late.
    ("backpressure_growth", Explains::Rules(&["late_delivery"])),
    // Nothing ever went through, so no synthetic run does.
    (
        "startup_false_positive",
        Explains::Rules(&["canary_failed"]),
    ),
];

/// Whether a finding of one rule explains a sign of another on the same component.
pub(crate) fn explains(cause: (&str, &str), sign: (&str, &str)) -> bool {
    let ((cause_rule, cause_subject), (sign_rule, sign_subject)) = (cause, sign);
    if cause_rule == sign_rule || !(cause_subject.is_empty() || cause_subject == sign_subject) {
        return false;
    }
    let known = EXPLAINED_BY.iter().filter(|(rule, _)| *rule == cause_rule);
    known.into_iter().any(|(_, explains)| match explains {
        Explains::Everything => true,
        Explains::Rules(rules) => rules.contains(&sign_rule),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_explains_everything_and_nothing_explains_itself() {
        assert!(explains(("unreachable", ""), ("event_loss", "t")));
        assert!(!explains(("unreachable", ""), ("unreachable", "")));
        assert!(!explains(("event_loss", "t"), ("unreachable", "")));
    }

    #[test]
    fn a_cause_about_one_subject_explains_that_one() {
        assert!(explains(("partial_loss", "t"), ("event_loss", "t")));
        assert!(!explains(("partial_loss", "t"), ("event_loss", "other")));
    }

    #[test]
    fn no_two_rules_explain_each_other() {
        for (cause, explained) in EXPLAINED_BY {
            if let Explains::Rules(rules) = explained {
                for rule in *rules {
                    assert!(
                        !explains((rule, ""), (cause, "")),
                        "{cause} and {rule} explain each other"
                    );
                }
            }
        }
    }
}
