//! How the rest of the service talks to the fleet, the one owner of everything that the monitor
//! knows: a bounded mailbox, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use service_kit::histogram::Histogram;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::history::Kept;
use crate::domain::{
    AlertEvent, Audit, CanaryReport, ComponentId, Finding, ProbeEvent, ReportOutcome, Summary,
    ThreadStatus, Trend, Verdict, WitnessReport,
};

/// What to watch; every field has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) component_id: ComponentId,
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub(crate) endpoint: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) tls: Option<TlsTarget>,
    /// Sent with every call. Secret.
    pub(crate) metadata: BTreeMap<String, String>,
    /// How the monitor's own runs go through it.
    pub(crate) canary: CanaryTarget,
}

/// The monitor's own runs through one target.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct CanaryTarget {
    /// No run is sent.
    pub(crate) disabled: bool,
    /// `None`: the monitor's default.
    pub(crate) interval: Option<Duration>,
    /// `ws://HOST:PORT/PATH` or `wss://…`. Empty: as the target itself says.
    pub(crate) websocket_uri: String,
    /// Secret. Empty: none.
    pub(crate) token: String,
}

impl std::fmt::Debug for CanaryTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CanaryTarget")
            .field("disabled", &self.disabled)
            .field("interval", &self.interval)
            .field("websocket_uri", &self.websocket_uri)
            .finish_non_exhaustive()
    }
}

/// TLS for one target, PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TlsTarget {
    /// Empty: the system's roots.
    pub(crate) ca_pem: Vec<u8>,
    /// Empty: no client certificate.
    pub(crate) client_certificate_pem: Vec<u8>,
    /// Secret. Empty: none.
    pub(crate) client_key_pem: Vec<u8>,
    /// Empty: the endpoint's host.
    pub(crate) server_name: String,
}

impl std::fmt::Debug for TlsTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsTarget")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// A component and how it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ComponentView {
    pub(crate) target: Target,
    pub(crate) verdict: Verdict,
    pub(crate) score: f64,
    pub(crate) last_audit: Option<SystemTime>,
    pub(crate) open_findings: u32,
    pub(crate) watching: bool,
    /// `None`: no run of the monitor's own is sent.
    pub(crate) canary: Option<CanaryReport>,
    /// When the open maintenance window ends. `None`: none is open.
    pub(crate) maintenance_end: Option<SystemTime>,
}

/// Which findings to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FindingFilter {
    /// Empty: of all components.
    pub(crate) component_id: String,
    /// Empty: of all rules.
    pub(crate) rule_id: String,
    /// `Some(true)`: open ones only; `Some(false)`: resolved ones only.
    pub(crate) open: Option<bool>,
    pub(crate) limit: usize,
    pub(crate) suspicions: Suspicions,
}

/// Whether suspicions are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Suspicions {
    #[default]
    LeftOut,
    Included,
    /// And nothing else.
    Only,
}

/// Why the fleet refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FleetError {
    #[error("component_id: {0:?} is not registered")]
    NotRegistered(String),
    #[error("component_id: no maintenance window is open on {0:?}")]
    NoMaintenance(String),
    #[error("thread_id: no witness reported {0:?} inside the evidence window")]
    UnknownThread(String),
    #[error("components: {0} are registered, and no more are allowed")]
    TooManyComponents(usize),
    #[error("the working loop did not answer within {0:?}")]
    Timeout(Duration),
    #[error("the working loop has ended")]
    Ended,
}

/// What the monitor says of itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SelfReport {
    /// Rises with every status that this instance produces, from 1.
    pub(crate) sequence: u64,
    pub(crate) observe_time: SystemTime,
    pub(crate) uptime: Duration,
    /// Whether the loop has turned and its tick came in time.
    pub(crate) proven: bool,
    /// How late the last tick was.
    pub(crate) tick_lateness: Duration,
    pub(crate) last_tick: Option<SystemTime>,
    pub(crate) components: u64,
    pub(crate) audits: u64,
    pub(crate) audits_by_verdict: BTreeMap<&'static str, u64>,
    /// By rule and severity.
    pub(crate) findings_open: BTreeMap<(&'static str, &'static str), u64>,
    /// Those of them whose component is in maintenance.
    pub(crate) findings_in_maintenance: BTreeMap<(&'static str, &'static str), u64>,
    pub(crate) findings_opened: u64,
    pub(crate) findings_resolved: u64,
    pub(crate) events_witnessed: u64,
    pub(crate) events_repeated: u64,
    pub(crate) evidence_evicted: u64,
    pub(crate) threads_witnessed: u64,
    pub(crate) runs_witnessed: u64,
    pub(crate) observers: u64,
    pub(crate) findings_reopened: u64,
    /// By how much the monitor stretches its deadlines and graces; 1 while it is in time.
    pub(crate) stretch: u32,
    /// Whether `observer_blind` is open.
    pub(crate) blind: bool,
    pub(crate) alerts: AlertCounts,
    /// Reports that were waited for in vain.
    pub(crate) reports_missing: u64,
    /// How long the calls to components took that were answered.
    pub(crate) call_latency: Histogram,
}

