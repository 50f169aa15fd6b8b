//! The same events where WebSocket does not get through.

use http::Method;
use monitorable_tests::http::request;
use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::sse::Stream;

use crate::pair::SOON;

#[tokio::test]
async fn server_sent_events_stream_and_resume() {
    let bridge = Service::bridge(&["--hub-heartbeat", "300ms"]).await;
    let publisher = Publisher::new(&bridge.uri());
    let mut stream = Stream::open(bridge.http, "chat", None).await;
    let welcome = stream.next(SOON).await.unwrap();
    assert_eq!(welcome.data["type"], "welcome");
    assert_eq!(welcome.data["thread_id"], "chat");
    publisher.publish(&Run::whole("chat", "run-1", 1)).await;
    let mut last_id = String::new();
    for sequence in 1..=4 {
        let event = stream.next_of("event", SOON).await;
        assert_eq!(event.data["seq"], sequence);
        let epoch = event.data["epoch"].as_str().unwrap();
        assert_eq!(event.id, format!("{epoch}:{sequence}"));
        last_id = event.id;
    }
    drop(stream);
    let mut resumed = Stream::open(bridge.http, "chat", Some(&last_id)).await;
    let welcome = resumed.next(SOON).await.unwrap();
    assert_eq!(welcome.data["recovered"], true, "{welcome:?}");
    assert_eq!(resumed.next_of("event", SOON).await.data["seq"], 5);
    assert_eq!(resumed.next_of("event", SOON).await.data["seq"], 6);
    let beat = resumed.next_of("heartbeat", SOON).await;
    assert_eq!(beat.data["seq"], 6);
    let mut lost = Stream::open(bridge.http, "chat", Some("other-epoch:3")).await;
    assert_eq!(lost.next(SOON).await.unwrap().data["recovered"], false);
}

#[tokio::test]
async fn a_last_event_id_that_is_none_is_refused() {
    let bridge = Service::bridge(&[]).await;
    let path = "/v1/events?thread_id=chat";
    for bad in ["7", "epoch:", "epoch:x", ":", "epoch:-1"] {
        let headers = [("accept", "text/event-stream"), ("last-event-id", bad)];
        let answer = request(bridge.http, Method::GET, path, &headers, "").await;
        assert_eq!(answer.status, 400, "{bad:?}: {answer:?}");
        assert!(
            answer.body.contains("Last-Event-ID"),
            "{bad:?}: {}",
            answer.body
        );
    }
}
