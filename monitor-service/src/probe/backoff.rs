//! Exponential back-off with jitter, so that a fleet that lost its network does not return in step.

use std::time::Duration;

/// The pauses between attempts.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            attempts: 0,
        }
    }

    /// The next pause: between half and the whole of `base * 2^attempts`, at most the cap.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let factor = 2_u32.saturating_pow(self.attempts.min(31));
        self.attempts = self.attempts.saturating_add(1);
        let whole = self.base.saturating_mul(factor).min(self.cap);
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// An attempt succeeded: the next pause is the first one again.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// A span within a tenth of `interval`, either way.
pub(crate) fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + fastrand::f64() * 0.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_never_leave_their_range() {
        let base = Duration::from_millis(200);
        let cap = Duration::from_secs(5);
        let mut backoff = Backoff::new(base, cap);
        for whole_ms in [200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            let whole = Duration::from_millis(whole_ms);
            let pause = backoff.next_pause();
            assert!(
                pause >= whole / 2 && pause <= whole,
                "{pause:?} for {whole:?}"
            );
        }
    }

    #[test]
    fn a_thousand_failures_do_not_overflow() {
        let cap = Duration::from_secs(5);
        let mut backoff = Backoff::new(Duration::from_secs(4), cap);
        assert!((0..1_000).all(|_| backoff.next_pause() <= cap));
    }

    #[test]
    fn success_starts_over() {
        let base = Duration::from_millis(200);
        let mut backoff = Backoff::new(base, Duration::from_secs(5));
        for _ in 0..5 {
            backoff.next_pause();
        }
        backoff.reset();
        assert!(backoff.next_pause() <= base);
    }

    #[test]
    fn jitter_stays_within_a_tenth_and_differs() {
        let interval = Duration::from_secs(30);
        let spans: Vec<Duration> = (0..100).map(|_| jittered(interval)).collect();
        assert!(
            spans
                .iter()
                .all(|span| (27.0..=33.0).contains(&span.as_secs_f64()))
        );
        assert!(spans.iter().any(|span| *span != spans[0]));
    }
}
