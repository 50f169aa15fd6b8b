//! The harness of the end-to-end tests: real processes on free ports, a network that can be
//! broken, readers, witnesses and targets that can be made to lie.
//!
//! Helpers panic where the world around a test is not as it must be: that is how a test says so.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used)]

pub mod calls;
pub mod command;
pub mod eventually;
pub mod fake;
pub mod http;
pub mod paths;
pub mod process;
pub mod proxy;
pub mod publisher;
pub mod reader;
pub mod skip;
pub mod sse;
pub mod tidy;
pub mod witness;
