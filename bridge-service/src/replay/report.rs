//! Reports to a monitor what the bridge accepted: best effort, and never in the way of publishing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use monitorable::bridge::v1::{AgentEvent, EventType, Receipt};
use monitorable::monitor::v1::evidence_client::EvidenceClient;
use monitorable::monitor::v1::{ObservedEvent, ReportEventsRequest, Vantage};
use service_kit::client::SendToken;
use service_kit::clock::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::edge::convert::{duration, timestamp};

/// Events that may wait for the monitor. At the limit a further one is dropped and counted.
const MAX_WAITING: usize = 20_000;
/// Events of one report: the contract's limit.
const MAX_REPORT_EVENTS: usize = 1_000;
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// Wait before a failed report is sent again; it doubles up to the longest.
const BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
/// Between two signs of life where nothing is to be told.
const BEAT: Duration = Duration::from_secs(1);
/// What is promised: silence for longer means that the replay is gone.
const PROMISE: Duration = Duration::from_secs(3);
/// How long the rest may take once everything is published.
const FLUSH: Duration = Duration::from_secs(5);

/// A way to the reporting task. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    queue: mpsc::Sender<ObservedEvent>,
    seen: Arc<AtomicU64>,
}

impl Reporter {
    /// Hands over an event, where there is room.
    pub(super) fn report(&self, event: &AgentEvent, receipt: Receipt, at: SystemTime) {
        self.seen.fetch_add(1, Ordering::Relaxed);
        // What finds no room is seen and never reported, which is how drops are counted.
        let _ = self.queue.try_send(ObservedEvent {
            event_id: event.event_id.clone(),
            // The request's component stands for it.
            component_id: String::new(),
            thread_id: event.thread_id.clone(),
            run_id: event.run_id.clone(),
            r#type: reader_name(event.r#type()),
            sequence: receipt.sequence,
            tool_call_id: event.tool_call_id.clone(),
            observe_time: Some(timestamp(at)),
            epoch: receipt.epoch,
            // A producer hands in; nothing arrives.
            connection_id: String::new(),
            arrival: 0,
            replayed: false,
        });
    }
}

/// The name that readers see, such as `agent_started`.
fn reader_name(event_type: EventType) -> String {
    event_type
        .as_str_name()
        .trim_start_matches("EVENT_TYPE_")
        .to_ascii_lowercase()
}

/// What came of reporting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reports {
    pub(super) reported: u64,
    pub(super) dropped: u64,
}

/// The task that reports.
pub(super) struct Reporting {
    task: JoinHandle<()>,
    seen: Arc<AtomicU64>,
    reported: Arc<AtomicU64>,
}

impl Reporting {
    /// Waits a bounded time for the rest. Every [`Reporter`] must be gone.
    pub(super) async fn finish(mut self) -> Reports {
        if tokio::time::timeout(FLUSH, &mut self.task).await.is_err() {
            self.task.abort();
            tracing::warn!(within = ?FLUSH, "the monitor did not take every report");
        }
        let seen = self.seen.load(Ordering::Relaxed);
        let reported = self.reported.load(Ordering::Relaxed);
        Reports {
            reported,
            dropped: seen.saturating_sub(reported),
        }
    }
}

/// Starts reporting. The connection is made in the background, and again whenever it is lost.
pub(super) fn start(
    (monitor, token): (Endpoint, SendToken),
    observer_id: String,
    component_id: String,
    clock: Clock,
) -> (Reporter, Reporting) {
    let (queue, waiting) = mpsc::channel(MAX_WAITING);
    let (seen, reported) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let observer = Observer {
        client: EvidenceClient::with_interceptor(
            monitor.timeout(CALL_TIMEOUT).connect_lazy(),
            token,
        ),
        observer_id,
        component_id,
        session_id: uuid::Uuid::new_v4().simple().to_string(),
        report_number: 1,
        round_trip: None,
        clock,
        reported: reported.clone(),
    };
    let reporter = Reporter {
        queue,
        seen: seen.clone(),
    };
    let reporting = Reporting {
        task: tokio::spawn(observer.run(waiting)),
        seen,
        reported,
    };
    (reporter, reporting)
}

struct Observer {
    client: EvidenceClient<InterceptedService<Channel, SendToken>>,
    observer_id: String,
    component_id: String,
    session_id: String,
    /// Of the next report that is taken.
    report_number: u64,
    /// How long the last report took that was taken.
    round_trip: Option<Duration>,
    clock: Clock,
    reported: Arc<AtomicU64>,
}

impl Observer {
    async fn run(mut self, mut waiting: mpsc::Receiver<ObservedEvent>) {
        loop {
            let mut events = Vec::new();
            let next = waiting.recv_many(&mut events, MAX_REPORT_EVENTS);
            // Without an event in time, the report is a sign of life.
            if tokio::time::timeout(BEAT, next).await == Ok(0) {
                break;
            }
            self.deliver(events, false).await;
        }
        self.deliver(Vec::new(), true).await;
    }

    /// Sends one report until it is taken, or refused for good.
    async fn deliver(&mut self, events: Vec<ObservedEvent>, sign_off: bool) {
        let count = events.len() as u64;
        let mut request = ReportEventsRequest {
            observer_id: self.observer_id.clone(),
            vantage: Vantage::Producer.into(),
            events,
            component_id: self.component_id.clone(),
            reading: Vec::new(),
            sign_off,
            session_id: self.session_id.clone(),
            // The same for each attempt: the monitor takes it once.
            report_number: self.report_number,
            send_time: None,
            round_trip: self.round_trip.map(duration),
            next_within: (!sign_off).then(|| duration(PROMISE)),
        };
        let mut wait = BACKOFF;
        let mut warned = false;
        loop {
            let sent = self.clock.now();
            request.send_time = Some(timestamp(sent.wall));
            match self.client.report_events(request.clone()).await {
                Ok(_) => {
                    self.round_trip = Some(self.clock.now().since(sent.monotonic));
                    self.report_number += 1;
                    self.reported.fetch_add(count, Ordering::Relaxed);
                    return;
                }
                Err(status) if for_good(&status) => {
                    let (code, message) = (status.code(), status.message());
                    tracing::warn!(
                        ?code,
                        message,
                        events = count,
                        "the monitor refused a report"
                    );
                    return;
                }
                Err(status) if !warned => {
                    warned = true;
                    tracing::warn!(
                        error = status.message(),
                        "the monitor takes no report; trying on"
                    );
                }
                Err(_) => {}
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_BACKOFF);
        }
    }
}

fn for_good(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::Unimplemented
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::OutOfRange
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_as_readers_see_them() {
        assert_eq!(reader_name(EventType::ToolExecuting), "tool_executing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_monitor_that_is_not_there_costs_reports_and_bounded_time() {
        let nobody = crate::edge::targets::endpoint("--report-to", "http://127.0.0.1:9").unwrap();
        let (reporter, reporting) = start(
            (nobody, SendToken::default()),
            "o".to_owned(),
            "c".to_owned(),
            Clock::simulated(),
        );
        for _ in 0..MAX_WAITING + 1_500 {
            reporter.report(
                &AgentEvent::default(),
                Receipt::default(),
                SystemTime::UNIX_EPOCH,
            );
        }
        drop(reporter);
        let reports = reporting.finish().await;
        let expected = Reports {
            reported: 0,
            dropped: MAX_WAITING as u64 + 1_500,
        };
        assert_eq!(reports, expected);
    }
}
