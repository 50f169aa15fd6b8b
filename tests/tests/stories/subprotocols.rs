//! The same events as AG-UI and CloudEvents.

use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};

use crate::pair::SOON;

async fn frames(bridge: &Service, subprotocol: &str, at_least: usize) -> Vec<serde_json::Value> {
    let options = Options::thread("chat").subprotocol(subprotocol);
    let mut reader = Reader::connect(bridge.http, options).await;
    let agreed = reader.headers.get("sec-websocket-protocol").cloned();
    assert_eq!(agreed.unwrap(), subprotocol);
    let what = format!("{at_least} frames of {subprotocol}");
    let record = reader
        .until(SOON, &what, |record| record.frames.len() >= at_least)
        .await;
    record
        .frames
        .iter()
        .map(|frame| frame.value.clone())
        .collect()
}

#[tokio::test]
async fn each_subprotocol_has_its_own_form() {
    let bridge = Service::bridge(&[]).await;
    Publisher::new(&bridge.uri())
        .publish(&Run::whole("chat", "run-1", 1))
        .await;

    let default = frames(&bridge, "monitorable.v1.json", 7).await;
    assert_eq!(default[0]["type"], "welcome");
    let tool = &default[3];
    assert_eq!(tool["event"], "tool_executing", "{tool}");
    assert_eq!(tool["tool_call_id"], "run-1-call-0");
    assert_eq!(tool["tool_name"], "search_flights");
    assert_eq!(tool["agent_name"], "booking-agent");
    assert_eq!(tool["data"]["step"], 3);
    assert!(tool["time"].as_str().unwrap().contains('T'), "{tool}");

    let ag_ui = frames(&bridge, "ag-ui.v1.json", 7).await;
    let types: Vec<_> = ag_ui
        .iter()
        .filter_map(|frame| frame["type"].as_str())
        .collect();
    for expected in [
        "RUN_STARTED",
        "TOOL_CALL_CHUNK",
        "TEXT_MESSAGE_CHUNK",
        "RUN_FINISHED",
    ] {
        assert!(types.contains(&expected), "{expected} is not in {types:?}");
    }
    let events = ag_ui
        .iter()
        .filter(|frame| frame["seq"].is_u64() && frame["epoch"].is_string());
    assert!(events.count() >= 6, "{ag_ui:?}");

    let cloud = frames(&bridge, "cloudevents.json", 6).await;
    let events: Vec<_> = cloud
        .iter()
        .filter(|frame| frame["specversion"] == "1.0")
        .collect();
    for attribute in ["id", "source", "type"] {
        assert!(
            events.iter().all(|event| event[attribute].is_string()),
            "{events:?}"
        );
    }
    assert!(
        events.iter().any(|event| event["id"] == "run-1.1"),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_subprotocol_that_nobody_knows_is_answered() {
    let bridge = Service::bridge(&[]).await;
    let options = Options::thread("chat").subprotocol("smoke.signals");
    match Reader::try_connect(bridge.http, options).await {
        // Without one in common a server may go on without any, or refuse; never pretend.
        Ok(reader) => assert!(reader.headers.get("sec-websocket-protocol").is_none()),
        Err(refused) => {
            assert_eq!(refused.status, 400, "{refused:?}");
            assert!(refused.body.contains("monitorable.v1.json"), "{refused:?}");
        }
    }
}
