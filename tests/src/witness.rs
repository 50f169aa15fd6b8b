//! A witness: tells the monitor what it saw itself, past the bridge.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use monitorable::bridge::v1::{AgentEvent, EventType, Receipt};
use monitorable::monitor::v1::evidence_client::EvidenceClient;
use monitorable::monitor::v1::{ObservedEvent, ReportEventsRequest, Vantage};
use service_kit::clock::Clock;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::process::channel;

/// Between two reports; each is a sign of life too.
const BEAT: Duration = Duration::from_millis(300);
/// Events that one report may carry.
const BATCH: usize = 1_000;
/// How long one report may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// What is waiting to be told.
#[derive(Debug, Default)]
struct Notebook {
    events: Vec<ObservedEvent>,
    reading: BTreeSet<String>,
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

struct Reporter {
    client: EvidenceClient<Channel>,
    pen: Pen,
    observer_id: String,
    component_id: String,
    vantage: Vantage,
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
        let (events, reading) = self.pen.open(|notebook| {
            let count = notebook.events.len().min(BATCH);
            let events: Vec<_> = notebook.events.drain(..count).collect();
            (events, notebook.reading.iter().cloned().collect())
        });
        let mut request = tonic::Request::new(ReportEventsRequest {
            observer_id: self.observer_id.clone(),
            vantage: self.vantage.into(),
            events: events.clone(),
            component_id: self.component_id.clone(),
            reading,
            sign_off,
        });
        request.set_timeout(DEADLINE);
        let answer = tokio::time::timeout(DEADLINE, self.client.report_events(request)).await;
        let trouble = match answer {
            Ok(Ok(_)) => None,
            Ok(Err(status)) => Some(status.to_string()),
            Err(_) => Some(format!("no answer within {DEADLINE:?}")),
        };
        self.pen.open(|notebook| {
            if trouble.is_none() {
                notebook.reported += events.len() as u64;
            } else {
                notebook.events.splice(0..0, events);
            }
            notebook.trouble = trouble;
            notebook.trouble.is_none() && !notebook.events.is_empty()
        })
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
    }
}

/// The name of an event's type, as readers see it.
#[must_use]
pub fn type_name(event_type: EventType) -> String {
    let name = event_type.as_str_name();
    let name = name.strip_prefix("EVENT_TYPE_").unwrap_or(name);
    name.to_lowercase()
}
