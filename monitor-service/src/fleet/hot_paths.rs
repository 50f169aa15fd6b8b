//! The monitor's hot paths, to be measured: what comes in from probes and witnesses, and every rule
//! over it.

use std::collections::BTreeMap;
use std::time::Duration;

use service_kit::clock::Now;
use yardstick::{FLAT, HotPath, TENFOLD, Work};

use super::api::{CanaryTarget, Target};
use super::settings::{FleetSettings, Identity};
use super::state::FleetState;
use crate::domain::{
    Answer, CheckClaim, ClaimedState, DeliveryClaim, HealthClaim, LifecycleClaim, MetricsClaim,
    Posting, ProbeEvent, Probed, Sighting, Vantage, WatchMessage, WatchReason, WitnessReport,
};

/// Events of one report.
const REPORT: usize = 100;
/// Components are found in a tree, and threads leave by one, oldest first: its depth grows with what
/// it holds.
const TREE: f64 = 1.5;

/// Each of them is done for every audit, beat or report.
#[rustfmt::skip]
pub(crate) const PATHS: &[HotPath] = &[
    HotPath::new("fleet/beat", "beat", "components", &[10, 100, 1_000], TREE, beat),
    HotPath::new("fleet/audit", "audit", "components", &[10, 100, 1_000], TREE, audit),
    HotPath::new("fleet/quiet_tick", "component", "components", &[10, 100, 1_000], TREE, quiet_tick),
    HotPath::new("rules/open_runs", "run", "open runs", TENFOLD, FLAT, rules_over_runs),
    HotPath::new("rules/settled", "evaluation", "finished runs", TENFOLD, FLAT, rules_over_settled),
    HotPath::new("evidence/events", "event", "events of a run", TENFOLD, FLAT, events),
    HotPath::new("evidence/runs", "event", "runs, a thread each", TENFOLD, TREE, runs),
    HotPath::new("evidence/readers", "report", "readers of a thread", &[10, 100, 1_000], FLAT, readers),
];

/// A monitor of as many components that are well, each watched and audited.
struct World {
    fleet: FleetState,
    components: usize,
    sequence: u64,
    now: Now,
}

impl World {
    fn new(components: usize, now: Now) -> Self {
        let identity = Identity {
            component_id: "monitor".to_owned(),
            instance_id: "m".to_owned(),
        };
        let mut world = Self {
            fleet: FleetState::new(FleetSettings::default(), identity, now),
            components,
            sequence: 0,
            now,
        };
        for component in 0..components {
            let _ = world.fleet.register(target(component), now);
        }
        for _ in 0..3 {
            world.second();
            world.beats();
            world.audits();
        }
        world.fleet.take_effects();
        world
    }

    fn second(&mut self) {
        self.now = self.now.later(Duration::from_secs(1));
        self.fleet.turn(self.now);
    }

    /// Each component's stream says that it is well.
    fn beats(&mut self) -> u64 {
        self.sequence += 1;
        let now = self.now;
        self.each(|component, sequence| {
            ProbeEvent::Watched(WatchMessage {
                health: health(component, sequence, now),
                reason: WatchReason::Heartbeat,
                next_within: Some(Duration::from_secs(2)),
            })
        })
    }

    /// Each component answers both calls of an audit.
    fn audits(&mut self) -> u64 {
        self.sequence += 1;
        let now = self.now;
        let before = self.fleet.totals.audits;
        self.each(|component, sequence| {
            ProbeEvent::Probed(Box::new(Probed {
                health: Ok(answer(health(component, sequence, now), now)),
                nonce_echoed: true,
                metrics: Ok(answer(metrics(component, now), now)),
            }))
        });
        self.fleet.totals.audits - before
    }

    fn each(&mut self, event: impl Fn(usize, u64) -> ProbeEvent) -> u64 {
        for component in 0..self.components {
            let event = event(component, self.sequence);
            // The first registration is the first generation.
            let generation = component as u64 + 1;
            let id = component_id(component);
            self.fleet.probe(&id, generation, event, self.now);
        }
        self.components as u64
    }

    /// Hands in reports; says how many events were new.
    fn report(&mut self, reports: &[WitnessReport]) -> u64 {
        let now = self.now;
        let recorded = reports.iter().map(|report| self.fleet.report(report, now));
        recorded.map(|outcome| u64::from(outcome.recorded)).sum()
    }

    fn tick(&mut self) {
        self.fleet.tick(Duration::ZERO, self.now);
    }
}

fn component_id(component: usize) -> String {
    format!("bridge-{component}")
}

fn target(component: usize) -> Target {
    Target {
        component_id: component_id(component).into(),
        endpoint: "http://127.0.0.1:50051".to_owned(),
        labels: BTreeMap::new(),
        tls: None,
        metadata: BTreeMap::new(),
        canary: CanaryTarget::default(),
    }
}

fn health(component: usize, sequence: u64, now: Now) -> HealthClaim {
    let check = |name: &str| CheckClaim {
        name: name.to_owned(),
        healthy: true,
        message: String::new(),
        latency: Some(Duration::from_millis(1)),
    };
    HealthClaim {
        component_id: component_id(component),
        instance_id: "instance".to_owned(),
        sequence,
        observe_time: Some(now.wall),
        state: ClaimedState::Active,
        healthy: true,
        checks: vec![check("registry"), check("websocket_manager")],
        consecutive_failures: 0,
        uptime: Some(Duration::from_secs(60)),
        last_health_check_time: Some(now.wall),
        error_message: String::new(),
    }
}

