//! The bridge dies or hangs, and comes back.

use std::time::Duration;

use monitorable::monitor::v1::Verdict;
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::eventually::{holds, time_until};
use monitorable_tests::process::Service;
use monitorable_tests::proxy::Proxy;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};

use crate::pair::{BRIDGE, FOUND_WITHIN, NO_CANARY, Pair, SOON};

/// How long the monitor may take to trust a component that is back.
const HEALED_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_killed_bridge_is_down_and_comes_back() {
    // Stable addresses in front of two lives of the bridge.
    let bridge = Service::bridge(&[]).await;
    let (grpc, http) = (
        Proxy::start(bridge.grpc).await,
        Proxy::start(bridge.http).await,
    );
    let monitor = Service::monitor(NO_CANARY).await;
    let auditor = Auditor::at(&monitor.uri());
    auditor.register(BRIDGE, &grpc.uri()).await;
    auditor
        .until_standing(BRIDGE, Verdict::Unverified, SOON)
        .await;
    let mut reader = Reader::connect(http.address, Options::thread("chat")).await;
    Publisher::new(&grpc.uri())
        .publish(&Run::whole("chat", "run-1", 1))
        .await;
    let record = reader.until_events(SOON, 6).await;
    let last = record.events().last().unwrap();
    let (epoch, sequence) = (last.text("epoch").to_owned(), last.sequence());

    bridge.kill().await;
    let ((), after) = time_until(FOUND_WITHIN, "DOWN", || async {
        let verdict = auditor.standing(BRIDGE).await?.verdict();
        holds(verdict == Verdict::Down, verdict)
    })
    .await;
    println!("a killed bridge was DOWN after {after:?}");
    reader
        .until(SOON, "the reader notices", |record| record.over)
        .await;

    let bridge = Service::bridge(&[]).await;
    grpc.redirect(bridge.grpc);
    http.redirect(bridge.http);
    auditor
        .until_standing(BRIDGE, Verdict::Unverified, HEALED_WITHIN)
        .await;
    let findings = auditor.findings(BRIDGE).await;
    let told = findings
        .iter()
        .any(|finding| ["unreachable", "silent_restart"].contains(&finding.rule_id.as_str()));
    assert!(
        told,
        "the history tells of the outage or the restart: {findings:?}"
    );

    // What the new life cannot replay, it says.
    Publisher::new(&grpc.uri())
        .publish(&Run::whole("chat", "run-2", 1))
        .await;
    let options = Options::thread("chat").after(&epoch, sequence);
    let mut reader = Reader::connect(http.address, options).await;
    let welcome = reader.welcome().await;
    assert_eq!(welcome["recovered"], false, "{welcome}");
    assert_ne!(welcome["epoch"], epoch.as_str(), "{welcome}");
    let record = reader.until_events(SOON, 6).await;
    assert_eq!(record.events().next().unwrap().sequence(), 1);
}

#[tokio::test]
async fn a_stopped_bridge_is_found_although_its_ports_accept() {
    let pair = Pair::start(&[], NO_CANARY).await;
    pair.auditor
        .until_standing(BRIDGE, Verdict::Unverified, SOON)
        .await;
    pair.bridge.pause();
    let connected = tokio::net::TcpStream::connect(pair.bridge.grpc).await;
    assert!(
        connected.is_ok(),
        "the port of a stopped process accepts: {connected:?}"
    );
    let ((), after) = time_until(FOUND_WITHIN, "the stopped bridge is found", || async {
        let standing = pair.auditor.standing(BRIDGE).await?;
        let verdict = standing.verdict();
        let found = matches!(verdict, Verdict::Down | Verdict::SilentFailure);
        holds(
            found && standing.open_findings > 0,
            (verdict, standing.open_findings),
        )
    })
    .await;
    println!("a stopped bridge was found after {after:?}");
    pair.bridge.resume();
    pair.auditor
        .until_standing(BRIDGE, Verdict::Unverified, HEALED_WITHIN)
        .await;
}

#[tokio::test]
async fn a_paused_monitor_raises_no_false_alarm() {
    let pair = Pair::start(&[], NO_CANARY).await;
    pair.auditor
        .until_standing(BRIDGE, Verdict::Unverified, SOON)
        .await;
    pair.monitor.pause();
    tokio::time::sleep(Duration::from_secs(8)).await;
    pair.monitor.resume();
    Target::at(&pair.monitor.uri()).until_healthy(SOON).await;
    pair.auditor
        .until_audited(BRIDGE, Verdict::Unverified, SOON)
        .await;
    let findings = pair.auditor.findings(BRIDGE).await;
    assert!(findings.is_empty(), "{findings:?}");
}

#[tokio::test]
async fn a_half_open_watch_is_found() {
    let bridge = Service::bridge(&[]).await;
    let network = Proxy::start(bridge.grpc).await;
    let monitor = Service::monitor(NO_CANARY).await;
    let auditor = Auditor::at(&monitor.uri());
    auditor.register(BRIDGE, &network.uri()).await;
    auditor
        .until_standing(BRIDGE, Verdict::Unverified, SOON)
        .await;
    network.set(monitorable_tests::proxy::Fault::HalfOpen);
    let ((), after) = time_until(
        FOUND_WITHIN,
        "the half-open connection is found",
        || async {
            let verdict = auditor.standing(BRIDGE).await?.verdict();
            let found = matches!(verdict, Verdict::Down | Verdict::SilentFailure);
            holds(found, verdict)
        },
    )
    .await;
    println!("a half-open connection was found after {after:?}");
    network.set(monitorable_tests::proxy::Fault::Pass);
    auditor
        .until_standing(BRIDGE, Verdict::Unverified, HEALED_WITHIN)
        .await;
}
