//! One component's runs: one an interval, each on the next thread, and company for one that is
//! late or failed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use service_kit::clock::{Clock, Now};
use tokio::sync::Semaphore;

use super::attempt::Path;
use super::settings::CanarySettings;
use super::story::Position;
use super::trouble::Trouble;
use crate::domain::{CanaryOutcome, CanaryRun, ProbeEvent};
use crate::probe::Reporter;
use crate::probe::backoff::Backoff;
use crate::probe::pulse::Pulse;

/// Between a failed run and the next one: a process that died has lost its other connections too by
/// then.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// What jitter may take off an interval.
const JITTER: f64 = 0.2;

/// One of the component's threads.
struct Key {
    thread_id: String,
    /// Where the last whole run ended. `None`: there was none, or one was cut off since.
    position: Option<Position>,
}

/// Everything that a component's runs take; cheap to clone, for a second start.
#[derive(Clone)]
pub(super) struct Runner {
    pub(super) path: Arc<Path>,
    pub(super) settings: CanarySettings,
    /// As set for this component.
    pub(super) interval: Duration,
    /// Names of the component's threads begin with it.
    pub(super) prefix: String,
    pub(super) slots: Arc<Semaphore>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) clock: Clock,
    pub(super) reporter: Reporter,
}

/// How a round went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Whole,
    /// Something else; the runs go on.
    Not,
    /// The component takes no agents' events.
    NotServed,
}

impl Runner {
    /// Sends runs for ever.
    pub(super) async fn run(self) {
        let mut keys: VecDeque<Key> = (0..self.settings.keys.max(2))
            .map(|number| Key {
                thread_id: format!("{}-{number}", self.prefix),
                position: None,
            })
            .collect();
        let mut unknown = Backoff::new(self.interval, self.settings.recheck_interval);
        let mut whole = true;
        loop {
            let Ok(slot) = self.slots.acquire().await else {
                return;
            };
            let began = self.clock.now();
            // Boxed, so that runs that wait are small.
            let round = Box::pin(self.round(&mut keys, whole)).await;
            drop(slot);
            whole = round == Round::Whole;
            let pause = match round {
                Round::NotServed => {
                    self.reporter.tell(ProbeEvent::NoCanary).await;
                    self.settings.recheck_interval
                }
                Round::Not if !self.path.served() => unknown.next_pause(),
                Round::Whole | Round::Not => self.interval,
            };
            let pause = pause.mul_f64(1.0 - JITTER * fastrand::f64());
            let spent = self.clock.now().since(began.monotonic);
            tokio::time::sleep(pause.saturating_sub(spent)).await;
        }
    }

    /// One run, and a second one on another thread where the first is late or failed: two that
    /// fail are more than an accident. After a round that did not come back (`whole` is false) one
    /// is enough to see it last, or end.
    async fn round(&self, keys: &mut VecDeque<Key>, whole: bool) -> Round {
        let Some(key) = keys.pop_front() else {
            return Round::Not;
        };
        let alert = whole && self.path.served();
        let first = self.attempt(key);
        tokio::pin!(first);
        let in_time = tokio::time::timeout(self.settings.deadline / 2, &mut first).await;
        let (key, round) = match in_time {
            Ok((key, round)) if alert && round == Round::Not => {
                keys.push_back(key);
                tokio::time::sleep(RETRY_PAUSE).await;
                return self.once(keys).await;
            }
            Ok(ended) => ended,
            Err(_) if alert => {
                let ((key, _), round) = tokio::join!(first, self.once(keys));
                (key, round)
            }
            Err(_) => first.await,
        };
        keys.push_back(key);
        round
    }

    async fn once(&self, keys: &mut VecDeque<Key>) -> Round {
        let Some(key) = keys.pop_front() else {
            return Round::Not;
        };
        let (key, round) = self.attempt(key).await;
        keys.push_back(key);
        round
    }

    /// One run on one thread; its outcome is told at once.
    async fn attempt(&self, mut key: Key) -> (Key, Round) {
        let began = self.clock.now();
        let after = key.position.take();
        let deadline = self.settings.deadline;
        let ended = self.path.run(&key.thread_id, after, deadline).await;
        let (outcome, round) = match ended {
            Ok((delay, position)) => {
                key.position = Some(position);
                (Some(CanaryOutcome::Whole(delay)), Round::Whole)
            }
            Err(Trouble::NotServed) => (None, Round::NotServed),
            // Whoever was never seen to take events may be something else altogether.
            Err(_) if !self.path.served() => (None, Round::Not),
            Err(trouble) => (self.excused(trouble), Round::Not),
        };
        if let Some(outcome) = outcome {
            self.tell(&key, began, outcome).await;
        }
        (key, round)
    }

    /// What failed while the monitor stood still says nothing.
    fn excused(&self, trouble: Trouble) -> Option<CanaryOutcome> {
        match trouble.outcome()? {
            CanaryOutcome::Failed(why) if self.pulse.stalled() => Some(CanaryOutcome::NoWord(
                format!("the monitor was itself standing still ({why})"),
            )),
            outcome => Some(outcome),
        }
    }

    async fn tell(&self, key: &Key, began: Now, outcome: CanaryOutcome) {
        tracing::debug!(thread_id = key.thread_id, ?outcome, "a synthetic run ended");
        let run = CanaryRun {
            key: key.thread_id.clone(),
            began,
            ended: self.clock.now(),
            interval: self.interval,
            outcome,
        };
        self.reporter.tell(ProbeEvent::Canary(Box::new(run))).await;
    }

    /// A run could not be made, for a reason of the monitor's own.
    pub(super) async fn tell_own(&self, why: String) {
        let now = self.clock.now();
        let run = CanaryRun {
            key: self.prefix.clone(),
            began: now,
            ended: now,
            interval: self.interval,
            outcome: CanaryOutcome::NoWord(why),
        };
        self.reporter.tell(ProbeEvent::Canary(Box::new(run))).await;
    }
}
