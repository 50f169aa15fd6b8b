//! The harness of the end-to-end tests: real processes on free ports, a network that can be
//! broken, readers, witnesses and targets that can be made to lie.
//!
//! Helpers panic where the world around a test is not as it must be: that is how a test says so.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used)]

pub mod certificates;
pub mod cluster;
pub mod collector;
pub mod command;
pub mod http;
pub mod issuer;
pub mod metrics;
pub mod paths;
pub mod process;
pub mod skip;
pub mod sse;
pub mod tidy;
pub mod tokens;

pub use drill::{calls, eventually, fake, proxy, publisher, reader, receiver, witness};
