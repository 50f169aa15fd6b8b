//! The fleet: one owner of everything that the monitor knows.

pub(crate) mod api;
