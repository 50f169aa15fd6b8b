//! What a scenario is: one class of failure, its real fault, and its harmless twin.

use std::pin::Pin;
use std::time::Duration;

use crate::stage::Stage;

/// One class of the catalogue.
pub struct Scenario {
    /// The rule that must find it.
    pub rule: &'static str,
    /// What goes wrong, in one line.
    pub fault: &'static str,
    /// What looks like it and is fine, in one line.
    pub twin: &'static str,
    /// The time that the rule must wait by declaration; it is taken off the time to find.
    pub threshold: Threshold,
    /// Settings of the private monitor that differ from the defaults: path and value.
    pub settings: &'static [(&'static str, &'static str)],
    /// Rules that the twin breaks rightly, such as `unreachable` where it has one bad target.
    pub twin_may_show: &'static [&'static str],
    /// Makes a world that is well, and breaks it.
    pub inject: Act,
    /// Makes the same world, and does the harmless thing.
    pub act_twin: Act,
}

/// What happens on a stage.
pub type Act = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A time that a rule waits by declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// None: the fault is to be found at once.
    None,
    /// Always this long, such as the delay itself where lateness is the fault.
    Fixed(Duration),
    /// What a setting of the monitor says; 0 where the monitor has no such setting.
    Setting(&'static str),
}
