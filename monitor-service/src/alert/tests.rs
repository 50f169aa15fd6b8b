//! Alerts over real sockets: a receiver that takes them, one that refuses, and nobody at all.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;
use service_kit::config::SecretUrl;
use service_kit::histogram::Histogram;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::settings::AlertSettings;
use super::{Alerting, Outbox, open};
use crate::domain::{Alert, AlertEvent, AlertKind, EvidenceItem, Finding, FindingState, Severity};
use crate::fleet::api::{AlertCounts, Command, FleetHandle, SelfReport};
use crate::fleet::settings::Identity;

const SOON: Duration = Duration::from_secs(10);

/// Answers what it is told to, in order, the last answer for ever; keeps what it was sent.
#[derive(Clone)]
struct Receiver {
    answers: Arc<Mutex<Vec<u16>>>,
    bodies: mpsc::UnboundedSender<Value>,
}

async fn receive(State(receiver): State<Receiver>, body: String) -> StatusCode {
    let _ = receiver.bodies.send(serde_json::from_str(&body).unwrap());
    let mut answers = receiver.answers.lock().unwrap();
    let answer = if answers.len() > 1 {
        answers.remove(0)
    } else {
        answers[0]
    };
    StatusCode::from_u16(answer).unwrap()
}

async fn receiver(answers: &[u16]) -> (SocketAddr, mpsc::UnboundedReceiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (bodies, received) = mpsc::unbounded_channel();
    let receiver = Receiver {
        answers: Arc::new(Mutex::new(answers.to_vec())),
        bodies,
    };
    let router = Router::new().fallback(receive).with_state(receiver);
    let limits = service_kit::http::HttpLimits::default();
    let never = tokio_util::sync::CancellationToken::new();
    tokio::spawn(service_kit::http::serve(
        listener.into(),
        router,
        limits,
        never,
    ));
    (address, received)
}

fn settings() -> AlertSettings {
    AlertSettings {
        retry_base: Duration::from_millis(10),
        retry_cap: Duration::from_millis(200),
        ..AlertSettings::default()
    }
}

fn identity() -> Identity {
    Identity {
        component_id: "monitor".into(),
        instance_id: "m".into(),
    }
}

fn url(address: SocketAddr) -> SecretUrl {
    SecretUrl::read(&format!("http://{address}/hooks/hush?key=hush")).unwrap()
}

fn alert(severity: Severity) -> Alert {
    let at = SystemTime::UNIX_EPOCH;
    Alert {
        kind: AlertKind::Opened,
        finding: Finding {
            finding_id: "m-1".into(),
            rule_id: "black_hole",
            component_id: "bridge".into(),
            subject: String::new(),
            severity,
            open_time: at,
            resolve_time: None,
            message: "2 are missing; 0 may be.".into(),
            evidence: vec![EvidenceItem {
                source: "producer:p".into(),
                claimed: String::new(),
                observed: "2 events".into(),
                at,
            }],
            state: FindingState::Open,
            reopened: 0,
            in_maintenance: false,
        },
    }
}

/// Runs the alerts against a fleet that answers its self report, proven or not.
fn run(settings: AlertSettings, proven: bool) -> (Outbox, mpsc::UnboundedReceiver<AlertEvent>) {
    let (outbox, alerting): (Outbox, Alerting) = open(settings, identity()).unwrap();
    let (sender, mut mailbox) = mpsc::channel(16);
    let fleet = FleetHandle::new(sender, Duration::from_secs(2));
    tokio::spawn(alerting.run(fleet));
    let (events, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(command) = mailbox.recv().await {
            match command {
                Command::Alert(event) => {
                    let _ = events.send(event);
                }
                Command::SelfReport { reply } => {
                    let _ = reply.send(report(proven));
                }
                _ => panic!("nothing else is asked of the fleet"),
            }
        }
    });
    (outbox, heard)
}

fn report(proven: bool) -> SelfReport {
    SelfReport {
        sequence: 1,
        observe_time: SystemTime::UNIX_EPOCH,
        uptime: Duration::from_secs(1),
        proven,
        tick_lateness: Duration::ZERO,
        last_tick: None,
        components: 0,
        audits: 0,
        audits_by_verdict: [].into(),
        findings_open: [].into(),
        findings_in_maintenance: [].into(),
        findings_opened: 0,
        findings_resolved: 0,
        events_witnessed: 0,
        events_repeated: 0,
        evidence_evicted: 0,
        threads_witnessed: 0,
        runs_witnessed: 0,
        observers: 0,
        findings_reopened: 0,
        stretch: 1,
        blind: false,
        alerts: AlertCounts::default(),
        reports_missing: 0,
        call_latency: Histogram::default(),
    }
}

async fn next<T>(received: &mut mpsc::UnboundedReceiver<T>) -> T {
    let next = tokio::time::timeout(SOON, received.recv()).await;
    next.expect("in time").expect("the sender is there")
}

