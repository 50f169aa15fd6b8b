//! What the hub is handed and what it answers: plain data, no wire format.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use service_kit::histogram::Histogram;
use service_kit::trace_context::TraceContext;

use super::epoch::Epoch;

/// What an agent reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EventType {
    AgentStarted,
    AgentThinking,
    ToolExecuting,
    ToolCompleted,
    AgentMessage,
    AgentCompleted,
    AgentError,
    Custom,
}

impl EventType {
    /// The name that readers see.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AgentStarted => "agent_started",
            Self::AgentThinking => "agent_thinking",
            Self::ToolExecuting => "tool_executing",
            Self::ToolCompleted => "tool_completed",
            Self::AgentMessage => "agent_message",
            Self::AgentCompleted => "agent_completed",
            Self::AgentError => "agent_error",
            Self::Custom => "custom",
        }
    }

    /// Whether it ends its run.
    pub(crate) const fn ends_run(self) -> bool {
        matches!(self, Self::AgentCompleted | Self::AgentError)
    }
}

/// One event whose every field has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) event_id: String,
    /// Empty: not said.
    pub(crate) user_id: String,
    pub(crate) thread_id: String,
    pub(crate) run_id: String,
    /// Empty: not said.
    pub(crate) agent_name: String,
    pub(crate) event_type: EventType,
    /// When it happened at the producer. `None`: the time at which the hub takes it stands for it.
    pub(crate) create_time: Option<SystemTime>,
    /// Empty: not about a tool.
    pub(crate) tool_name: String,
    /// Empty: not about a tool.
    pub(crate) tool_call_id: String,
    /// One JSON value in UTF-8, checked. Empty: none.
    pub(crate) data: Bytes,
    /// Which trace it belongs to; the events of a call share it. `None`: none is known.
    pub(crate) trace: Option<Arc<TraceContext>>,
}

/// What became of an event at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Taken; the hub now accounts for it.
    Accepted(Place),
    /// Taken before, at this place.
    Duplicate(Place),
    /// Refused, and why: the field, the value and what is allowed. Nothing was kept.
    Rejected(String),
}

/// Where an event stands in its thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// From 1, no gaps.
    pub(crate) sequence: u64,
    /// The epoch of the thread's log.
    pub(crate) epoch: Epoch,
}

/// A position to resume after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: String,
    /// The last sequence that the reader has.
    pub(crate) after: u64,
}

/// How events look to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subprotocol {
    /// `monitorable.v1.json`.
    Json,
    /// `ag-ui.v1.json`.
    AgUi,
    /// `cloudevents.json`.
    CloudEvents,
}

/// What carries the events to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Transport {
    /// Unmasked WebSocket text frames.
    WebSocket,
    /// Server-sent events.
    ServerSentEvents,
}

/// Subprotocol and transport: events are encoded once for each pair in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Encoding {
    pub(crate) subprotocol: Subprotocol,
    pub(crate) transport: Transport,
}

/// Why events that were never delivered end with the process.
pub(crate) const DROPPED_AT_SHUTDOWN: &str = "shutdown";

/// Why the bridge closes a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CloseReason {
    /// 4001.
    Unauthenticated,
    /// 4001: what the reader had shown has expired. It connects again with what is valid.
    Expired,
    /// 4003.
    Forbidden,
    /// 4008: the reader's lag went over its limit. It reconnects and resumes.
    TooSlow,
    /// 4009: the bridge shuts down. The reader reconnects after a while.
    Draining,
    /// 4010.
    TooManyConnections,
    /// 1002: the reader broke the protocol.
    ProtocolError,
    /// 1008: the reader sent more messages than its rate allows.
    TooManyMessages,
    /// 1009: the reader sent a frame over the limit.
    MessageTooBig,
    /// 1001: nothing came from the reader for too long; it is taken for dead.
    Silent,
}

