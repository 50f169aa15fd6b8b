//! Every rule, one file each. A new rule is a file and a line in this list.

use super::rule::Rule;

/// Declares the rules' files and gathers their `RULE`s.
macro_rules! rules {
    ($($file:ident,)*) => {
        $(pub(crate) mod $file;)*
        /// Every rule, in the order in which they are asked.
        pub(crate) const RULES: &[Rule] = &[$($file::RULE,)*];
    };
}

rules! {
    unreachable,
    watch_silence,
    frozen_health,
    inconsistent_claims,
    unbalanced_ledger,
    silent_restart,
    black_hole,
    event_loss,
    run_never_finished,
    tool_stuck,
    orphan_tool_completion,
    stale_replay,
    wrong_identity,
    counter_regression,
    watch_contradiction,
    flapping,
    clock_skew,
    limping,
    recovery_loop,
    startup_false_positive,
    canary_failed,
    partial_loss,
    stuck_consumer,
    late_delivery,
    duplicate_delivery,
    reordering,
    phantom_delivery,
    half_open_connections,
    backpressure_growth,
    protocol_violation,
    event_non_emission,
    evidence_channel_dead,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_every_rule_says_what_it_is() {
        let ids: BTreeSet<_> = RULES.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), RULES.len());
        for rule in RULES {
            assert!(!rule.summary.is_empty(), "{}", rule.id);
        }
    }
}
