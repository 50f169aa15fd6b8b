//! Limits of the monitor: one over gets the documented answer, and the rest are untouched.

use monitorable::monitor::v1::evidence_client::EvidenceClient;
use monitorable::monitor::v1::monitor_client::MonitorClient;
use monitorable::monitor::v1::{
    Component, ObservedEvent, ReportEventsRequest, Vantage, Verdict, WatchFindingsRequest,
};
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::fake::Fake;
use monitorable_tests::process::Service;
use monitorable_tests::{command, http};
use tonic::Code;

use crate::SOON;

#[tokio::test]
async fn one_component_too_many_is_refused_by_name() {
    let fake = Fake::start("first").await;
    let monitor = Service::monitor(&["--fleet-components", "1"]).await;
    let auditor = Auditor::at(&monitor.uri());
    let endpoint = format!("http://{}", fake.address);
    auditor.register("first", &endpoint).await;
    let second = Component {
        component_id: "second".to_owned(),
        endpoint: endpoint.clone(),
        ..Component::default()
    };
    let refused = auditor.try_register(second).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains('1'), "{refused}");
    let uri = monitor.uri();
    let by_hand = ["register", "second", &endpoint, "--monitor", &uri];
    let ended = command::monitor(&by_hand).await;
    assert_eq!(ended.code, Some(3), "{ended}");
    auditor
        .until_standing("first", Verdict::Unverified, SOON)
        .await;
    auditor.remove("first").await.unwrap();
    auditor.register("second", &endpoint).await;
}

#[tokio::test]
async fn one_watcher_too_many_is_refused_and_the_others_hear_on() {
    let monitor = Service::monitor(&["--grpc-watchers", "1"]).await;
    let mut client = MonitorClient::new(monitor.channel());
    let findings = client.watch_findings(WatchFindingsRequest::default()).await;
    let mut findings = findings.unwrap().into_inner();
    let refused = client.watch_findings(WatchFindingsRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    let target = Target::at(&monitor.uri());
    let mut health = target.watch(None).await.unwrap();
    health.message().await.unwrap().unwrap();
    let refused = match target.watch(None).await {
        Err(status) => status,
        Ok(mut stream) => stream.message().await.unwrap_err(),
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    Auditor::at(&monitor.uri())
        .register("nobody", "http://127.0.0.1:1")
        .await;
    let heard = tokio::time::timeout(SOON, findings.message())
        .await
        .unwrap();
    let finding = heard.unwrap().unwrap().finding.unwrap();
    assert_eq!(finding.component_id, "nobody");
}

fn report(events: usize, filling: usize) -> ReportEventsRequest {
    let event = |number: usize| ObservedEvent {
        event_id: format!("e{number}"),
        thread_id: "chat-1".to_owned(),
        run_id: "run-1".to_owned(),
        r#type: format!("agent_thinking{}", "x".repeat(filling)),
        ..ObservedEvent::default()
    };
    ReportEventsRequest {
        observer_id: "p".to_owned(),
        vantage: Vantage::Producer.into(),
        component_id: "bridge".to_owned(),
        events: (0..events).map(event).collect(),
        ..ReportEventsRequest::default()
    }
}

#[tokio::test]
async fn a_report_too_large_is_refused_whole() {
    let monitor = Service::monitor(&[]).await;
    let mut client = EvidenceClient::new(monitor.channel());
    let many = client.report_events(report(1_001, 0)).await.unwrap_err();
    assert_eq!(many.code(), Code::InvalidArgument, "{many}");
    assert!(
        many.message().contains("1001") && many.message().contains("1000"),
        "{many}"
    );
    let long = client.report_events(report(1, 2 << 20)).await.unwrap_err();
    assert_eq!(long.code(), Code::ResourceExhausted, "{long}");
    let body = format!("{{\"observer_id\":\"{}\"}}", "x".repeat(300_000));
    let page = http::request(
        monitor.http,
        ::http::Method::POST,
        "/api/v1/receipts",
        &[],
        &body,
    )
    .await;
    assert_eq!(page.status, 413, "{page:?}");
    let taken = client
        .report_events(report(1_000, 0))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(taken.recorded, 1_000, "nothing of those before was taken");
}
