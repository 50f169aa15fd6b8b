//! Tokens: in the header, as a subprotocol or in the first frame; never in the URL.

use monitorable_tests::http;
use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};

use crate::pair::SOON;

const TOKEN: &str = "correct-horse-battery";

async fn guarded() -> Service {
    Service::bridge(&["--auth-tokens", TOKEN, "--auth-frame-timeout", "1s"]).await
}

/// Waits for the close and returns its code, which the goodbye before it must have said.
async fn refused(mut reader: Reader) -> u16 {
    let record = reader.until(SOON, "the close", |record| record.over).await;
    let code = record.closed.as_ref().map_or(0, |closed| closed.0);
    assert_eq!(record.events().count(), 0);
    let goodbye = record.frames.iter().find(|frame| frame.kind() == "goodbye");
    assert_eq!(goodbye.unwrap().value["code"], code, "{record:?}");
    code
}

#[tokio::test]
async fn a_token_opens_the_way_by_header_subprotocol_or_frame() {
    let bridge = guarded().await;
    Publisher::new(&bridge.uri())
        .publish(&Run::whole("chat", "run-1", 0))
        .await;
    let plain = Options::thread("chat");
    let by_header = Options {
        bearer: Some(TOKEN.to_owned()),
        ..plain.clone()
    };
    let by_subprotocol = plain
        .clone()
        .subprotocol("monitorable.v1.json")
        .subprotocol(&format!("bearer.{TOKEN}"));
    for options in [by_header, by_subprotocol] {
        let mut reader = Reader::connect(bridge.http, options).await;
        let echoed = reader.headers.get("sec-websocket-protocol").cloned();
        assert!(
            !format!("{echoed:?}").contains(TOKEN),
            "the token is echoed"
        );
        reader.until_events(SOON, 4).await;
    }
    let mut by_frame = Reader::connect(bridge.http, plain).await;
    by_frame.send(&format!(r#"{{"type":"auth","token":"{TOKEN}"}}"#));
    by_frame.until_events(SOON, 4).await;
    assert!(!bridge.log().join("\n").contains(TOKEN));
}

#[tokio::test]
async fn a_wrong_or_missing_token_is_refused() {
    let bridge = guarded().await;
    let wrong_frame = Reader::connect(bridge.http, Options::thread("chat")).await;
    wrong_frame.send(r#"{"type":"auth","token":"wrong-horse-battery"}"#);
    assert_eq!(refused(wrong_frame).await, 4001);
    let silent = Reader::connect(bridge.http, Options::thread("chat")).await;
    assert_eq!(refused(silent).await, 4001);
    let wrong = Options {
        bearer: Some("wrong-horse-battery".to_owned()),
        ..Options::thread("chat")
    };
    match Reader::try_connect(bridge.http, wrong).await {
        Ok(reader) => assert_eq!(refused(reader).await, 4001),
        Err(answer) => assert_eq!(answer.status, 401, "{answer:?}"),
    }
    let events = "/v1/events?thread_id=chat";
    let headers = [("accept", "text/event-stream")];
    let stream = http::request(bridge.http, http_method(), events, &headers, "").await;
    assert_eq!(stream.status, 401, "{stream:?}");
    let in_url = format!("{events}&token={TOKEN}");
    let in_url = http::request(bridge.http, http_method(), &in_url, &headers, "").await;
    assert_eq!(in_url.status, 400, "{in_url:?}");
    assert!(in_url.body.contains("token"), "{in_url:?}");
}

fn http_method() -> ::http::Method {
    ::http::Method::GET
}
