//! Programs of others meet the services: grpcurl, buf, Python, Go.
#![allow(
    clippy::unwrap_used,
    reason = "a test panics where the world is not as it must be"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use monitorable::monitor::v1::Verdict;
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::command::{self, Ended};
use monitorable_tests::paths::{repository, tool};
use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::skip::skip;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const SOON: Duration = Duration::from_secs(20);
const FOUND_WITHIN: Duration = Duration::from_secs(7);
const BRIDGE: &str = "bridge-service";

/// A tool's path, or the skip of this test.
macro_rules! tool_or_skip {
    ($test:expr, $tool:expr) => {
        match tool($tool) {
            Some(path) => path,
            None => {
                return skip(
                    $test,
                    concat!($tool, " is not installed; see cargo xtask test"),
                )
            }
        }
    };
}

/// Both services, the bridge registered.
async fn pair() -> (Service, Service, Auditor) {
    let (bridge, monitor) = tokio::join!(Service::bridge(&[]), Service::monitor(&[]));
    for service in [&bridge, &monitor] {
        Target::at(&service.uri()).until_healthy(SOON).await;
    }
    let auditor = Auditor::at(&monitor.uri());
    auditor.register(BRIDGE, &bridge.uri()).await;
    auditor.until_standing(BRIDGE, Verdict::Healthy, SOON).await;
    (bridge, monitor, auditor)
}

async fn grpcurl(path: &Path, arguments: &[&str]) -> String {
    let arguments = [&["-plaintext", "-max-time", "20"][..], arguments].concat();
    command::program(path, &arguments).await.expect(0)
}

