//! Every grace of the rules: with any one of them taken away, honest life looks guilty.

use std::time::Duration;

use super::dice::SECOND;
use super::world::{Size, World};
use super::{ALARMS_MAX, SEED, SEED_VARIABLE, false_alarms, from_environment};
use crate::config::table::SPECS;
use crate::fleet::settings::FleetSettings;

/// Component-hours in which the false alarm must have come.
const HOURS_MAX: u64 = 1_500;
/// More traffic than usual, so that less time shows as much.
const SIZE: Size = Size {
    components: 100,
    lively: 5,
};

struct Grace {
    /// As in the configuration.
    setting: &'static str,
    remove: fn(&mut FleetSettings),
    /// The rules that raise a false alarm without it.
    guards: &'static [&'static str],
}

/// A threshold that honest life does not need.
struct Other {
    setting: &'static str,
    why: &'static str,
    remove: fn(&mut FleetSettings),
}

#[rustfmt::skip]
const GRACES: &[Grace] = &[
    Grace { setting: "rules.delivery_grace", remove: |all| all.rules.delivery_grace = Duration::ZERO, guards: &["black_hole", "event_loss", "partial_loss"] },
    Grace { setting: "rules.watch_grace", remove: |all| all.rules.watch_grace = Duration::ZERO, guards: &["watch_silence"] },
    Grace { setting: "rules.reconnect_grace", remove: |all| all.rules.reconnect_grace = Duration::ZERO, guards: &["watch_silence"] },
    Grace { setting: "rules.restart_grace", remove: |all| all.rules.restart_grace = Duration::ZERO, guards: &["unreachable", "watch_silence"] },
    Grace { setting: "rules.drain_notice_grace", remove: |all| all.rules.drain_notice_grace = Duration::ZERO, guards: &["silent_restart"] },
    Grace { setting: "rules.health_check_silence", remove: |all| all.rules.health_check_silence = Duration::ZERO, guards: &["frozen_health"] },
    Grace { setting: "rules.health_check_intervals", remove: |all| all.rules.health_check_intervals = 0, guards: &["frozen_health"] },
    Grace { setting: "rules.success_rate_tolerance", remove: |all| all.rules.success_rate_tolerance = 0.0, guards: &["inconsistent_claims"] },
    Grace { setting: "rules.run_silence", remove: |all| all.rules.run_silence = Duration::ZERO, guards: &["run_never_finished"] },
    Grace { setting: "rules.tool_limit", remove: |all| all.rules.tool_limit = Duration::ZERO, guards: &["tool_stuck"] },
    Grace { setting: "rules.lateness_grace", remove: |all| all.rules.lateness_grace = Duration::ZERO, guards: &["orphan_tool_completion"] },
    Grace { setting: "rules.clock_tolerance", remove: |all| all.rules.clock_tolerance = Duration::ZERO, guards: &["clock_skew"] },
    Grace { setting: "rules.flap_high_percent", remove: |all| (all.rules.flap_high_percent, all.rules.flap_low_percent) = (5, 0), guards: &["flapping"] },
    Grace { setting: "rules.late_warning", remove: |all| all.rules.late_warning = Duration::ZERO, guards: &["late_delivery"] },
    Grace { setting: "rules.late_critical", remove: |all| all.rules.late_critical = Duration::ZERO, guards: &["late_delivery"] },
    Grace { setting: "evidence.report_wait", remove: |all| all.evidence.report_wait = Duration::ZERO, guards: &["event_loss", "black_hole", "partial_loss", "stuck_consumer", "orphan_tool_completion", "phantom_delivery"] },
    Grace { setting: "rules.acknowledgement_silence", remove: |all| all.rules.acknowledgement_silence = Duration::ZERO, guards: &["half_open_connections"] },
    Grace { setting: "incident.confirm_hold", remove: |all| all.incident.confirm_hold = Duration::ZERO, guards: &["unreachable"] },
    Grace { setting: "fleet.stall_recovery", remove: |all| all.stall_recovery = Duration::ZERO, guards: &["unreachable", "black_hole", "event_loss", "run_never_finished", "tool_stuck", "phantom_delivery"] },
];

