//! One synthetic run, from asking where readers connect to the last event read back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use monitorable::bridge::v1::{GetEgressRequest, PublishRequest, Receipt};
use service_kit::clock::Clock;

use super::socket::{Address, Frame, Socket, Trust};
use super::story::{EVENTS, Position, Reading, Story};
use super::trouble::Trouble;
use crate::fleet::api::{CanaryTarget, Target, TlsTarget};
use crate::probe::channel::EventsClient;
use crate::probe::settings::ProbeSettings;

/// Longest path that a component may name, in bytes.
const MAX_PATH_BYTES: usize = 512;

/// Everything that the runs through one component take.
pub(super) struct Path {
    pub(super) client: EventsClient,
    /// The component's gRPC endpoint: readers connect on the same host.
    pub(super) endpoint: String,
    pub(super) target: CanaryTarget,
    /// How to trust and be trusted over TLS.
    pub(super) tls: Option<TlsTarget>,
    pub(super) probe: ProbeSettings,
    pub(super) clock: Clock,
    /// Where readers connect, once it is known. Behind a lock because two runs may be under way;
    /// held for a copy only.
    address: Mutex<Option<Arc<Address>>>,
    /// Whether it was seen to take agents' events, or registered as one that does.
    served: AtomicBool,
}

/// Where a run stands, for the sentence that says where it was cut off.
#[derive(Debug)]
struct Progress {
    step: Step,
    /// Its own: another run may find a new one meanwhile.
    address: Option<Arc<Address>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Asking,
    Connecting,
    Greeting,
    Passing { read: usize },
}

impl Progress {
    fn cut_off(&self, deadline: Duration) -> String {
        let address = self.address.as_ref().map(|address| address.shown());
        let address = address.unwrap_or_default();
        match self.step {
            Step::Asking => format!("GetEgress was not answered within {deadline:?}"),
            Step::Connecting => format!("no WebSocket to {address} within {deadline:?}"),
            Step::Greeting => format!("no welcome came from {address} within {deadline:?}"),
            Step::Passing { read } => {
                format!("{read} of {EVENTS} events came back from {address} within {deadline:?}")
            }
        }
    }
}

impl Path {
    pub(super) fn new(
        client: EventsClient,
        target: &Target,
        probe: ProbeSettings,
        clock: Clock,
    ) -> Self {
        let Target {
            endpoint,
            canary,
            tls,
            ..
        } = target.clone();
        Self {
            served: AtomicBool::new(!canary.websocket_uri.is_empty()),
            client,
            endpoint,
            target: canary,
            tls,
            probe,
            clock,
            address: Mutex::new(None),
        }
    }

    /// Whether it was seen to take agents' events, or registered as one that does.
    pub(super) fn served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// Sends a run through and reads it back inside the deadline. Returns how long the events took
    /// and where the thread's next run goes on.
    pub(super) async fn run(
        &self,
        thread_id: &str,
        after: Option<Position>,
        deadline: Duration,
    ) -> Result<(Duration, Position), Trouble> {
        let mut progress = Progress {
            step: Step::Asking,
            address: None,
        };
        let passing = self.pass(thread_id, after, deadline, &mut progress);
        let ended = match tokio::time::timeout(deadline, passing).await {
            Ok(ended) => ended,
            Err(_) => Err(Trouble::Failed(progress.cut_off(deadline))),
        };
        if let Err(trouble) = &ended {
            // It may have moved, as with a restart.
            self.set_address(None);
            if *trouble == Trouble::NotServed {
                self.served.store(false, Ordering::Relaxed);
            }
        }
        let (delay, position, socket) = ended?;
        socket.close().await?;
        Ok((delay, position))
    }

