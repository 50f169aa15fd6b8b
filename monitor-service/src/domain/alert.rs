//! What somebody has to hear of, and what became of it.

use super::Finding;

/// What an alert tells of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlertKind {
    Opened,
    Reopened,
    /// It is open, and more severe than before.
    Worsened,
    Resolved,
}

impl AlertKind {
    /// The word in an alert's body.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Reopened => "reopened",
            Self::Worsened => "worsened",
            Self::Resolved => "resolved",
        }
    }
}

/// A change of a finding that somebody has to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alert {
    pub(crate) kind: AlertKind,
    pub(crate) finding: Finding,
}

/// What became of an alert, or of a beat of the dead man's switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AlertEvent {
    Delivered,
    /// After all its attempts, or at once where it was refused.
    Failed {
        attempts: u32,
        why: String,
    },
    /// The queue was full.
    Dropped {
        queue_max: usize,
    },
    BeatConfirmed,
    BeatFailed {
        why: String,
    },
}
