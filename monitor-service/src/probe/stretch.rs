//! How much longer than set the probes wait while the monitor itself is late.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The factor, set by the fleet and read by each probe at each call.
#[derive(Debug)]
pub(crate) struct Stretch(AtomicU32);

impl Default for Stretch {
    fn default() -> Self {
        Self(AtomicU32::new(1))
    }
}

impl Stretch {
    pub(crate) fn set(&self, factor: u32) {
        self.0.store(factor.max(1), Ordering::Relaxed);
    }

    /// A deadline as it is now.
    pub(crate) fn of(&self, deadline: Duration) -> Duration {
        deadline.saturating_mul(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_as_set_until_the_monitor_is_late() {
        let stretch = Stretch::default();
        let second = Duration::from_secs(1);
        assert_eq!(stretch.of(second), second);
        stretch.set(3);
        assert_eq!(stretch.of(second), 3 * second);
        stretch.set(0);
        assert_eq!(stretch.of(second), second);
    }
}
