//! Settings that are read again: at a signal, when a file changed, and not where they are bad.

use monitorable::monitorable::v1::GetHealthStatusRequest;
use monitorable::monitorable::v1::monitorable_client::MonitorableClient;
use monitorable_tests::calls::Target;
use monitorable_tests::http;
use monitorable_tests::process::Service;

use crate::SOON;
use crate::guarded::{Files, logged};

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
