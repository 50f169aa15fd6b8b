//! The monitor behind closed doors, and what it audits behind others.

use monitorable::monitor::v1::evidence_client::EvidenceClient;
use monitorable::monitor::v1::monitor_client::MonitorClient;
use monitorable::monitor::v1::{
    Component, ListComponentsRequest, ObservedEvent, RegisterComponentRequest, ReportEventsRequest,
    Vantage, Verdict,
};
use monitorable_tests::calls::Auditor;
use monitorable_tests::certificates::Authority;
use monitorable_tests::process::Service;
use monitorable_tests::{command, http};
use tonic::Code;

use crate::SOON;
use crate::guarded::{ADMIN, AGENT, Files, MONITOR, READER, logged, nothing_secret_in, with_token};

async fn monitor(files: &Files, more: &[&str]) -> Service {
    let access = files.shown("access.toml");
    let flags = [&["--auth-access-file", &access][..], more].concat();
    Service::monitor(&flags).await
}

fn code<T>(answer: Result<T, tonic::Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn looking_changing_and_reporting_are_three_things() {
    let files = Files::new();
    let monitor = monitor(&files, &[]).await;
    let mut client = MonitorClient::new(monitor.channel());
    for (token, look, change) in [
        ("", Code::Unauthenticated, Code::Unauthenticated),
        (AGENT, Code::PermissionDenied, Code::PermissionDenied),
        (MONITOR, Code::Ok, Code::PermissionDenied),
        (ADMIN, Code::Ok, Code::Ok),
    ] {
        let list = with_token(ListComponentsRequest::default(), token);
        assert_eq!(code(client.list_components(list).await), look, "{token}");
        let component = Some(Component {
            component_id: "bridge".to_owned(),
            endpoint: "http://127.0.0.1:1".to_owned(),
            ..Component::default()
        });
        let register = with_token(RegisterComponentRequest { component }, token);
        assert_eq!(
            code(client.register_component(register).await),
            change,
            "{token}"
        );
    }
    let mut evidence = EvidenceClient::new(monitor.channel());
    let (sent, came) = (Vantage::Producer, Vantage::Consumer);
    for (token, vantage, thread_id, expected) in [
        ("", sent, "chat-1", Code::Unauthenticated),
        (AGENT, sent, "chat-1", Code::Ok),
        (AGENT, sent, "mail-1", Code::PermissionDenied),
        (AGENT, came, "chat-1", Code::PermissionDenied),
        (READER, came, "chat-1", Code::Ok),
        (READER, came, "chat-2", Code::PermissionDenied),
        (READER, sent, "chat-1", Code::PermissionDenied),
        (MONITOR, came, "chat-1", Code::PermissionDenied),
    ] {
        let event = ObservedEvent {
            event_id: "e".to_owned(),
            component_id: "bridge".to_owned(),
            thread_id: thread_id.to_owned(),
            run_id: "r".to_owned(),
            r#type: "agent_started".to_owned(),
            ..ObservedEvent::default()
        };
        let report = ReportEventsRequest {
            observer_id: "o".to_owned(),
            vantage: vantage.into(),
            events: vec![event],
            ..ReportEventsRequest::default()
        };
        let answer = evidence.report_events(with_token(report, token)).await;
        assert_eq!(code(answer), expected, "{token} {thread_id}");
    }
    nothing_secret_in(&monitor, &[]);
}

#[tokio::test]
async fn pages_show_what_a_token_may_see() {
    let files = Files::new();
    let monitor = monitor(&files, &[]).await;
    let get = async |path: &'static str, token: &str| {
        let bearer = format!("Bearer {token}");
        let headers: &[_] = if token.is_empty() {
            &[]
        } else {
            &[("authorization", bearer.as_str())]
        };
        http::request(monitor.http, ::http::Method::GET, path, headers, "")
            .await
            .status
    };
    for open in ["/", "/assets/dashboard.js", "/livez"] {
        assert_eq!(get(open, "").await, 200, "{open}");
    }
    for guarded in [
        "/api/v1/components",
        "/api/v1/findings",
        "/badge/x.svg",
        "/metrics",
    ] {
        assert_eq!(get(guarded, "").await, 401, "{guarded}");
        assert_eq!(get(guarded, READER).await, 403, "{guarded}");
        assert_ne!(
            get(guarded, MONITOR).await / 100,
            4 * u16::from(guarded != "/badge/x.svg"),
            "{guarded}"
        );
    }
    let receipts = "/api/v1/receipts";
    let post = async |headers: &[(&str, &str)]| {
        let body = r#"{"observer_id":"o","vantage":"VANTAGE_CONSUMER","component_id":"bridge","reading":["chat-1"]}"#;
        http::request(monitor.http, ::http::Method::POST, receipts, headers, body)
            .await
            .status
    };
    assert_eq!(post(&[]).await, 401);
    let reader = format!("Bearer {READER}");
    assert_eq!(post(&[("authorization", &reader)]).await, 200);
}

