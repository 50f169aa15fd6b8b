//! What the monitor reasons about: plain data, no wire format, no clock.
//!
//! A claim is what a component says of itself; a sighting is what a witness saw; a finding is a
//! claim that does not hold.

mod alert;
mod canary;
mod failing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use service_kit::clock::Now;

pub(crate) use alert::{Alert, AlertEvent, AlertKind};
pub(crate) use canary::{CanaryOutcome, CanaryReport, CanaryRun};
pub(crate) use failing::Failing;

/// A component's id: the one it is registered under and has to claim.
pub(crate) type ComponentId = Arc<str>;

/// The state that a component claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimedState {
    Unspecified,
    Uninitialized,
    Initializing,
    Active,
    Degraded,
    Failed,
    Draining,
}

/// One self-check, as claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckClaim {
    pub(crate) name: String,
    pub(crate) healthy: bool,
    pub(crate) message: String,
    pub(crate) latency: Option<Duration>,
}

/// A health report, as claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthClaim {
    pub(crate) component_id: String,
    pub(crate) instance_id: String,
    pub(crate) sequence: u64,
    pub(crate) observe_time: Option<SystemTime>,
    pub(crate) state: ClaimedState,
    pub(crate) healthy: bool,
    pub(crate) checks: Vec<CheckClaim>,
    pub(crate) consecutive_failures: u32,
    pub(crate) uptime: Option<Duration>,
    pub(crate) last_health_check_time: Option<SystemTime>,
    pub(crate) error_message: String,
}

/// The life cycle's counters, as claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LifecycleClaim {
    pub(crate) total_initializations: u64,
    pub(crate) successful_initializations: u64,
    pub(crate) failed_initializations: u64,
    pub(crate) recovery_attempts: u64,
    pub(crate) successful_recoveries: u64,
    pub(crate) health_checks_performed: u64,
    pub(crate) success_rate: f64,
}

/// Where the events are, as claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeliveryClaim {
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
    pub(crate) delivered: u64,
    pub(crate) acknowledged: u64,
    pub(crate) expired: u64,
    /// By reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    pub(crate) pending: u64,
    pub(crate) connections_open: u64,
    pub(crate) connections_opened: u64,
    pub(crate) connections_closed: u64,
    pub(crate) runs_open: u64,
    pub(crate) oldest_pending_age: Option<Duration>,
}

impl DeliveryClaim {
    /// accepted - (delivered + expired + dropped + pending); 0 where the conservation law holds.
    pub(crate) fn remainder(&self) -> i128 {
        let dropped: i128 = self.dropped.values().map(|count| i128::from(*count)).sum();
        i128::from(self.accepted)
            - i128::from(self.delivered)
            - i128::from(self.expired)
            - i128::from(self.pending)
            - dropped
    }
}

/// The counters, as claimed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MetricsClaim {
    pub(crate) component_id: String,
    pub(crate) instance_id: String,
    pub(crate) observe_time: Option<SystemTime>,
    pub(crate) lifecycle: LifecycleClaim,
    /// `None`: the component delivers no events.
    pub(crate) delivery: Option<DeliveryClaim>,
    pub(crate) gauges: BTreeMap<String, f64>,
}

/// An answer to a call of the monitor's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer<T> {
    /// Shared by what is known now and by the audit.
    pub(crate) value: Arc<T>,
    /// When the call was sent.
    pub(crate) sent: Now,
    /// When the answer was there.
    pub(crate) received: Now,
}

impl<T> Answer<T> {
    /// How long the call took.
    pub(crate) fn latency(&self) -> Duration {
        self.received.since(self.sent.monotonic)
    }
}

/// Why a call of the monitor's got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// No connection could be made.
    Unreachable(String),
    /// The deadline passed.
    TimedOut(Duration),
    /// It answered with an error.
    Refused { code: String, message: String },
    /// It answered what cannot be read, such as a health report without health.
    Malformed(String),
    /// The monitor itself could not make the call.
    Own(String),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "cannot connect: {why}"),
            Self::TimedOut(deadline) => write!(f, "no answer within {deadline:?}"),
            Self::Refused { code, message } => write!(f, "answered {code}: {message}"),
            Self::Malformed(why) => write!(f, "the answer cannot be read: {why}"),
            Self::Own(why) => write!(f, "the monitor could not call: {why}"),
        }
    }
}

