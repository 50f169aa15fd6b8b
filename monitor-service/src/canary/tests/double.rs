//! A bridge of our own making: real gRPC and real WebSockets, which can be told to lie.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use monitorable::bridge::v1::agent_events_server::{AgentEvents, AgentEventsServer};
use monitorable::bridge::v1::{
    AgentEvent, EventType, GetEgressRequest, GetEgressResponse, GetRunLedgerRequest,
    GetRunLedgerResponse, PublishRequest, PublishResponse, PublishStreamRequest,
    PublishStreamResponse, Receipt, Status as ReceiptStatus,
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request as Upgrade};
use tokio_tungstenite::tungstenite::http::Response as HttpResponse;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// What the bridge does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    None,
    /// Its WebSockets say nothing.
    Silent,
    /// Events are accepted and never delivered.
    BlackHole,
    /// The third event of each run is lost, and the numbers say nothing of it.
    Loses,
    /// Each event is delivered twice.
    Repeats,
    /// Data comes back changed.
    Garbles,
    /// Events are refused.
    Refuses,
    /// `Publish` hangs.
    Hangs,
    /// Readers are told goodbye with this code.
    Goodbye(u16),
    /// Upgrades are answered with this HTTP status.
    Upgrade(u16),
    /// `Publish` answers with this code.
    Answers(tonic::Code),
    /// No such service.
    NotServed,
    /// Readers are sent elsewhere, where nobody is.
    Misleads,
    /// What comes is no JSON.
    Babbles,
    /// The last event comes again while the reader closes.
    Echoes,
}

/// What happened at the bridge.
#[derive(Debug, Default)]
pub(super) struct Record {
    threads: HashMap<String, Vec<AgentEvent>>,
    /// Threads in the order in which they were read, with where each reader went on.
    pub(super) read: Vec<(String, Option<u64>)>,
    pub(super) acknowledged: u32,
    pub(super) closed: u32,
    pub(super) egress_asked: u32,
    pub(super) authorizations: Vec<String>,
    open: usize,
    pub(super) most_open: usize,
}

#[derive(Clone)]
pub(super) struct Bridge {
    lie: Arc<Mutex<Lie>>,
    record: Arc<Mutex<Record>>,
    news: watch::Sender<u64>,
    readers: u16,
}

impl Bridge {
    /// Serves on two free ports; the address of the first is an agent's.
    pub(super) async fn start(lie: Lie) -> (Self, String) {
        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let readers = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bridge = Self {
            lie: Arc::new(Mutex::new(lie)),
            record: Arc::default(),
            news: watch::Sender::new(0),
            readers: readers.local_addr().unwrap().port(),
        };
        let endpoint = format!("http://{}", grpc.local_addr().unwrap());
        let serving = Server::builder()
            .add_service(AgentEventsServer::new(bridge.clone()))
            .serve_with_incoming(TcpIncoming::from(grpc));
        tokio::spawn(serving);
        let door = bridge.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = readers.accept().await {
                tokio::spawn(door.clone().read(stream));
            }
        });
        (bridge, endpoint)
    }

    pub(super) fn lies(&self, lie: Lie) {
        *self.lie.lock().unwrap() = lie;
    }

    fn lie(&self) -> Lie {
        *self.lie.lock().unwrap()
    }

    pub(super) fn record<T>(&self, look: impl FnOnce(&mut Record) -> T) -> T {
        look(&mut self.record.lock().unwrap())
    }

    fn accept(&self, events: &[AgentEvent]) -> Vec<Receipt> {
        let lie = self.lie();
        let receipts = self.record(|record| {
            let receipt = |event: &AgentEvent| {
                let log = record.threads.entry(event.thread_id.clone()).or_default();
                log.push(event.clone());
                Receipt {
                    event_id: event.event_id.clone(),
                    status: ReceiptStatus::Accepted.into(),
                    sequence: log.len() as u64,
                    epoch: "e1".to_owned(),
                    ..Receipt::default()
                }
            };
            events.iter().map(receipt).collect()
        });
        if lie != Lie::BlackHole {
            self.news.send_modify(|news| *news += 1);
        }
        receipts
    }

    #[expect(
        clippy::result_large_err,
        reason = "the callback's type is the library's"
    )]
    async fn read(self, stream: TcpStream) {
        self.record(|record| {
            record.open += 1;
            record.most_open = record.most_open.max(record.open);
        });
        let lie = self.lie();
        let mut uri = String::new();
        let upgrade = |request: &Upgrade, response| {
            uri = request.uri().to_string();
            let authorization = request.headers().get("authorization");
            if let Some(value) = authorization {
                let value = value.to_str().unwrap().to_owned();
                self.record(|record| record.authorizations.push(value));
            }
            match lie {
                Lie::Upgrade(status) => {
                    let body = Some("no room".to_owned());
                    let refused: ErrorResponse =
                        HttpResponse::builder().status(status).body(body).unwrap();
                    Err(refused)
                }
                _ => Ok(response),
            }
        };
        if let Ok(socket) = accept_hdr_async(stream, upgrade).await {
            Reader::new(self.clone(), socket, &uri).run(lie).await;
        }
        self.record(|record| record.open -= 1);
    }
}

struct Reader {
    bridge: Bridge,
    socket: WebSocketStream<TcpStream>,
    thread_id: String,
    next: usize,
}

