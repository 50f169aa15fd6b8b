//! Settings that are read again: at a signal, when a file changed, and not where they are bad.

use ::http::StatusCode;
use monitorable::monitorable::v1::GetHealthStatusRequest;
use monitorable::monitorable::v1::monitorable_client::MonitorableClient;
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::certificates::Authority;
use monitorable_tests::eventually::{eventually, holds};
use monitorable_tests::fake::Fake;
use monitorable_tests::http;
use monitorable_tests::issuer::Issuer;
use monitorable_tests::process::Service;
use monitorable_tests::reader::Reader;
use monitorable_tests::tokens::{claims, signed};
use serde_json::json;
use tonic::Code;

use crate::SOON;
use crate::guarded::{AGENT, Files, THE_READER, logged, nothing_secret_in, publish, reads};

fn component(id: &str) -> String {
    format!("[[components]]\ncomponent_id = '{id}'\nendpoint = 'http://127.0.0.1:1'\n")
}

async fn watched(monitor: &Service) -> Vec<String> {
    let answer = http::get(monitor.http, "/api/v1/components").await.json();
    let components = answer["components"].as_array().cloned().unwrap_or_default();
    let id = |status: &serde_json::Value| {
        let id = status["component"]["componentId"].as_str();
        id.or(status["component"]["component_id"].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    components.iter().map(id).collect()
}

async fn until_watched(monitor: &Service, ids: &[&str]) {
    let reached = async {
        while watched(monitor).await != ids {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let reached = tokio::time::timeout(SOON, reached).await;
    assert!(
        reached.is_ok(),
        "{:?} is not {ids:?}:\n{}",
        watched(monitor).await,
        monitor.log().join("\n")
    );
}

#[tokio::test]
async fn components_come_and_go_with_their_file() {
    let files = Files::new();
    files.write("monitor.toml", &(component("a") + &component("b")));
    let settings = files.shown("monitor.toml");
    let monitor = Service::monitor(&["--config", &settings]).await;
    until_watched(&monitor, &["a", "b"]).await;
    // Registered by hand: no file may take it away.
    let by_hand = [
        "register",
        "hand",
        "http://127.0.0.1:2",
        "--monitor",
        &monitor.uri(),
    ];
    let registered = monitorable_tests::command::monitor(&by_hand).await;
    assert_eq!(registered.code, Some(0), "{registered}");
    files.write("monitor.toml", &(component("b") + &component("c")));
    until_watched(&monitor, &["b", "c", "hand"]).await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_everybody_is_told() {
    let files = Files::new();
    files.write("monitor.toml", &component("a"));
    let settings = files.shown("monitor.toml");
    let monitor = Service::monitor(&["--config", &settings]).await;
    until_watched(&monitor, &["a"]).await;
    files.write(
        "monitor.toml",
        &format!("{}[rules]\nfrozen_answers = 1\n", component("z")),
    );
    logged(
        &monitor,
        &["those from before hold", "rules.frozen_answers"],
    )
    .await;
    assert_eq!(watched(&monitor).await, ["a"]);
    let page = http::get(monitor.http, "/metrics").await.body;
    assert!(
        page.contains("monitor_config_reloads_total{outcome=\"refused\"} 1"),
        "{page}"
    );
    assert!(
        page.contains("monitor_config_last_reload_successful 0"),
        "{page}"
    );
    let mut client = MonitorableClient::new(monitor.channel());
    let health = client
        .get_health_status(GetHealthStatusRequest::default())
        .await;
    let health = health.unwrap().into_inner().health.unwrap();
    let told = health
        .checks
        .iter()
        .find(|check| check.name == "configuration")
        .unwrap();
    assert!(
        told.healthy && told.message.contains("rules.frozen_answers"),
        "{told:?}"
    );
    files.write("monitor.toml", &component("b"));
    until_watched(&monitor, &["b"]).await;
    let page = http::get(monitor.http, "/metrics").await.body;
    assert!(
        page.contains("monitor_config_last_reload_successful 1"),
        "{page}"
    );
}

#[tokio::test]
async fn the_log_level_changes_at_a_signal_and_the_rest_waits() {
    let files = Files::new();
    files.write("bridge.toml", "");
    let settings = files.shown("bridge.toml");
    let bridge = Service::bridge(&["--config", &settings]).await;
    files.write(
        "bridge.toml",
        "[log]\nlevel = 'debug'\n[hub]\nthreads = 7\n",
    );
    bridge.hang_up();
    logged(&bridge, &["wait for the next start", "hub.threads"]).await;
    logged(&bridge, &["the settings were read again"]).await;
    // HTTP/2 tells its frames at that level.
    Target::at(&bridge.uri()).health().await.unwrap();
    logged(&bridge, &["DEBUG"]).await;
    files.write("bridge.toml", "[log]\nlevel = 'error'\n[hub]\nthreds = 7\n");
    logged(&bridge, &["those from before hold", "hub.threads?"]).await;
    let page = http::get(bridge.http, "/metrics").await.body;
    assert!(
        page.contains("bridge_config_last_reload_successful 0"),
        "{page}"
    );
}

#[tokio::test]
async fn keys_of_an_issuer_are_followed_and_those_from_before_outlast_its_failures() {
    let secrets = [
        "the-first-secret-of-an-issuer-of-tokens",
        "the-second-secret-of-an-issuer-of-tokens",
    ];
    let grants = json!({ "roles": ["agent"], "write": ["chat-*"] });
    let tokens = secrets.map(|secret| signed(secret, &claims("test", 600, &grants)));
    let issuer = Issuer::start(secrets[0]).await;
    let flags = [
        "--auth-jwks-url",
        &issuer.url,
        "--auth-jwt-audience",
        "test",
        "--auth-jwks-interval",
        "1s",
    ];
    let bridge = Service::bridge(&flags).await;
    let until = async |first: Code, second: Code| {
        eventually(SOON, "these tokens are known", || async {
            let mut codes = Vec::new();
            for token in &tokens {
                let answer = publish(bridge.channel(), token, "chat-1", "run-1").await;
                codes.push(answer.map_or_else(|status| status.code(), |_| Code::Ok));
            }
            holds(codes == [first, second], codes)
        })
        .await;
    };
    until(Code::Ok, Code::Unauthenticated).await;
    for (status, body, why) in [
        (StatusCode::INTERNAL_SERVER_ERROR, "", "500"),
        (StatusCode::OK, "not keys", "is no JWKS"),
        (
            StatusCode::OK,
            r#"{"keys":[]}"#,
            "has no key that can be used",
        ),
    ] {
        issuer.answer(status, body);
        logged(&bridge, &["auth.jwks_url", "those from before hold", why]).await;
        until(Code::Ok, Code::Unauthenticated).await;
    }
    issuer.rotate(secrets[1]);
    until(Code::Unauthenticated, Code::Ok).await;
    nothing_secret_in(&bridge, &[secrets[0], secrets[1], &tokens[0], &tokens[1]]);
}

#[tokio::test]
async fn a_signal_fetches_an_issuers_keys_at_once() {
    let secrets = [
        "the-first-secret-of-an-issuer-of-tokens",
        "the-second-secret-of-an-issuer-of-tokens",
    ];
    let grants = json!({ "roles": ["agent"], "write": ["chat-*"] });
    let issuer = Issuer::start(secrets[0]).await;
    let flags = [
        "--auth-jwks-url",
        &issuer.url,
        "--auth-jwt-audience",
        "test",
        "--auth-jwks-interval",
        "1d",
    ];
    // An issuer on this machine is not encrypted: no authority's roots are needed.
    let rootless = [("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_DIR", "/nowhere")];
    let bridge = Service::start_in(&rootless, "bridge-service", &flags).await;
    for secret in secrets {
        issuer.rotate(secret);
        bridge.hang_up();
        let token = signed(secret, &claims("test", 600, &grants));
        eventually(SOON, "its key is known", || async {
            let answer = publish(bridge.channel(), &token, "chat-1", "run-1").await;
            holds(answer.is_ok(), answer.err())
        })
        .await;
    }
}

#[tokio::test]
async fn a_threshold_changes_its_finding_without_a_restart() {
    let files = Files::new();
    let fake = Fake::start("slow-clock").await;
    fake.change(|answers| answers.clock_ahead = std::time::Duration::from_secs(60));
    let tolerating = |tolerance: &str, hold: &str| {
        format!(
            "[rules]\nclock_tolerance = '{tolerance}'\n[incident]\nresolve_hold = '{hold}'\n\
             [[components]]\ncomponent_id = 'slow-clock'\nendpoint = 'http://{}'\n",
            fake.address
        )
    };
    files.write("monitor.toml", &tolerating("1h", "1s"));
    let settings = files.shown("monitor.toml");
    let monitor = Service::monitor(&["--config", &settings]).await;
    let auditor = Auditor::at(&monitor.uri());
    let open = || async {
        let findings = auditor.findings("slow-clock").await;
        let open = findings
            .iter()
            .filter(|finding| finding.resolve_time.is_none());
        open.map(|finding| finding.rule_id.clone())
            .collect::<Vec<_>>()
    };
    eventually(SOON, "it is audited", || async {
        let audits = auditor.audits("slow-clock", 0).await;
        holds(
            audits.is_ok_and(|audits| !audits.audits.is_empty()),
            "no audit",
        )
    })
    .await;
    assert_eq!(open().await, [""; 0]);
    files.write("monitor.toml", &tolerating("1s", "1s"));
    eventually(SOON, "the clock is found", || async {
        let found = open().await;
        holds(found == ["clock_skew"], found)
    })
    .await;
    files.write("monitor.toml", &tolerating("1h", "0s"));
    eventually(SOON, "the finding resolves", || async {
        let found = open().await;
        holds(found.is_empty(), found)
    })
    .await;
    let log = monitor.log().join("\n");
    assert!(!log.contains("wait for the next start"), "{log}");
}

#[tokio::test]
async fn sources_of_components_come_and_go_with_their_file() {
    let source = |name: &str, port: u16| {
        format!(
            "[[discovery]]\nname = '{name}'\ndns = 'http://localhost:{port}'\nkeep = '1h'\n\
                 component_id = '{name}-{{port}}'\n"
        )
    };
    let files = Files::new();
    files.write("monitor.toml", &(source("a", 1) + &source("b", 2)));
    let settings = files.shown("monitor.toml");
    let monitor = Service::monitor(&["--config", &settings]).await;
    until_watched(&monitor, &["a-1", "b-2"]).await;
    // One is gone, one looks elsewhere and keeps what it had found, one is new.
    files.write("monitor.toml", &(source("b", 3) + &source("c", 4)));
    until_watched(&monitor, &["b-2", "b-3", "c-4"]).await;
    // What was found is listed by hand from now on, and stays.
    files.write("monitor.toml", &(source("c", 4) + &component("b-3")));
    until_watched(&monitor, &["b-3", "c-4"]).await;
    let log = monitor.log().join("\n");
    assert!(!log.contains("wait for the next start"), "{log}");
}

#[tokio::test]
async fn what_a_source_found_and_a_file_lists_goes_by_the_list() {
    let files = Files::new();
    // The last one listed is new each time: once it is watched, the file has been taken to heart.
    let write = |port: u16, listed: &[&str]| {
        let source = format!(
            "[[discovery]]\nname = 'a'\ndns = 'http://127.0.0.1:{port}'\ninterval = '1s'\n\
                 keep = '0s'\ncomponent_id = 'a-{{port}}'\n"
        );
        let listed = listed.iter().map(|id| component(id));
        files.write("monitor.toml", &(source + &listed.collect::<String>()));
    };
    write(1, &[]);
    let settings = files.shown("monitor.toml");
    let monitor = Service::monitor(&["--config", &settings]).await;
    until_watched(&monitor, &["a-1"]).await;
    write(1, &["a-1", "m1"]);
    until_watched(&monitor, &["a-1", "m1"]).await;
    // No longer listed and still there: found anew.
    write(1, &["m2"]);
    until_watched(&monitor, &["a-1", "m2"]).await;
    write(1, &["a-1", "m3"]);
    until_watched(&monitor, &["a-1", "m3"]).await;
    // No longer there and still listed: it stays.
    write(2, &["a-1", "m3"]);
    until_watched(&monitor, &["a-1", "a-2", "m3"]).await;
    write(2, &["a-1", "m4"]);
    until_watched(&monitor, &["a-1", "a-2", "m4"]).await;
}

#[tokio::test]
async fn a_file_that_only_a_refused_reading_names_is_followed() {
    let files = Files::new();
    let naming = |name: &str| format!("[auth]\naccess_file = {:?}\n", files.shown(name));
    files.write("bridge.toml", &naming("access.toml"));
    let settings = files.shown("bridge.toml");
    let bridge = Service::bridge(&["--config", &settings]).await;
    files.write("other.toml", "[[tokens]]\nname = 'nobody'\n");
    files.write("bridge.toml", &naming("other.toml"));
    logged(&bridge, &["those from before hold", "other.toml"]).await;
    publish(bridge.channel(), AGENT, "chat-1", "run-1")
        .await
        .unwrap();
    // Its mistake is mended, and nothing else is touched: the agent is not in it.
    files.write("other.toml", THE_READER);
    eventually(SOON, "the other file holds", || async {
        let answer = publish(bridge.channel(), AGENT, "chat-1", "run-1").await;
        let code = answer.map_or_else(|status| status.code(), |_| Code::Ok);
        holds(code == Code::Unauthenticated, code)
    })
    .await;
}

#[tokio::test]
async fn doors_are_not_closed_or_opened_by_a_reading() {
    let files = Files::new();
    files.write("bridge.toml", "");
    let settings = files.shown("bridge.toml");
    let bridge = Service::bridge(&["--config", &settings]).await;
    // Whoever writes this believes the doors closed: it must not look like a success.
    let closed = format!("[auth]\naccess_file = {:?}\n", files.shown("access.toml"));
    files.write("bridge.toml", &closed);
    logged(&bridge, &["those from before hold", "settled at the start"]).await;
    let page = http::get(bridge.http, "/metrics").await.body;
    assert!(
        page.contains("bridge_config_last_reload_successful 0"),
        "{page}"
    );
    publish(bridge.channel(), "", "chat-1", "run-1")
        .await
        .unwrap();
    let guarded = Service::bridge(&["--config", &settings]).await;
    files.write("bridge.toml", "");
    logged(
        &guarded,
        &["those from before hold", "settled at the start"],
    )
    .await;
    let refused = publish(guarded.channel(), "", "chat-1", "run-1").await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    publish(guarded.channel(), AGENT, "chat-1", "run-1")
        .await
        .unwrap();
}

#[tokio::test]
async fn where_keys_are_fetched_is_not_changed_by_a_reading() {
    let files = Files::new();
    let secret = "the-secret-of-an-issuer-of-some-tokens";
    let issuer = Issuer::start(secret).await;
    let fetching = |more: &str| {
        let access = files.shown("access.toml");
        files.write(
            "bridge.toml",
            &format!("[auth]\naccess_file = {access:?}\n{more}"),
        );
    };
    let keys = format!("jwks_url = {:?}\njwt_audience = 'test'\n", issuer.url);
    fetching(&keys);
    let settings = files.shown("bridge.toml");
    let bridge = Service::bridge(&["--config", &settings]).await;
    let grants = json!({ "roles": ["agent", "reader"], "write": ["chat-2"], "read": ["chat-1"] });
    let token = signed(secret, &claims("test", 600, &grants));
    eventually(SOON, "its key is known", || async {
        let answer = publish(bridge.channel(), &token, "chat-2", "run-1").await;
        holds(answer.is_ok(), answer.err())
    })
    .await;
    let mut reader = Reader::connect(bridge.http, reads("chat-1", &token)).await;
    reader.welcome().await;
    let refusal = [
        "those from before hold",
        "auth.jwks_url",
        "settled at the start",
    ];
    fetching("");
    logged(&bridge, &refusal).await;
    // Its reader stays, and is still known.
    publish(bridge.channel(), AGENT, "chat-1", "run-2")
        .await
        .unwrap();
    reader.until_events(SOON, 4).await;
    let mut again = Reader::connect(bridge.http, reads("chat-1", &token)).await;
    again.until_events(SOON, 4).await;
    let log = bridge.log().join("\n");
    assert!(!log.contains("wait for the next start"), "{log}");
    fetching("");
    let without = Service::bridge(&["--config", &settings]).await;
    fetching(&keys);
    logged(&without, &refusal).await;
}

#[tokio::test]
async fn a_door_that_certificates_keep_closed_is_not_opened_by_a_reading() {
    let (files, authority) = (Files::new(), Authority::new("test"));
    let (certificate, key) = authority.server().write(files.directory.path(), "server");
    files.write("clients.pem", &authority.pem);
    let asking = |demand: &str| {
        format!(
            "[grpc]\ntls_certificate_file = {certificate:?}\ntls_key_file = {key:?}\n\
             tls_client_ca_file = {:?}\ntls_client_certificates = '{demand}'\n",
            files.path("clients.pem")
        )
    };
    files.write("bridge.toml", &asking("required"));
    let settings = files.shown("bridge.toml");
    let bridge = Service::bridge(&["--config", &settings]).await;
    // On loopback nobody need ask: alone this file is valid.
    files.write("bridge.toml", &asking("optional"));
    let refusal = ["those from before hold", "grpc.tls_client_certificates"];
    logged(&bridge, &refusal).await;
    let stranger = authority.channel(bridge.grpc, None);
    assert!(publish(stranger, "", "chat-1", "run-1").await.is_err());
    let client = authority.client("spiffe://test/agent");
    let channel = authority.channel(bridge.grpc, Some(&client));
    publish(channel, "", "chat-1", "run-1").await.unwrap();
}
