//! One publish stream of a replay, opened again where it fails.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use monitorable::bridge::v1::agent_events_client::AgentEventsClient;
use monitorable::bridge::v1::{
    AgentEvent, PublishStreamRequest, PublishStreamResponse, Receipt, Status as ReceiptStatus,
};
use service_kit::client::SendToken;
use service_kit::clock::Clock;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use super::report::Reporter;
use crate::edge::convert::timestamp;
use crate::edge::targets::causes;

/// Batches sent and not answered.
const MAX_UNANSWERED: usize = 8;
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Failures in a row, with no batch answered in between, after which a stream gives up.
const MAX_FAILURES: u32 = 5;
/// Wait before a stream is opened again; it doubles with each failure.
const BACKOFF: Duration = Duration::from_millis(200);
/// Rejections that are kept to be shown.
const MAX_SHOWN: usize = 5;

/// An event, and when it is due after the start.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) due: Duration,
    pub(super) event: AgentEvent,
}

/// What became of the events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) accepted: u64,
    pub(super) duplicate: u64,
    pub(super) rejected: u64,
    /// The first rejections, in words.
    pub(super) rejections: Vec<String>,
}

/// What came of a stream: what was answered, and why it ended early.
#[derive(Debug)]
pub(super) struct Result {
    pub(super) counts: Counts,
    pub(super) failure: Option<Failure>,
}

/// Why a stream cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection was ever made.
    Connect(String),
    /// A call failed.
    Call(String),
}

/// One failed attempt.
struct Attempt {
    failure: Failure,
    /// Whether another may succeed.
    passing: bool,
}

/// One publish stream.
pub(super) struct Publisher {
    target: Endpoint,
    token: SendToken,
    batch: usize,
    plan: VecDeque<Planned>,
    reporter: Option<Reporter>,
    clock: Clock,
    start: Instant,
    unanswered: VecDeque<Sent>,
    counts: Counts,
    connected: bool,
    failures: u32,
}

struct Sent {
    events: Vec<AgentEvent>,
    at: Instant,
}

impl Publisher {
    pub(super) fn new(
        (target, token): (Endpoint, SendToken),
        batch: usize,
        plan: Vec<Planned>,
        reporter: Option<Reporter>,
        (clock, start): (Clock, Instant),
    ) -> Self {
        Self {
            target,
            token,
            batch,
            plan: plan.into(),
            reporter,
            clock,
            start,
            unanswered: VecDeque::new(),
            counts: Counts::default(),
            connected: false,
            failures: 0,
        }
    }

    /// Publishes the plan.
    pub(super) async fn run(mut self) -> Result {
        let failure = loop {
            let Err(attempt) = self.attempt().await else {
                break None;
            };
            self.failures += 1;
            let (Failure::Connect(text) | Failure::Call(text)) = &attempt.failure;
            if !attempt.passing || self.failures >= MAX_FAILURES {
                break Some(attempt.failure);
            }
            let wait = BACKOFF * 2_u32.pow(self.failures - 1);
            tracing::warn!(error = %text, ?wait, "a publish stream failed; it is opened again");
            tokio::time::sleep(wait).await;
        };
        Result {
            counts: self.counts,
            failure,
        }
    }

    /// Opens a stream, sends again what was not answered, and goes on.
    async fn attempt(&mut self) -> std::result::Result<(), Attempt> {
        let channel = self.connect().await?;
        let (sender, requests) = mpsc::channel(MAX_UNANSWERED);
        let mut client = AgentEventsClient::with_interceptor(channel, self.token.clone());
        let opened = client.publish_stream(ReceiverStream::new(requests));
        let mut answers = tokio::time::timeout(ANSWER_TIMEOUT, opened)
            .await
            .map_err(|_| no_answer())?
            .map_err(|status| failed_call(&status))?
            .into_inner();
        for sent in &mut self.unanswered {
            sent.at = self.clock.now().monotonic;
            send(&sender, sent.events.clone())?;
        }
        while !(self.plan.is_empty() && self.unanswered.is_empty()) {
            self.step(&sender, &mut answers).await?;
        }
        Ok(())
    }

