//! How far the monitor may trust its own sense of time.
//!
//! A monitor that runs late sees everybody late. The Lifeguard paper (Dadgar, Phillips and Currey,
//! "Lifeguard: Local Health Awareness for More Accurate Failure Detection", 2017) lets a failure
//! detector keep a score of its own trouble, at most 8, and multiply its timeouts by 1 + score. It
//! counts probes that went wrong; here the working loop's ticks are counted, which are late for no
//! other reason than the monitor's own.

use std::time::Duration;

/// The score, and what it rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LocalHealth {
    score: u32,
    /// How late the last tick was.
    pub(crate) lateness: Duration,
    /// Ticks in a row that came later than `loop_lateness`.
    pub(crate) very_late_in_row: u32,
}

/// When a tick is late, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalHealthSettings {
    /// Between two ticks.
    pub(crate) tick: Duration,
    /// A tick that comes later than this raises the score.
    pub(crate) late_tick: Duration,
    /// A tick that comes later than this counts as very late.
    pub(crate) very_late_tick: Duration,
    /// The highest score.
    pub(crate) score_max: u32,
}

impl LocalHealth {
    /// Takes a tick: each one missed raises the score by one, each one in time lowers it by one.
    pub(crate) fn ticked(&mut self, lateness: Duration, settings: &LocalHealthSettings) {
        self.lateness = lateness;
        if lateness > settings.late_tick {
            let missed = lateness.as_millis() / settings.tick.as_millis().max(1);
            let missed = u32::try_from(missed).unwrap_or(u32::MAX).max(1);
            self.score = self.score.saturating_add(missed).min(settings.score_max);
        } else {
            self.score = self.score.saturating_sub(1);
        }
        if lateness > settings.very_late_tick {
            self.very_late_in_row = self.very_late_in_row.saturating_add(1);
        } else {
            self.very_late_in_row = 0;
        }
    }

    /// By how much timeouts and graces are stretched; 1 while the monitor is well.
    pub(crate) const fn stretch(&self) -> u32 {
        self.score.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: LocalHealthSettings = LocalHealthSettings {
        tick: Duration::from_millis(500),
        late_tick: Duration::from_millis(250),
        very_late_tick: Duration::from_secs(1),
        score_max: 8,
    };

    fn after(lateness_ms: &[u64]) -> LocalHealth {
        let mut health = LocalHealth::default();
        for millis in lateness_ms {
            health.ticked(Duration::from_millis(*millis), &SETTINGS);
        }
        health
    }

    #[test]
    fn a_monitor_in_time_stretches_nothing() {
        assert_eq!(after(&[]).stretch(), 1);
        assert_eq!(after(&[0, 250, 3]).stretch(), 1);
    }

    #[test]
    fn lateness_stretches_up_to_the_limit_and_wears_off() {
        assert_eq!(after(&[300]).stretch(), 2);
        assert_eq!(after(&[300, 300, 300]).stretch(), 4);
        assert_eq!(after(&[20_000]).stretch(), 9);
        assert_eq!(after(&[20_000, 0, 0]).stretch(), 7);
        assert_eq!(after(&[300, 0, 0]).stretch(), 1);
    }

    #[test]
    fn one_pause_is_one_very_late_tick() {
        assert_eq!(after(&[20_000]).very_late_in_row, 1);
        assert_eq!(after(&[20_000, 0]).very_late_in_row, 0);
        assert_eq!(after(&[1_100, 1_200, 1_300]).very_late_in_row, 3);
    }
}
