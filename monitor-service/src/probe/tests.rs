//! The probes against a real Monitorable server on port 0.

mod double;

use std::time::Duration;

use monitorable::monitorable::v1::monitorable_server::MonitorableServer;
use service_kit::clock::Clock;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use self::double::{Double, Fault};
use super::ProbeSet;
use super::settings::ProbeSettings;
use crate::domain::{CallError, ProbeEvent, Probed, WatchReason};
use crate::fleet::api::{Command, FleetHandle, Probes, Target};

/// Longer than anything here may take; a test that waits for it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A target and a probe of it.
struct Scene {
    double: Double,
    endpoint: String,
    server: CancellationToken,
    probes: ProbeSet,
    fleet: FleetHandle,
    events: mpsc::Receiver<Command>,
}

fn settings() -> ProbeSettings {
    ProbeSettings {
        beat_interval: Duration::from_millis(100),
        call_deadline: Duration::from_millis(600),
        connect_deadline: Duration::from_millis(400),
        reconnect_base: Duration::from_millis(20),
        reconnect_cap: Duration::from_millis(100),
        ..ProbeSettings::default()
    }
}

impl Scene {
    async fn new(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let mut scene = Self::without_server(endpoint);
        *scene.double.fault.lock().unwrap() = fault;
        scene.serve(listener);
        scene
    }

    fn without_server(endpoint: String) -> Self {
        let (sender, events) = mpsc::channel(64);
        let (probes, pulse) = ProbeSet::new(settings(), Clock::system());
        tokio::spawn(pulse);
        Self {
            double: Double::default(),
            endpoint,
            server: CancellationToken::new(),
            probes,
            fleet: FleetHandle::new(sender, Duration::from_secs(1)),
            events,
        }
    }

    /// Serves until the token is cancelled: every connection breaks with it.
    fn serve(&mut self, listener: TcpListener) {
        self.server = CancellationToken::new();
        let cut = self.server.clone();
        let serving = Server::builder()
            .add_service(MonitorableServer::new(self.double.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        // A runtime of its own, since dropping it is what breaks connections under way.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    _ = serving => {}
                    () = cut.cancelled() => {}
                }
            });
        });
    }

    /// Looks twenty times a second between audits.
    fn looks_often(&mut self) {
        let often = ProbeSettings {
            glance_interval: Duration::from_millis(50),
            ..settings()
        };
        let (probes, pulse) = ProbeSet::new(often, Clock::system());
        tokio::spawn(pulse);
        self.probes = probes;
    }

    fn start(&mut self) {
        let target = Target {
            component_id: "double".into(),
            endpoint: self.endpoint.clone(),
            labels: Default::default(),
            tls: None,
            metadata: [("authorization".to_owned(), "Bearer t".to_owned())].into(),
            canary: Default::default(),
        };
        self.probes.start(target, 7, self.fleet.clone());
    }

    async fn event(&mut self) -> ProbeEvent {
        let command = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        match command.expect("an event in time").expect("a probe") {
            Command::Probe {
                component_id,
                generation,
                event,
            } => {
                assert_eq!(&*component_id, "double");
                assert_eq!(generation, 7);
                event
            }
            _ => panic!("not a probe's event"),
        }
    }

    async fn probed(&mut self) -> Probed {
        loop {
            if let ProbeEvent::Probed(probed) = self.event().await {
                return *probed;
            }
        }
    }

    async fn watch_ended(&mut self) -> ProbeEvent {
        loop {
            let event = self.event().await;
            if matches!(event, ProbeEvent::WatchEnded | ProbeEvent::WatchFailed(_)) {
                return event;
            }
        }
    }
}

#[tokio::test]
async fn a_new_component_is_audited_and_watched_at_once() {
    let mut scene = Scene::new(Fault::None).await;
    scene.start();
    let probed = scene.probed().await;
    assert!(probed.nonce_echoed);
    let health = probed.health.unwrap();
    assert_eq!(health.value.component_id, "double");
    assert!(health.received.monotonic >= health.sent.monotonic);
    assert_eq!(probed.metrics.unwrap().value.component_id, "double");
    let mut messages = Vec::new();
    while messages.len() < 3 {
        if let ProbeEvent::Watched(message) = scene.event().await {
            messages.push(message);
        }
    }
    assert!(
        messages
            .windows(2)
            .all(|pair| pair[0].health.sequence < pair[1].health.sequence)
    );
    assert_eq!(messages[2].reason, WatchReason::Heartbeat);
    let asked = scene.double.intervals.lock().unwrap().clone();
    assert_eq!(asked, [Duration::from_millis(100)]);
    let sent = scene.double.authorizations.lock().unwrap().clone();
    assert_eq!(sent, ["Bearer t"]);
}