impl CloseReason {
    /// Every one.
    pub(crate) const ALL: [Self; 10] = [
        Self::Unauthenticated,
        Self::Expired,
        Self::Forbidden,
        Self::TooSlow,
        Self::Draining,
        Self::TooManyConnections,
        Self::ProtocolError,
        Self::TooManyMessages,
        Self::MessageTooBig,
        Self::Silent,
    ];

    /// The WebSocket close code.
    pub(crate) const fn code(self) -> u16 {
        match self {
            Self::Unauthenticated | Self::Expired => 4001,
            Self::Forbidden => 4003,
            Self::TooSlow => 4008,
            Self::Draining => 4009,
            Self::TooManyConnections => 4010,
            Self::ProtocolError => 1002,
            Self::TooManyMessages => 1008,
            Self::MessageTooBig => 1009,
            Self::Silent => 1001,
        }
    }

    /// In words; also the name in counters.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Expired => "token_expired",
            Self::Forbidden => "forbidden",
            Self::TooSlow => "too_slow",
            Self::Draining => "draining",
            Self::TooManyConnections => "too_many_connections",
            Self::ProtocolError => "protocol_error",
            Self::TooManyMessages => "too_many_messages",
            Self::MessageTooBig => "message_too_big",
            Self::Silent => "silent",
        }
    }
}

/// Why a reader was not taken. The outlet has been dropped without a byte written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubscribeError {
    #[error("connections: {limit} are open, and no more are allowed")]
    TooManyConnections { limit: usize },
    #[error("thread_id: {limit} threads are held, and no more are allowed")]
    TooManyThreads { limit: usize },
    #[error("the bridge is draining")]
    Draining,
    #[error("the hub does not answer")]
    NoAnswer,
}

/// One run's conservation ledger: accepted = delivered + expired + dropped + pending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stages {
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) acknowledged: u64,
    pub(crate) expired: u64,
    /// By reason.
    pub(crate) dropped: std::collections::BTreeMap<&'static str, u64>,
    pub(crate) pending: u64,
}

/// One run's ledger, to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunReport {
    pub(crate) run_id: String,
    pub(crate) thread_id: String,
    pub(crate) epoch: Epoch,
    pub(crate) stages: Stages,
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    /// Sum modulo 2^64 of XXH3-64 (seed 0) over each accepted `event_id`.
    pub(crate) digest: u64,
    pub(crate) finished: bool,
}

/// The counters of the hub, to be shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HubReport {
    pub(crate) stages: Stages,
    pub(crate) rejected: u64,
    pub(crate) duplicates: u64,
    /// The same for synthetic (canary and self-check) events, which `stages` leaves out.
    pub(crate) synthetic: Stages,
    /// Synthetic events refused inside, and repeated.
    pub(crate) synthetic_rejected: u64,
    pub(crate) synthetic_duplicates: u64,
    pub(crate) connections_open: u64,
    pub(crate) connections_max: u64,
    pub(crate) connections_opened: u64,
    pub(crate) connections_closed: u64,
    /// Connections that the bridge closed, by [`CloseReason::name`].
    pub(crate) closes_by_reason: std::collections::BTreeMap<&'static str, u64>,
    pub(crate) runs_open: u64,
    pub(crate) runs_held: u64,
    pub(crate) threads_held: u64,
    /// Bytes of events kept for replay.
    pub(crate) window_bytes: u64,
    pub(crate) oldest_pending_age: Option<std::time::Duration>,
    /// From taking an event in to writing it to its first reader, where a reader was there before;
    /// synthetic events left out.
    pub(crate) delivery_delay: Histogram,
    /// Health watchers open now, and those that were dropped because they fell behind.
    pub(crate) watchers_open: u64,
    pub(crate) watchers_dropped: u64,
    /// How long the oldest event has waited that a connected reader is to get.
    pub(crate) oldest_read_pending_age: Option<std::time::Duration>,
    /// How long ago the oldest event was accepted that a reader got and did not acknowledge.
    pub(crate) oldest_unacknowledged_age: Option<std::time::Duration>,
}
