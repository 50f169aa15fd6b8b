//! Tokens: right, missing, unknown, expired, for another audience, for another thread, renewed.

use monitorable::bridge::v1::PublishStreamRequest;
use monitorable::bridge::v1::agent_events_client::AgentEventsClient;
use monitorable::monitorable::v1::monitorable_client::MonitorableClient;
use monitorable::monitorable::v1::{GetHealthStatusRequest, WatchHealthRequest};
use monitorable_tests::eventually::{eventually, holds};
use monitorable_tests::process::Service;
use monitorable_tests::publisher::Run;
use monitorable_tests::reader::{Options, Reader};
use monitorable_tests::tokens::{claims, signed};
use monitorable_tests::{command, http};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::SOON;
use crate::guarded::{
    ADMIN, AGENT, Files, JWT_SECRET, MONITOR, OTHERS, READER, closed, logged, nothing_secret_in,
    publish, reads, with_token,
};

fn jwt(audience: &str, seconds: i64, grants: &Value) -> String {
    signed(JWT_SECRET, &claims(audience, seconds, grants))
}

fn reading(thread_id: &str) -> Value {
    json!({ "roles": ["reader"], "read": [thread_id] })
}

async fn code_of_publish(bridge: &Service, token: &str, thread_id: &str) -> Code {
    let answer = publish(bridge.channel(), token, thread_id, "run-1").await;
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn agents_write_where_they_may() {
    let files = Files::new();
    let bridge = files.bridge(&[]).await;
    let writing = json!({ "roles": ["agent"], "write": ["chat-*"] });
    let other_secret = signed(
        "another-secret-of-at-least-32-bytes",
        &claims("test", 60, &writing),
    );
    let expired = jwt("test", -60, &writing);
    let wrong_audience = jwt("other", 60, &writing);
    for (token, thread_id, code) in [
        (AGENT, "chat-1", Code::Ok),
        (ADMIN, "anything", Code::Ok),
        (&jwt("test", 60, &writing), "chat-1", Code::Ok),
        ("", "chat-1", Code::Unauthenticated),
        ("token-of-nobody-at-all", "chat-1", Code::Unauthenticated),
        (&expired, "chat-1", Code::Unauthenticated),
        (&wrong_audience, "chat-1", Code::Unauthenticated),
        (&other_secret, "chat-1", Code::Unauthenticated),
        (AGENT, "diary", Code::PermissionDenied),
        (READER, "chat-1", Code::PermissionDenied),
        (MONITOR, "chat-1", Code::PermissionDenied),
        (MONITOR, "$canary/m/1", Code::Ok),
    ] {
        assert_eq!(
            code_of_publish(&bridge, token, thread_id).await,
            code,
            "{token} {thread_id}"
        );
    }
    logged(&bridge, &["refused: not known", "the token has expired"]).await;
    logged(&bridge, &["refused: not known", "another audience"]).await;
    logged(&bridge, &["refused: not allowed", "diary"]).await;
    nothing_secret_in(
        &bridge,
        &[&expired, &wrong_audience, "token-of-nobody-at-all"],
    );
}

#[tokio::test]
async fn a_batch_that_is_refused_leaves_nothing() {
    let files = Files::new();
    let bridge = files.bridge(&[]).await;
    let mut events = Run::whole("chat-1", "run-1", 0);
    events.extend(Run::whole("diary", "run-2", 0));
    let mut client = AgentEventsClient::new(bridge.channel());
    let stream = tokio_stream::once(PublishStreamRequest { events });
    let answer = client.publish_stream(with_token(stream, AGENT)).await;
    let status = answer.unwrap().into_inner().message().await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    let mut reader = Reader::connect(bridge.http, reads("chat-1", READER)).await;
    assert_eq!(
        reader.welcome().await["seq"],
        0,
        "half of the batch was taken"
    );
}

#[tokio::test]
async fn an_agent_that_is_withdrawn_publishes_no_more_even_where_it_reads_no_answer() {
    let files = Files::new();
    let bridge = files.bridge(&["--ingest-max-streams", "1"]).await;
    // A window without room: not one byte of an answer can be sent.
    let deaf = Endpoint::from_shared(bridge.uri()).unwrap();
    let deaf = deaf.initial_stream_window_size(0).connect_lazy();
    let (batches, requests) = mpsc::channel(1);
    let stream = with_token(ReceiverStream::new(requests), AGENT);
    let _answers = AgentEventsClient::new(deaf).publish_stream(stream).await;
    let batch = |run_id: &str| PublishStreamRequest {
        events: Run::whole("chat-1", run_id, 0),
    };
    batches.send(batch("run-1")).await.unwrap();
    let mut reader = Reader::connect(bridge.http, reads("chat-1", ADMIN)).await;
    reader.until_events(SOON, 4).await;
    files.write(
        "access.toml",
        &OTHERS.replace("name = 'agent'", "name = 'other'"),
    );
    eventually(SOON, "its place is free", || async {
        let next = with_token(tokio_stream::once(batch("run-2")), ADMIN);
        let mut admin = AgentEventsClient::new(bridge.channel());
        let opened = admin.publish_stream(next).await;
        let mut answers = opened.map_err(|status| status.to_string())?.into_inner();
        let answer = answers.message().await;
        holds(matches!(answer, Ok(Some(_))), answer)
    })
    .await;
    reader.until_events(SOON, 8).await;
    let _ = batches.send(batch("run-3")).await;
    publish(bridge.channel(), ADMIN, "chat-1", "run-4")
        .await
        .unwrap();
    let record = reader.until_events(SOON, 12).await;
    let late = record
        .events()
        .find(|event| event.value.to_string().contains("run-3"));
    assert!(late.is_none(), "{late:?}");
}

#[tokio::test]
async fn readers_read_what_they_may() {
    let files = Files::new();
    let bridge = files.bridge(&[]).await;
    publish(bridge.channel(), AGENT, "chat-1", "run-1")
        .await
        .unwrap();
    for right in [READER, ADMIN, &jwt("test", 60, &reading("chat-1"))] {
        let mut reader = Reader::connect(bridge.http, reads("chat-1", right)).await;
        reader.until_events(SOON, 4).await;
    }
    for (token, thread_id, code, status) in [
        ("", "chat-1", 4001, 401),
        ("token-of-nobody-at-all", "chat-1", 4001, 401),
        (&jwt("test", -60, &reading("chat-1")), "chat-1", 4001, 401),
        (&jwt("other", 60, &reading("chat-1")), "chat-1", 4001, 401),
        (READER, "chat-2", 4003, 403),
        (AGENT, "chat-1", 4003, 403),
        (&jwt("test", 60, &reading("chat-2")), "chat-1", 4003, 403),
    ] {
        let mut reader = Reader::connect(bridge.http, reads(thread_id, token)).await;
        assert_eq!(closed(&mut reader).await.0, code, "{token} {thread_id}");
        assert_eq!(reader.record().events().count(), 0);
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend((!token.is_empty()).then_some(("authorization", bearer.as_str())));
        let path = format!("/v1/events?thread_id={thread_id}");
        let answer = http::request(bridge.http, ::http::Method::GET, &path, &headers, "").await;
        assert_eq!(answer.status, status, "{token} {thread_id}: {answer:?}");
    }
    nothing_secret_in(&bridge, &["token-of-nobody-at-all"]);
}

#[tokio::test]
async fn health_is_for_monitors_and_probes_are_for_everybody() {
    let files = Files::new();
    let bridge = files.bridge(&[]).await;
    for (token, code) in [
        (MONITOR, Code::Ok),
        (ADMIN, Code::Ok),
        (AGENT, Code::PermissionDenied),
        ("", Code::Unauthenticated),
    ] {
        let request = with_token(GetHealthStatusRequest::default(), token);
        let answer = MonitorableClient::new(bridge.channel())
            .get_health_status(request)
            .await;
        assert_eq!(
            answer.map_or_else(|status| status.code(), |_| Code::Ok),
            code,
            "{token}"
        );
        let bearer = format!("Bearer {token}");
        let headers: &[_] = if token.is_empty() {
            &[]
        } else {
            &[("authorization", bearer.as_str())]
        };
        let page = http::request(bridge.http, ::http::Method::GET, "/metrics", headers, "").await;
        let status = match code {
            Code::Ok => 200,
            Code::Unauthenticated => 401,
            _ => 403,
        };
        assert_eq!(page.status, status, "{token}");
    }
    assert_eq!(http::get(bridge.http, "/livez").await.status, 200);
    let probe = [
        "healthcheck",
        "--service",
        "liveness",
        "--target",
        &bridge.uri(),
    ];
    let probed = command::bridge(&probe).await;
    assert_eq!(probed.code, Some(0), "{probed}");
}

#[tokio::test]
async fn a_token_that_expires_closes_the_socket_and_a_renewed_one_keeps_it() {
    let files = Files::new();
    let bridge = files.bridge(&[]).await;
    let short = || jwt("test", 3, &reading("chat-1"));
    let mut left = Reader::connect(bridge.http, reads("chat-1", &short())).await;
    let mut renewed = Reader::connect(bridge.http, Options::thread("chat-1")).await;
    let auth = |token: &str| json!({ "type": "auth", "token": token }).to_string();
    renewed.send(&auth(&short()));
    renewed.welcome().await;
    renewed.send(&auth(&jwt("test", 600, &reading("chat-1"))));
    let mut mistaken = Reader::connect(bridge.http, reads("chat-1", &short())).await;
    mistaken.welcome().await;
    mistaken.send(&auth(&jwt("test", 600, &reading("chat-2"))));
    assert_eq!(closed(&mut mistaken).await, (4003, "forbidden".to_owned()));
    assert_eq!(closed(&mut left).await, (4001, "token_expired".to_owned()));
    // Both tokens were as old, so the renewed one's would have been over too.
    publish(bridge.channel(), AGENT, "chat-1", "run-1")
        .await
        .unwrap();
    renewed.until_events(SOON, 4).await;
    assert!(!renewed.record().over);
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires() {
    let files = Files::new();
    let bridge = files.bridge(&[]).await;
    let token = jwt("test", 3, &json!({ "roles": ["monitor"] }));
    let request = with_token(WatchHealthRequest::default(), &token);
    let watch = MonitorableClient::new(bridge.channel())
        .watch_health(request)
        .await;
    let mut watch = watch.unwrap().into_inner();
    let ended = async {
        loop {
            match watch.message().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        }
    };
    let ended = tokio::time::timeout(SOON, ended).await.unwrap();
    let status = ended.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().contains("expired"), "{status}");
    let sse_token = format!("Bearer {}", jwt("test", 3, &reading("chat-1")));
    let headers = [
        ("accept", "text/event-stream"),
        ("authorization", sse_token.as_str()),
    ];
    let path = "/v1/events?thread_id=chat-1";
    let events = http::request(bridge.http, ::http::Method::GET, path, &headers, "").await;
    assert!(events.body.contains("token_expired"), "{events:?}");
}

#[tokio::test]
async fn who_is_taken_from_the_file_loses_what_is_open() {
    let files = Files::new();
    let bridge = files.bridge(&[]).await;
    let mut reader = Reader::connect(bridge.http, reads("chat-1", READER)).await;
    let mut admin = Reader::connect(bridge.http, reads("chat-1", ADMIN)).await;
    reader.welcome().await;
    admin.welcome().await;
    files.write("access.toml", OTHERS);
    assert_eq!(
        closed(&mut reader).await,
        (4001, "unauthenticated".to_owned())
    );
    publish(bridge.channel(), AGENT, "chat-1", "run-1")
        .await
        .unwrap();
    admin.until_events(SOON, 4).await;
}
