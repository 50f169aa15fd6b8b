//! A thousand components, each with a full history.

use std::time::Duration;

use service_kit::clock::{Clock, Now};

use super::teller::{identity, target};
use crate::audit::testing::{answer, health_claim, metrics_claim, sighting};
use crate::domain::{
    HealthClaim, Posting, ProbeEvent, Probed, Sighting, Vantage, Verdict, WatchMessage,
    WatchReason, WitnessReport,
};
use crate::fleet::settings::FleetSettings;
use crate::fleet::state::FleetState;

fn health(component: u64, sequence: u64, now: Now) -> HealthClaim {
    let mut health = health_claim(sequence, now);
    health.component_id = format!("bridge-{component}");
    health
}

fn beat(fleet: &mut FleetState, component: u64, sequence: u64, now: Now) {
    let event = ProbeEvent::Watched(WatchMessage {
        health: health(component, sequence, now),
        reason: WatchReason::Heartbeat,
        next_within: Some(Duration::from_secs(1)),
    });
    fleet.probe(&format!("bridge-{component}"), component + 1, event, now);
}

fn probe(fleet: &mut FleetState, component: u64, sequence: u64, now: Now) {
    let mut metrics = metrics_claim(now);
    metrics.component_id = format!("bridge-{component}");
    let probed = Probed {
        health: Ok(answer(health(component, sequence, now), now)),
        nonce_echoed: true,
        metrics: Ok(answer(metrics, now)),
    };
    let event = ProbeEvent::Probed(Box::new(probed));
    fleet.probe(&format!("bridge-{component}"), component + 1, event, now);
}

/// Resident memory of this process, in MiB. `None`: the system does not say.
fn resident_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1_024)
}

/// What it costs is printed, and asserted nowhere: that depends on the machine.
#[test]
fn a_thousand_components_with_fifty_audits_each() {
    let before = resident_mib();
    let clock = Clock::system();
    let mut now = clock.now().later(Duration::from_secs(100_000));
    let mut fleet = FleetState::new(FleetSettings::default(), identity(), now);
    for component in 0..1_000 {
        let registered = fleet.register(target(&format!("bridge-{component}")), now);
        assert_eq!(registered, Ok(false));
    }
    for sequence in 1..=60 {
        now = now.later(Duration::from_secs(1));
        fleet.turn(now);
        for component in 0..1_000 {
            beat(&mut fleet, component, sequence * 2, now);
            probe(&mut fleet, component, sequence * 2 + 1, now);
        }
        fleet.take_effects();
    }
    let after = resident_mib();
    assert_eq!(
        fleet.summary(now).verdicts[Verdict::Unverified.name()],
        1_000
    );

    let cost = |work: &mut dyn FnMut(u64)| {
        let start = clock.now();
        for round in 0..20 {
            work(round);
        }
        clock.now().since(start.monotonic) / 20
    };
    let quiet = cost(&mut |_| {
        now = now.later(Duration::from_millis(10));
        fleet.turn(now);
        fleet.tick(Duration::ZERO, now);
    });
    let beats = cost(&mut |round| {
        now = now.later(Duration::from_secs(1));
        fleet.turn(now);
        for component in 0..1_000 {
            beat(&mut fleet, component, 1_000 + round, now);
        }
    });
    let audits = cost(&mut |round| {
        now = now.later(Duration::from_secs(1));
        fleet.turn(now);
        for component in 0..1_000 {
            beat(&mut fleet, component, 2_000 + round * 2, now);
            probe(&mut fleet, component, 2_001 + round * 2, now);
        }
        fleet.take_effects();
    });
    println!("memory: {before:?} -> {after:?} MiB");
    println!(
        "a quiet tick: {quiet:?}; a beat of each: {beats:?}; beat and audit of each: {audits:?}"
    );
    assert_eq!(fleet.summary(now).open_findings, 0);
}