/// Settings of the rules that protect nobody in honest life, and what they are for.
#[rustfmt::skip]
const OTHERS: &[Other] = &[
    Other { setting: "rules.lone_event_grace", why: "tells a hole from the loss of one event: an honest event is there before", remove: |all| all.rules.lone_event_grace = Duration::ZERO },
    Other { setting: "rules.watch_audit_grace", why: "tells a hung process from a hung stream: an honest stream is not silent for so long", remove: |all| all.rules.watch_audit_grace = Duration::ZERO },
    Other { setting: "rules.restart_shown", why: "how long a finding stays, and no grace", remove: |all| all.rules.restart_shown = Duration::ZERO },
    Other { setting: "rules.frozen_answers", why: "honest answers are not equal over more than a second, however few are asked for", remove: |all| all.rules.frozen_answers_min = 0 },
    Other { setting: "rules.disabled", why: "switches rules off, and is no threshold", remove: |all| _ = all },
    Other { setting: "rules.recheck", why: "how soon a sign is looked at again, and no grace", remove: |all| all.rules.recheck = Duration::from_secs(1) },
    Other { setting: "rules.regression_shown", why: "how long a finding stays, and no grace", remove: |all| all.rules.regression_shown = Duration::ZERO },
    Other { setting: "rules.disorder_shown", why: "how long a finding stays, and no grace", remove: |all| all.rules.disorder_shown = Duration::ZERO },
    Other { setting: "rules.flap_low_percent", why: "when an open finding ends, and no grace", remove: |all| all.rules.flap_low_percent = 0 },
    Other { setting: "rules.contradiction_grace", why: "the promise of the stream alone covers an honest change", remove: |all| all.rules.contradiction_grace = Duration::ZERO },
    Other { setting: "rules.limping_floor", why: "three honest calls in a row are not slow by any measure", remove: |all| all.rules.limping_floor = Duration::ZERO },
    Other { setting: "rules.limping_factor", why: "three honest calls in a row are not slow by any measure", remove: |all| all.rules.limping_factor = 1 },
    Other { setting: "rules.limping_peer_factor", why: "three honest calls in a row are not slow by any measure", remove: |all| all.rules.limping_peer_factor = 1 },
    Other { setting: "rules.recovery_attempts", why: "an honest component does not claim to be active while it tries to recover", remove: |all| all.rules.recovery_attempts_min = 1 },
    Other { setting: "rules.recovery_window", why: "in which time attempts are counted: more of it finds more", remove: |all| all.rules.recovery_window = Duration::from_secs(3_600) },
    Other { setting: "rules.canary_failures", why: "two runs on two threads must fail, however few are asked for", remove: |all| all.rules.canary_failures_min = 1 },
    Other { setting: "rules.canary_recent_intervals", why: "how long a run is a proof of health: no finding depends on it", remove: |all| all.rules.canary_recent_intervals = 1 },
    Other { setting: "rules.late_events", why: "no honest event takes longer than the limit", remove: |all| all.rules.late_events_min = 1 },
    Other { setting: "rules.observer_grace", why: "honest promises leave room for the way, and a sign has to hold", remove: |all| all.rules.observer_grace = Duration::ZERO },
    Other { setting: "rules.observer_intervals", why: "observers without a promise have five seconds anyway", remove: |all| all.rules.observer_intervals = 0 },
    Other { setting: "rules.blind_components", why: "they have to be most of all components, too", remove: |all| all.fleet_rules.blind_components = 2 },
    Other { setting: "rules.blind_window", why: "they have to be most of all components, too", remove: |all| all.fleet_rules.blind_window = Duration::from_secs(600) },
    Other { setting: "rules.blind_gather", why: "delays findings of many at once, which honest life does not have", remove: |all| all.fleet_rules.blind_gather = Duration::ZERO },
    Other { setting: "rules.very_late_tick", why: "the loop is in time but for pauses, which are no late ticks in a row", remove: |all| all.fleet_rules.very_late_tick = Duration::from_millis(25) },
    Other { setting: "rules.late_ticks", why: "the loop is in time but for pauses, which are no late ticks in a row", remove: |all| all.fleet_rules.late_ticks = 1 },
    Other { setting: "rules.dead_man_intervals", why: "there is no dead man's switch in it", remove: |all| all.fleet_rules.dead_man_intervals = 1 },
    Other { setting: "rules.phantom_events", why: "what honest readers got, they tell within the grace for deliveries", remove: |all| all.rules.phantom_events = 0 },
    Other { setting: "rules.stall_reports", why: "what honest readers got, they tell within the grace for deliveries", remove: |all| all.rules.stall_reports = 0 },
    Other { setting: "rules.startup_grace", why: "an honest component that claims to be active delivers at once", remove: |all| all.rules.startup_grace = Duration::ZERO },
    Other { setting: "rules.backlog_growth", why: "no honest reader waits through three readings of the counters while nothing is delivered", remove: |all| all.rules.backlog_growth = Duration::ZERO },
    Other { setting: "rules.limping_calls", why: "two slow calls in a row are rarer than what can be simulated here", remove: |all| all.rules.limping_calls_min = 2 },
];

