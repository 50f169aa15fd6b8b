//! The monitor's own runs: they prove a path that nobody uses, and find it broken before anybody
//! does.

use std::time::Duration;

use monitorable::monitor::v1::finding::State as FindingState;
use monitorable::monitor::v1::{CanaryOptions, Component, Severity, Verdict};
use monitorable_tests::calls::{self, Target};
use monitorable_tests::command;
use monitorable_tests::eventually::{eventually, holds, time_until};
use monitorable_tests::http;
use monitorable_tests::process::Service;
use monitorable_tests::proxy::{Fault, Proxy};
use monitorable_tests::reader::{Options, Reader};

use crate::pair::{BRIDGE, FOUND_WITHIN, Pair, SOON};

/// A bridge whose readers' port is behind a network that can break.
async fn behind(network: &Proxy, pair: &Pair) {
    let canary = CanaryOptions {
        websocket_uri: format!("ws://{}/v1/events", network.address),
        ..CanaryOptions::default()
    };
    let component = Component {
        component_id: BRIDGE.to_owned(),
        endpoint: pair.bridge.uri(),
        canary: Some(canary),
        ..Component::default()
    };
    pair.auditor.try_register(component).await.unwrap();
}

async fn verdict_is(pair: &Pair, verdict: Verdict) -> Result<(), String> {
    let standing = pair.auditor.standing(BRIDGE).await?;
    holds(standing.verdict() == verdict, standing.verdict())
}

#[tokio::test]
async fn an_idle_pair_becomes_healthy_by_its_own_runs_alone() {
    let pair = Pair::start(&[], &[]).await;
    pair.auditor
        .until_standing(BRIDGE, Verdict::Healthy, SOON)
        .await;
    let audit = pair.auditor.audit(BRIDGE).await;
    assert_eq!(
        calls::verdict(&audit),
        Verdict::Healthy,
        "{}",
        calls::shown(&audit)
    );
    let canary = audit.canary.as_ref().unwrap();
    assert!(canary.succeeded >= 1 && canary.failed == 0, "{canary:?}");
    assert!(canary.last_success_time.is_some(), "{canary:?}");
    assert!(canary.last_delay.is_some() && canary.delay_median.is_some());
    assert_eq!(canary.error, "");
    let validation = audit.event_monitor_validation.unwrap();
    assert_eq!((validation.producers, validation.produced), (0, 0));
    let score = audit.overall_assessment.unwrap().component_scores["evidence"];
    assert!((score - 100.0).abs() < 1e-9, "{score}");

    // Several rounds later: every thread had its turn, and no user sees any of it.
    eventually(SOON * 2, "six runs", || async {
        let audit = pair.auditor.audit(BRIDGE).await;
        let canary = audit.canary.unwrap();
        holds(canary.succeeded >= 6, &canary)
    })
    .await;
    let metrics = Target::at(&pair.bridge.uri()).metrics().await.unwrap();
    let delivery = metrics.delivery.unwrap();
    assert_eq!(delivery, Default::default(), "users' statistics stay empty");
    assert!(metrics.gauges["synthetic_events_acknowledged"] >= 30.0);
    assert!(pair.auditor.findings(BRIDGE).await.is_empty());
    it_is_shown_everywhere(&pair).await;
}

