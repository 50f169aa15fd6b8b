//! The alarm rings, and somebody hears it; or nobody does, and that is found.

use http::StatusCode;
use monitorable::monitorable::v1::DeliveryMetrics;
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::command;
use monitorable_tests::eventually::{eventually, holds, time_until};
use monitorable_tests::fake::{Answers, Fake};
use monitorable_tests::http::get;
use monitorable_tests::process::Service;
use monitorable_tests::receiver::Receiver;
use serde_json::Value;

use crate::pair::{FOUND_WITHIN, SOON};

const ID: &str = "ledger-keeper";
/// The monitor's own id by default.
const MONITOR: &str = "monitor-service";

fn loses(answers: &mut Answers) {
    answers.delivery = Some(DeliveryMetrics {
        events_accepted: 3,
        events_delivered: 1,
        ..DeliveryMetrics::default()
    });
}

fn hook(receiver: &Receiver) -> String {
    format!("http://{}/hooks/hush?token=hush", receiver.address)
}

async fn until_told(receiver: &Receiver, event: &str, rule: &str) -> Value {
    let what = format!("{event} {rule}");
    eventually(SOON, &what, || async {
        let received = receiver.received();
        let told = received
            .iter()
            .find(|told| told["event"] == event && told["finding"]["rule_id"] == rule);
        told.cloned().ok_or_else(|| format!("{received:?}"))
    })
    .await
}

async fn until_delivered(monitor: &Service, alerts: u64) {
    let line = format!("monitor_alerts_delivered_total {alerts}\n");
    eventually(SOON, &line, || async {
        let page = get(monitor.http, "/metrics").await.body;
        holds(page.contains(&line), page)
    })
    .await;
}

#[tokio::test]
async fn a_finding_is_told_when_it_opens_and_when_it_resolves() {
    let receiver = Receiver::start().await;
    let monitor = Service::monitor(&["--alert-webhook-url", &hook(&receiver)]).await;
    let auditor = Auditor::at(&monitor.uri());
    let target = Fake::start(ID).await;
    auditor.register(ID, &target.uri()).await;
    target.change(loses);
    let opened = until_told(&receiver, "opened", "unbalanced_ledger").await;
    assert_eq!(opened["finding"]["component_id"], ID);
    assert_eq!(opened["monitor"]["component_id"], MONITOR);
    target.change(|answers| answers.delivery = None);
    let resolved = until_told(&receiver, "resolved", "unbalanced_ledger").await;
    assert_eq!(
        resolved["finding"]["finding_id"],
        opened["finding"]["finding_id"]
    );
    // It comes back: the same finding.
    target.change(loses);
    let again = until_told(&receiver, "reopened", "unbalanced_ledger").await;
    assert_eq!(
        again["finding"]["finding_id"],
        opened["finding"]["finding_id"]
    );
    assert_eq!(again["finding"]["reopened"], 1);
    until_delivered(&monitor, 3).await;
    let log = monitor.log().join("\n");
    assert!(!log.contains("hush"), "{log}");
}

#[tokio::test]
async fn an_alert_that_is_refused_is_found_and_one_retry_is_not() {
    let receiver = Receiver::start().await;
    let flags = [
        "--alert-webhook-url",
        &hook(&receiver),
        "--alert-retry-cap",
        "1s",
    ];
    let monitor = Service::monitor(&flags).await;
    let auditor = Auditor::at(&monitor.uri());
    let target = Fake::start(ID).await;
    auditor.register(ID, &target.uri()).await;
    // The twin: it fails once, and answers after one retry.
    receiver.answer_once(StatusCode::SERVICE_UNAVAILABLE);
    target.change(loses);
    until_delivered(&monitor, 1).await;
    assert_eq!(receiver.received().len(), 2, "{:?}", receiver.received());
    let own = auditor.findings(MONITOR).await;
    assert!(own.is_empty(), "{own:?}");

    receiver.answer(StatusCode::FORBIDDEN);
    target.change(|answers| answers.delivery = None);
    let (finding, after) = time_until(FOUND_WITHIN, "the dead alert path", || async {
        let own = auditor.findings(MONITOR).await;
        own.first().cloned().ok_or_else(|| "nothing".to_owned())
    })
    .await;
    println!("alert_path_dead after {after:?}: {}", finding.message);
    assert_eq!(
        (finding.rule_id.as_str(), finding.subject.as_str()),
        ("alert_path_dead", "webhook")
    );
    assert!(finding.message.contains("403"), "{}", finding.message);
    let health = Target::at(&monitor.uri()).health().await.unwrap();
    assert!(!health.healthy, "{health:?}");
    receiver.answer(StatusCode::OK);
    eventually(SOON, "the path heals", || async {
        let open = auditor.summary().await.open_findings;
        holds(open == 0, open)
    })
    .await;
    let log = monitor.log().join("\n");
    assert!(!log.contains("hush"), "{log}");
}

