//! How the rest of the service talks to the hub: a bounded mailbox, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::event::{CloseReason, Encoding, Event, HubReport, Outcome, Position, RunReport};
use crate::health::report::{CheckRound, HealthReport, LifecycleReport, UpdateReason};

pub(crate) use super::event::SubscribeError;
pub(crate) use super::reader::ConnectionId;

/// Where a reader's bytes go. The hub owns it and calls it from its loop, so no call may wait.
/// It is dropped when the hub is done with the reader.
pub(crate) trait Outlet: Send {
    /// Writes as many of the chunks, in order, as the peer takes now, and says how many bytes.
    ///
    /// # Errors
    /// `WouldBlock` where it takes none now; then, and where fewer bytes were taken than offered,
    /// the outlet sees to it that [`Command::Writable`] is sent once it may take more. Any
    /// other error: the peer is gone.
    fn try_write(&mut self, chunks: &[Bytes]) -> std::io::Result<usize>;
}

/// A reader that wants a thread's events.
pub(crate) struct Subscribe {
    pub(crate) thread_id: String,
    /// `None`: from the beginning of the replay window.
    pub(crate) position: Option<Position>,
    pub(crate) encoding: Encoding,
    pub(crate) outlet: Box<dyn Outlet>,
    /// An internal reader of the self-check: counted in no statistics.
    pub(crate) synthetic: bool,
    /// Told the connection's id before the first byte is written to the outlet.
    pub(crate) admitted: oneshot::Sender<Result<ConnectionId, SubscribeError>>,
}

/// Why the hub gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HubError {
    #[error("the bridge is draining")]
    Draining,
    #[error("the working loop did not answer within {0:?}")]
    Timeout(Duration),
    #[error("the working loop has ended")]
    Ended,
    #[error("watchers: {0} are open, and no more are allowed")]
    TooManyWatchers(usize),
}

/// One message to the hub.
pub(crate) enum Command {
    Publish {
        events: Vec<Event>,
        rejected: u64,
        reply: oneshot::Sender<Result<Vec<Outcome>, HubError>>,
    },
    RunLedger {
        run_id: String,
        reply: oneshot::Sender<Option<RunReport>>,
    },
    Subscribe(Subscribe),
    Writable(ConnectionId),
    /// Everything up to this sequence has reached the reader.
    Acknowledge(ConnectionId, u64),
    /// The reader showed a sign of life.
    Alive(ConnectionId),
    /// A frame outside the thread's log, such as a pong.
    Control(ConnectionId, Bytes),
    /// Say goodbye for this reason, then close.
    Close(ConnectionId, CloseReason),
    /// The reader is gone.
    Disconnected(ConnectionId),
    Health {
        reply: oneshot::Sender<HealthReport>,
    },
    Metrics {
        reply: oneshot::Sender<(HubReport, LifecycleReport, HealthReport)>,
    },
    Watch {
        max_interval: Duration,
        reply: oneshot::Sender<Result<mpsc::Receiver<HealthUpdate>, HubError>>,
    },
    /// Begins to fail in some way.
    #[cfg(feature = "fault-injection")]
    Fault {
        fault: super::faults::Fault,
        reply: oneshot::Sender<()>,
    },
    /// Checks the hub's own indexes against each other: the `registry` check.
    Inspect {
        reply: oneshot::Sender<Result<String, String>>,
    },
    /// Rebuilds what can be rebuilt: the recovery.
    Rebuild {
        reply: oneshot::Sender<()>,
    },
    /// A round of health checks ended.
    Checked(CheckRound),
    /// The life cycle moved on: initialization or recovery began or ended.
    Lifecycle(crate::health::report::LifecycleStep),
    /// Stop taking events and say goodbye to every reader; `reply` comes when all are gone or cut.
    Drain {
        reply: oneshot::Sender<()>,
    },
}

/// One message of a health stream.
#[derive(Clone, Debug)]
pub(crate) struct HealthUpdate {
    pub(crate) health: HealthReport,
    pub(crate) reason: UpdateReason,
    /// `None`: no further message comes.
    pub(crate) next_within: Option<Duration>,
}

/// A way to the hub. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct HubHandle {
    sender: mpsc::Sender<Command>,
    answer_deadline: Duration,
}

