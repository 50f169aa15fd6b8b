//! The HTTP port over a real fleet with real probes.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use monitorable::monitor::v1 as wire;
use monitorable::monitor::v1::monitor_server::Monitor;
use service_kit::access::Guard;
use service_kit::clock::Clock;
use service_kit::reload::ReloadStatus;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::router;
use crate::edge::monitor::MonitorService;
use crate::edge::self_report::{Fingerprint, SelfMonitor};
use crate::edge::{Door, Edge, EdgeLimits};
use crate::fleet;
use crate::fleet::settings::{FleetSettings, Identity};
use crate::probe::ProbeSet;
use crate::probe::settings::ProbeSettings;

fn edge() -> Edge {
    let clock = Clock::system();
    let identity = Identity {
        component_id: "monitor-service".to_owned(),
        instance_id: "i1".to_owned(),
    };
    let probes = ProbeSettings::default();
    let (set, pulse) = ProbeSet::new(probes, clock);
    tokio::spawn(pulse);
    let (fleet, working) = fleet::start(
        FleetSettings::default(),
        identity.clone(),
        clock,
        set,
        crate::alert::Outbox::closed(),
    );
    tokio::spawn(working);
    let shutdown = CancellationToken::new();
    let (_, changes) = watch::channel(Fingerprint::default());
    Edge {
        self_monitor: SelfMonitor::new(
            fleet.clone(),
            identity,
            clock,
            shutdown.clone(),
            ReloadStatus::default(),
        ),
        fleet,
        probes,
        changes,
        limits: EdgeLimits { watchers_max: 1 },
        shutdown,
        door: Door {
            guard: Guard::open(clock),
            reflection: true,
            metrics: true,
        },
    }
}

async fn send(edge: &Edge, method: &str, path: &str, body: &str) -> (Response, String) {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = router(edge.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, usize::MAX).await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    (Response::from_parts(parts, Body::empty()), text)
}

async fn register(edge: &Edge) {
    let component = wire::Component {
        component_id: "bridge".to_owned(),
        endpoint: "http://127.0.0.1:9".to_owned(),
        metadata: [("authorization".to_owned(), "Bearer hush".to_owned())].into(),
        ..Default::default()
    };
    let request = wire::RegisterComponentRequest {
        component: Some(component),
    };
    let service = MonitorService::new(edge);
    service
        .register_component(tonic::Request::new(request))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_json() {
    let edge = edge();
    let (response, text) = send(&edge, "GET", "/nowhere", "").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(text, r#"{"error":"path: nothing is at \"/nowhere\""}"#);
    let (response, text) = send(&edge, "DELETE", "/api/v1/summary", "").await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(text.starts_with(r#"{"error":"method: "#), "{text}");
}

#[tokio::test]
async fn every_page_is_guarded() {
    let edge = edge();
    for path in ["/", "/nowhere", "/api/v1/summary", "/badge/x.svg"] {
        let (response, _) = send(&edge, "GET", path, "").await;
        let policy = &response.headers()[header::CONTENT_SECURITY_POLICY];
        let policy = policy.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
    }
}

#[tokio::test]
async fn secrets_are_never_shown() {
    let edge = edge();
    register(&edge).await;
    let (response, text) = send(&edge, "GET", "/api/v1/components/bridge", "").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(text.contains(r#""authorization":"***""#), "{text}");
    assert!(!text.contains("hush"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_report_that_does_not_come_whole_is_given_up() {
    let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let request = Request::post("/api/v1/receipts").body(Body::from_stream(never));
    let answer = router(edge()).oneshot(request.unwrap());
    let answer = tokio::time::timeout(std::time::Duration::from_secs(60), answer).await;
    let answer = answer.expect("it is waited for without an end").unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn receipts_are_checked_as_over_grpc_and_readable_from_anywhere() {
    let edge = edge();
    let path = "/api/v1/receipts";
    let event = r#"{"event_id":"e","thread_id":"t","run_id":"r","type":"agent_started"}"#;
    let report = |events: &str| {
        format!(
            r#"{{"observer_id":"b","vantage":"VANTAGE_CONSUMER","component_id":"bridge","events":[{events}]}}"#
        )
    };
    let (response, text) = send(&edge, "POST", path, &report(event)).await;
    assert_eq!(response.status(), StatusCode::OK, "{text}");
    assert!(
        text.ends_with(r#""recorded":1,"repeated_events":0}"#),
        "{text}"
    );
    let (_, text) = send(&edge, "POST", path, &report(event)).await;
    assert!(
        text.ends_with(r#""recorded":0,"repeated_events":1}"#),
        "{text}"
    );
    let bad = report(&format!(r#"{event},{{"event_id":"two words"}}"#));
    let (response, text) = send(&edge, "POST", path, &bad).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(text.contains("events[1].event_id: "), "{text}");
    let origin = &response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN];
    assert_eq!(origin, "*");
    let (response, _) = send(&edge, "POST", path, &"x".repeat(300_000)).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let (response, _) = send(&edge, "OPTIONS", path, "").await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_badge_of_nobody_is_grey() {
    let edge = edge();
    for path in ["/badge/nobody.svg", "/badge/%3Cscript%3E.svg"] {
        let (response, text) = send(&edge, "GET", path, "").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(text.contains("not monitored"), "{text}");
        assert!(!text.contains("<script"), "{text}");
    }
}

#[tokio::test]
async fn an_id_that_is_not_registered_is_audited_as_not_monitored() {
    let edge = edge();
    let request = wire::AuditComponentRequest {
        component_id: "nobody".to_owned(),
    };
    let answer = MonitorService::new(&edge)
        .audit_component(tonic::Request::new(request))
        .await
        .unwrap();
    let audit = answer.into_inner().audit.unwrap();
    let assessment = audit.overall_assessment.unwrap();
    assert_eq!(assessment.verdict(), wire::Verdict::NotMonitored);
}

#[tokio::test]
async fn watchers_are_limited_and_end_at_the_drain() {
    use tokio_stream::StreamExt;
    let edge = edge();
    let service = MonitorService::new(&edge);
    let watch = || tonic::Request::new(wire::WatchFindingsRequest::default());
    let mut stream = service.watch_findings(watch()).await.unwrap().into_inner();
    let refused = service.watch_findings(watch()).await.err().unwrap();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    edge.shutdown.cancel();
    assert!(stream.next().await.is_none());
}
