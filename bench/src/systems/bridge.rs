//! The bridge: events in by gRPC, out to WebSockets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use monitorable::bridge::v1::agent_events_client::AgentEventsClient;
use monitorable::bridge::v1::{
    AgentEvent, EventType, PublishRequest, PublishStreamRequest, Receipt, Status,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::Running;
use crate::dialect::Dialect;
use crate::failure::Failure;
use crate::machine::{SERVER_CORE, said};
use crate::process::Server;
use crate::publisher::{Message, Publisher};
use crate::readers::Manner;

/// The folder of the services' binaries. Absent: the one that this program is in.
const BINARIES: &str = "MONITORABLE_BIN_DIR";
const BRIDGE: &str = "bridge-service";
/// Messages after which a reader acknowledges: of the server's own duties, so it is measured.
const ACKNOWLEDGE_EVERY: u64 = 16;
/// What is kept for replay and to recognise repeats, smaller than by default: memory that is
/// filled for the first time costs page faults, which a long run does not see, and this much is
/// full after [`FILLING`] events.
pub(crate) const STEADY: [&str; 4] = [
    "--hub-window-total-bytes",
    "33554432",
    "--hub-idempotency-entries",
    "65536",
];
/// Batches that wait for the bridge in the publisher, before it holds messages back.
const QUEUE: usize = 512;
/// Events that fill what [`STEADY`] bounds.
pub(crate) const FILLING: u64 = 66_000;

/// A bridge and where it listens.
pub(crate) struct Bridge {
    pub(crate) server: Server,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Bridge {
    /// Starts one with these flags added.
    ///
    /// # Errors
    /// Where it does not start.
    pub(crate) fn start(flags: &[&str]) -> Result<Self, Failure> {
        let mut command = service(BRIDGE)?;
        command.args(flags);
        let names = ["grpc", "http"];
        let (server, addresses) = Server::announced(&mut command, SERVER_CORE, &names)?;
        let [grpc, http] = addresses[..] else {
            return Err(Failure::new("the bridge did not say where it listens"));
        };
        Ok(Self { server, grpc, http })
    }

    /// The same as a system to be measured; `unary`: one call an event.
    pub(crate) fn running(self, unary: bool) -> Running {
        let manner = self.manner();
        let grpc = self.grpc;
        Running {
            server: self.server,
            manner,
            path: Self::path,
            publisher: Box::new(move |topics| {
                let client = AgentEventsClient::new(channel(grpc)?);
                let topics = topics.to_vec();
                Ok(if unary {
                    Box::new(Unary::new(client, topics))
                } else {
                    Box::new(Streamed::open(client, topics))
                })
            }),
            _folder: None,
        }
    }

    /// How readers connect.
    pub(crate) fn manner(&self) -> Manner {
        Manner {
            address: self.http,
            dialect: Dialect::Bridge,
            subscribe: None,
            acknowledge_every: Some(ACKNOWLEDGE_EVERY),
        }
    }

    /// Where a topic is read.
    pub(crate) fn path(topic: &str) -> String {
        format!("/v1/events?thread_id={topic}")
    }
}

/// A service on free ports, free of settings from this process's own environment.
///
/// # Errors
/// Where its binary is not there.
pub(crate) fn service(name: &str) -> Result<Command, Failure> {
    let mut command = Command::new(binary(name)?);
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        if text.starts_with("BRIDGE_") || text.starts_with("MONITOR_") {
            command.env_remove(&variable);
        }
    }
    command
        .args(["serve", "--grpc-listen", "127.0.0.1:0"])
        .args(["--http-listen", "127.0.0.1:0", "--log-level", "error"])
        .stderr(Stdio::inherit());
    Ok(command)
}

fn binary(name: &str) -> Result<PathBuf, Failure> {
    let path = match std::env::var_os(BINARIES) {
        Some(folder) => PathBuf::from(folder).join(name),
        None => std::env::current_exe()?.with_file_name(name),
    };
    if path.is_file() {
        Ok(path)
    } else {
        Err(Failure::new(format!(
            "{} is not there; `cargo xtask bench` builds it, and {BINARIES} names another folder",
            path.display()
        )))
    }
}

/// A channel to a gRPC port, connected at the first call.
///
/// # Errors
/// Where the address is none.
pub(crate) fn channel(address: SocketAddr) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| Failure::new(error.to_string()))?;
    Ok(endpoint.tcp_nodelay(true).connect_lazy())
}

