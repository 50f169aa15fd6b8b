//! The hub's named limits. Each bounds memory or time; what happens at one is documented with it.

use std::time::Duration;

/// How long an event of a synthetic thread is kept for replay, at the most. Its reader is there
/// when it comes, or never.
pub(crate) const SYNTHETIC_AGE: Duration = Duration::from_secs(30);
/// How long a synthetic thread without events and readers, and a synthetic run without events, is
/// held, at the most.
pub(crate) const SYNTHETIC_IDLE: Duration = Duration::from_secs(60);
/// Synthetic threads held. At the limit events and readers of a new one are refused.
pub(crate) const MAX_SYNTHETIC_THREADS: usize = 1_024;
/// Readers of synthetic threads connected. At the limit a new one is refused with 4010.
pub(crate) const MAX_SYNTHETIC_CONNECTIONS: usize = 256;

/// Limits of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HubLimits {
    /// Messages that may wait for the hub. At the limit senders wait: back-pressure.
    pub(crate) mailbox: usize,
    /// Threads held, synthetic ones not counted. At the limit events and readers of a new thread are
    /// refused.
    pub(crate) threads: usize,
    /// Runs held. At the limit finished runs are forgotten, oldest first; where none is finished,
    /// events of a new run are refused.
    pub(crate) runs: usize,
    /// How long a run without events is held, whether it finished or not.
    pub(crate) run_idle: Duration,
    /// Readers connected. At the limit a new one is refused with 4010.
    pub(crate) connections: usize,
    /// Events kept for replay in each thread. At the limit the oldest leaves.
    pub(crate) window_events: usize,
    /// Bytes of events kept for replay in each thread. At the limit the oldest leaves.
    pub(crate) window_thread_bytes: usize,
    /// Bytes of events kept for replay in all. At the limit the oldest of all leaves.
    pub(crate) window_total_bytes: usize,
    /// How long an event is kept for replay.
    pub(crate) window_age: Duration,
    /// How long a thread without events and readers keeps its numbering.
    pub(crate) thread_idle: Duration,
    /// Event ids remembered to recognise a repeat. At the limit the oldest is forgotten.
    pub(crate) idempotency_entries: usize,
    /// Events that a reader may lag behind before it is closed with 4008.
    pub(crate) reader_lag_events: u64,
    /// Bytes that a reader may lag behind before it is closed with 4008.
    pub(crate) reader_lag_bytes: u64,
    /// Interval of heartbeats to a quiet reader.
    pub(crate) heartbeat: Duration,
    /// How long a reader may show no sign of life (pings are sent with the heartbeats).
    pub(crate) reader_silence: Duration,
    /// How long a reader that is told goodbye has to take it.
    pub(crate) goodbye: Duration,
    /// How long readers leave after each other at the drain, at the most: a few in one go, many in
    /// batches, so that they do not come back to the next bridge all at once.
    pub(crate) drain_spread: Duration,
    /// What a reader is told to wait before it reconnects, at the least; jitter doubles it at most.
    pub(crate) retry_after: Duration,
    /// Health watchers. At the limit a new one is refused.
    pub(crate) watchers: usize,
}

impl HubLimits {
    /// How much a heartbeat may come early, to share a turn of the loop with others: a tenth of a
    /// second by default.
    pub(crate) fn heartbeat_slack(&self) -> Duration {
        self.heartbeat / 256
    }

    /// How long an event of a thread is kept for replay.
    pub(crate) fn age_of(&self, synthetic: bool) -> Duration {
        if synthetic {
            self.window_age.min(SYNTHETIC_AGE)
        } else {
            self.window_age
        }
    }

    /// How long a thread without events and readers keeps its numbering.
    pub(crate) fn idle_of(&self, synthetic: bool) -> Duration {
        if synthetic {
            self.thread_idle.min(SYNTHETIC_IDLE)
        } else {
            self.thread_idle
        }
    }
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            mailbox: 4_096,
            threads: 100_000,
            runs: 200_000,
            run_idle: Duration::from_secs(3_600),
            connections: 50_000,
            window_events: 1_024,
            window_thread_bytes: 1024 * 1024,
            window_total_bytes: 512 * 1024 * 1024,
            window_age: Duration::from_secs(600),
            thread_idle: Duration::from_secs(1_800),
            idempotency_entries: 262_144,
            reader_lag_events: 1_024,
            reader_lag_bytes: 1024 * 1024,
            heartbeat: Duration::from_secs(25),
            reader_silence: Duration::from_secs(80),
            goodbye: Duration::from_secs(2),
            drain_spread: Duration::from_secs(2),
            retry_after: Duration::from_millis(500),
            watchers: 1_000,
        }
    }
}