#[tokio::test]
async fn audits_that_are_asked_for_together_are_one() {
    let mut scene = Scene::new(Fault::None).await;
    scene.start();
    scene.probed().await;
    for _ in 0..50 {
        scene.probes.audit_now("double");
    }
    scene.probes.audit_now("stranger");
    scene.probed().await;
    let mut messages = 0;
    // Six beats take longer than any audit that still waited.
    while messages < 6 {
        match scene.event().await {
            ProbeEvent::Watched(_) => messages += 1,
            other => panic!("a second audit came: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_component_that_hangs_is_given_up_at_the_deadline() {
    let mut scene = Scene::new(Fault::Hangs).await;
    scene.start();
    let probed = scene.probed().await;
    let deadline = settings().call_deadline;
    assert_eq!(probed.health, Err(CallError::TimedOut(deadline)));
    assert!(probed.metrics.is_ok(), "the calls are made side by side");
}

#[tokio::test]
async fn each_bad_answer_has_its_name() {
    for (fault, named) in [
        (Fault::Refuses, "answered PERMISSION_DENIED: not you"),
        (Fault::Empty, "the answer cannot be read: health is missing"),
        (Fault::Huge, "the answer cannot be read: "),
    ] {
        let mut scene = Scene::new(fault).await;
        scene.start();
        let probed = scene.probed().await;
        let error = probed.health.unwrap_err().to_string();
        assert!(error.starts_with(named), "{fault:?}: {error}");
        assert!(!probed.nonce_echoed);
    }
}

#[tokio::test]
async fn an_old_nonce_is_noticed() {
    let mut scene = Scene::new(Fault::OldNonce).await;
    scene.start();
    let probed = scene.probed().await;
    assert!(probed.health.is_ok());
    assert!(!probed.nonce_echoed);
}

#[tokio::test]
async fn nobody_there_is_unreachable_with_the_systems_reason() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let mut scene = Scene::without_server(endpoint);
    scene.start();
    let probed = scene.probed().await;
    let Err(CallError::Unreachable(why)) = probed.health else {
        panic!("{:?}", probed.health);
    };
    assert!(why.contains("Connection refused"), "{why}");
    let failed = scene.watch_ended().await;
    assert!(
        matches!(failed, ProbeEvent::WatchFailed(CallError::Unreachable(_))),
        "{failed:?}"
    );
}

#[tokio::test]
async fn between_audits_it_looks() {
    let mut scene = Scene::new(Fault::None).await;
    scene.looks_often();
    scene.start();
    scene.probed().await;
    let mut looks = 0;
    while looks < 3 {
        if let ProbeEvent::Glanced(seen) = scene.event().await {
            assert!(seen.nonce_echoed && seen.health.is_ok() && seen.metrics.is_ok());
            looks += 1;
        }
    }
}

#[tokio::test]
async fn a_host_that_does_not_resolve_is_unreachable() {
    let mut scene = Scene::without_server("http://nowhere.invalid:1".to_owned());
    scene.start();
    let probed = scene.probed().await;
    assert!(
        matches!(probed.health, Err(CallError::Unreachable(_))),
        "{:?}",
        probed.health
    );
}

#[tokio::test]
async fn a_port_that_accepts_and_says_nothing_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut scene = Scene::without_server(endpoint);
    scene.start();
    let probed = scene.probed().await;
    let deadline = settings().call_deadline;
    assert_eq!(probed.health, Err(CallError::TimedOut(deadline)));
    assert_eq!(probed.metrics, Err(CallError::TimedOut(deadline)));
}

/// A port whose queue of connections is full answers nobody any more.
#[tokio::test]
async fn a_port_that_takes_no_connection_is_given_up_before_the_call_is() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        waiting.push(connected.unwrap());
    }
    let mut scene = Scene::without_server(format!("http://{address}"));
    scene.start();
    let probed = scene.probed().await;
    let error = probed.health.unwrap_err();
    assert!(
        matches!(&error, CallError::Unreachable(why) if why.starts_with("no connection within")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_stream_that_is_silent_too_long_is_opened_anew() {
    let mut scene = Scene::new(Fault::FallsSilent).await;
    let patient = ProbeSettings {
        silence_limit: Duration::from_millis(300),
        ..settings()
    };
    let (probes, pulse) = ProbeSet::new(patient, Clock::system());
    tokio::spawn(pulse);
    scene.probes = probes;
    scene.start();
    let ended = scene.watch_ended().await;
    let ProbeEvent::WatchFailed(error) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(error, CallError::TimedOut(patient.silence_limit));
    while scene.double.intervals.lock().unwrap().len() < 2 {
        scene.event().await;
    }
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_malformed() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", other.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = other.accept().await {
            let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            open.push(stream);
        }
    });
    let mut scene = Scene::without_server(endpoint);
    scene.start();
    let probed = scene.probed().await;
    let Err(CallError::Malformed(why)) = probed.health else {
        panic!("{:?}", probed.health);
    };
    assert!(why.contains("HTTP/2"), "{why}");
}