#[tokio::test]
async fn an_alert_says_what_the_api_says() {
    let (address, mut received) = receiver(&[200]).await;
    let (outbox, mut heard) = run(
        AlertSettings {
            webhook_url: url(address),
            ..settings()
        },
        true,
    );
    assert_eq!(outbox.leave(alert(Severity::Critical)), None);
    assert_eq!(next(&mut heard).await, AlertEvent::Delivered);
    let body = next(&mut received).await;
    assert_eq!(body["event"], "opened");
    assert_eq!(
        body["text"],
        "[critical] black_hole on bridge opened: 2 are missing; 0 may be."
    );
    assert_eq!(body["finding"]["state"], "STATE_OPEN");
    assert_eq!(body["finding"]["evidence"][0]["source"], "producer:p");
    assert_eq!(body["monitor"]["component_id"], "monitor");
    assert!(!body["summary"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn a_receiver_that_answers_after_one_retry_has_heard() {
    let (address, mut received) = receiver(&[503, 204]).await;
    let (outbox, mut heard) = run(
        AlertSettings {
            webhook_url: url(address),
            ..settings()
        },
        true,
    );
    outbox.leave(alert(Severity::Critical));
    assert_eq!(next(&mut heard).await, AlertEvent::Delivered);
    assert_eq!(next(&mut received).await, next(&mut received).await);
}

#[tokio::test]
async fn a_refusal_is_not_tried_again_at_once_and_healing_is_noticed() {
    let (address, mut received) = receiver(&[403, 200]).await;
    let (outbox, mut heard) = run(
        AlertSettings {
            webhook_url: url(address),
            ..settings()
        },
        true,
    );
    outbox.leave(alert(Severity::Warning));
    let AlertEvent::Failed { attempts, why } = next(&mut heard).await else {
        panic!("it was not refused");
    };
    assert_eq!((attempts, why.as_str()), (1, "answered 403 Forbidden"));
    // Nothing new comes, and the path is known to work again all the same.
    assert_eq!(next(&mut heard).await, AlertEvent::Delivered);
    assert_eq!(next(&mut received).await, next(&mut received).await);
}

#[tokio::test]
async fn nobody_there_is_a_failure_after_every_attempt_and_names_no_secret() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let (outbox, mut heard) = run(
        AlertSettings {
            webhook_url: url(address),
            ..settings()
        },
        true,
    );
    outbox.leave(alert(Severity::Critical));
    let AlertEvent::Failed { attempts, why } = next(&mut heard).await else {
        panic!("somebody was there");
    };
    assert_eq!(attempts, 3);
    assert!(why.contains("refused") && !why.contains("hush"), "{why}");
}

#[tokio::test]
async fn a_receiver_that_never_answers_costs_its_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (outbox, mut heard) = run(
        AlertSettings {
            webhook_url: url(listener.local_addr().unwrap()),
            deadline: Duration::from_millis(50),
            attempts: 2,
            ..settings()
        },
        true,
    );
    outbox.leave(alert(Severity::Critical));
    let AlertEvent::Failed { attempts, why } = next(&mut heard).await else {
        panic!("somebody answered");
    };
    assert_eq!((attempts, why.as_str()), (2, "no answer within 50ms"));
}

#[tokio::test]
async fn what_is_too_mild_or_too_much_is_not_kept() {
    let url = SecretUrl::read("http://127.0.0.1:9/").unwrap();
    let settings = AlertSettings {
        webhook_url: url,
        min_severity: Severity::Critical,
        queue_max: 2,
        ..settings()
    };
    // Nobody carries anything away.
    let (outbox, _alerting) = open(settings, identity()).unwrap();
    for _ in 0..10 {
        assert_eq!(outbox.leave(alert(Severity::Warning)), None);
    }
    for _ in 0..2 {
        assert_eq!(outbox.leave(alert(Severity::Critical)), None);
    }
    let lost = outbox.leave(alert(Severity::Critical));
    assert_eq!(lost, Some(AlertEvent::Dropped { queue_max: 2 }));
}

#[tokio::test]
async fn the_switch_is_told_while_the_loop_is_proven() {
    let (address, mut received) = receiver(&[200]).await;
    let beating = AlertSettings {
        dead_man_url: url(address),
        dead_man_interval: Duration::from_millis(20),
        ..settings()
    };
    let (_outbox, mut heard) = run(beating.clone(), true);
    assert_eq!(next(&mut heard).await, AlertEvent::BeatConfirmed);
    assert_eq!(next(&mut received).await["event"], "alive");
    assert_eq!(next(&mut received).await["beat"], 2);
}

#[tokio::test]
async fn a_loop_that_is_not_proven_beats_no_more() {
    let (address, mut received) = receiver(&[200]).await;
    let (_outbox, _heard) = run(
        AlertSettings {
            dead_man_url: url(address),
            dead_man_interval: Duration::from_millis(20),
            ..settings()
        },
        false,
    );
    let beat = tokio::time::timeout(Duration::from_millis(300), received.recv()).await;
    assert!(beat.is_err(), "{beat:?}");
}
