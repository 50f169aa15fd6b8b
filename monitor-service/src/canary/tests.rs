//! The runs against a bridge of our own making, which can be told to lie.

mod double;

use std::time::Duration;

use service_kit::clock::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::double::{Bridge, Lie};
use super::Canaries;
use super::settings::CanarySettings;
use crate::domain::{CanaryOutcome, CanaryRun, ProbeEvent};
use crate::fleet::api::{CanaryTarget, Command, FleetHandle, Target};
use crate::probe::pulse::Pulse;
use crate::probe::settings::ProbeSettings;
use crate::probe::{Reporter, channel};

/// Longer than anything here may take; a test that waits for it fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn settings() -> CanarySettings {
    CanarySettings {
        interval: Duration::from_millis(40),
        deadline: Duration::from_millis(600),
        recheck_interval: Duration::from_millis(300),
        ..CanarySettings::default()
    }
}

/// A lying bridge and the runs through it.
struct Scene {
    bridge: Bridge,
    events: mpsc::Receiver<Command>,
    runs: Vec<JoinHandle<()>>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        for run in &self.runs {
            run.abort();
        }
    }
}

impl Scene {
    async fn new(lie: Lie) -> Self {
        Self::with(lie, settings(), CanaryTarget::default(), 1).await
    }

    async fn with(lie: Lie, settings: CanarySettings, canary: CanaryTarget, count: u64) -> Self {
        let (bridge, endpoint) = Bridge::start(lie).await;
        let (sender, events) = mpsc::channel(1_024);
        let canaries = Canaries::new(settings, "0193-monitor-instance-7f3a");
        let clock = Clock::system();
        let mut runs = Vec::new();
        for generation in 1..=count {
            let target = Target {
                component_id: "double".into(),
                endpoint: endpoint.clone(),
                labels: Default::default(),
                tls: None,
                metadata: Default::default(),
                canary: canary.clone(),
            };
            let probe = ProbeSettings::default();
            let opened = channel::open(&target, &probe, Clock::system()).unwrap();
            let reporter = Reporter {
                component_id: target.component_id.clone(),
                generation,
                fleet: FleetHandle::new(sender.clone(), Duration::from_secs(1)),
            };
            let watch = (clock, Pulse::new(clock));
            tokio::spawn(watch.1.clone().run());
            let told = (reporter, Duration::ZERO);
            let through = canaries.through(&target, opened.events, probe, watch, told);
            runs.extend(through.map(tokio::spawn));
        }
        Self {
            bridge,
            events,
            runs,
        }
    }

    async fn event(&mut self) -> ProbeEvent {
        let command = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        match command.expect("an event in time").expect("runs") {
            Command::Probe { event, .. } => event,
            _ => panic!("not a probe's event"),
        }
    }