    async fn pass(
        &self,
        thread_id: &str,
        after: Option<Position>,
        deadline: Duration,
        progress: &mut Progress,
    ) -> Result<(Duration, Position, Socket), Trouble> {
        let address = self.find_address().await?;
        progress.address = Some(address.clone());
        let step = &mut progress.step;
        *step = Step::Connecting;
        let trust = Trust {
            token: &self.target.token,
            tls: self.tls.as_ref(),
        };
        let mut socket = Socket::open(&address, trust, thread_id, after.as_ref(), deadline).await?;
        *step = Step::Greeting;
        let mark = uuid::Uuid::new_v4().simple().to_string();
        let story = Story::new(thread_id, &mark);
        let mut reading = Reading::new(&story, after);
        match socket.next().await? {
            Frame::Welcome(welcome) => reading.welcome(welcome).map_err(Trouble::Failed)?,
            other => {
                let why = format!("reading: {other:?} came before the welcome");
                return Err(Trouble::Failed(why));
            }
        }
        *step = Step::Passing { read: 0 };
        let sent = self.clock.now();
        let read = async {
            read_back(&mut socket, &mut reading, step).await?;
            Ok(self.clock.now().since(sent.monotonic))
        };
        let (receipts, delay) = tokio::try_join!(self.publish(&story), read)?;
        let position = reading.compare(&receipts).map_err(Trouble::Failed)?;
        socket.acknowledge(position.sequence).await?;
        Ok((delay, position, socket))
    }

    async fn publish(&self, story: &Story) -> Result<Vec<Receipt>, Trouble> {
        let request = PublishRequest {
            events: story.events(),
        };
        let answer = self.client.clone().publish(request).await;
        let answer = answer
            .map_err(|status| Trouble::of_call("Publish", &status, self.probe.keepalive_timeout))?;
        let receipts = answer.into_inner().receipts;
        // What was refused never comes: no use in waiting for it.
        super::story::accepted(story, &receipts).map_err(Trouble::Failed)?;
        Ok(receipts)
    }

    fn address(&self) -> Option<Arc<Address>> {
        let address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        address.clone()
    }

    fn set_address(&self, address: Option<Arc<Address>>) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    async fn find_address(&self) -> Result<Arc<Address>, Trouble> {
        if let Some(address) = self.address() {
            return Ok(address);
        }
        let address = if self.target.websocket_uri.is_empty() {
            self.ask_address().await?
        } else {
            let uri = &self.target.websocket_uri;
            // Checked when it was registered.
            let unusable = || Trouble::NoWord(format!("websocket_uri: {uri:?} is not usable"));
            Address::parse(uri).ok_or_else(unusable)?
        };
        let address = Arc::new(address);
        self.set_address(Some(address.clone()));
        Ok(address)
    }

    async fn ask_address(&self) -> Result<Address, Trouble> {
        let answer = self.client.clone().get_egress(GetEgressRequest {}).await;
        let egress = answer
            .map_err(|status| Trouble::of_call("GetEgress", &status, self.probe.keepalive_timeout))?
            .into_inner();
        self.served.store(true, Ordering::Relaxed);
        let (encrypted, authority) = match self.endpoint.split_once("://") {
            Some(("https", authority)) => (true, authority),
            Some((_, authority)) => (false, authority),
            None => (false, self.endpoint.as_str()),
        };
        if encrypted && !egress.tls {
            let why = "the endpoint is https, and readers' port is not encrypted: register the \
                       component with a websocket_uri";
            return Err(Trouble::NoWord(why.to_owned()));
        }
        let scheme = if egress.tls { "wss" } else { "ws" };
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host);
        let (port, path) = (egress.http_port, egress.path.as_str());
        let fits = path.starts_with('/') && path.len() <= MAX_PATH_BYTES && !path.contains('?');
        let address = u16::try_from(port)
            .ok()
            .filter(|_| fits)
            .and_then(|port| Address::parse(&format!("{scheme}://{host}:{port}{path}")));
        address.ok_or_else(|| {
            let path = super::story::shown(path);
            Trouble::Failed(format!("GetEgress answered port {port} and path {path}"))
        })
    }
}

/// Reads until the story is whole.
async fn read_back(
    socket: &mut Socket,
    reading: &mut Reading<'_>,
    step: &mut Step,
) -> Result<(), Trouble> {
    loop {
        match socket.next().await? {
            Frame::Event(event) => {
                let whole = reading.event(&event).map_err(Trouble::Failed)?;
                *step = Step::Passing {
                    read: reading.count(),
                };
                if whole {
                    return Ok(());
                }
            }
            other => {
                let why = format!("reading: {other:?} came among the events");
                return Err(Trouble::Failed(why));
            }
        }
    }
}