/// Both unary calls of one audit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Probed {
    pub(crate) health: Result<Answer<HealthClaim>, CallError>,
    /// Whether the nonce came back unchanged. False where the call failed.
    pub(crate) nonce_echoed: bool,
    pub(crate) metrics: Result<Answer<MetricsClaim>, CallError>,
}

/// Why a message came on the watch stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchReason {
    Initial,
    Changed,
    Heartbeat,
    Draining,
}

/// One message of the watch stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WatchMessage {
    pub(crate) health: HealthClaim,
    pub(crate) reason: WatchReason,
    /// `None`: no promise.
    pub(crate) next_within: Option<Duration>,
}

/// What a component's probe saw.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ProbeEvent {
    /// A message came on the watch stream.
    Watched(WatchMessage),
    /// The watch stream ended in order (drain, GOAWAY, end of stream). Neutral.
    WatchEnded,
    /// The watch stream broke, or could not be opened.
    WatchFailed(CallError),
    /// An audit's calls are done.
    Probed(Box<Probed>),
    /// One of the monitor's own runs through it ended.
    Canary(Box<CanaryRun>),
    /// It does not serve what the monitor's own runs need: none is sent.
    NoCanary,
    /// The same calls, made between two audits; the first was answered.
    Glanced(Box<Probed>),
}

/// Where an observer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Vantage {
    Producer,
    Consumer,
}

impl Vantage {
    /// The word in evidence sources and JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// One event as an observer saw it; every field has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) event_id: String,
    pub(crate) component_id: String,
    pub(crate) thread_id: String,
    pub(crate) run_id: String,
    /// As readers see it, such as `tool_executing`.
    pub(crate) event_type: String,
    /// 0: unknown.
    pub(crate) sequence: u64,
    /// Empty: not about a tool.
    pub(crate) tool_call_id: String,
    /// The observer's wall clock. `None`: not said.
    pub(crate) observe_time: Option<SystemTime>,
    /// Empty: unknown.
    pub(crate) epoch: String,
    /// The observer's connection on which it came. Empty: not said.
    pub(crate) connection_id: String,
    /// Its place in the order of arrival on that connection, from 1. 0: not said.
    pub(crate) arrival: u64,
    /// It came in a replay that the component declared.
    pub(crate) replayed: bool,
}

/// How a report was posted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Posting {
    /// New at every start of the observer. Empty: its reports are not numbered.
    pub(crate) session_id: String,
    /// From 1, without gaps, over all reports of the session. 0: not counted.
    pub(crate) number: u64,
    /// The observer's wall clock.
    pub(crate) sent: Option<SystemTime>,
    /// How long the report before this one took to be answered.
    pub(crate) round_trip: Option<Duration>,
    /// The promise that the next report comes before this much time has passed.
    pub(crate) next_within: Option<Duration>,
}

/// One report of an observer; every field has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WitnessReport {
    pub(crate) observer_id: String,
    pub(crate) vantage: Vantage,
    /// The component that `reading` is about, and the sign of life. Empty only where every event
    /// names its own.
    pub(crate) component_id: String,
    pub(crate) sightings: Vec<Sighting>,
    /// The threads that a consumer is connected to now.
    pub(crate) reading: Vec<String>,
    pub(crate) sign_off: bool,
    pub(crate) posting: Posting,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReportOutcome {
    pub(crate) recorded: u32,
    pub(crate) repeated: u32,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Severity {
    Info,
    Warning,
    Critical,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EvidenceItem {
    /// `claim`, `watch`, `probe`, `producer:ID`, `consumer:ID`, `canary` or `canary:THREAD`.
    pub(crate) source: String,
    /// Empty: nothing was claimed.
    pub(crate) claimed: String,
    pub(crate) observed: String,
    /// The monitor's wall clock.
    pub(crate) at: SystemTime,
}

/// A claim that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) finding_id: String,
    pub(crate) rule_id: &'static str,
    pub(crate) component_id: ComponentId,
    /// Empty: the component as a whole.
    pub(crate) subject: String,
    pub(crate) severity: Severity,
    /// Of a suspicion: when its sign was first seen.
    pub(crate) open_time: SystemTime,
    /// `None`: open or suspected.
    pub(crate) resolve_time: Option<SystemTime>,
    /// One sentence with the observed and the allowed value.
    pub(crate) message: String,
    pub(crate) evidence: Vec<EvidenceItem>,
    pub(crate) state: FindingState,
    /// How often it came back after it had resolved.
    pub(crate) reopened: u32,
    /// Whether a maintenance window was open when it opened.
    pub(crate) in_maintenance: bool,
}

/// Where in its life a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FindingState {
    /// A first sign, not enough to raise an alarm.
    Suspected,
    Open,
    Resolved,
}