async fn it_is_shown_everywhere(pair: &Pair) {
    let uri = pair.monitor.uri();
    let audit = ["audit", BRIDGE, "--monitor", &uri];
    let table = command::monitor(&audit).await.expect(0);
    assert!(table.contains("runs whole, 0 failed"), "{table}");
    let page = http::get(pair.monitor.http, "/metrics").await.body;
    for line in [
        "monitor_canary_delay_seconds{component=\"bridge-service\"} 0.",
        "monitor_canary_runs_total{component=\"bridge-service\",result=\"failed\"} 0",
        "monitor_canary_failing{component=\"bridge-service\"} 0",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
    let path = format!("/api/v1/components/{BRIDGE}/audits?limit=1");
    let answer = http::get(pair.monitor.http, &path).await.body;
    assert!(answer.contains("\"last_delay\""), "{answer}");
}

#[tokio::test]
async fn a_broken_path_is_found_although_nobody_uses_it() {
    let pair = Pair::unregistered(&[], &[]).await;
    let network = Proxy::start(pair.bridge.http).await;
    behind(&network, &pair).await;
    for fault in [Fault::BlackHole, Fault::HalfOpen, Fault::Reset] {
        pair.auditor
            .until_standing(BRIDGE, Verdict::Healthy, SOON)
            .await;
        network.set(fault);
        let broken = || verdict_is(&pair, Verdict::SilentFailure);
        let ((), after) = time_until(FOUND_WITHIN, "SILENT_FAILURE", broken).await;
        println!("{fault:?} found after {after:?}");
        let open =
            |finding: &monitorable::monitor::v1::Finding| finding.state() == FindingState::Open;
        let finding = pair
            .auditor
            .until_finding(BRIDGE, "canary_failed", SOON, open)
            .await;
        assert_eq!(finding.severity(), Severity::Critical);
        assert!(finding.message.contains("1 may fail"), "{finding:?}");
        let sources: Vec<_> = finding.evidence.iter().map(|item| &item.source).collect();
        assert!(
            sources.iter().any(|it| it.starts_with("canary:$canary/")),
            "{sources:?}"
        );
        let claims = Target::at(&pair.bridge.uri()).health().await.unwrap();
        assert!(claims.healthy, "the bridge itself sees nothing: {claims:?}");

        network.set(Fault::Pass);
        let id = finding.finding_id.clone();
        pair.auditor
            .until_finding(BRIDGE, "canary_failed", SOON, |finding| {
                finding.finding_id == id && finding.state() == FindingState::Resolved
            })
            .await;
    }
    pair.auditor
        .until_standing(BRIDGE, Verdict::Healthy, SOON)
        .await;
    let findings = pair.auditor.findings(BRIDGE).await;
    let rules: Vec<_> = findings.iter().map(|it| it.rule_id.as_str()).collect();
    assert_eq!(rules, ["canary_failed"], "one cause, one finding");
    assert_eq!(findings[0].reopened, 2, "it came back twice");
}

#[tokio::test]
async fn a_draining_bridge_leaves_no_finding() {
    // Runs without a pause, so that some fall into the drain.
    let mut pair = Pair::start(&[], &["--canary-interval", "100ms"]).await;
    pair.auditor
        .until_standing(BRIDGE, Verdict::Healthy, SOON)
        .await;
    // A reader behind a dead network never answers its goodbye, which holds the drain up.
    let network = Proxy::start(pair.bridge.http).await;
    let mut reader = Reader::connect(network.address, Options::thread("chat")).await;
    reader.welcome().await;
    network.set(Fault::Stall);
    pair.bridge.terminate();
    let status = pair.bridge.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
    pair.auditor
        .until_standing(BRIDGE, Verdict::Down, SOON)
        .await;
    // Longer than any two runs may take.
    tokio::time::sleep(FOUND_WITHIN).await;
    let findings = pair.auditor.findings(BRIDGE).await;
    let canary = findings.iter().filter(|it| it.rule_id == "canary_failed");
    assert_eq!(canary.count(), 0, "{findings:?}");
}

#[tokio::test]
async fn a_paused_bridge_and_a_paused_monitor_are_no_broken_path() {
    let pair = Pair::start(&[], &[]).await;
    pair.auditor
        .until_standing(BRIDGE, Verdict::Healthy, SOON)
        .await;
    pair.monitor.pause();
    tokio::time::sleep(Duration::from_secs(8)).await;
    pair.monitor.resume();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(pair.auditor.findings(BRIDGE).await.is_empty());
    pair.bridge.pause();
    pair.auditor
        .until_standing(BRIDGE, Verdict::Down, SOON)
        .await;
    pair.bridge.resume();
    pair.auditor
        .until_standing(BRIDGE, Verdict::Healthy, SOON * 2)
        .await;
    let findings = pair.auditor.findings(BRIDGE).await;
    let canary = findings.iter().filter(|it| it.rule_id == "canary_failed");
    assert_eq!(canary.count(), 0, "{findings:?}");
}

#[tokio::test]
async fn a_refused_token_proves_nothing_and_the_right_one_does() {
    let pair = Pair::unregistered(&["--auth-tokens", "let-me-read-this"], &[]).await;
    let component = |token: &str| Component {
        component_id: BRIDGE.to_owned(),
        endpoint: pair.bridge.uri(),
        canary: Some(CanaryOptions {
            token: token.to_owned(),
            ..CanaryOptions::default()
        }),
        ..Component::default()
    };
    pair.auditor.try_register(component("wrong")).await.unwrap();
    eventually(SOON, "the refusal is shown", || async {
        let audit = pair.auditor.audit(BRIDGE).await;
        let canary = audit.canary.clone().ok_or("none was sent yet")?;
        holds(canary.error.contains("4001"), &canary)?;
        assert_eq!((canary.succeeded, canary.failed), (0, 0), "{canary:?}");
        let verdict = calls::verdict(&audit);
        holds(verdict == Verdict::Unverified, verdict)
    })
    .await;
    let registered = pair
        .auditor
        .try_register(component("let-me-read-this"))
        .await;
    let shown = registered.unwrap().component.unwrap();
    assert_eq!(shown.canary.unwrap().token, "***");
    pair.auditor
        .until_standing(BRIDGE, Verdict::Healthy, SOON)
        .await;
    assert!(pair.auditor.findings(BRIDGE).await.is_empty());
}

#[tokio::test]
async fn runs_can_be_turned_off_for_all_and_for_one() {
    let (all, one) = tokio::join!(
        Pair::start(&[], &["--canary-enabled", "false"]),
        Pair::unregistered(&[], &[])
    );
    let (endpoint, monitor) = (one.bridge.uri(), one.monitor.uri());
    let line = [
        "register",
        BRIDGE,
        &endpoint,
        "--canary-disabled",
        "--monitor",
        &monitor,
    ];
    let _ = command::monitor(&line).await.expect(0);
    for pair in [&all, &one] {
        pair.auditor
            .until_standing(BRIDGE, Verdict::Unverified, SOON)
            .await;
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    for pair in [&all, &one] {
        let audit = pair.auditor.audit(BRIDGE).await;
        assert_eq!(audit.canary, None, "{}", calls::shown(&audit));
        assert_eq!(calls::verdict(&audit), Verdict::Unverified);
    }
}

#[tokio::test]
async fn a_crash_is_an_outage_and_the_next_life_is_proven_anew() {
    let pair = Pair::unregistered(&[], &[]).await;
    let network = Proxy::start(pair.bridge.grpc).await;
    pair.auditor.register(BRIDGE, &network.uri()).await;
    pair.auditor
        .until_standing(BRIDGE, Verdict::Healthy, SOON)
        .await;
    pair.bridge.kill().await;
    pair.auditor
        .until_standing(BRIDGE, Verdict::Down, FOUND_WITHIN)
        .await;
    tokio::time::sleep(FOUND_WITHIN).await;
    // Another process, and readers connect to another port: it says which.
    let next = Service::bridge(&[]).await;
    network.redirect(next.grpc);
    pair.auditor
        .until_standing(BRIDGE, Verdict::Healthy, SOON * 2)
        .await;
    let findings = pair.auditor.findings(BRIDGE).await;
    let rules: Vec<_> = findings.iter().map(|it| it.rule_id.as_str()).collect();
    assert_eq!(rules, ["unreachable"], "{findings:?}");
}