#[tokio::test]
async fn a_broken_connection_is_noticed_and_audited_at_once_and_the_return_too() {
    let mut scene = Scene::new(Fault::None).await;
    scene.start();
    assert!(scene.probed().await.health.is_ok());
    while !matches!(scene.event().await, ProbeEvent::Watched(_)) {}
    scene.server.cancel();
    let failed = scene.watch_ended().await;
    assert!(matches!(failed, ProbeEvent::WatchFailed(_)), "{failed:?}");
    let probed = scene.probed().await;
    assert!(
        matches!(probed.health, Err(CallError::Unreachable(_))),
        "{:?}",
        probed.health
    );
    let address = scene.endpoint.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind(address).await.unwrap();
    scene.serve(listener);
    assert!(scene.probed().await.health.is_ok());
}

#[tokio::test]
async fn a_stream_that_ends_in_order_is_neutral_and_opened_again() {
    let mut scene = Scene::new(Fault::EndsStream).await;
    scene.start();
    for _ in 0..2 {
        assert_eq!(scene.watch_ended().await, ProbeEvent::WatchEnded);
    }
}

#[tokio::test]
async fn a_stream_that_floods_is_cut() {
    let mut scene = Scene::new(Fault::Floods).await;
    scene.start();
    let failed = scene.watch_ended().await;
    let ProbeEvent::WatchFailed(CallError::Malformed(why)) = failed else {
        panic!("{failed:?}");
    };
    assert!(why.contains("100 messages"), "{why}");
}

#[tokio::test]
async fn a_stopped_probe_says_nothing_more() {
    let mut scene = Scene::new(Fault::None).await;
    scene.start();
    scene.probed().await;
    scene.probes.stop("double");
    drop(scene.probes);
    drop(scene.fleet);
    // The probe held the last sender: with it the channel ends.
    let drained = async { while scene.events.recv().await.is_some() {} };
    tokio::time::timeout(PATIENCE, drained)
        .await
        .expect("the probe ends");
}

#[tokio::test]
async fn a_burst_of_starts_is_spread_out_and_a_single_one_is_not() {
    let (mut probes, _pulse) = ProbeSet::new(ProbeSettings::default(), Clock::system());
    assert_eq!(probes.start_delay(), Duration::ZERO);
    let delays: Vec<Duration> = (0..999).map(|_| probes.start_delay()).collect();
    let longest = delays.iter().max().unwrap();
    assert!(*longest <= Duration::from_secs(4), "{longest:?}");
    let late = delays
        .iter()
        .filter(|delay| **delay > Duration::from_secs(1))
        .count();
    assert!(late > 200, "only {late} of 999 were spread out");
}

#[tokio::test]
async fn a_panic_ends_the_probe_with_its_text() {
    let mut scene = Scene::without_server("http://127.0.0.1:1".to_owned());
    let reporter = super::Reporter {
        component_id: "double".into(),
        generation: 7,
        fleet: scene.fleet.clone(),
    };
    super::supervise(async { panic!("out of paper") }, reporter).await;
    let Some(Command::ProbeEnded { why, .. }) = scene.events.recv().await else {
        panic!("no end was told");
    };
    assert_eq!(why, "out of paper");
}