impl Severity {
    /// The word in metrics and JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl Finding {
    /// What findings are counted by: the rule and the severity.
    pub(crate) const fn key(&self) -> (&'static str, &'static str) {
        (self.rule_id, self.severity.name())
    }
}

/// What the auditor concludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Verdict {
    Healthy,
    Unverified,
    Degraded,
    SilentFailure,
    Down,
    NoData,
    NotMonitored,
}

impl Verdict {
    /// The public name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "VERDICT_HEALTHY",
            Self::Unverified => "VERDICT_UNVERIFIED",
            Self::Degraded => "VERDICT_DEGRADED",
            Self::SilentFailure => "VERDICT_SILENT_FAILURE",
            Self::Down => "VERDICT_DOWN",
            Self::NoData => "VERDICT_NO_DATA",
            Self::NotMonitored => "VERDICT_NOT_MONITORED",
        }
    }
}

/// How claims and evidence relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agreement {
    Confirmed,
    Contradicted,
    Undecided,
}

/// The claims beside what witnesses saw, inside the evidence window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventValidation {
    pub(crate) produced: u64,
    pub(crate) consumed: u64,
    /// Produced, older than the grace, on a thread that was being read, and not consumed.
    pub(crate) unseen: u64,
    pub(crate) producers: u32,
    pub(crate) consumers: u32,
    pub(crate) threads: u32,
    pub(crate) runs_open: u32,
    pub(crate) delay_median: Option<Duration>,
    pub(crate) agreement: Agreement,
    pub(crate) message: String,
}

/// Whether the auditor can see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Integration {
    pub(crate) watch_alive: bool,
    pub(crate) watch_age: Option<Duration>,
    pub(crate) calls_answered: bool,
    /// 0.0 to 1.0.
    pub(crate) witness_coverage: Option<f64>,
    pub(crate) history: u32,
}

/// The conclusion.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assessment {
    pub(crate) verdict: Verdict,
    /// 0 to 100.
    pub(crate) score: f64,
    /// `claims`, `evidence`, `integration`; a part that could not be judged is absent.
    pub(crate) component_scores: BTreeMap<&'static str, f64>,
    pub(crate) message: String,
}

/// One audit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Audit {
    pub(crate) component_id: ComponentId,
    pub(crate) at: SystemTime,
    /// `None`: not monitored, or no call was made.
    pub(crate) probed: Option<Probed>,
    /// `None`: not monitored.
    pub(crate) validation: Option<EventValidation>,
    /// `None`: not monitored.
    pub(crate) integration: Option<Integration>,
    pub(crate) assessment: Assessment,
    pub(crate) findings: Vec<Finding>,
    /// `None`: no run of the monitor's own is sent.
    pub(crate) canary: Option<CanaryReport>,
}

/// A history in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Trend {
    pub(crate) audits: u32,
    pub(crate) healthy: u32,
    pub(crate) failed: u32,
    pub(crate) average_score: Option<f64>,
    pub(crate) last_audit: Option<SystemTime>,
    /// Audits that could not look, and gaps in the monitor's own watch.
    pub(crate) no_data: u32,
}

/// All components at a glance.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Summary {
    pub(crate) components: u32,
    pub(crate) verdicts: BTreeMap<&'static str, u32>,
    pub(crate) open_findings: u32,
    pub(crate) average_score: Option<f64>,
    pub(crate) observers: u32,
    pub(crate) events_witnessed: u64,
    /// How late the monitor's own loop is.
    pub(crate) local_lateness: Duration,
}

/// What witnesses saw of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunStatus {
    pub(crate) run_id: String,
    pub(crate) produced: u64,
    pub(crate) consumed: u64,
    pub(crate) finished: bool,
    /// Call id and age.
    pub(crate) open_tools: Vec<(String, Duration)>,
    pub(crate) last_event: Option<SystemTime>,
}

/// What witnesses saw of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThreadStatus {
    pub(crate) thread_id: String,
    pub(crate) component_id: ComponentId,
    pub(crate) produced: u64,
    pub(crate) consumed: u64,
    pub(crate) counts_by_type: BTreeMap<String, u64>,
    pub(crate) last_event: Option<SystemTime>,
    pub(crate) last_event_type: String,
    /// Newest first.
    pub(crate) runs: Vec<RunStatus>,
    pub(crate) consumers: u32,
    pub(crate) delay_median: Option<Duration>,
}