fn metrics(component: usize, now: Now) -> MetricsClaim {
    MetricsClaim {
        component_id: component_id(component),
        instance_id: "instance".to_owned(),
        observe_time: Some(now.wall),
        lifecycle: LifecycleClaim {
            total_initializations: 1,
            successful_initializations: 1,
            success_rate: 1.0,
            ..LifecycleClaim::default()
        },
        delivery: Some(DeliveryClaim::default()),
        gauges: BTreeMap::new(),
    }
}

fn answer<T>(value: T, now: Now) -> Answer<T> {
    Answer {
        value: value.into(),
        sent: now,
        received: now,
    }
}

fn sighting(thread: &str, sequence: u64, kind: &str, now: Now) -> Sighting {
    Sighting {
        event_id: format!("{thread}/{sequence}"),
        component_id: component_id(0),
        thread_id: thread.to_owned(),
        run_id: format!("{thread}/run"),
        event_type: kind.to_owned(),
        sequence,
        tool_call_id: String::new(),
        observe_time: Some(now.wall),
        epoch: "epoch".to_owned(),
        connection_id: String::new(),
        arrival: 0,
        replayed: false,
    }
}

fn reported(observer: &str, vantage: Vantage, sightings: Vec<Sighting>) -> WitnessReport {
    let threads = sightings.iter().map(|seen| seen.thread_id.clone());
    let mut reading: Vec<String> = threads.filter(|_| vantage == Vantage::Consumer).collect();
    reading.dedup();
    WitnessReport {
        observer_id: observer.to_owned(),
        vantage,
        component_id: component_id(0),
        sightings,
        reading,
        sign_off: false,
        posting: Posting::default(),
    }
}

/// What a producer and a consumer report of the same events.
fn both(sightings: &[Sighting]) -> Vec<WitnessReport> {
    let reports = sightings.chunks(REPORT).flat_map(|seen| {
        [("agent", Vantage::Producer), ("user", Vantage::Consumer)]
            .map(|(observer, vantage)| reported(observer, vantage, seen.to_vec()))
    });
    reports.collect()
}

/// A first event of each of as many runs, each on a thread of its own.
fn first_events(size: usize, now: Now) -> Vec<Sighting> {
    let threads = (0..size).map(|n| format!("thread-{n}"));
    threads
        .map(|thread| sighting(&thread, 1, "agent_started", now))
        .collect()
}

fn beat(size: usize, now: Now) -> Work {
    let mut world = World::new(size, now);
    world.second();
    Box::new(move || world.beats())
}

fn audit(size: usize, now: Now) -> Work {
    let mut world = World::new(size, now);
    world.second();
    world.beats();
    Box::new(move || world.audits())
}

fn quiet_tick(size: usize, now: Now) -> Work {
    let mut world = World::new(size, now);
    world.tick();
    Box::new(move || {
        world.tick();
        world.components as u64
    })
}

/// One component, evaluated while as many of its runs are open.
fn rules_over_runs(size: usize, now: Now) -> Work {
    let mut world = World::new(1, now);
    let reports = both(&first_events(size, world.now));
    world.report(&reports);
    world.second();
    world.beats();
    Box::new(move || {
        world.tick();
        size as u64
    })
}

/// One component, evaluated when as many of its runs have ended well and settled.
fn rules_over_settled(size: usize, now: Now) -> Work {
    let mut world = World::new(1, now);
    let mut events = first_events(size, world.now);
    let ends = (0..size).map(|n| format!("thread-{n}"));
    let ends = ends.map(|thread| sighting(&thread, 2, "agent_completed", world.now));
    events.extend(ends);
    world.report(&both(&events));
    for _ in 0..20 {
        world.second();
        world.beats();
        world.tick();
    }
    Box::new(move || {
        for _ in 0..100 {
            world.second();
            world.beats();
        }
        100
    })
}

fn events(size: usize, now: Now) -> Work {
    let mut world = World::new(1, now);
    let numbers = 1..=size as u64;
    let seen: Vec<_> = numbers
        .map(|n| sighting("thread", n, "agent_thinking", world.now))
        .collect();
    let reports = both(&seen);
    Box::new(move || world.report(&reports))
}

fn runs(size: usize, now: Now) -> Work {
    let mut world = World::new(1, now);
    let reports = both(&first_events(size, world.now));
    Box::new(move || world.report(&reports))
}

/// As many consumers of one thread, each of which reports the same three events.
fn readers(size: usize, now: Now) -> Work {
    let mut world = World::new(1, now);
    let seen = |n: u64| {
        let numbers = 3 * n + 1..=3 * n + 3;
        let seen = numbers.map(|n| sighting("thread", n, "agent_thinking", world.now));
        seen.collect::<Vec<_>>()
    };
    let round = |n: u64| {
        let agent = reported("agent", Vantage::Producer, seen(n));
        let users = (0..size).map(|user| format!("user-{user}"));
        let users = users.map(|user| reported(&user, Vantage::Consumer, seen(n)));
        std::iter::once(agent).chain(users).collect::<Vec<_>>()
    };
    let (first, second) = (round(0), round(1));
    world.report(&first);
    world.second();
    Box::new(move || {
        world.report(&second);
        second.len() as u64
    })
}
