//! Whether what comes is new: per way in (the stream, the calls) and per process.

use std::sync::Arc;
use std::time::SystemTime;

use service_kit::clock::Now;

use super::instances::ByInstance;
use crate::domain::HealthClaim;

/// New answers in a row that end a suspicion of replay.
const GOOD_ANSWERS: u32 = 2;

/// The highest that one process has said on one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) sequence: u64,
    pub(crate) observe_time: Option<SystemTime>,
    pub(crate) at: Now,
}

/// An old status that came again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replay {
    pub(crate) instance: Arc<str>,
    pub(crate) sequence: u64,
    /// What that process had said before.
    pub(crate) known: Mark,
    /// The process that had answered in between, where another had.
    pub(crate) between: Option<Arc<str>>,
    pub(crate) at: Now,
}

/// A sequence that fell in a status that is new: the process lost its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fall {
    pub(crate) instance: Arc<str>,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) at: Now,
}

/// One way in which statuses come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path {
    marks: ByInstance<Mark>,
    last: Option<Arc<str>>,
    /// How often the newest status has come.
    equal: u32,
    good: u32,
    pub(crate) replay: Option<Replay>,
    pub(crate) fall: Option<Fall>,
}

enum Judgement {
    New,
    Repeated,
    Replayed(Mark),
    Fallen(Mark),
    /// The call was sent before the other answer was there: either may be the later one.
    Unordered,
}

impl Path {
    /// Takes a status; says whether it is a new one. `sent`: when it was asked for, on a way on
    /// which answers may overtake each other.
    pub(super) fn take(&mut self, health: &HealthClaim, sent: Option<Now>, at: Now) -> bool {
        let instance: Arc<str> = match &self.last {
            Some(last) if **last == *health.instance_id => last.clone(),
            _ => health.instance_id.as_str().into(),
        };
        let between = self.last.replace(instance.clone());
        let between = between.filter(|between| *between != instance);
        let mark = Mark {
            sequence: health.sequence,
            observe_time: health.observe_time,
            at,
        };
        match self.judge(&instance, mark, sent, between.is_some()) {
            Judgement::New => self.advance(&instance, mark),
            Judgement::Unordered => return false,
            Judgement::Repeated => {
                self.equal = self.equal.saturating_add(1);
                return false;
            }
            Judgement::Replayed(known) => {
                self.good = 0;
                self.equal = 1;
                self.replay = Some(Replay {
                    instance,
                    sequence: mark.sequence,
                    known,
                    between,
                    at,
                });
                return false;
            }
            Judgement::Fallen(known) => {
                self.advance(&instance, mark);
                self.fall = Some(Fall {
                    instance,
                    from: known.sequence,
                    to: mark.sequence,
                    at,
                });
            }
        }
        true
    }

    fn judge(&self, instance: &str, new: Mark, sent: Option<Now>, returned: bool) -> Judgement {
        let Some(known) = self.marks.get(instance).copied() else {
            return Judgement::New;
        };
        if sent.is_some_and(|sent| sent.monotonic < known.at.monotonic) {
            return Judgement::Unordered;
        }
        let later = match (new.observe_time, known.observe_time) {
            (Some(new), Some(known)) => new > known,
            _ => false,
        };
        match new.sequence.cmp(&known.sequence) {
            std::cmp::Ordering::Greater => Judgement::New,
            std::cmp::Ordering::Equal if returned && !later => Judgement::Replayed(known),
            std::cmp::Ordering::Equal => Judgement::Repeated,
            std::cmp::Ordering::Less if later => Judgement::Fallen(known),
            std::cmp::Ordering::Less => Judgement::Replayed(known),
        }
    }

    fn advance(&mut self, instance: &str, mark: Mark) {
        self.marks.set(instance, mark);
        self.equal = 1;
        self.good = self.good.saturating_add(1);
        if self.good >= GOOD_ANSWERS {
            self.replay = None;
        }
    }

    /// Whether the newest status has come more than once, and not `enough` times yet.
    pub(super) fn repeats(&self, enough: u32) -> bool {
        self.equal > 1 && self.equal < enough
    }

    /// Whether the newest status is not a new one.
    pub(super) fn is_suspect(&self) -> bool {
        self.equal > 1 || self.replay.is_some()
    }
}

/// Whether the calls' nonces come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nonce {
    /// Answers in a row without it.
    pub(crate) missed: u32,
    /// When the first of them came.
    pub(crate) since: Option<Now>,
}

impl Nonce {
    pub(super) fn take(&mut self, echoed: bool, now: Now) {
        if echoed {
            *self = Self::default();
        } else {
            self.missed = self.missed.saturating_add(1);
            self.since.get_or_insert(now);
        }
    }
}
