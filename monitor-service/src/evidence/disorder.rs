//! Events that came to a consumer twice or out of order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// An event that came to a consumer as it should not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disorder {
    pub(crate) event_id: Arc<str>,
    pub(crate) consumer: Arc<str>,
    pub(crate) connection: Arc<str>,
    pub(crate) sequence: u64,
    /// The higher sequence that came before it. `None`: it is the same event again.
    pub(crate) after: Option<u64>,
    /// When it was reported.
    pub(crate) at: Instant,
}

/// Disorders remembered of one thread.
const DISORDERS_OF_THREAD_MAX: usize = 32;
/// Threads whose disorders are remembered.
const DISORDERLY_THREADS_MAX: usize = 1_000;

/// Events that came twice or out of order, by thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disorders {
    by_thread: BTreeMap<Arc<str>, VecDeque<Disorder>>,
}

impl Disorders {
    /// Returns how many had to leave for it.
    pub(super) fn add(&mut self, thread_id: &Arc<str>, disorder: Disorder) -> u64 {
        let full = self.by_thread.len() >= DISORDERLY_THREADS_MAX;
        if full && !self.by_thread.contains_key(thread_id) {
            return 1;
        }
        let of_thread = self.by_thread.entry(thread_id.clone()).or_default();
        let over = of_thread.len() == DISORDERS_OF_THREAD_MAX;
        if over {
            of_thread.pop_front();
        }
        of_thread.push_back(disorder);
        u64::from(over)
    }

    pub(super) fn forget(&mut self, thread_id: &Arc<str>) {
        self.by_thread.remove(thread_id);
    }

    pub(super) fn expire(&mut self, horizon: Instant) {
        self.by_thread.retain(|_, disorders| {
            disorders.retain(|disorder| disorder.at >= horizon);
            !disorders.is_empty()
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_thread.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &VecDeque<Disorder>)> {
        self.by_thread.iter()
    }
}
