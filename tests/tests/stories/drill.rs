//! The drill itself: it finds what the monitor finds, and says what the monitor misses.

use monitorable_tests::command;
use monitorable_tests::paths::binary;

/// Two classes that need no fault point in the bridge.
const CHEAP: &str = "inconsistent_claims,frozen_health";

/// Arguments of a drill of the cheap classes, over the bridge under test.
fn drill<'a>(bridge: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["drill", "--bridge", bridge, "--only", CHEAP];
    arguments.extend_from_slice(&["--output", "json", "--patience", "8s"]);
    arguments.extend_from_slice(more);
    arguments
}

fn bridge() -> String {
    binary("bridge-service").display().to_string()
}

#[tokio::test]
async fn a_drill_finds_each_fault_and_invents_none() {
    let bridge = bridge();
    let ended = command::monitor(&drill(&bridge, &[])).await;
    let report = ended.expect_json(0);
    assert_eq!(report["rows"].as_array().map(Vec::len), Some(2), "{report}");
    for row in report["rows"].as_array().unwrap() {
        assert_eq!(row["found"], true, "{row}");
        assert_eq!(row["quiet"], true, "{row}");
        assert!(row["seconds"].as_f64().unwrap() < 7.0, "{row}");
        assert!(!row["message"].as_str().unwrap().is_empty(), "{row}");
    }
    assert_eq!(report["summary"]["found"], 2);
}

#[tokio::test]
async fn a_rule_that_is_switched_off_is_reported_as_missed() {
    let bridge = bridge();
    let off = ["--disable-rule", "inconsistent_claims"];
    let report = command::monitor(&drill(&bridge, &off)).await.expect_json(5);
    let rows = report["rows"].as_array().unwrap();
    let found = |rule: &str| {
        let row = rows.iter().find(|row| row["rule"] == rule).unwrap();
        row["found"].as_bool().unwrap()
    };
    assert!(!found("inconsistent_claims"), "{report}");
    assert!(found("frozen_health"), "{report}");
    assert_eq!(report["summary"]["found"], 1);
}

#[tokio::test]
async fn a_drill_that_cannot_be_run_says_why() {
    let bridge = bridge();
    let unknown = ["drill", "--bridge", &bridge, "--only", "nonsense"];
    let unknown = command::monitor(&unknown).await;
    assert!(unknown.stderr.contains("black_hole"), "{unknown}");
    assert_eq!(unknown.code, Some(1), "{unknown}");
    let nowhere = command::monitor(&["drill", "--bridge", "nowhere/bridge-service"]).await;
    assert!(nowhere.stderr.contains("fault-injection"), "{nowhere}");
    assert_eq!(nowhere.code, Some(3), "{nowhere}");
    // Without fault points the bridge answers nothing.
    let arguments = ["drill", "--bridge", &bridge, "--only", "event_loss"];
    let honest = command::monitor(&arguments).await;
    assert!(honest.stdout.contains("fault armed"), "{honest}");
    assert_eq!(honest.code, Some(3), "{honest}");
}

#[tokio::test]
async fn the_drill_lists_what_it_would_do() {
    let listed = command::monitor(&["drill", "--list", "--output", "json"]).await;
    let listed = listed.expect_json(0);
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 33);
    for scenario in listed {
        for field in ["rule", "fault", "twin"] {
            assert!(
                scenario[field]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
            );
        }
    }
}
