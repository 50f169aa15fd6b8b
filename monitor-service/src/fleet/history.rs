//! One component's audits: the newest as it is, the older ones packed.
//!
//! An audit is two reports and a judgement, some kilobytes of small pieces, and consecutive ones say
//! nearly the same. So an older one is kept as the message that it will be shown as, in the bytes
//! in which it differs from an earlier one: a twentieth of the memory.

use std::collections::VecDeque;
use std::sync::Arc;

use monitorable::monitor::v1 as wire;
use prost::Message;

use super::component::mean;
use crate::domain::{Audit, Trend, Verdict};
use crate::edge::convert;

/// An audit whose difference to its base takes more than this share of it is a new base.
const WORTHWHILE: usize = 3;

/// Oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    older: VecDeque<Packed>,
    newest: Option<Arc<Audit>>,
}

/// An audit as it is kept. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    Whole(Arc<Audit>),
    Packed(Packed),
}

/// An audit in a few bytes.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    verdict: Verdict,
    score: f64,
    /// The message of an earlier audit.
    base: Arc<[u8]>,
    /// What makes this audit's message of it. Empty: it is the base itself.
    difference: Box<[u8]>,
    /// Of this audit's message, in bytes.
    length: usize,
}

impl Kept {
    /// The audit as it is shown.
    pub(crate) fn message(&self) -> wire::Audit {
        match self {
            Self::Whole(audit) => convert::audit(audit),
            Self::Packed(packed) => packed.message(),
        }
    }
}

impl Packed {
    fn new(audit: &Audit, before: Option<&Self>) -> Self {
        let bytes = convert::audit(audit).encode_to_vec();
        let (base, difference) = before
            .map(|before| {
                let difference = lz4_flex::block::compress_with_dict(&bytes, &before.base);
                (before.base.clone(), difference.into_boxed_slice())
            })
            .filter(|(_, difference)| difference.len() * WORTHWHILE < bytes.len())
            .unwrap_or_else(|| (bytes.as_slice().into(), Box::default()));
        Self {
            verdict: audit.assessment.verdict,
            score: audit.assessment.score,
            base,
            difference,
            length: bytes.len(),
        }
    }

    fn message(&self) -> wire::Audit {
        if self.difference.is_empty() {
            return wire::Audit::decode(&*self.base).unwrap_or_default();
        }
        // What was packed here unpacks: a test packs every kind of audit.
        lz4_flex::block::decompress_with_dict(&self.difference, self.length, &self.base)
            .ok()
            .and_then(|bytes| wire::Audit::decode(&*bytes).ok())
            .unwrap_or_default()
    }
}

impl History {
    /// Keeps an audit, and forgets the oldest beyond `max`.
    pub(super) fn keep(&mut self, audit: Arc<Audit>, max: usize) {
        if let Some(before) = self.newest.replace(audit) {
            let packed = Packed::new(&before, self.older.back());
            self.older.push_back(packed);
        }
        let over = self.len().saturating_sub(max.max(1));
        self.older.drain(..over);
    }

    pub(super) fn len(&self) -> usize {
        self.older.len() + usize::from(self.newest.is_some())
    }

    pub(super) fn newest(&self) -> Option<&Arc<Audit>> {
        self.newest.as_ref()
    }

    /// The newest first, at most `limit`.
    pub(super) fn list(&self, limit: usize) -> Vec<Kept> {
        let newest = self.newest.iter().cloned().map(Kept::Whole);
        let older = self.older.iter().rev().cloned().map(Kept::Packed);
        newest.chain(older).take(limit).collect()
    }

    /// The same in numbers.
    pub(super) fn trend(&self) -> Trend {
        let older = self
            .older
            .iter()
            .map(|packed| (packed.verdict, packed.score));
        let newest = self.newest.iter().map(|audit| {
            let assessment = &audit.assessment;
            (assessment.verdict, assessment.score)
        });
        let all: Vec<(Verdict, f64)> = older.chain(newest).collect();
        let count = |of: &[Verdict]| {
            let found = all.iter().filter(|(verdict, _)| of.contains(verdict));
            u32::try_from(found.count()).unwrap_or(u32::MAX)
        };
        let seen = all
            .iter()
            .filter(|(verdict, _)| *verdict != Verdict::NoData);
        let scores: Vec<f64> = seen.map(|(_, score)| *score).collect();
        Trend {
            audits: u32::try_from(all.len()).unwrap_or(u32::MAX),
            healthy: count(&[Verdict::Healthy, Verdict::Unverified]),
            failed: count(&[Verdict::Degraded, Verdict::SilentFailure, Verdict::Down]),
            average_score: mean(&scores),
            last_audit: self.newest.as_ref().map(|audit| audit.at),
            no_data: count(&[Verdict::NoData]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use service_kit::clock::{Clock, Now};

    use super::*;
    use crate::audit::assess::{no_data, not_monitored};
    use crate::audit::testing::{answer, health_claim, metrics_claim};
    use crate::domain::{CallError, Probed};

    /// An audit whose component answers.
    fn answered(sequence: u64, now: Now) -> Audit {
        Audit {
            probed: Some(Probed {
                health: Ok(answer(health_claim(sequence, now), now)),
                nonce_echoed: true,
                metrics: Ok(answer(metrics_claim(now), now)),
            }),
            ..no_data("bridge".into(), "nobody looked yet", now)
        }
    }

    /// An audit whose component does not.
    fn unanswered(now: Now) -> Audit {
        let away = || CallError::Unreachable("Connection refused".to_owned());
        Audit {
            probed: Some(Probed {
                health: Err(away()),
                nonce_echoed: false,
                metrics: Err(away()),
            }),
            ..no_data("bridge".into(), "nobody answers", now)
        }
    }

    #[test]
    fn what_was_packed_is_shown_as_it_was() {
        let mut now = Clock::simulated().now();
        let mut history = History::default();
        let mut shown = Vec::new();
        for number in 0..200_u64 {
            now = now.later(Duration::from_millis(29_117));
            let audit = match number % 7 {
                3 => unanswered(now),
                5 => not_monitored("bridge".into(), now),
                _ => answered(number * number, now),
            };
            shown.insert(0, convert::audit(&audit));
            history.keep(Arc::new(audit), 50);
        }
        shown.truncate(50);
        let kept: Vec<_> = history.list(usize::MAX).iter().map(Kept::message).collect();
        assert_eq!(kept, shown);
        assert_eq!(history.list(3).len(), 3);
        assert_eq!(history.trend().audits, 50);
    }

    #[test]
    fn a_history_of_equal_days_is_small() {
        let mut now = Clock::simulated().now();
        let mut history = History::default();
        for number in 0..100 {
            now = now.later(Duration::from_secs(30));
            history.keep(Arc::new(answered(number, now)), 50);
        }
        let bases: Vec<_> = history.older.iter().map(|packed| &packed.base).collect();
        assert!(bases.windows(2).all(|pair| Arc::ptr_eq(pair[0], pair[1])));
        let differences = history.older.iter().map(|packed| packed.difference.len());
        let whole: usize = history.older.iter().map(|packed| packed.length).sum();
        assert!(differences.sum::<usize>() * WORTHWHILE < whole);
    }

    #[test]
    fn one_is_kept_at_the_least() {
        let now = Clock::simulated().now();
        let mut history = History::default();
        for _ in 0..3 {
            history.keep(Arc::new(unanswered(now)), 0);
        }
        assert_eq!((history.len(), history.trend().no_data), (1, 1));
    }
}
