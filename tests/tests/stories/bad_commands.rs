//! Exit codes and errors of both command lines and their settings.

use std::time::Duration;

use monitorable::monitorable::v1::{DeliveryMetrics, State};
use monitorable_tests::command::{self, Ended};
use monitorable_tests::fake::Fake;
use monitorable_tests::process::Service;
use monitorable_tests::proxy::{Fault, Proxy};
use tonic::Status;

use crate::pair::Pair;

async fn check(endpoint: &str) -> Ended {
    command::monitor(&["check", endpoint, "--output", "json"]).await
}

#[tokio::test]
async fn check_has_an_exit_code_for_each_kind_of_answer() {
    let target = Fake::start("target").await;
    let well = check(&target.uri()).await;
    assert_eq!(well.code, Some(0), "{well}");

    target.change(|answers| answers.state = State::Degraded);
    let unwell = check(&target.uri()).await;
    assert_eq!(unwell.code, Some(4), "{unwell}");

    target.change(|answers| {
        answers.state = State::Active;
        answers.error = Some(Status::internal("broken inside"));
    });
    let failed = check(&target.uri()).await;
    assert_eq!(failed.code, Some(3), "{failed}");
    assert!(failed.both().contains("broken inside"), "{failed}");

    target.change(|answers| {
        answers.error = None;
        answers.delay = Duration::from_secs(60);
    });
    let hung = check(&target.uri()).await;
    assert_eq!(hung.code, Some(3), "{hung}");
    target.change(|answers| answers.delay = Duration::ZERO);

    let network = Proxy::start(target.address).await;
    network.set(Fault::Reset);
    let nobody = check(&network.uri()).await;
    assert_eq!(nobody.code, Some(2), "{nobody}");

    for arguments in [
        &["check"][..],
        &["check", "not a uri"],
        &["check", "http://a:1", "--odd"],
    ] {
        let bad = command::monitor(arguments).await;
        assert_eq!(bad.code, Some(1), "{arguments:?}: {bad}");
        assert!(!bad.stderr.is_empty(), "{arguments:?}: no word of why");
    }
}

#[tokio::test]
async fn check_finds_claims_that_do_not_hold() {
    let target = Fake::start("liar").await;
    target.change(|answers| answers.frozen = true);
    let frozen = check(&target.uri()).await;
    assert_eq!(frozen.code, Some(5), "{frozen}");

    target.change(|answers| {
        answers.frozen = false;
        answers.echo_nonce = false;
    });
    let stale = check(&target.uri()).await;
    assert_eq!(stale.code, Some(5), "{stale}");

    target.change(|answers| {
        answers.echo_nonce = true;
        answers.delivery = Some(DeliveryMetrics {
            events_accepted: 10,
            events_delivered: 7,
            ..DeliveryMetrics::default()
        });
    });
    let unbalanced = check(&target.uri()).await;
    assert_eq!(unbalanced.code, Some(5), "{unbalanced}");
    assert!(
        unbalanced.both().contains("unbalanced_ledger"),
        "{unbalanced}"
    );
}

#[tokio::test]
async fn check_finds_both_services_well() {
    let pair = Pair::start(&[], &[]).await;
    for service in [&pair.bridge, &pair.monitor] {
        let well = check(&service.uri()).await;
        assert_eq!(well.code, Some(0), "{well}");
    }
}

#[tokio::test]
async fn bad_settings_are_all_told_before_a_port_opens() {
    let listen = ["--grpc-listen", "127.0.0.1:0", "--http-listen", "here"];
    for (ended, prefix) in [
        (
            command::bridge(&[&["serve"][..], &listen].concat()).await,
            "BRIDGE",
        ),
        (
            command::monitor(&[&["serve"][..], &listen].concat()).await,
            "MONITOR",
        ),
    ] {
        assert_eq!(ended.code, Some(64), "{prefix}: {ended}");
        assert!(ended.stderr.contains("http.listen"), "{prefix}: {ended}");
        assert!(!ended.stdout.contains("listening"), "{prefix}: {ended}");
    }
    let variables = [
        ("BRIDGE_HUB_THREADS", "0"),
        ("BRIDGE_HEALTH_CHECK_INTERVAL", "soon"),
        ("BRIDGE_GRPC_LISTEN", "nowhere"),
    ];
    let many = command::bridge_with(&variables, &["serve"]).await;
    assert_eq!(many.code, Some(64), "{many}");
    for named in ["hub.threads", "health.check_interval", "soon", "nowhere"] {
        assert!(many.stderr.contains(named), "{named}: {many}");
    }
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), "[grcp]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let path = file.path().to_str().unwrap();
    let unknown = command::monitor(&["serve", "--config", path]).await;
    assert_eq!(unknown.code, Some(64), "{unknown}");
    assert!(
        unknown.stderr.contains("grpc.listen"),
        "did you mean: {unknown}"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let bridge = Service::bridge(&[]).await;
    let taken = bridge.grpc.to_string();
    let other = command::bridge(&[
        "serve",
        "--grpc-listen",
        &taken,
        "--http-listen",
        "127.0.0.1:0",
    ])
    .await;
    assert!(![Some(0), None].contains(&other.code), "{other}");
    assert!(other.stderr.contains(&taken), "{other}");
    assert!(!other.stderr.contains("panicked"), "{other}");
}

#[tokio::test]
async fn bad_client_commands_say_what_is_wrong() {
    let bridge = Service::bridge(&[]).await;
    let uri = bridge.uri();
    let broken = tempfile::NamedTempFile::with_suffix(".jsonl").unwrap();
    std::fs::write(
        broken.path(),
        "{\"conversation_id\":\"a\",\"messages\":7}\n",
    )
    .unwrap();
    let broken = broken.path().to_str().unwrap();
    for (arguments, named) in [
        (
            vec!["replay", "no-such-file.jsonl", "--target", &uri],
            "no-such-file.jsonl",
        ),
        (vec!["replay", broken, "--target", &uri], "messages"),
        (
            vec!["replay", broken, "--target", &uri, "--speed", "fast"],
            "speed",
        ),
        (vec!["replay", broken, "--target", "nowhere"], "target"),
    ] {
        let bad = command::bridge(&arguments).await;
        assert_eq!(bad.code, Some(1), "{arguments:?}: {bad}");
        assert!(bad.stderr.contains(named), "{arguments:?}: {bad}");
        assert!(!bad.stderr.contains("panicked"), "{bad}");
    }
    let nobody = Proxy::start(bridge.grpc).await;
    nobody.set(Fault::Reset);
    let nobody = nobody.uri();
    for arguments in [
        vec!["list", "--monitor", &nobody],
        vec!["audit", "a", "--monitor", &nobody],
        vec!["findings", "--monitor", &nobody],
    ] {
        let ended = command::monitor(&arguments).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended}");
        assert!(!ended.stderr.contains("panicked"), "{ended}");
    }
}
