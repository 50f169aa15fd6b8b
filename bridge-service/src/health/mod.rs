//! Self-monitoring: what the service says of itself, and why it may be believed.

mod checks;
pub(crate) mod machine;
pub(crate) mod report;
pub(crate) mod settings;
mod supervisor;
pub(crate) mod watchers;

pub(crate) use supervisor::supervise;
