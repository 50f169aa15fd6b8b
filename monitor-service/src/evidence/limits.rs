//! How much evidence is kept, and for how long.

use std::time::Duration;

/// The bounds of one component's evidence. What is over a bound leaves oldest first, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EvidenceLimits {
    /// How long an event, a silent observer or a finished run is remembered.
    pub(crate) window: Duration,
    /// Observers of one component.
    pub(crate) observers_max: usize,
    /// Threads of one component.
    pub(crate) threads_max: usize,
    /// Consumers remembered for one thread.
    pub(crate) readers_per_thread_max: usize,
    /// Runs of one component.
    pub(crate) runs_max: usize,
    /// Tool calls remembered for one run.
    pub(crate) tools_per_run_max: usize,
    /// Events of one thread.
    pub(crate) events_per_thread_max: usize,
    /// Events of one component.
    pub(crate) events_max: usize,
    /// Events of all components together; the reporting component gives way.
    pub(crate) events_total_max: usize,
    /// Missing ranges remembered for one consumer on one thread.
    pub(crate) gaps_per_reader_max: usize,
    /// An observer that has been silent for longer no longer counts as reporting.
    pub(crate) observer_silence: Duration,
    /// Components that are not registered (yet) and whose evidence is kept all the same, so that
    /// a late registration finds it.
    pub(crate) unregistered_max: usize,
    /// How long an event is kept one by one after it has settled; then its run's counts and
    /// digest stand for it.
    pub(crate) settle: Duration,
    /// Observers whose numbered reports are told apart, of all components together.
    pub(crate) sessions_max: usize,
    /// How long a numbered report that is missing is waited for.
    pub(crate) report_wait: Duration,
}

impl Default for EvidenceLimits {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(600),
            observers_max: 5_000,
            threads_max: 100_000,
            readers_per_thread_max: 2_000,
            runs_max: 100_000,
            tools_per_run_max: 256,
            events_per_thread_max: 2_000,
            events_max: 100_000,
            events_total_max: 500_000,
            gaps_per_reader_max: 64,
            observer_silence: Duration::from_secs(30),
            unregistered_max: 64,
            settle: Duration::from_secs(10),
            sessions_max: 20_000,
            report_wait: Duration::from_secs(10),
        }
    }
}
