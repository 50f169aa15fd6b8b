//! What became of the alerts: whether anybody would hear the next one.

use std::time::Duration;

use service_kit::clock::Now;

use crate::domain::AlertEvent;

/// The way of the alerts, and the dead man's switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AlertPath {
    pub(crate) delivered: u64,
    pub(crate) failed: u64,
    pub(crate) dropped: u64,
    /// Why the newest alert reached nobody. `None`: it reached somebody, or there was none.
    pub(crate) broken: Option<Broken>,
    pub(crate) beats_confirmed: u64,
    pub(crate) beats_failed: u64,
    /// `None`: there is no such switch.
    pub(crate) dead_man: Option<DeadMan>,
}

/// An alert that reached nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) at: Now,
    /// What was tried, and how it ended, without the address.
    pub(crate) what: String,
}

/// The dead man's switch: somebody elsewhere who raises the alarm when the beats stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadMan {
    pub(crate) interval: Duration,
    /// When a beat was last confirmed; before the first, when the monitor started.
    pub(crate) confirmed: Now,
    /// Why the newest beat was not. Empty: it was, or none was sent.
    pub(crate) error: String,
}

impl AlertPath {
    /// `dead_man`: between two beats. `None`: none are sent.
    pub(crate) fn new(dead_man: Option<Duration>, now: Now) -> Self {
        Self {
            delivered: 0,
            failed: 0,
            dropped: 0,
            broken: None,
            beats_confirmed: 0,
            beats_failed: 0,
            dead_man: dead_man.map(|interval| DeadMan {
                interval,
                confirmed: now,
                error: String::new(),
            }),
        }
    }

    /// Takes what became of an alert or a beat.
    pub(crate) fn take(&mut self, event: AlertEvent, now: Now) {
        match event {
            AlertEvent::Delivered => {
                self.delivered += 1;
                self.broken = None;
            }
            AlertEvent::Failed { attempts, why } => {
                self.failed += 1;
                let times = if attempts == 1 { "attempt" } else { "attempts" };
                let what = format!("{attempts} {times}, the last of which failed: {why}");
                self.broken = Some(Broken { at: now, what });
            }
            AlertEvent::Dropped { queue_max } => {
                self.dropped += 1;
                let what = format!("no attempt, since {queue_max} alerts were waiting already");
                self.broken = Some(Broken { at: now, what });
            }
            AlertEvent::BeatConfirmed => {
                self.beats_confirmed += 1;
                if let Some(dead_man) = &mut self.dead_man {
                    dead_man.confirmed = now;
                    dead_man.error.clear();
                }
            }
            AlertEvent::BeatFailed { why } => {
                self.beats_failed += 1;
                if let Some(dead_man) = &mut self.dead_man {
                    dead_man.error = why;
                }
            }
        }
    }
}
