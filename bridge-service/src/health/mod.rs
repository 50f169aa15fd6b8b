//! Self-monitoring: what the service says of itself, and why it may be believed.

pub(crate) mod report;
pub(crate) mod settings;
