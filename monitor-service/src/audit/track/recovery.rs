//! How often it tries to recover, while it says that it is active.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service_kit::clock::Now;

use crate::domain::{ClaimedState, HealthClaim, MetricsClaim};

/// Counts remembered.
const COUNTS_MAX: usize = 64;

/// The counters as they stood from one moment to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) attempts: u64,
    pub(crate) successes: u64,
    last: Now,
}

/// Attempts that all failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempts {
    pub(crate) failed: u64,
    /// From when they were counted.
    pub(crate) since: Now,
    pub(crate) newest: Count,
    pub(crate) at: Now,
}

/// The attempts of one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recovery {
    instance: Option<Arc<str>>,
    /// Oldest first; each differs from the one before it.
    counts: VecDeque<Count>,
    /// When it last said that it was not active, or was not followed: what it tried until then it
    /// may have admitted.
    admitted: Option<Instant>,
}

impl Recovery {
    pub(super) fn claimed(&mut self, health: &HealthClaim, now: Now) {
        if health.state != ClaimedState::Active {
            self.admitted = Some(now.monotonic);
        }
    }

    /// Notes that what it claims is not followed now: it may admit something unseen.
    pub(super) const fn unseen(&mut self, now: Now) {
        self.admitted = Some(now.monotonic);
    }

    pub(super) fn counted(&mut self, metrics: &MetricsClaim, at: Now) {
        if self.instance.as_deref() != Some(&*metrics.instance_id) {
            self.instance = Some(metrics.instance_id.as_str().into());
            self.counts.clear();
        }
        let new = Count {
            attempts: metrics.lifecycle.recovery_attempts,
            successes: metrics.lifecycle.successful_recoveries,
            last: at,
        };
        if let Some(known) = self.counts.back_mut()
            && (known.attempts, known.successes) == (new.attempts, new.successes)
        {
            known.last = at;
            return;
        }
        if self.counts.len() >= COUNTS_MAX {
            self.counts.pop_front();
        }
        self.counts.push_back(new);
    }

    /// The attempts inside the window that were made while it claimed to be active, where none of
    /// them succeeded. `None`: there were none, or no two counts can be compared.
    pub(crate) fn failing(&self, window: Duration, now: Instant) -> Option<Attempts> {
        let newest = *self.counts.back()?;
        let from = now.checked_sub(window);
        let from = from.max(self.admitted);
        let comparable = |count: &&Count| {
            count.successes == newest.successes && Some(count.last.monotonic) > from
        };
        let oldest = self.counts.iter().find(comparable)?;
        let failed = newest.attempts.checked_sub(oldest.attempts)?;
        (failed > 0).then_some(Attempts {
            failed,
            since: oldest.last,
            newest,
            at: newest.last,
        })
    }

    /// Whether it has tried, and not succeeded yet.
    pub(super) fn is_trying(&self, window: Duration, now: Instant) -> bool {
        self.failing(window, now).is_some()
    }

    /// Whether nothing was counted yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}
