//! Every scenario, one file each, in the order of the catalogue.

use crate::scenario::Scenario;

mod alert_path_dead;
mod backpressure_growth;
mod black_hole;
mod canary_failed;
mod clock_skew;
mod counter_regression;
mod duplicate_delivery;
mod event_loss;
mod event_non_emission;
mod evidence_channel_dead;
mod flapping;
mod frozen_health;
mod half_open_connections;
mod inconsistent_claims;
mod late_delivery;
mod limping;
mod observer_blind;
mod orphan_tool_completion;
mod partial_loss;
mod phantom_delivery;
mod protocol_violation;
mod recovery_loop;
mod reordering;
mod run_never_finished;
mod silent_restart;
mod stale_replay;
mod startup_false_positive;
mod stuck_consumer;
mod tool_stuck;
mod unbalanced_ledger;
mod watch_contradiction;
mod watch_silence;
mod wrong_identity;

/// Every scenario.
pub const SCENARIOS: &[Scenario] = &[
    frozen_health::SCENARIO,
    stale_replay::SCENARIO,
    wrong_identity::SCENARIO,
    inconsistent_claims::SCENARIO,
    unbalanced_ledger::SCENARIO,
    counter_regression::SCENARIO,
    silent_restart::SCENARIO,
    watch_silence::SCENARIO,
    watch_contradiction::SCENARIO,
    flapping::SCENARIO,
    clock_skew::SCENARIO,
    limping::SCENARIO,
    recovery_loop::SCENARIO,
    startup_false_positive::SCENARIO,
    black_hole::SCENARIO,
    event_loss::SCENARIO,
    partial_loss::SCENARIO,
    duplicate_delivery::SCENARIO,
    reordering::SCENARIO,
    late_delivery::SCENARIO,
    phantom_delivery::SCENARIO,
    half_open_connections::SCENARIO,
    backpressure_growth::SCENARIO,
    stuck_consumer::SCENARIO,
    run_never_finished::SCENARIO,
    tool_stuck::SCENARIO,
    orphan_tool_completion::SCENARIO,
    protocol_violation::SCENARIO,
    event_non_emission::SCENARIO,
    canary_failed::SCENARIO,
    evidence_channel_dead::SCENARIO,
    observer_blind::SCENARIO,
    alert_path_dead::SCENARIO,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_class_of_the_catalogue_has_one() {
        let rules: BTreeSet<_> = SCENARIOS.iter().map(|scenario| scenario.rule).collect();
        assert_eq!(rules.len(), SCENARIOS.len());
        assert_eq!(SCENARIOS.len(), 33);
    }
}
