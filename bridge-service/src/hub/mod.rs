//! The hub: one owner of every thread, reader and ledger.
//!
//! Everything here is pure (no I/O, no clock) but `actor`, which turns messages into calls and
//! calls into writes, and `api`, the way to it.

mod actor;
pub(crate) mod api;
mod batch;
mod connections;
#[cfg(test)]
mod conservation;
mod encode;
pub(crate) mod epoch;
pub(crate) mod event;
#[cfg(feature = "fault-injection")]
pub(crate) mod faults;
#[cfg(feature = "hot-paths")]
pub(crate) mod hot_paths;
mod idempotency;
mod index;
mod ledger;
pub(crate) mod limits;
mod packed;
mod reader;
mod runs;
mod state;
#[cfg(test)]
mod stories;
#[cfg(test)]
pub(crate) mod testing;
mod thread;
mod upkeep;
mod waiting;
mod window;

pub(crate) use actor::start;
pub(crate) use encode::goodbye;
