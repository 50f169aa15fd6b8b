//! How long events took from witness to witness, on one clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service_kit::clock::Now;

/// Delays remembered.
const DELAYS_MAX: usize = 1_024;
/// Over which span delays are compared.
pub(crate) const DELAY_SPAN: Duration = Duration::from_secs(3);
/// How old a delay may be where fewer came in that span.
pub(crate) const DELAY_AGE_MAX: Duration = Duration::from_secs(10);

/// One event's way to one consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delay {
    pub(crate) thread_id: Arc<str>,
    pub(crate) consumer: Arc<str>,
    pub(crate) delay: Duration,
    /// How far off it may be.
    pub(crate) within: Duration,
    /// When both ends were known.
    pub(crate) at: Instant,
}

/// The newest delays, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delays {
    known: VecDeque<Delay>,
    /// When an event last arrived whose delay cannot be said.
    unsure: Option<Instant>,
}

impl Delays {
    pub(super) fn add(&mut self, delay: Delay) {
        if self.known.len() == DELAYS_MAX {
            self.known.pop_front();
        }
        self.known.push_back(delay);
    }

    pub(super) fn unsure(&mut self, at: Instant) {
        self.unsure = Some(at);
    }

    /// Those of the last [`DELAY_SPAN`], and more where that is fewer than `least`; newest first.
    pub(crate) fn recent(&self, least: usize, now: Now) -> impl Iterator<Item = &Delay> + Clone {
        let newest = self.known.iter().rev().enumerate();
        let recent = newest.take_while(move |(place, delay)| {
            let age = now.since(delay.at);
            age <= DELAY_SPAN || (*place < least && age <= DELAY_AGE_MAX)
        });
        recent.map(|(_, delay)| delay)
    }

    /// Whether events arrived lately whose delay cannot be said.
    pub(crate) fn is_unsure(&self, now: Now) -> bool {
        self.unsure.is_some_and(|at| now.since(at) <= DELAY_AGE_MAX)
    }

    /// The middle one of the recent delays. `None`: fewer than `least` are known.
    pub(crate) fn median(&self, least: usize, now: Now) -> Option<&Delay> {
        let least = least.max(1);
        let mut recent: Vec<_> = self.recent(least, now).collect();
        if recent.len() < least {
            return None;
        }
        recent.sort_by_key(|delay| delay.delay);
        recent.get(recent.len() / 2).copied()
    }

    pub(super) fn expire(&mut self, horizon: Instant) {
        while self.known.front().is_some_and(|delay| delay.at < horizon) {
            self.known.pop_front();
        }
    }
}