#[tokio::test]
async fn a_dead_mans_switch_hears_of_a_living_monitor_and_its_silence_is_found() {
    let receiver = Receiver::start().await;
    let url = hook(&receiver);
    let flags = [
        "--alert-dead-man-url",
        &url,
        "--alert-dead-man-interval",
        "300ms",
    ];
    let monitor = Service::monitor(&flags).await;
    let auditor = Auditor::at(&monitor.uri());
    eventually(SOON, "three beats", || async {
        let beats = receiver.received();
        holds(
            beats.iter().filter(|beat| beat["event"] == "alive").count() >= 3,
            beats,
        )
    })
    .await;
    monitor.pause();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let heard = receiver.received().len();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(
        receiver.received().len(),
        heard,
        "a stopped monitor beats no more"
    );
    monitor.resume();
    Target::at(&monitor.uri()).until_healthy(SOON).await;
    assert!(
        auditor.findings("").await.is_empty(),
        "a pause is no fault of the switch"
    );
    receiver.answer(StatusCode::INTERNAL_SERVER_ERROR);
    let finding = auditor
        .until_finding(MONITOR, "alert_path_dead", FOUND_WITHIN, |_| true)
        .await;
    assert_eq!(finding.subject, "dead_man");
    assert!(finding.message.contains("500"), "{}", finding.message);
}

#[tokio::test]
async fn maintenance_is_announced_on_the_command_line_and_alerts_nobody() {
    let receiver = Receiver::start().await;
    let monitor = Service::monitor(&["--alert-webhook-url", &hook(&receiver)]).await;
    let (uri, auditor) = (monitor.uri(), Auditor::at(&monitor.uri()));
    let target = Fake::start(ID).await;
    auditor.register(ID, &target.uri()).await;
    let start = [
        "maintenance",
        "start",
        ID,
        "--for",
        "10m",
        "--monitor",
        &uri,
    ];
    let said = command::monitor(&start).await.expect(0);
    assert!(said.contains("in maintenance until"), "{said}");
    let listed = command::monitor(&["list", "--monitor", &uri])
        .await
        .expect(0);
    assert!(listed.contains("until "), "{listed}");
    let shown = get(monitor.http, &format!("/api/v1/components/{ID}"))
        .await
        .json();
    assert!(shown["maintenance_end_time"].is_string(), "{shown}");

    target.change(loses);
    let finding = auditor
        .until_finding(ID, "unbalanced_ledger", FOUND_WITHIN, |_| true)
        .await;
    assert!(finding.in_maintenance, "{finding:?}");
    let listed = command::monitor(&["findings", "--monitor", &uri])
        .await
        .expect(0);
    assert!(listed.contains("in maintenance"), "{listed}");
    assert!(receiver.received().is_empty(), "{:?}", receiver.received());

    // It outlives the window.
    let end = ["maintenance", "end", ID, "--monitor", &uri];
    let _ = command::monitor(&end).await.expect(0);
    until_told(&receiver, "opened", "unbalanced_ledger").await;
    let again = command::monitor(&end).await;
    assert_eq!(again.code, Some(3), "{again}");
    assert!(again.stderr.contains("no maintenance window"), "{again}");
}