/// 1,000 consumers on one thread, each with a sign of life every 300 ms.
#[test]
fn a_thousand_readers_of_one_thread() {
    let clock = Clock::system();
    let mut now = clock.now().later(Duration::from_secs(100_000));
    let mut fleet = FleetState::new(FleetSettings::default(), identity(), now);
    assert_eq!(fleet.register(target("bridge"), now), Ok(false));
    let report = |observer_id: String, vantage, sightings: Vec<Sighting>| WitnessReport {
        observer_id,
        vantage,
        component_id: "bridge".into(),
        sightings,
        reading: match vantage {
            Vantage::Producer => Vec::new(),
            Vantage::Consumer => vec!["t".into()],
        },
        sign_off: false,
        posting: Posting::default(),
    };
    let before = resident_mib();
    let start = clock.now();
    for round in 0..100_u64 {
        now = now.later(Duration::from_millis(300));
        fleet.turn(now);
        let seen: Vec<_> = (round * 3 + 1..=round * 3 + 3)
            .map(|number| sighting("t", number, "e", now))
            .collect();
        fleet.report(&report("p".into(), Vantage::Producer, seen.clone()), now);
        for consumer in 0..1_000 {
            let name = format!("c{consumer}");
            fleet.report(&report(name, Vantage::Consumer, seen.clone()), now);
        }
        fleet.tick(Duration::ZERO, now);
    }
    let each = clock.now().since(start.monotonic) / 100_000;
    println!(
        "memory: {before:?} -> {:?} MiB; a report of 3 events: {each:?}",
        resident_mib()
    );
    let status = fleet.thread("bridge", "t", now).unwrap();
    assert_eq!(
        (status.produced, status.consumed, status.consumers),
        (300, 300, 1_000)
    );
    assert_eq!(fleet.summary(now).open_findings, 0);
}

/// The kinds of a run that has not ended.
const OPEN_RUN: [&str; 4] = [
    "agent_started",
    "agent_thinking",
    "tool_executing",
    "tool_completed",
];

/// What one observer saw of a hundred new runs, each on a thread of its own.
fn hundred_runs(first: u64, now: Now) -> Vec<Sighting> {
    let of_run = |run: u64| {
        OPEN_RUN.iter().zip(1..).map(move |(kind, sequence)| {
            let mut seen = sighting(&format!("thread-{run}"), sequence, "e", now);
            seen.run_id = format!("run-{run}");
            seen.event_type = (*kind).into();
            if kind.starts_with("tool") {
                seen.tool_call_id = format!("call-{run}");
            }
            seen
        })
    };
    (first..first + 100).flat_map(of_run).collect()
}

#[test]
fn twenty_thousand_open_runs() {
    open_runs(20_000);
}

#[test]
#[ignore = "it takes ten seconds, and measures what twenty thousand runs test"]
fn a_hundred_thousand_open_runs() {
    open_runs(100_000);
}

/// Open runs, each seen at both ends: what is kept of them follows the runs, not their events.
/// What it costs is printed.
fn open_runs(runs: u64) {
    let clock = Clock::system();
    let mut now = clock.now().later(Duration::from_secs(100_000));
    let mut settings = FleetSettings::default();
    // They are open, and that is all.
    settings.rules.run_silence = Duration::from_secs(3_600);
    let mut fleet = FleetState::new(settings, identity(), now);
    assert_eq!(fleet.register(target("bridge"), now), Ok(false));
    let before = resident_mib();
    let start = clock.now();
    let batches = runs / 100;
    for batch in 0..batches {
        now = now.later(Duration::from_millis(100));
        fleet.turn(now);
        let seen = hundred_runs(batch * 100, now);
        for (vantage, who) in [(Vantage::Producer, "p"), (Vantage::Consumer, "c")] {
            let report = WitnessReport {
                observer_id: format!("{who}{}", batch % 10),
                vantage,
                component_id: "bridge".into(),
                sightings: seen.clone(),
                reading: Vec::new(),
                // The last words of each, so that its silence afterwards means nothing.
                sign_off: batch + 10 >= batches,
                posting: Posting::default(),
            };
            assert_eq!(fleet.report(&report, now).recorded, 400);
        }
        if batch % 5 == 0 {
            fleet.tick(Duration::ZERO, now);
        }
        fleet.take_effects();
    }
    let each = clock.now().since(start.monotonic) / u32::try_from(batches * 2).unwrap();
    for _ in 0..25 {
        now = now.later(Duration::from_secs(1));
        fleet.turn(now);
        fleet.tick(Duration::ZERO, now);
        fleet.take_effects();
    }
    let evidence = &fleet.components["bridge"].evidence;
    assert_eq!(
        (evidence.runs().len(), evidence.runs().open_count()),
        (runs as usize, runs as usize)
    );
    assert_eq!(evidence.counters().evicted, 0);
    assert_eq!(evidence.events_held(), 0, "all of them have settled");
    let totals = evidence.totals(now);
    assert_eq!((totals.produced, totals.consumed), (runs * 4, runs * 4));
    let tick = clock.now();
    fleet.turn(now);
    fleet.tick(Duration::ZERO, now);
    println!(
        "memory: {before:?} -> {:?} MiB; a report of 400 events: {each:?}; a tick: {:?}",
        resident_mib(),
        clock.now().since(tick.monotonic)
    );
    assert_eq!(fleet.summary(now).open_findings, 0);
}