#[tokio::test]
async fn grpcurl_lists_and_describes_every_service() {
    let path = tool_or_skip!("grpcurl_lists_and_describes_every_service", "bin/grpcurl");
    let (bridge, monitor, _auditor) = pair().await;
    let common = ["grpc.health.v1.Health", "monitorable.v1.Monitorable"];
    for (service, own) in [
        (&bridge, &["bridge.v1.AgentEvents"][..]),
        (&monitor, &["monitor.v1.Monitor", "monitor.v1.Evidence"]),
    ] {
        let address = service.grpc.to_string();
        let listed = grpcurl(&path, &[&address, "list"]).await;
        for name in common.iter().chain(own) {
            assert!(listed.lines().any(|line| line == *name), "{name}: {listed}");
            let described = grpcurl(&path, &[&address, "describe", name]).await;
            assert!(described.contains("rpc "), "{described}");
        }
        let reflection = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let request = ["-d", r#"{"list_services":""}"#, &address, reflection];
        let answer = grpcurl(&path, &request).await;
        assert!(answer.contains("monitorable.v1.Monitorable"), "{answer}");
    }
}

#[tokio::test]
async fn grpcurl_calls_every_service() {
    let path = tool_or_skip!("grpcurl_calls_every_service", "bin/grpcurl");
    let (bridge, monitor, _auditor) = pair().await;
    let (at_bridge, at_monitor) = (bridge.grpc.to_string(), monitor.grpc.to_string());
    let event = r#"{"events":[{"event_id":"e1","thread_id":"t","run_id":"r","type":"EVENT_TYPE_AGENT_STARTED"}]}"#;
    let report = r#"{"observer_id":"o","vantage":"VANTAGE_PRODUCER","component_id":"bridge-service","events":[{"event_id":"e1","thread_id":"t","run_id":"r","type":"agent_started","sequence":1}]}"#;
    let audit = r#"{"component_id":"bridge-service"}"#;
    for (address, method, data, expected) in [
        (
            &at_bridge,
            "monitorable.v1.Monitorable/GetHealthStatus",
            "{}",
            "STATE_ACTIVE",
        ),
        (
            &at_monitor,
            "monitorable.v1.Monitorable/GetHealthStatus",
            "{}",
            "STATE_ACTIVE",
        ),
        (
            &at_bridge,
            "monitorable.v1.Monitorable/GetMetrics",
            "{}",
            "lifecycle",
        ),
        (
            &at_bridge,
            "bridge.v1.AgentEvents/Publish",
            event,
            "STATUS_ACCEPTED",
        ),
        (
            &at_bridge,
            "bridge.v1.AgentEvents/GetRunLedger",
            r#"{"run_id":"r"}"#,
            "eventsPending",
        ),
        (&at_bridge, "grpc.health.v1.Health/Check", "{}", "SERVING"),
        (&at_bridge, "grpc.health.v1.Health/List", "{}", "readiness"),
        (
            &at_monitor,
            "monitor.v1.Evidence/ReportEvents",
            report,
            "recorded",
        ),
        (
            &at_monitor,
            "monitor.v1.Monitor/ListComponents",
            "{}",
            "bridge-service",
        ),
        (
            &at_monitor,
            "monitor.v1.Monitor/AuditComponent",
            audit,
            "VERDICT_",
        ),
        (&at_monitor, "monitor.v1.Monitor/ListAudits", audit, "trend"),
        (
            &at_monitor,
            "monitor.v1.Monitor/GetSummary",
            "{}",
            "components",
        ),
        (&at_monitor, "monitor.v1.Monitor/ListFindings", "{}", "{"),
        (
            &at_monitor,
            "monitor.v1.Monitor/GetThreadStatus",
            r#"{"thread_id":"t"}"#,
            "produced",
        ),
    ] {
        let answer = grpcurl(&path, &["-d", data, address, method]).await;
        assert!(answer.contains(expected), "{method}: {answer}");
    }
    // As the README has it, with no data and no proto file.
    let method = "monitorable.v1.Monitorable/GetHealthStatus";
    let plain = command::program(&path, &["-plaintext", &at_bridge, method]).await;
    assert!(plain.expect(0).contains("bridge-service"));
    // Streams, cut after a while.
    for (address, method, data, expected) in [
        (
            &at_bridge,
            "monitorable.v1.Monitorable/WatchHealth",
            r#"{"max_interval":"0.2s"}"#,
            "REASON_HEARTBEAT",
        ),
        (&at_bridge, "grpc.health.v1.Health/Watch", "{}", "SERVING"),
        (
            &at_bridge,
            "bridge.v1.AgentEvents/PublishStream",
            event,
            "STATUS_DUPLICATE",
        ),
    ] {
        let arguments = ["-plaintext", "-max-time", "2", "-d", data, address, method];
        let answer = command::program(&path, &arguments).await;
        assert!(answer.stdout.contains(expected), "{method}: {answer}");
    }
}

#[tokio::test]
async fn buf_finds_nothing_to_complain_of() {
    let path = tool_or_skip!("buf_finds_nothing_to_complain_of", "bin/buf");
    let protos = repository().join("proto");
    let linted = command::program(&path, &["lint", protos.to_str().unwrap()]).await;
    let _ = linted.expect(0);
}

fn script(name: &str) -> String {
    let path = repository().join("tests/strangers").join(name);
    path.to_string_lossy().into_owned()
}

async fn python(path: &Path, name: &str, arguments: &[&str]) -> Ended {
    let script = script(name);
    let arguments = [&[script.as_str()][..], arguments].concat();
    command::program(path, &arguments).await
}

#[tokio::test]
async fn a_python_agent_publishes_watches_and_audits() {
    let path = tool_or_skip!(
        "a_python_agent_publishes_watches_and_audits",
        "venv/bin/python"
    );
    let (bridge, monitor, _auditor) = pair().await;
    let (at_bridge, at_monitor) = (bridge.grpc.to_string(), monitor.grpc.to_string());
    let arguments = ["--bridge", &at_bridge, "--monitor", &at_monitor];
    let more = ["--component", BRIDGE, "--thread", "python-thread"];
    let ended = python(&path, "agent.py", &[arguments, more].concat()).await;
    let found = ended.expect_json(0);
    assert_eq!(found["sequences"], serde_json::json!([1, 2, 3, 4, 5, 6]));
    assert_eq!(
        (&found["accepted"], &found["pending"]),
        (&6.into(), &6.into())
    );
    assert_eq!(found["finished"], true);
    assert!(
        found["refused"].as_str().unwrap().contains("thread_id"),
        "{found}"
    );
    assert_eq!(found["reasons"][0], "REASON_INITIAL");
    assert_eq!(found["reasons"][2], "REASON_HEARTBEAT");
    assert_eq!(found["nonce"], "from-python");
    assert_eq!(found["component_id"], BRIDGE);
    assert_eq!(found["serving"], "SERVING");
    let services = found["services"].to_string();
    assert!(
        services.contains("bridge.v1.AgentEvents"),
        "by reflection v1alpha: {services}"
    );
    assert_eq!(found["verdict"], "VERDICT_HEALTHY");
}

#[tokio::test]
async fn a_websocket_library_of_others_reads_and_resumes() {
    let path = tool_or_skip!(
        "a_websocket_library_of_others_reads_and_resumes",
        "venv/bin/python"
    );
    let bridge = Service::bridge(&[]).await;
    let events = Run::whole("chat", "run-1", 4);
    Publisher::new(&bridge.uri()).publish(&events).await;
    let http = bridge.http.to_string();
    let rest = (events.len() - 5).to_string();
    let arguments = [
        "--http", &http, "--thread", "chat", "--first", "5", "--rest", &rest,
    ];
    let found = python(&path, "chat_user.py", &arguments)
        .await
        .expect_json(0);
    assert_eq!(found["first"]["subprotocol"], "monitorable.v1.json");
    assert_eq!(found["resumed"]["welcome"]["recovered"], true, "{found}");
    let parts = [&found["first"]["events"], &found["resumed"]["events"]];
    let got: Vec<_> = parts
        .iter()
        .flat_map(|part| part.as_array().unwrap())
        .map(|event| event["event_id"].as_str().unwrap())
        .collect();
    let expected: Vec<_> = events.iter().map(|event| event.event_id.as_str()).collect();
    assert_eq!(got, expected);
}

/// A component that is written in Python, and its URI.
async fn python_target(path: &Path, arguments: &[&str]) -> (Child, String) {
    let mut child = Command::new(path)
        .arg(script("target.py"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(SOON, lines.next_line()).await;
    let line = line.expect("it says where it listens").unwrap().unwrap();
    let address = line.strip_prefix("listening on ").unwrap();
    (child, format!("http://{address}"))
}

#[tokio::test]
async fn an_honest_python_component_is_audited() {
    let path = tool_or_skip!("an_honest_python_component_is_audited", "venv/bin/python");
    let (_child, uri) = python_target(&path, &["--id", "honest-python"]).await;
    let checked = command::monitor(&["check", &uri]).await;
    let _ = checked.expect(0);
    let monitor = Service::monitor(&[]).await;
    let auditor = Auditor::at(&monitor.uri());
    auditor.register("honest-python", &uri).await;
    auditor
        .until_standing("honest-python", Verdict::Unverified, SOON)
        .await;
    for _ in 0..5 {
        auditor.audit("honest-python").await;
    }
    let findings = auditor.findings("honest-python").await;
    assert!(findings.is_empty(), "{findings:?}");
}

#[tokio::test]
async fn a_frozen_python_component_is_found() {
    let path = tool_or_skip!("a_frozen_python_component_is_found", "venv/bin/python");
    let (_child, uri) = python_target(&path, &["--id", "frozen-python", "--frozen"]).await;
    let checked = command::monitor(&["check", &uri]).await;
    let _ = checked.expect(5);
    let monitor = Service::monitor(&[]).await;
    let auditor = Auditor::at(&monitor.uri());
    auditor.register("frozen-python", &uri).await;
    auditor
        .until_finding("frozen-python", "frozen_health", FOUND_WITHIN, |_| true)
        .await;
    auditor
        .until_standing("frozen-python", Verdict::SilentFailure, SOON)
        .await;
}

#[tokio::test]
async fn the_python_client_passes_its_own_tests() {
    let path = tool_or_skip!("the_python_client_passes_its_own_tests", "venv/bin/python");
    let tests = repository().join("clients/python/tests");
    let arguments = ["-m", "unittest", "discover", "-s", tests.to_str().unwrap()];
    let ended = command::program(&path, &arguments).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(ended.stderr.contains("Ran "), "{ended}");
}

#[tokio::test]
async fn a_go_agent_publishes_watches_and_audits() {
    let path = tool_or_skip!(
        "a_go_agent_publishes_watches_and_audits",
        "bin/go-roundtrip"
    );
    let (bridge, monitor, _auditor) = pair().await;
    let (at_bridge, at_monitor) = (bridge.grpc.to_string(), monitor.grpc.to_string());
    let arguments = [
        "-bridge",
        &at_bridge,
        "-monitor",
        &at_monitor,
        "-component",
        BRIDGE,
    ];
    let found = command::program(&path, &arguments).await.expect_json(0);
    assert_eq!(found["sequences"], serde_json::json!([1, 2, 3, 4, 5]));
    assert_eq!(
        (&found["accepted"], &found["pending"]),
        (&5.into(), &5.into())
    );
    assert_eq!(found["state"], "STATE_ACTIVE");
    assert_eq!(found["reason"], "REASON_INITIAL");
    assert!(found["next_within_ms"].as_u64().unwrap() > 0, "{found}");
    assert_eq!(found["verdict"], "VERDICT_HEALTHY");
}

#[tokio::test]
async fn the_go_client_passes_its_own_tests() {
    // Its stubs are generated together with this program.
    let _built = tool_or_skip!("the_go_client_passes_its_own_tests", "bin/go-roundtrip");
    let present = Command::new("go").arg("version").output().await;
    if !present.is_ok_and(|output| output.status.success()) {
        return skip(
            "the_go_client_passes_its_own_tests",
            "Go is not on this machine",
        );
    }
    let client = repository().join("clients/go");
    for arguments in [["vet", "./..."], ["test", "./..."]] {
        let mut go = Command::new("go");
        let ended = command::run(go.args(arguments).current_dir(&client)).await;
        assert_eq!(ended.code, Some(0), "{ended}");
    }
    let unformatted =
        command::program(&PathBuf::from("gofmt"), &["-l", client.to_str().unwrap()]).await;
    assert_eq!(unformatted.expect(0), "");
}