impl Reader {
    fn new(bridge: Bridge, socket: WebSocketStream<TcpStream>, uri: &str) -> Self {
        let value = |name: &str| {
            let query = uri.split_once('?').map_or("", |(_, query)| query);
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.into_iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| percent_decode_str(value).decode_utf8_lossy().into_owned())
        };
        let thread_id = value("thread_id").unwrap();
        let after: Option<u64> = value("after").map(|after| after.parse().unwrap());
        bridge.record(|record| record.read.push((thread_id.clone(), after)));
        Self {
            bridge,
            socket,
            thread_id,
            next: after.unwrap_or_default() as usize,
        }
    }

    async fn say(&mut self, text: String) {
        let _ = self.socket.send(Message::text(text)).await;
    }

    async fn run(mut self, lie: Lie) {
        let mut news = self.bridge.news.subscribe();
        match lie {
            Lie::Silent => {}
            Lie::Babbles => self.say("hello?".to_owned()).await,
            Lie::Goodbye(code) => {
                let goodbye = json!({"type": "goodbye", "code": code, "reason": "so it goes"});
                self.say(goodbye.to_string()).await;
                let frame = CloseFrame {
                    code: code.into(),
                    reason: "".into(),
                };
                let _ = self.socket.close(Some(frame)).await;
            }
            _ => {
                let welcome = json!({
                    "type": "welcome", "thread_id": self.thread_id, "epoch": "e1", "seq": 0,
                    "recovered": true, "heartbeat_ms": 25_000,
                });
                self.say(welcome.to_string()).await;
                self.say(json!({"type": "heartbeat", "seq": 0}).to_string())
                    .await;
            }
        }
        if lie != Lie::BlackHole {
            self.catch_up(lie).await;
        }
        loop {
            tokio::select! {
                message = self.socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        assert!(text.contains("\"ack\""), "{text}");
                        self.bridge.record(|record| record.acknowledged += 1);
                        if lie == Lie::Echoes {
                            self.next -= 1;
                            self.catch_up(lie).await;
                        }
                    }
                    Some(Ok(Message::Close(_))) => {
                        self.bridge.record(|record| record.closed += 1);
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
                changed = news.changed() => match changed {
                    Ok(()) if lie == Lie::Silent || lie == Lie::BlackHole => {}
                    Ok(()) => self.catch_up(lie).await,
                    Err(_) => return,
                },
            }
        }
    }

    async fn catch_up(&mut self, lie: Lie) {
        let log = self.bridge.record(|record| {
            let log = record.threads.get(&self.thread_id);
            log.cloned().unwrap_or_default()
        });
        for (index, event) in log.iter().enumerate().skip(self.next) {
            self.next = index + 1;
            let place = index % 5;
            if lie == Lie::Loses && place == 2 {
                continue;
            }
            let seq = match lie {
                Lie::Loses if place > 2 => index,
                _ => index + 1,
            };
            let text = shown(event, seq, lie);
            self.say(text.clone()).await;
            if lie == Lie::Repeats {
                self.say(text).await;
            }
        }
    }
}

fn shown(event: &AgentEvent, seq: usize, lie: Lie) -> String {
    let kind = match event.r#type() {
        EventType::AgentStarted => "agent_started",
        EventType::ToolExecuting => "tool_executing",
        EventType::ToolCompleted => "tool_completed",
        EventType::AgentMessage => "agent_message",
        _ => "agent_completed",
    };
    let mut data: Value = serde_json::from_slice(&event.data).unwrap();
    if lie == Lie::Garbles {
        data["text"] = json!("?a va?");
    }
    json!({
        "type": "event", "seq": seq, "epoch": "e1", "event_id": event.event_id, "event": kind,
        "thread_id": event.thread_id, "run_id": event.run_id, "agent_name": event.agent_name,
        "tool_name": event.tool_name, "tool_call_id": event.tool_call_id, "data": data,
        "time": "2025-01-01T00:00:00.000Z",
    })
    .to_string()
}

#[tonic::async_trait]
impl AgentEvents for Bridge {
    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let events = request.into_inner().events;
        match self.lie() {
            Lie::Hangs => std::future::pending().await,
            Lie::Answers(code) => return Err(Status::new(code, "no")),
            _ => {}
        }
        let mut receipts = self.accept(&events);
        if self.lie() == Lie::Refuses {
            for receipt in &mut receipts {
                receipt.set_status(ReceiptStatus::Rejected);
                receipt.error = "full".to_owned();
            }
        }
        Ok(Response::new(PublishResponse { receipts }))
    }

    type PublishStreamStream =
        Pin<Box<dyn Stream<Item = Result<PublishStreamResponse, Status>> + Send>>;

    async fn publish_stream(
        &self,
        _request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        Err(Status::unimplemented("no streams here"))
    }

    async fn get_run_ledger(
        &self,
        _request: Request<GetRunLedgerRequest>,
    ) -> Result<Response<GetRunLedgerResponse>, Status> {
        Err(Status::unimplemented("no ledgers here"))
    }

    async fn get_egress(
        &self,
        _request: Request<GetEgressRequest>,
    ) -> Result<Response<GetEgressResponse>, Status> {
        self.record(|record| record.egress_asked += 1);
        let http_port = match self.lie() {
            Lie::NotServed => return Err(Status::unimplemented("no readers here")),
            // A privileged port that nobody serves.
            Lie::Misleads => 1,
            _ => self.readers.into(),
        };
        Ok(Response::new(GetEgressResponse {
            http_port,
            path: "/v1/events".to_owned(),
            tls: false,
        }))
    }
}