/// What became of the alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AlertCounts {
    pub(crate) delivered: u64,
    pub(crate) failed: u64,
    pub(crate) dropped: u64,
    pub(crate) beats_confirmed: u64,
    pub(crate) beats_failed: u64,
    /// Whether `alert_path_dead` is open.
    pub(crate) dead: bool,
}

/// A component's audits, newest first, and the same in numbers.
pub(crate) type Audits = (Vec<Kept>, Trend);

/// One message to the fleet.
pub(crate) enum Command {
    Register {
        target: Target,
        reply: oneshot::Sender<Result<bool, FleetError>>,
    },
    Remove {
        component_id: String,
        reply: oneshot::Sender<Result<(), FleetError>>,
    },
    List {
        reply: oneshot::Sender<Vec<ComponentView>>,
    },
    /// Asks the component's probe for an audit now; the reply comes with its result.
    Audit {
        component_id: String,
        reply: oneshot::Sender<Arc<Audit>>,
    },
    Audits {
        component_id: String,
        limit: usize,
        reply: oneshot::Sender<Result<Audits, FleetError>>,
    },
    Summary {
        reply: oneshot::Sender<Summary>,
    },
    Findings {
        filter: FindingFilter,
        reply: oneshot::Sender<Vec<Finding>>,
    },
    /// The open findings, and everything that changes after.
    WatchFindings {
        reply: oneshot::Sender<(Vec<Finding>, broadcast::Receiver<Finding>)>,
    },
    Thread {
        component_id: String,
        thread_id: String,
        reply: oneshot::Sender<Result<ThreadStatus, FleetError>>,
    },
    Report {
        report: WitnessReport,
        /// What became of it, and when it was there.
        reply: oneshot::Sender<(ReportOutcome, SystemTime)>,
    },
    /// From a probe; `generation` tells a replaced component's late events from its successor's.
    Probe {
        component_id: ComponentId,
        generation: u64,
        event: ProbeEvent,
    },
    /// A probe's task ended without being told to.
    ProbeEnded {
        component_id: ComponentId,
        generation: u64,
        why: String,
    },
    SelfReport {
        reply: oneshot::Sender<SelfReport>,
    },
    /// The settings were read again: thresholds, weights and paces change; bounds stay.
    Adopt(Box<super::settings::FleetSettings>),
    /// The process shuts down.
    Drain,
    StartMaintenance {
        component_id: String,
        duration: Duration,
        reply: oneshot::Sender<Result<SystemTime, FleetError>>,
    },
    EndMaintenance {
        component_id: String,
        reply: oneshot::Sender<Result<(), FleetError>>,
    },
    /// From the alerts: what became of one.
    Alert(AlertEvent),
}

/// A way to the fleet. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct FleetHandle {
    sender: mpsc::Sender<Command>,
    answer_deadline: Duration,
}

impl FleetHandle {
    /// A handle over the fleet's mailbox; everything but an audit must be answered inside the
    /// deadline.
    pub(crate) fn new(sender: mpsc::Sender<Command>, answer_deadline: Duration) -> Self {
        Self {
            sender,
            answer_deadline,
        }
    }

    /// A message without an answer. Waits while the mailbox is full.
    pub(crate) async fn tell(&self, command: Command) {
        // A fleet that has ended takes the process down with it; nobody is left to tell.
        let _ = self.sender.send(command).await;
    }

    /// A message and its answer, inside the deadline.
    ///
    /// # Errors
    /// [`FleetError::Timeout`] or [`FleetError::Ended`].
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, FleetError> {
        self.ask_within(self.answer_deadline, command).await
    }

    /// A message and its answer, inside a deadline of its own (an audit waits for the component).
    ///
    /// # Errors
    /// [`FleetError::Timeout`] or [`FleetError::Ended`].
    pub(crate) async fn ask_within<T>(
        &self,
        deadline: Duration,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, FleetError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.sender
                .send(command(reply))
                .await
                .map_err(|_| FleetError::Ended)?;
            answer.await.map_err(|_| FleetError::Ended)
        };
        tokio::time::timeout(deadline, asked)
            .await
            .map_err(|_| FleetError::Timeout(deadline))?
    }
}

/// What the fleet asks of the probes; a trait so that simulation can stand in for the network.
pub(crate) trait Probes: Send + 'static {
    /// Starts watching and auditing a target. Its events carry the generation.
    fn start(&mut self, target: Target, generation: u64, fleet: FleetHandle);
    /// Asks for an audit as soon as possible. Nothing happens where no such probe runs.
    fn audit_now(&mut self, component_id: &str);
    /// Stops a target's probe and closes its channel.
    fn stop(&mut self, component_id: &str);
    /// The monitor itself is late: deadlines become this many times as long. 1: they are as set.
    fn stretch(&mut self, factor: u32);
}