    async fn run(&mut self) -> CanaryRun {
        match self.event().await {
            ProbeEvent::Canary(run) => *run,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn runs_go_around_their_threads_and_come_back_whole() {
    let canary = CanaryTarget {
        token: "let-me-read".to_owned(),
        ..CanaryTarget::default()
    };
    let mut scene = Scene::with(Lie::None, settings(), canary, 1).await;
    let mut keys = Vec::new();
    for _ in 0..9 {
        let run = scene.run().await;
        let CanaryOutcome::Whole(delay) = run.outcome else {
            panic!("{run:?}");
        };
        assert!(delay <= run.ended.since(run.began.monotonic), "{run:?}");
        keys.push(run.key);
    }
    assert_eq!(keys[..4], keys[4..8]);
    assert_eq!(keys[0], "$canary/instance7f3a/1-0");
    assert_eq!(keys[3], "$canary/instance7f3a/1-3");
    scene.bridge.record(|record| {
        // The second time around each thread goes on where its last run ended.
        let places: Vec<_> = record
            .read
            .iter()
            .map(|(_, after)| *after)
            .take(9)
            .collect();
        let (fresh, resumed) = ([None; 4], [Some(5); 4]);
        assert_eq!(places[..4], fresh);
        assert_eq!(places[4..8], resumed);
        assert_eq!(places[8], Some(10));
        assert_eq!(record.egress_asked, 1, "the answer is kept");
        assert_eq!(record.authorizations[0], "Bearer let-me-read");
        assert!(record.acknowledged >= 9 && record.closed >= 9, "{record:?}");
    });
}

#[tokio::test]
async fn every_lie_about_the_path_is_a_failure_with_its_reason() {
    for (lie, says) in [
        (Lie::Silent, "no welcome came from ws://127.0.0.1:"),
        (
            Lie::BlackHole,
            "0 of 5 events came back from ws://127.0.0.1:",
        ),
        (Lie::Loses, "event 4 of 5 (agent_message) came too early"),
        (Lie::Repeats, "sequence 1 came for 2"),
        (
            Lie::Garbles,
            "event 1 of 5 (agent_started) came back with other data",
        ),
        (Lie::Refuses, "was answered STATUS_REJECTED: \"full\""),
        (Lie::Hangs, "0 of 5 events came back"),
        (Lie::Goodbye(4008), "closed with 4008 \"so it goes\""),
        (Lie::Upgrade(404), "answered HTTP 404"),
        (
            Lie::Answers(tonic::Code::Internal),
            "Publish: answered INTERNAL",
        ),
        (Lie::Misleads, "refused"),
        (Lie::Babbles, "a frame cannot be read"),
        (Lie::Echoes, "an event came after the run's end"),
    ] {
        let mut scene = Scene::new(lie).await;
        let first = scene.run().await;
        let second = scene.run().await;
        assert_ne!(first.key, second.key);
        for run in [first, second] {
            let CanaryOutcome::Failed(why) = &run.outcome else {
                panic!("{lie:?}: {run:?}");
            };
            assert!(why.contains(says), "{lie:?}: {why} lacks {says}");
        }
    }
}

#[tokio::test]
async fn what_says_nothing_of_the_path_is_no_failure() {
    for lie in [
        Lie::Goodbye(4001),
        Lie::Goodbye(4003),
        Lie::Goodbye(4010),
        Lie::Upgrade(401),
        Lie::Upgrade(503),
        Lie::Answers(tonic::Code::PermissionDenied),
        Lie::Answers(tonic::Code::ResourceExhausted),
    ] {
        let mut scene = Scene::new(lie).await;
        let run = scene.run().await;
        let said = matches!(run.outcome, CanaryOutcome::NoWord(_));
        assert!(said, "{lie:?}: {run:?}");
    }
    for lie in [Lie::Goodbye(4009), Lie::Answers(tonic::Code::Unavailable)] {
        let mut scene = Scene::new(lie).await;
        let run = scene.run().await;
        let said = matches!(run.outcome, CanaryOutcome::Draining(_));
        assert!(said, "{lie:?}: {run:?}");
    }
}

#[tokio::test]
async fn a_component_that_takes_no_events_is_asked_again_seldom() {
    let mut scene = Scene::new(Lie::NotServed).await;
    assert_eq!(scene.event().await, ProbeEvent::NoCanary);
    scene.bridge.lies(Lie::None);
    let run = loop {
        if let ProbeEvent::Canary(run) = scene.event().await {
            break run;
        }
    };
    assert!(matches!(run.outcome, CanaryOutcome::Whole(_)), "{run:?}");
    let asked = scene.bridge.record(|record| record.egress_asked);
    assert_eq!(asked, 2, "once at first, and once after the pause");
}

#[tokio::test]
async fn whoever_is_not_known_to_take_events_is_not_blamed() {
    let (sender, mut events) = mpsc::channel(16);
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target {
        component_id: "nobody".into(),
        endpoint: format!("http://{}", free.local_addr().unwrap()),
        labels: Default::default(),
        tls: None,
        metadata: Default::default(),
        canary: CanaryTarget::default(),
    };
    drop(free);
    let clock = Clock::system();
    let opened = channel::open(&target, &ProbeSettings::default(), Clock::system()).unwrap();
    let reporter = Reporter {
        component_id: target.component_id.clone(),
        generation: 1,
        fleet: FleetHandle::new(sender, Duration::from_secs(1)),
    };
    let runs = Canaries::new(settings(), "i").through(
        &target,
        opened.events,
        ProbeSettings::default(),
        (clock, Pulse::new(clock)),
        (reporter, Duration::ZERO),
    );
    let runs = tokio::spawn(runs.unwrap());
    let told = tokio::time::timeout(Duration::from_millis(500), events.recv()).await;
    assert!(told.is_err(), "something was told of a stranger");
    runs.abort();
}

#[tokio::test]
async fn a_late_run_gets_company_and_both_are_told_in_time() {
    let mut scene = Scene::new(Lie::None).await;
    assert!(matches!(scene.run().await.outcome, CanaryOutcome::Whole(_)));
    scene.bridge.lies(Lie::Silent);
    let mut failed = Vec::new();
    while failed.len() < 2 {
        let run = scene.run().await;
        if matches!(run.outcome, CanaryOutcome::Failed(_)) {
            failed.push(run);
        }
    }
    let deadline = settings().deadline;
    let company = failed[1].began.since(failed[0].began.monotonic);
    assert!(company >= deadline / 2 && company < deadline, "{company:?}");
    // It comes back where it heals, one run at a time until then.
    scene.bridge.lies(Lie::None);
    while !matches!(scene.run().await.outcome, CanaryOutcome::Whole(_)) {}
}

#[tokio::test]
async fn readers_that_moved_are_found_again() {
    let mut scene = Scene::new(Lie::None).await;
    assert!(matches!(scene.run().await.outcome, CanaryOutcome::Whole(_)));
    scene.bridge.lies(Lie::Misleads);
    // The address that is known still works, and nobody asks for another.
    assert!(matches!(scene.run().await.outcome, CanaryOutcome::Whole(_)));
    scene.bridge.lies(Lie::Upgrade(404));
    while !matches!(scene.run().await.outcome, CanaryOutcome::Failed(_)) {}
    scene.bridge.lies(Lie::None);
    while !matches!(scene.run().await.outcome, CanaryOutcome::Whole(_)) {}
    let asked = scene.bridge.record(|record| record.egress_asked);
    assert!(asked >= 2, "{asked}");
}

#[tokio::test]
async fn a_hundred_components_share_a_few_places() {
    let few = CanarySettings {
        concurrent_max: 3,
        interval: Duration::from_millis(100),
        ..settings()
    };
    let mut scene = Scene::with(Lie::None, few, CanaryTarget::default(), 100).await;
    let mut keys = std::collections::BTreeSet::new();
    while keys.len() < 200 {
        let run = scene.run().await;
        assert!(matches!(run.outcome, CanaryOutcome::Whole(_)), "{run:?}");
        keys.insert(run.key);
    }
    // A late run may have company, and a close may linger at the bridge's side.
    let most = scene.bridge.record(|record| record.most_open);
    assert!(most <= 3 * 2 + 2, "{most} were open at once");
}

#[tokio::test]
async fn none_is_sent_where_it_is_turned_off() {
    let off = CanarySettings {
        enabled: false,
        ..settings()
    };
    let scene = Scene::with(Lie::None, off, CanaryTarget::default(), 1).await;
    assert!(scene.runs.is_empty());
    let disabled = CanaryTarget {
        disabled: true,
        ..CanaryTarget::default()
    };
    let scene = Scene::with(Lie::None, settings(), disabled, 1).await;
    assert!(scene.runs.is_empty());
}
