//! Metrics: what is exposed, what rules and dashboards ask for, and what is documented.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use monitorable::monitor::v1::Verdict;
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::command;
use monitorable_tests::http::get;
use monitorable_tests::metrics::{asked, described, values};
use monitorable_tests::paths::repository;
use monitorable_tests::process::Service;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::{deployed, program, text};

const SOON: Duration = Duration::from_secs(20);
const RULES: [&str; 2] = ["recording.rules.yml", "alerts.rules.yml"];

/// The pages of a bridge and of the monitor that watches it.
async fn pages() -> [String; 2] {
    let (bridge, monitor) = tokio::join!(Service::bridge(&[]), Service::monitor(&[]));
    Target::at(&bridge.uri()).until_healthy(SOON).await;
    let auditor = Auditor::at(&monitor.uri());
    auditor.register("bridge-service", &bridge.uri()).await;
    auditor
        .until_standing("bridge-service", Verdict::Healthy, SOON)
        .await;
    [
        get(bridge.http, "/metrics").await.body,
        get(monitor.http, "/metrics").await.body,
    ]
}

async fn exposed() -> BTreeSet<String> {
    pages()
        .await
        .iter()
        .flat_map(|page| described(page))
        .collect()
}

fn rules(key: &str) -> Vec<String> {
    let texts = RULES.map(|file| text(&format!("prometheus/{file}")));
    texts.iter().flat_map(|rules| values(rules, key)).collect()
}

#[tokio::test]
async fn every_metric_that_is_asked_for_exists() {
    let exposed = exposed().await;
    let recorded: BTreeSet<String> = rules("record").into_iter().collect();
    let dashboard: serde_json::Value =
        serde_json::from_str(&text("grafana/monitorable.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let shown: Vec<String> = targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect();
    assert!(shown.len() > 30, "only {} queries were found", shown.len());
    let expressions = rules("expr");
    assert!(expressions.len() > 25, "{expressions:?}");
    for expression in expressions.iter().chain(&shown) {
        for name in asked(expression) {
            assert!(
                exposed.contains(&name) || recorded.contains(&name),
                "{name} is asked for in {expression:?}, and nobody exposes it"
            );
        }
    }
}

#[tokio::test]
async fn every_metric_and_every_alert_is_documented() {
    let guide = std::fs::read_to_string(repository().join("docs/OPERATIONS.md")).unwrap();
    for page in pages().await {
        let families = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        for family in families.filter_map(|line| line.split(' ').next()) {
            assert!(guide.contains(&format!("`{family}`")), "{family}");
        }
    }
    let alerts = rules("alert");
    assert!(alerts.len() > 20, "{alerts:?}");
    for alert in &alerts {
        assert!(guide.contains(&format!("### {alert}\n")), "{alert}");
    }
    let anchors = alerts.iter().map(|alert| alert.to_lowercase());
    let anchors: Vec<_> = anchors
        .map(|name| format!("docs/OPERATIONS.md#{name}"))
        .collect();
    assert_eq!(
        rules("runbook"),
        anchors,
        "each alert leads to its own entry"
    );
    let headings = guide.lines().filter_map(|line| line.strip_prefix("### "));
    for heading in headings.filter(|heading| !heading.contains(' ')) {
        assert!(
            alerts.iter().any(|alert| alert == heading),
            "there is no alert {heading}"
        );
    }
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_either_page() {
    let test = "promtool_finds_nothing_wrong_with_either_page";
    let Some(promtool) = program(test, "promtool", "prometheus") else {
        return;
    };
    for page in pages().await {
        let said = check_metrics(&promtool, &page).await;
        assert_eq!(said, "", "{page}");
    }
    // It can say something.
    let said = check_metrics(&promtool, "# TYPE bad counter\nbad 1\n").await;
    assert!(said.contains("_total"), "{said}");
}

async fn check_metrics(promtool: &Path, page: &str) -> String {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(page.as_bytes()).await.unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn promtool_passes_the_rules_and_their_tests() {
    let test = "promtool_passes_the_rules_and_their_tests";
    let Some(promtool) = program(test, "promtool", "prometheus") else {
        return;
    };
    let folder = deployed("prometheus");
    let rules = RULES.map(|file| folder.join(file).display().to_string());
    let checked = [&["check", "rules"][..], &[&rules[0], &rules[1]]].concat();
    command::program(&promtool, &checked).await.expect(0);
    let tests = folder.join("rules.test.yml").display().to_string();
    command::program(&promtool, &["test", "rules", &tests])
        .await
        .expect(0);
    let tested = values(&text("prometheus/rules.test.yml"), "alertname");
    for alert in values(&text("prometheus/alerts.rules.yml"), "alert") {
        assert!(tested.contains(&alert), "{alert} has no unit test");
    }
}