    async fn connect(&mut self) -> std::result::Result<Channel, Attempt> {
        match self.target.connect().await {
            Ok(channel) => {
                self.connected = true;
                Ok(channel)
            }
            Err(error) => {
                let text = format!(
                    "cannot connect to {}: {}",
                    self.target.uri(),
                    causes(&error)
                );
                let failure = match self.connected {
                    true => Failure::Call(text),
                    false => Failure::Connect(text),
                };
                Err(Attempt {
                    failure,
                    passing: true,
                })
            }
        }
    }

    /// Sends what is due, or waits until something is or an answer comes.
    async fn step(
        &mut self,
        sender: &mpsc::Sender<PublishStreamRequest>,
        answers: &mut Streaming<PublishStreamResponse>,
    ) -> std::result::Result<(), Attempt> {
        let now = self.clock.now();
        let may_send = self.unanswered.len() < MAX_UNANSWERED;
        let due = self
            .plan
            .front()
            .filter(|_| may_send)
            .map(|next| self.start + next.due);
        if due.is_some_and(|due| due <= now.monotonic) {
            let events = self.take_due(now);
            send(sender, events.clone())?;
            self.unanswered.push_back(Sent {
                events,
                at: now.monotonic,
            });
            return Ok(());
        }
        let deadline = self.unanswered.front().map(|sent| sent.at + ANSWER_TIMEOUT);
        tokio::select! {
            answer = answers.message() => match answer {
                Ok(Some(answer)) => self.answered(answer.receipts),
                Ok(None) => Err(passing("the bridge ended the stream early".to_owned())),
                Err(status) => Err(failed_call(&status)),
            },
            () = until(due) => Ok(()),
            () = until(deadline) => Err(no_answer()),
        }
    }

    fn take_due(&mut self, now: service_kit::clock::Now) -> Vec<AgentEvent> {
        let elapsed = now.since(self.start);
        let mut events = Vec::new();
        let is_due = |next: &Planned| next.due <= elapsed;
        while events.len() < self.batch
            && self.plan.front().is_some_and(is_due)
            && let Some(planned) = self.plan.pop_front()
        {
            events.push(AgentEvent {
                create_time: Some(timestamp(now.wall)),
                ..planned.event
            });
        }
        events
    }

    fn answered(&mut self, receipts: Vec<Receipt>) -> std::result::Result<(), Attempt> {
        let Some(sent) = self.unanswered.pop_front() else {
            return Err(broken("an answer to no batch came".to_owned()));
        };
        let (got, wanted) = (receipts.len(), sent.events.len());
        if got != wanted {
            return Err(broken(format!("{got} receipts came for {wanted} events")));
        }
        self.failures = 0;
        for (event, receipt) in sent.events.iter().zip(receipts) {
            match receipt.status() {
                ReceiptStatus::Accepted => self.counts.accepted += 1,
                ReceiptStatus::Duplicate => self.counts.duplicate += 1,
                ReceiptStatus::Rejected | ReceiptStatus::Unspecified => {
                    self.rejected(&receipt);
                    continue;
                }
            }
            if let Some(reporter) = &self.reporter {
                reporter.report(event, receipt, self.clock.now().wall);
            }
        }
        Ok(())
    }

    fn rejected(&mut self, receipt: &Receipt) {
        self.counts.rejected += 1;
        if self.counts.rejections.len() < MAX_SHOWN {
            let Receipt {
                event_id, error, ..
            } = receipt;
            self.counts.rejections.push(format!("{event_id}: {error}"));
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// The channel has a place for every batch that may be unanswered, so only a stream that has failed
/// takes none.
fn send(
    sender: &mpsc::Sender<PublishStreamRequest>,
    events: Vec<AgentEvent>,
) -> std::result::Result<(), Attempt> {
    sender
        .try_send(PublishStreamRequest { events })
        .map_err(|_| passing("the stream takes no more batches".to_owned()))
}

fn passing(text: String) -> Attempt {
    Attempt {
        failure: Failure::Call(text),
        passing: true,
    }
}

fn broken(text: String) -> Attempt {
    Attempt {
        failure: Failure::Call(text),
        passing: false,
    }
}

fn no_answer() -> Attempt {
    passing(format!("no answer within {ANSWER_TIMEOUT:?}"))
}

fn failed_call(status: &Status) -> Attempt {
    let text = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Unavailable
        | Code::Unknown
        | Code::Internal
        | Code::Cancelled
        | Code::Aborted
        | Code::DeadlineExceeded => passing(text),
        _ => broken(text),
    }
}
