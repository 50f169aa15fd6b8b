//! Which calls get no answer.

use super::Probed;

/// Which of an audit's calls got no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failing {
    pub(crate) health: bool,
    pub(crate) metrics: bool,
}

impl Probed {
    /// Which calls got no answer.
    pub(crate) const fn failing(&self) -> Failing {
        Failing {
            health: self.health.is_err(),
            metrics: self.metrics.is_err(),
        }
    }
}