pub(super) fn version() -> Result<String, Failure> {
    let path = binary(BRIDGE)?;
    Ok(said(&path.to_string_lossy(), &["--version"]))
}

pub(super) fn start(unary: bool) -> Result<Running, Failure> {
    Ok(Bridge::start(&STEADY)?.running(unary))
}

/// Makes events, each with an id of its own.
pub(crate) struct Events {
    topics: Vec<String>,
    count: u64,
}

impl Events {
    pub(crate) fn new(topics: Vec<String>) -> Self {
        Self { topics, count: 0 }
    }

    pub(crate) fn event(&mut self, message: Message) -> AgentEvent {
        self.count += 1;
        let topic = &self.topics[message.thread];
        AgentEvent {
            event_id: format!("event-{}", self.count),
            thread_id: topic.clone(),
            run_id: topic.clone(),
            r#type: EventType::AgentMessage.into(),
            data: Bytes::copy_from_slice(&message.stamp.write()),
            ..AgentEvent::default()
        }
    }
}

/// The first thing that went wrong in a task of a publisher.
#[derive(Clone, Debug, Default)]
struct Trouble(Arc<Mutex<Option<Failure>>>);

impl Trouble {
    fn note(&self, why: Failure) {
        if let Ok(mut first) = self.0.lock() {
            first.get_or_insert(why);
        }
    }

    fn check(&self) -> Result<(), Failure> {
        match self.0.lock() {
            Ok(first) => first.clone().map_or(Ok(()), Err),
            Err(_) => Err(Failure::new("a publisher's task panicked")),
        }
    }

    fn check_receipts(&self, receipts: &[Receipt]) {
        for receipt in receipts {
            if receipt.status() != Status::Accepted {
                let Receipt {
                    event_id, error, ..
                } = receipt;
                let status = receipt.status().as_str_name();
                self.note(Failure::new(format!("{event_id}: {status} {error}")));
            }
        }
    }
}

/// A publish stream.
struct Streamed {
    events: Events,
    batches: mpsc::Sender<PublishStreamRequest>,
    trouble: Trouble,
}

impl Streamed {
    fn open(mut client: AgentEventsClient<Channel>, topics: Vec<String>) -> Self {
        let (batches, requests) = mpsc::channel(QUEUE);
        let trouble = Trouble::default();
        let noted = trouble.clone();
        tokio::spawn(async move {
            let answers = async {
                let requests = ReceiverStream::new(requests);
                let mut answers = client.publish_stream(requests).await?.into_inner();
                while let Some(answer) = answers.message().await? {
                    noted.check_receipts(&answer.receipts);
                }
                Err::<(), _>(tonic::Status::unavailable("the publish stream ended"))
            };
            if let Err(status) = answers.await {
                noted.note(Failure::new(status.to_string()));
            }
        });
        Self {
            events: Events::new(topics),
            batches,
            trouble,
        }
    }
}

impl Publisher for Streamed {
    fn publish(&mut self, messages: &[Message]) -> Result<(), Failure> {
        let events = messages.iter().map(|message| self.events.event(*message));
        let events = events.collect();
        let queued = self.batches.try_send(PublishStreamRequest { events });
        self.trouble.check()?;
        queued.map_err(|error| Failure::new(format!("the publish stream: {error}")))
    }

    fn has_room(&self) -> bool {
        self.batches.capacity() > 0
    }
}

/// One call an event.
struct Unary {
    client: AgentEventsClient<Channel>,
    events: Events,
    trouble: Trouble,
}

impl Unary {
    fn new(client: AgentEventsClient<Channel>, topics: Vec<String>) -> Self {
        Self {
            client,
            events: Events::new(topics),
            trouble: Trouble::default(),
        }
    }
}

impl Publisher for Unary {
    fn publish(&mut self, messages: &[Message]) -> Result<(), Failure> {
        for message in messages {
            let events = vec![self.events.event(*message)];
            let (mut client, trouble) = (self.client.clone(), self.trouble.clone());
            tokio::spawn(async move {
                match client.publish(PublishRequest { events }).await {
                    Ok(answer) => trouble.check_receipts(&answer.into_inner().receipts),
                    Err(status) => trouble.note(Failure::new(status.to_string())),
                }
            });
        }
        self.trouble.check()
    }
}