fn seed() -> u64 {
    from_environment(SEED_VARIABLE, SEED)
}

fn until(hours: u64) -> u64 {
    hours * 3_600 * SECOND / SIZE.components as u64
}

/// What goes wrong where this one grace is missing.
fn without(grace: &Grace) -> Result<(), String> {
    let mut settings = FleetSettings::default();
    (grace.remove)(&mut settings);
    let mut world = World::new(settings, SIZE, seed());
    world.run(until(HOURS_MAX), 1);
    let alarm = world.core.monitor.alarms.first();
    let found = alarm.map_or("nothing", |alarm| alarm.finding.rule_id);
    println!(
        "without {}: {found} after {:?}",
        grace.setting,
        Duration::from_micros(world.core.at)
    );
    if grace.guards.contains(&found) {
        return Ok(());
    }
    Err(format!(
        "without {}, {found} was found in {HOURS_MAX} component-hours; expected is one of {:?}",
        grace.setting, grace.guards
    ))
}

#[test]
fn without_any_one_grace_honest_life_raises_findings() {
    let ends: Vec<_> = std::thread::scope(|scope| {
        let trials: Vec<_> = GRACES
            .iter()
            .map(|grace| scope.spawn(|| without(grace)))
            .collect();
        trials.into_iter().map(|trial| trial.join()).collect()
    });
    let failures: Vec<_> = ends
        .into_iter()
        .filter_map(|end| {
            end.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                .err()
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{SEED_VARIABLE}={}:\n{}",
        seed(),
        failures.join("\n")
    );
}

/// That they are not needed is tried too.
#[test]
fn without_the_other_thresholds_honest_life_stays_quiet() {
    let mut settings = FleetSettings::default();
    for other in OTHERS {
        (other.remove)(&mut settings);
    }
    let mut world = World::new(settings, SIZE, seed());
    world.run(until(HOURS_MAX / 3), ALARMS_MAX);
    assert_eq!(false_alarms(&world, seed()), "", "a grace after all");
}

#[test]
fn every_threshold_of_the_rules_is_a_grace_or_has_a_reason_not_to_be() {
    let rules = SPECS.iter().filter(|spec| spec.path.starts_with("rules."));
    for spec in rules {
        let grace = GRACES.iter().any(|grace| grace.setting == spec.path);
        let other = OTHERS.iter().find(|other| other.setting == spec.path);
        assert!(
            grace != other.is_some_and(|other| !other.why.is_empty()),
            "{}: add it to GRACES, or to OTHERS with the reason why honest life does not need it",
            spec.path
        );
    }
}
