//! A reader of server-sent events.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use crate::http::send;

/// One event of the stream.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its `id`; empty where it has none.
    pub id: String,
    /// Its `data`, which must be one JSON value.
    pub data: Value,
}

/// An open stream.
#[derive(Debug)]
pub struct Stream {
    body: Incoming,
    text: String,
    ready: VecDeque<Event>,
}

impl Stream {
    /// Opens a thread's stream, resuming after an id where one is given.
    pub async fn open(address: SocketAddr, thread_id: &str, last_id: Option<&str>) -> Self {
        let path = format!("/v1/events?thread_id={thread_id}");
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last_id.map(|id| ("last-event-id", id)));
        let response = send(address, Method::GET, &path, &headers, "").await;
        assert_eq!(response.status().as_u16(), 200);
        let content_type = response.headers().get("content-type");
        let content_type = content_type.and_then(|value| value.to_str().ok());
        assert!(
            content_type.is_some_and(|value| value.starts_with("text/event-stream")),
            "{content_type:?}"
        );
        Self {
            body: response.into_body(),
            text: String::new(),
            ready: VecDeque::new(),
        }
    }

    /// The next event; `None` where the stream ended.
    pub async fn next(&mut self, deadline: Duration) -> Option<Event> {
        let next = tokio::time::timeout(deadline, self.read()).await;
        next.unwrap_or_else(|_| panic!("no event on the stream within {deadline:?}"))
    }

    /// The next event whose object has this `type`.
    pub async fn next_of(&mut self, kind: &str, deadline: Duration) -> Event {
        loop {
            let event = self.next(deadline).await;
            let event = event.unwrap_or_else(|| panic!("the stream ended before a {kind}"));
            if event.data["type"] == kind {
                return event;
            }
        }
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let frame = self.body.frame().await?.ok()?;
            if let Some(data) = frame.data_ref() {
                self.text.push_str(&String::from_utf8_lossy(data));
                self.split();
            }
        }
    }

    fn split(&mut self) {
        while let Some((block, rest)) = self.text.split_once("\n\n") {
            self.ready.extend(parse(block));
            self.text = rest.to_owned();
        }
    }
}

/// One block; `None` for a comment.
fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let lines = block.lines().filter_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(':')?;
            Some(value.strip_prefix(' ').unwrap_or(value))
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let data = field("data");
    if data.is_empty() {
        return None;
    }
    Some(Event {
        id: field("id"),
        data: serde_json::from_str(&data)
            .unwrap_or_else(|error| panic!("data is not JSON: {error}: {data}")),
    })
}
