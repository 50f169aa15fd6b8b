//! A witness: tells the monitor what it saw itself, past the bridge.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use monitorable::bridge::v1::{AgentEvent, EventType, Receipt};
use monitorable::monitor::v1::evidence_client::EvidenceClient;
use monitorable::monitor::v1::{ObservedEvent, ReportEventsRequest, Vantage};
use service_kit::clock::Clock;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::eventually::{eventually, holds};
use crate::process::channel;
use crate::reader::Frame;

/// Between two reports; each is a sign of life too.
const BEAT: Duration = Duration::from_millis(300);
/// Events that one report may carry.
const BATCH: usize = 1_000;
/// The promise that goes with each report: several beats, as machines are shared.
const PROMISE: Duration = Duration::from_secs(1);
/// How long one report may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// What is waiting to be told.
#[derive(Debug, Default)]
struct Notebook {
    events: Vec<ObservedEvent>,
    reading: BTreeSet<String>,
    /// Events that are being told.
    under_way: usize,
    /// What went wrong last; `None` where the last report was taken.
    trouble: Option<String>,
    reported: u64,
}

/// Writes into a witness's notebook. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pen {
    notebook: Arc<Mutex<Notebook>>,
}

impl Pen {
    /// Notes an event.
    pub fn saw(&self, event: ObservedEvent) {
        self.open(|notebook| notebook.events.push(event));
    }

    /// Notes that a thread is being read from now on.
    pub fn reads(&self, thread_id: &str) {
        self.open(|notebook| notebook.reading.insert(thread_id.to_owned()));
    }

    /// Notes that a thread is read no more.
    pub fn left(&self, thread_id: &str) {
        self.open(|notebook| notebook.reading.remove(thread_id));
    }

    fn open<T>(&self, write: impl FnOnce(&mut Notebook) -> T) -> T {
        write(&mut self.notebook.lock().expect("no panic while held"))
    }
}

/// One observer, reporting in the background until it signs off or is dropped.
#[derive(Debug)]
pub struct Witness {
    pen: Pen,
    sign_off: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Witness {
    /// Begins to report on a component to the monitor at a URI.
    #[must_use]
    pub fn start(monitor: &str, observer_id: &str, component_id: &str, vantage: Vantage) -> Self {
        let right = Duration::ZERO;
        Self::with_clock_ahead(monitor, observer_id, component_id, vantage, right)
    }

    /// The same, its wall clock ahead by so much.
    #[must_use]
    pub fn with_clock_ahead(
        monitor: &str,
        observer_id: &str,
        component_id: &str,
        vantage: Vantage,
        clock_ahead: Duration,
    ) -> Self {
        let pen = Pen {
            notebook: Arc::default(),
        };
        let (sign_off, signed_off) = oneshot::channel();
        let reporter = Reporter {
            client: EvidenceClient::new(channel(monitor)),
            pen: pen.clone(),
            observer_id: observer_id.to_owned(),
            component_id: component_id.to_owned(),
            vantage,
            clock_ahead,
            session_id: format!("session-{:x}", nanoseconds()),
            number: 0,
            unanswered: None,
            round_trip: None,
        };
        Self {
            pen,
            sign_off: Some(sign_off),
            task: tokio::spawn(reporter.run(signed_off)),
        }
    }

    /// A way to note what was seen.
    #[must_use]
    pub fn pen(&self) -> Pen {
        self.pen.clone()
    }

    /// Events reported and taken so far.
    #[must_use]
    pub fn reported(&self) -> u64 {
        self.pen.open(|notebook| notebook.reported)
    }

    /// What went wrong with the last report; `None` where it was taken.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.pen.open(|notebook| notebook.trouble.clone())
    }

    /// Waits until all that was noted so far has been reported.
    pub async fn until_told(&self) {
        eventually(DEADLINE * 5, "a witness has told everything", || async {
            let waiting = |notebook: &mut Notebook| notebook.events.len() + notebook.under_way;
            let waiting = self.pen.open(waiting);
            holds(waiting == 0, waiting)
        })
        .await;
    }

