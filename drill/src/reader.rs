//! A chat user: a WebSocket client that records every frame, acknowledges and resumes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use service_kit::clock::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::witness::{Arrivals, Pen, consumed};

/// How long the handshake may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// TLS towards a bridge.
#[derive(Clone)]
pub struct Tls {
    /// Whom to trust, and what to show.
    pub config: Arc<ClientConfig>,
    /// The name that the bridge's certificate must have.
    pub name: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TLS to {:?}", self.name)
    }
}

/// What carries a WebSocket: a socket, encrypted or not.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// How to read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The thread.
    pub thread_id: String,
    /// Epoch and sequence to resume after.
    pub resume: Option<(String, u64)>,
    /// Subprotocols to offer.
    pub subprotocols: Vec<String>,
    /// Token to show in `Authorization: Bearer`.
    pub bearer: Option<String>,
    /// Page to claim in `Origin`.
    pub origin: Option<String>,
    /// How to trust the bridge and be trusted. `None`: without TLS.
    pub tls: Option<Tls>,
    /// Whether each event is acknowledged.
    pub acknowledge: bool,
    /// Told of every event.
    pub witness: Option<Pen>,
}

impl Options {
    /// Reads a thread from the beginning of its window and acknowledges.
    #[must_use]
    pub fn thread(thread_id: &str) -> Self {
        Self {
            thread_id: thread_id.to_owned(),
            acknowledge: true,
            ..Self::default()
        }
    }

    /// Resumes after a sequence.
    #[must_use]
    pub fn after(mut self, epoch: &str, sequence: u64) -> Self {
        self.resume = Some((epoch.to_owned(), sequence));
        self
    }

    /// Tells a witness every event.
    #[must_use]
    pub fn witnessed_by(mut self, witness: Pen) -> Self {
        self.witness = Some(witness);
        self
    }

    /// Offers one subprotocol.
    #[must_use]
    pub fn subprotocol(mut self, name: &str) -> Self {
        self.subprotocols.push(name.to_owned());
        self
    }

    fn path(&self) -> String {
        let mut path = format!("/v1/events?thread_id={}", self.thread_id);
        if let Some((epoch, after)) = &self.resume {
            path.push_str(&format!("&epoch={epoch}&after={after}"));
        }
        path
    }
}

/// An upgrade that was refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The HTTP status, 0 where there was none.
    pub status: u16,
    /// The body, or the transport's error.
    pub body: String,
}

/// One frame and when it came.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The object.
    pub value: Value,
    /// The reader's wall clock.
    pub at: SystemTime,
}

impl Frame {
    /// Its `type`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.value["type"].as_str().unwrap_or("")
    }

    /// A text field; empty where it is not there.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.value[field].as_str().unwrap_or("")
    }

    /// Its `seq`; 0 where it is not there.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.value["seq"].as_u64().unwrap_or(0)
    }
}

/// What a reader saw.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Every frame, in order.
    pub frames: Vec<Frame>,
    /// The close frame's code and reason.
    pub closed: Option<(u16, String)>,
    /// Whether the connection is over, with or without a close frame.
    pub over: bool,
}

impl Record {
    /// The events among the frames.
    pub fn events(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter().filter(|frame| frame.kind() == "event")
    }
}

/// One connected reader. Dropping it cuts the connection without a close frame.
#[derive(Debug)]
pub struct Reader {
    /// The upgrade's answer.
    pub headers: HeaderMap,
    thread_id: String,
    record: watch::Receiver<Arc<Record>>,
    outgoing: mpsc::UnboundedSender<Message>,
    witness: Option<Pen>,
    task: JoinHandle<()>,
}

impl Reader {
    /// Connects, and panics where the bridge refuses.
    pub async fn connect(address: SocketAddr, options: Options) -> Self {
        let connected = Self::try_connect(address, options).await;
        connected.unwrap_or_else(|refused| panic!("the bridge refused a reader: {refused:?}"))
    }

    /// Connects.
    ///
    /// # Errors
    /// Where the bridge refuses the upgrade, or no connection can be made.
    pub async fn try_connect(address: SocketAddr, options: Options) -> Result<Self, Refused> {
        let handshake = tokio::time::timeout(CONNECT_DEADLINE, handshake(address, &options));
        let (socket, headers) = handshake.await.unwrap_or_else(|_| {
            Err(Refused {
                status: 0,
                body: format!("no handshake within {CONNECT_DEADLINE:?}"),
            })
        })?;
        let (sender, record) = watch::channel(Arc::default());
        let (outgoing, requests) = mpsc::unbounded_channel();
        let thread_id = options.thread_id.clone();
        let witness = options.witness.clone();
        if let Some(witness) = &witness {
            witness.reads(&thread_id);
        }
        let listener = Listener {
            socket,
            options,
            record: sender,
            arrivals: Arrivals::default(),
        };
        Ok(Self {
            headers,
            thread_id,
            record,
            outgoing,
            witness,
            task: tokio::spawn(listener.run(requests)),
        })
    }

    /// The thread that it reads.
    #[must_use]
    pub fn thread_id(&self) -> &str {
        &self.thread_id
    }

    /// What it saw so far.
    #[must_use]
    pub fn record(&self) -> Arc<Record> {
        self.record.borrow().clone()
    }