impl HubHandle {
    /// A handle over the hub's mailbox; health and metrics must be answered inside the deadline.
    pub(crate) fn new(sender: mpsc::Sender<Command>, answer_deadline: Duration) -> Self {
        Self {
            sender,
            answer_deadline,
        }
    }

    /// Hands in checked events; `rejected` counts those that were refused at the door before.
    /// Waits while the mailbox is full: that is the back-pressure.
    pub(crate) async fn publish(
        &self,
        events: Vec<Event>,
        rejected: u64,
    ) -> Result<Vec<Outcome>, HubError> {
        self.ask(|reply| Command::Publish {
            events,
            rejected,
            reply,
        })
        .await?
    }

    /// A run's ledger; `None` where no such run is held.
    pub(crate) async fn run_ledger(&self, run_id: String) -> Result<Option<RunReport>, HubError> {
        self.ask_in_time(|reply| Command::RunLedger { run_id, reply })
            .await
    }

    /// Connects a reader. On success the hub writes a welcome and then the events to the outlet.
    pub(crate) async fn subscribe(
        &self,
        thread_id: String,
        position: Option<Position>,
        encoding: Encoding,
        outlet: Box<dyn Outlet>,
        synthetic: bool,
    ) -> Result<ConnectionId, SubscribeError> {
        let (admitted, answer) = oneshot::channel();
        let subscribe = Subscribe {
            thread_id,
            position,
            encoding,
            outlet,
            synthetic,
            admitted,
        };
        self.tell(Command::Subscribe(subscribe)).await;
        answer.await.unwrap_or(Err(SubscribeError::NoAnswer))
    }

    /// The health, as the working loop sees it now.
    pub(crate) async fn health(&self) -> Result<HealthReport, HubError> {
        self.ask_in_time(|reply| Command::Health { reply }).await
    }

    /// The counters, as the working loop sees them now.
    pub(crate) async fn metrics(
        &self,
    ) -> Result<(HubReport, LifecycleReport, HealthReport), HubError> {
        self.ask_in_time(|reply| Command::Metrics { reply }).await
    }

    /// A health stream. A watcher that falls behind finds its receiver closed.
    pub(crate) async fn watch(
        &self,
        max_interval: Duration,
    ) -> Result<mpsc::Receiver<HealthUpdate>, HubError> {
        self.ask_in_time(|reply| Command::Watch {
            max_interval,
            reply,
        })
        .await?
    }

    /// Checks the hub's indexes against each other.
    pub(crate) async fn inspect(&self) -> Result<Result<String, String>, HubError> {
        self.ask_in_time(|reply| Command::Inspect { reply }).await
    }

    /// Begins to fail in some way.
    #[cfg(feature = "fault-injection")]
    pub(crate) async fn fault(&self, fault: super::faults::Fault) -> Result<(), HubError> {
        self.ask_in_time(|reply| Command::Fault { fault, reply })
            .await
    }

    /// Rebuilds what can be rebuilt.
    pub(crate) async fn rebuild(&self) -> Result<(), HubError> {
        self.ask_in_time(|reply| Command::Rebuild { reply }).await
    }

    /// Says goodbye to every reader and waits until all are gone or cut.
    pub(crate) async fn drain(&self) -> Result<(), HubError> {
        self.ask(|reply| Command::Drain { reply }).await
    }

    /// A message without an answer. Waits while the mailbox is full.
    pub(crate) async fn tell(&self, command: Command) {
        // A hub that has ended takes the process down with it; nobody is left to tell.
        let _ = self.sender.send(command).await;
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, HubError> {
        let (reply, answer) = oneshot::channel();
        self.sender
            .send(command(reply))
            .await
            .map_err(|_| HubError::Ended)?;
        answer.await.map_err(|_| HubError::Ended)
    }

    async fn ask_in_time<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, HubError> {
        let deadline = self.answer_deadline;
        tokio::time::timeout(deadline, self.ask(command))
            .await
            .map_err(|_| HubError::Timeout(deadline))?
    }
}

/// Who this process is, in every answer.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The component's stable name.
    pub(crate) component_id: Arc<str>,
    /// New at every process start.
    pub(crate) instance_id: Arc<str>,
}