    /// Reports the rest and says that it is the last report.
    pub async fn sign_off(mut self) {
        if let Some(sign_off) = self.sign_off.take() {
            let _ = sign_off.send(());
        }
        let ended = tokio::time::timeout(DEADLINE * 5, &mut self.task).await;
        ended.expect("a witness signs off in time").unwrap();
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The wall clock, as a number that no two observers of one run share.
fn nanoseconds() -> u128 {
    let now = Clock::system().now().wall;
    now.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
}

struct Reporter {
    client: EvidenceClient<Channel>,
    pen: Pen,
    observer_id: String,
    component_id: String,
    vantage: Vantage,
    clock_ahead: Duration,
    session_id: String,
    /// Reports made so far.
    number: u64,
    /// A report that was not answered: it is sent again as it was, so that it counts once.
    unanswered: Option<ReportEventsRequest>,
    round_trip: Option<Duration>,
}

impl Reporter {
    async fn run(mut self, mut signed_off: oneshot::Receiver<()>) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => { self.report(false).await; }
                asked = &mut signed_off => {
                    // Dropped without a word: the silence that follows is the point.
                    if asked.is_ok() {
                        while self.report(false).await {}
                        self.report(true).await;
                    }
                    return;
                }
            }
        }
    }

    /// Reports one batch; says whether more is waiting.
    async fn report(&mut self, sign_off: bool) -> bool {
        let mut report = match self.unanswered.take() {
            Some(report) => report,
            None => self.next_report(sign_off),
        };
        let sent = Clock::system().now();
        report.send_time = Some((sent.wall + self.clock_ahead).into());
        report.round_trip = self.round_trip.and_then(|time| time.try_into().ok());
        let mut request = tonic::Request::new(report.clone());
        request.set_timeout(DEADLINE);
        let answer = tokio::time::timeout(DEADLINE, self.client.report_events(request)).await;
        let trouble = match answer {
            Ok(Ok(_)) => None,
            Ok(Err(status)) => Some(status.to_string()),
            Err(_) => Some(format!("no answer within {DEADLINE:?}")),
        };
        let reported = report.events.len() as u64;
        if trouble.is_none() {
            self.round_trip = Some(Clock::system().now().since(sent.monotonic));
        } else {
            self.unanswered = Some(report);
        }
        self.pen.open(|notebook| {
            if trouble.is_none() {
                notebook.reported += reported;
                notebook.under_way = 0;
            }
            notebook.trouble = trouble;
            notebook.trouble.is_none() && !notebook.events.is_empty()
        })
    }

    fn next_report(&mut self, sign_off: bool) -> ReportEventsRequest {
        self.number += 1;
        let (events, reading) = self.pen.open(|notebook| {
            let count = notebook.events.len().min(BATCH);
            let events: Vec<_> = notebook.events.drain(..count).collect();
            notebook.under_way = events.len();
            (events, notebook.reading.iter().cloned().collect())
        });
        ReportEventsRequest {
            observer_id: self.observer_id.clone(),
            vantage: self.vantage.into(),
            events: events
                .into_iter()
                .map(|event| self.by_own_clock(event))
                .collect(),
            component_id: self.component_id.clone(),
            reading,
            sign_off,
            session_id: self.session_id.clone(),
            report_number: self.number,
            send_time: None,
            round_trip: None,
            next_within: PROMISE.try_into().ok().filter(|_| !sign_off),
        }
    }

    /// An event with the time at which this observer believes that it saw it.
    fn by_own_clock(&self, mut event: ObservedEvent) -> ObservedEvent {
        let seen = event.observe_time.take();
        let seen = seen.and_then(|seen| SystemTime::try_from(seen).ok());
        event.observe_time = seen.map(|seen| (seen + self.clock_ahead).into());
        event
    }
}

/// What a producer saw: an event that it handed in, and the receipt for it.
#[must_use]
pub fn produced(event: &AgentEvent, receipt: &Receipt) -> ObservedEvent {
    ObservedEvent {
        event_id: event.event_id.clone(),
        component_id: String::new(),
        thread_id: event.thread_id.clone(),
        run_id: event.run_id.clone(),
        r#type: type_name(event.r#type()),
        sequence: receipt.sequence,
        tool_call_id: event.tool_call_id.clone(),
        observe_time: Some(Clock::system().now().wall.into()),
        epoch: receipt.epoch.clone(),
        ..ObservedEvent::default()
    }
}

/// What a consumer saw: an event's frame, and how it came.
#[must_use]
pub fn consumed(frame: &Frame, arrival: Arrival) -> ObservedEvent {
    ObservedEvent {
        event_id: frame.text("event_id").to_owned(),
        component_id: String::new(),
        thread_id: frame.text("thread_id").to_owned(),
        run_id: frame.text("run_id").to_owned(),
        r#type: frame.text("event").to_owned(),
        sequence: frame.sequence(),
        tool_call_id: frame.text("tool_call_id").to_owned(),
        observe_time: Some(frame.at.into()),
        epoch: frame.text("epoch").to_owned(),
        connection_id: arrival.connection_id,
        arrival: arrival.number,
        replayed: arrival.replayed,
    }
}

/// How one event came.
#[derive(Clone, Debug)]
pub struct Arrival {
    connection_id: String,
    number: u64,
    replayed: bool,
}

/// Counts what arrives on one connection.
#[derive(Debug)]
pub struct Arrivals {
    connection_id: String,
    number: u64,
    /// The newest event when a resume was granted: up to here it is a replay that was declared.
    granted_through: Option<u64>,
}

impl Default for Arrivals {
    fn default() -> Self {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(1);
        let connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        Self {
            connection_id: format!("connection-{connection}"),
            number: 0,
            granted_through: None,
        }
    }
}

impl Arrivals {
    /// The welcome came, which says where the thread stood. `granted`: a resume was asked for, and
    /// recovers everything.
    pub fn welcomed(&mut self, sequence: u64, granted: bool) {
        self.granted_through = granted.then_some(sequence);
    }

    /// The next event came.
    pub fn next(&mut self, sequence: u64) -> Arrival {
        self.number += 1;
        Arrival {
            connection_id: self.connection_id.clone(),
            number: self.number,
            // The first event after a granted resume goes on where the reader was, whatever it is;
            // one that was told `recovered: false` begins anew, and so promises nothing.
            replayed: self
                .granted_through
                .is_some_and(|last| sequence <= last || self.number == 1),
        }
    }
}

/// The name of an event's type, as readers see it.
#[must_use]
pub fn type_name(event_type: EventType) -> String {
    let name = event_type.as_str_name();
    let name = name.strip_prefix("EVENT_TYPE_").unwrap_or(name);
    name.to_lowercase()
}