    /// Waits until what it saw satisfies a condition, and returns it.
    pub async fn until(
        &mut self,
        deadline: Duration,
        what: &str,
        condition: impl Fn(&Record) -> bool,
    ) -> Arc<Record> {
        let reached = self.record.wait_for(|record| condition(record));
        let reached = match tokio::time::timeout(deadline, reached).await {
            Ok(Ok(record)) => Ok(record.clone()),
            Ok(Err(_)) => Err("the reader is over"),
            Err(_) => Err("the deadline passed"),
        };
        reached.unwrap_or_else(|why| {
            let record = self.record();
            let last = record.frames.last();
            panic!(
                "{}: {what}: {why}; {} frames, {} events, closed: {:?}, over: {}, last: {last:?}",
                self.thread_id,
                record.frames.len(),
                record.events().count(),
                record.closed,
                record.over,
            )
        })
    }

    /// Waits for this many events.
    pub async fn until_events(&mut self, deadline: Duration, count: usize) -> Arc<Record> {
        let what = format!("{count} events");
        self.until(deadline, &what, |record| record.events().count() >= count)
            .await
    }

    /// The welcome, once it came.
    pub async fn welcome(&mut self) -> Value {
        let record = self
            .until(CONNECT_DEADLINE, "welcome", |record| {
                !record.frames.is_empty()
            })
            .await;
        let first = &record.frames[0];
        assert_eq!(first.kind(), "welcome", "the first frame: {first:?}");
        first.value.clone()
    }

    /// Sends any text.
    pub fn send(&self, text: &str) {
        let _ = self.outgoing.send(Message::text(text));
    }

    /// Sends any frame.
    pub fn send_message(&self, message: Message) {
        let _ = self.outgoing.send(message);
    }

    /// Closes in order and waits for the end.
    pub async fn close(mut self) -> Arc<Record> {
        let _ = self.outgoing.send(Message::Close(None));
        self.until(CONNECT_DEADLINE, "the end", |record| record.over)
            .await
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(witness) = &self.witness {
            witness.left(&self.thread_id);
        }
    }
}

async fn handshake(
    address: SocketAddr,
    options: &Options,
) -> Result<(WebSocketStream<Box<dyn Wire>>, HeaderMap), Refused> {
    let transport = |error: &dyn std::fmt::Display| Refused {
        status: 0,
        body: error.to_string(),
    };
    let url = format!("ws://{address}{}", options.path());
    let mut request = url.into_client_request().map_err(|e| transport(&e))?;
    let headers = request.headers_mut();
    if !options.subprotocols.is_empty() {
        let offered = HeaderValue::from_str(&options.subprotocols.join(", "));
        headers.insert(
            "sec-websocket-protocol",
            offered.map_err(|e| transport(&e))?,
        );
    }
    if let Some(token) = &options.bearer {
        let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
        headers.insert("authorization", bearer.map_err(|e| transport(&e))?);
    }
    if let Some(origin) = &options.origin {
        let origin = HeaderValue::from_str(origin);
        headers.insert("origin", origin.map_err(|e| transport(&e))?);
    }
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| transport(&error))?;
    let stream: Box<dyn Wire> = match &options.tls {
        None => Box::new(stream),
        Some(tls) => {
            let connector = TlsConnector::from(tls.config.clone());
            let connected = connector.connect(tls.name.clone(), stream).await;
            Box::new(connected.map_err(|error| transport(&error))?)
        }
    };
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, response)) => Ok((socket, response.headers().clone())),
        Err(Error::Http(response)) => Err(Refused {
            status: response.status().as_u16(),
            body: response
                .body()
                .as_ref()
                .map(|body| String::from_utf8_lossy(body).into_owned())
                .unwrap_or_default(),
        }),
        Err(error) => Err(transport(&error)),
    }
}

struct Listener {
    socket: WebSocketStream<Box<dyn Wire>>,
    options: Options,
    record: watch::Sender<Arc<Record>>,
    arrivals: Arrivals,
}

impl Listener {
    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Message>) {
        loop {
            tokio::select! {
                incoming = self.socket.next() => match incoming {
                    Some(Ok(message)) => self.take(message).await,
                    Some(Err(_)) | None => break,
                },
                Some(message) = requests.recv() => {
                    let _ = self.socket.send(message).await;
                }
            }
        }
        self.write(|record| record.over = true);
        if let Some(witness) = &self.options.witness {
            witness.left(&self.options.thread_id);
        }
    }

    async fn take(&mut self, message: Message) {
        let text = match message {
            Message::Text(text) => text,
            Message::Close(frame) => {
                let closed = frame.map_or((1005, String::new()), |frame| {
                    (frame.code.into(), frame.reason.to_string())
                });
                return self.write(|record| record.closed = Some(closed));
            }
            _ => return,
        };
        let value: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("a frame is not JSON: {error}: {text}"));
        let frame = Frame {
            value,
            at: Clock::system().now().wall,
        };
        let event = frame.kind() == "event";
        if frame.kind() == "welcome" {
            let granted = self.options.resume.is_some() && frame.value["recovered"] == true;
            self.arrivals.welcomed(frame.sequence(), granted);
        }
        let sequence = frame.sequence();
        if event && let Some(witness) = &self.options.witness {
            let arrival = self.arrivals.next(sequence);
            witness.saw(consumed(&frame, arrival));
        }
        self.write(|record| record.frames.push(frame));
        if event && self.options.acknowledge {
            let acknowledgement = json!({"type": "ack", "seq": sequence}).to_string();
            let _ = self.socket.send(Message::text(acknowledgement)).await;
        }
    }

    fn write(&self, change: impl FnOnce(&mut Record)) {
        self.record
            .send_modify(|record| change(Arc::make_mut(record)));
    }
}
