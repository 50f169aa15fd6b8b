//! The hub: one owner of every thread, reader and ledger.

pub(crate) mod api;
pub(crate) mod event;
pub(crate) mod limits;
