//! Whether the monitor itself was standing still.
//!
//! A process that was stopped for 20 s finds every deadline passed when it goes on, although every
//! answer is waiting in its sockets. What failed then is the monitor's own trouble, never the
//! target's fault.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use service_kit::clock::Clock;

/// Between two beats.
const BEAT: Duration = Duration::from_millis(200);
/// A beat that comes this late says that the process stood still.
const STALL: Duration = Duration::from_secs(1);
/// After a stall, failures are the monitor's own for this long.
const RECOVERY: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
struct Beats {
    last: Instant,
    stall_ended: Option<Instant>,
}

/// A beating task's record. Behind a lock because every probe reads it; held for a copy only.
#[derive(Debug)]
pub(crate) struct Pulse {
    clock: Clock,
    beats: Mutex<Beats>,
}

impl Pulse {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        let beats = Beats {
            last: clock.now().monotonic,
            stall_ended: None,
        };
        Arc::new(Self {
            clock,
            beats: Mutex::new(beats),
        })
    }

    /// Beats for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(BEAT).await;
            let now = self.clock.now().monotonic;
            let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
            let late = now.saturating_duration_since(beats.last);
            if late > STALL {
                tracing::warn!(?late, "the monitor stood still");
                beats.stall_ended = Some(now);
            }
            beats.last = now;
        }
    }

    /// Whether the process stands still, or did a moment ago.
    pub(crate) fn stalled(&self) -> bool {
        let now = self.clock.now().monotonic;
        let beats = *self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let recovering = beats
            .stall_ended
            .is_some_and(|ended| now.saturating_duration_since(ended) < RECOVERY);
        recovering || now.saturating_duration_since(beats.last) > STALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stall_shows_while_it_lasts_and_a_moment_after() {
        let pulse = Pulse::new(Clock::simulated());
        tokio::spawn(pulse.clone().run());
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!pulse.stalled());
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(pulse.stalled());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(pulse.stalled(), "just after the stall");
        tokio::time::sleep(RECOVERY).await;
        assert!(!pulse.stalled());
    }
}
