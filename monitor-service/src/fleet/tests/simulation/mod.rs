//! Honest life in simulated time: thousands of hours of components that do what they promise, with
//! all the troubles that are nobody's fault, before the real fleet, its rules and its incidents.

mod bridge;
mod canary;
mod dice;
mod graces;
mod life;
mod monitor;
mod probe;
mod reader;
mod script;
mod session;
mod witness;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use self::dice::SECOND;
use self::life::Troubles;
use self::monitor::Alarm;
use self::world::{Size, World};
use crate::fleet::settings::FleetSettings;

/// Another seed than the usual one, to search for what that one does not show.
const SEED_VARIABLE: &str = "SIMULATION_SEED";
/// Another length than the usual one, in component-hours.
const HOURS_VARIABLE: &str = "SIMULATION_HOURS";
const SEED: u64 = 7;
/// Component-hours.
const HOURS: u64 = 10_000;
/// Worlds that run side by side, each with its own monitor.
const WORLDS: u64 = 4;
const SIZE: Size = Size {
    components: 250,
    lively: 50,
};
/// False alarms after which a world has shown enough.
const ALARMS_MAX: usize = 100;

fn from_environment(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => (text.parse()).unwrap_or_else(|_| panic!("{name}={text:?} is no number")),
        Err(_) => usual,
    }
}

/// The false alarms of a world: how many of each rule, and the first one.
fn false_alarms(world: &World, seed: u64) -> String {
    let mut by_rule: BTreeMap<&str, Vec<&Alarm>> = BTreeMap::new();
    for alarm in &world.core.monitor.alarms {
        by_rule
            .entry(alarm.finding.rule_id)
            .or_default()
            .push(alarm);
    }
    let mut said = String::new();
    for (rule, alarms) in by_rule {
        let Alarm { at, finding } = alarms[0];
        let (id, subject) = (&finding.component_id, &finding.subject);
        said += &format!(
            "{rule}: {} in the world of seed {seed}, first after {:?} on {id} {subject:?}: {}\n",
            alarms.len(),
            Duration::from_micros(*at),
            finding.message,
        );
        for item in &finding.evidence {
            said += &format!(
                "    {}: {:?}, {:?}\n",
                item.source, item.claimed, item.observed
            );
        }
    }
    said
}

fn honest_world(seed: u64, hours: f64) -> Result<Troubles, String> {
    let mut world = World::new(FleetSettings::default(), SIZE, seed);
    world.run((hours * 3_600.0 * SECOND as f64) as u64, ALARMS_MAX);
    if world.core.monitor.alarms.is_empty() {
        Ok(world.core.troubles)
    } else {
        Err(false_alarms(&world, seed))
    }
}

#[test]
fn ten_thousand_hours_of_honest_life_raise_no_finding() {
    let seed = from_environment(SEED_VARIABLE, SEED);
    let hours = from_environment(HOURS_VARIABLE, HOURS);
    let each = hours as f64 / (WORLDS * SIZE.components as u64) as f64;
    let ends: Vec<_> = std::thread::scope(|scope| {
        let worlds: Vec<_> = (0..WORLDS)
            .map(|world| scope.spawn(move || honest_world(seed * WORLDS + world, each)))
            .collect();
        worlds.into_iter().map(|world| world.join()).collect()
    });
    let mut alarms = Vec::new();
    let mut troubles = Troubles::default();
    for end in ends {
        match end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
            Ok(more) => troubles.add(&more),
            Err(alarm) => alarms.push(alarm),
        }
    }
    assert!(
        alarms.is_empty(),
        "{} of {WORLDS} worlds raised a false alarm ({SEED_VARIABLE}={seed}):\n{}",
        alarms.len(),
        alarms.join("\n")
    );
    println!("{hours} component-hours without a finding: {troubles:?}");
    if hours >= HOURS {
        assert_eq!(
            troubles.missing(),
            [""; 0],
            "what never happened proves nothing"
        );
    }
}
