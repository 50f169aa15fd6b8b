//! The fleet: one owner of everything that the monitor knows.

mod actor;
pub(crate) mod api;
mod component;
mod coverage;
pub(crate) mod history;
#[cfg(feature = "hot-paths")]
pub(crate) mod hot_paths;
mod maintenance;
mod own;
mod peers;
mod probing;
mod reads;
mod reports;
pub(crate) mod settings;
mod state;
mod unregistered;

#[cfg(test)]
mod tests;

pub(crate) use actor::start;
