//! The only place that reads a clock. Everything else is handed a [`Now`].

use std::time::{Duration, Instant, SystemTime};

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic: the one to measure durations with.
    pub monotonic: Instant,
    /// Wall clock: for display, and for finding skew. It may step.
    pub wall: SystemTime,
}

impl Now {
    /// This moment, `span` later on both clocks.
    #[must_use]
    pub fn later(self, span: Duration) -> Self {
        Self {
            monotonic: self.monotonic + span,
            wall: self.wall + span,
        }
    }

    /// Time from `earlier` to now on the monotonic clock; zero where `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Instant) -> Duration {
        self.monotonic.saturating_duration_since(earlier)
    }
}

/// Reads the clocks. Under tokio's paused time the monotonic one stands still with it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    simulated_from: Option<Now>,
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub const fn system() -> Self {
        Self {
            simulated_from: None,
        }
    }

    /// A wall clock that moves with tokio's monotonic one, so that paused time stops both.
    #[must_use]
    pub fn simulated() -> Self {
        Self {
            simulated_from: Some(Self::system().now()),
        }
    }

    /// This moment.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clocks"
    )]
    pub fn now(self) -> Now {
        let monotonic = tokio::time::Instant::now().into_std();
        let wall = match self.simulated_from {
            None => SystemTime::now(),
            Some(start) => start.wall + monotonic.saturating_duration_since(start.monotonic),
        };
        Now { monotonic, wall }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn simulated_clocks_move_together() {
        let clock = Clock::simulated();
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(clock.now(), before.later(Duration::from_secs(7)));
    }

    #[test]
    fn time_since_a_later_moment_is_zero() {
        let now = Clock::system().now();
        assert_eq!(
            now.since(now.monotonic + Duration::from_secs(1)),
            Duration::ZERO
        );
    }
}