#[tokio::test]
async fn commands_show_a_component_the_token_of_a_file() {
    let files = Files::new();
    files.write("token", &format!("{MONITOR}\n"));
    let (bridge, token) = (files.bridge(&[]).await, files.shown("token"));
    let (monitor, endpoint) = (Service::monitor(&[]).await, bridge.uri());
    let check =
        async |more: &[&str]| command::monitor(&[&["check", &endpoint][..], more].concat()).await;
    let without = check(&[]).await;
    assert_eq!(without.code, Some(3), "{without}");
    let with = check(&["--token-file", &token]).await;
    assert_eq!(with.code, Some(0), "{with}");
    let nowhere = check(&["--token-file", "/nowhere"]).await;
    assert_eq!(nowhere.code, Some(1), "{nowhere}");
    assert!(
        nowhere.stderr.contains("--token-file: /nowhere"),
        "{nowhere}"
    );
    let uri = monitor.uri();
    let register = [
        "register",
        "bridge-service",
        &endpoint,
        "--token-file",
        &token,
        "--monitor",
        &uri,
    ];
    let registered = command::monitor(&register).await;
    assert_eq!(registered.code, Some(0), "{registered}");
    // Which takes a synthetic run that was read back with it, too.
    let auditor = Auditor::at(&uri);
    auditor
        .until_standing("bridge-service", Verdict::Healthy, SOON)
        .await;
    nothing_secret_in(&monitor, &[]);
}

/// Everything encrypted, everything guarded: and the verdict is HEALTHY, which takes health calls,
/// a watch stream and a synthetic run in by gRPC and back by a WebSocket.
#[tokio::test]
async fn a_guarded_bridge_is_audited_end_to_end() {
    let authority = Authority::new("servers");
    let files = Files::new();
    let (certificate, key) = authority.server().write(files.directory.path(), "server");
    files.write("ca.pem", &authority.pem);
    let ca = files.shown("ca.pem");
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let bridge = files
        .bridge(&[
            "--grpc-tls-certificate-file",
            &certificate,
            "--grpc-tls-key-file",
            &key,
            "--http-tls-certificate-file",
            &certificate,
            "--http-tls-key-file",
            &key,
        ])
        .await;
    let port = bridge.grpc.port();
    files.write(
        "monitor.toml",
        &format!(
            "[[components]]\ncomponent_id = 'bridge-service'\nendpoint = 'https://localhost:{port}'\n\
             metadata = {{ authorization = 'Bearer {MONITOR}' }}\ntls = {{ ca_file = '{ca}' }}\n\
             canary = {{ token = '{MONITOR}', interval = '200ms' }}\n"
        ),
    );
    let settings = files.shown("monitor.toml");
    let monitor = Service::monitor(&["--config", &settings]).await;
    let healthy = async {
        loop {
            let audit = [
                "audit",
                "bridge-service",
                "--monitor",
                &monitor.uri(),
                "--output",
                "json",
            ];
            let ended = command::monitor(&audit).await;
            if ended.stdout.contains("VERDICT_HEALTHY") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    let reached = tokio::time::timeout(SOON * 2, healthy).await;
    assert!(reached.is_ok(), "{}", monitor.log().join("\n"));
    nothing_secret_in(&monitor, &[]);
}

#[tokio::test]
async fn the_token_of_what_was_found_is_replaced_while_the_monitor_runs() {
    const NEXT: &str = "the-next-token-of-the-monitor";
    let files = Files::new();
    let accepting = |token: &str| {
        let entry = format!("[[tokens]]\nname = 'monitor'\ntoken = '{token}'\nroles = ['monitor']");
        files.write("access.toml", &entry);
    };
    accepting(MONITOR);
    let bridge = files.bridge(&[]).await;
    files.write("token", &format!("{MONITOR}\n"));
    // One lookup only: nothing but the file's change brings the other token.
    let source = format!(
        "[[discovery]]\nname = 'bridges'\ndns = '{}'\ncomponent_id = 'bridge-service'\n\
         interval = '1h'\nkeep = '0s'\ntoken_file = {:?}\n",
        bridge.uri(),
        files.shown("token")
    );
    files.write("monitor.toml", &source);
    let settings = files.shown("monitor.toml");
    let monitor = Service::monitor(&["--config", &settings]).await;
    let auditor = Auditor::at(&monitor.uri());
    let until = async |verdict| {
        auditor
            .until_standing("bridge-service", verdict, SOON)
            .await;
    };
    until(Verdict::Healthy).await;
    // A file without a token is refused, and nobody is lost by it.
    files.write("token", "");
    logged(
        &monitor,
        &["those from before hold", "discovery[0].token_file"],
    )
    .await;
    until(Verdict::Healthy).await;
    accepting(NEXT);
    // It was refused for what it showed itself: no word about the bridge.
    until(Verdict::NoData).await;
    files.write("token", NEXT);
    until(Verdict::Healthy).await;
    nothing_secret_in(&monitor, &[NEXT]);
}
