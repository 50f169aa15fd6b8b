//! The drill: injects each silent failure for real, and its harmless twin, and says which ones a
//! monitor found and how fast.
//!
//! The building blocks (processes, a network that can be broken, agents, readers, witnesses, a
//! component that can lie) serve the end-to-end tests too. They panic where the world around a
//! scenario is not as it must be; the runner catches that, and calls the scenario not run.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used)]

pub mod calls;
pub mod chat;
pub mod eventually;
pub mod fake;
pub mod findings;
pub mod process;
pub mod proxy;
pub mod publisher;
pub mod reader;
pub mod receiver;
pub mod relay;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod scenarios;
pub mod settings;
pub mod stage;
pub mod witness;
