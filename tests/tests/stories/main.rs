//! Stories of the two services: real processes, and faults where they hurt.
#![allow(
    clippy::unwrap_used,
    reason = "a story panics where the world is not as it must be"
)]

mod alerts;
mod audit_flow;
mod authentication;
mod bad_commands;
mod bad_input;
mod bad_reads;
mod blindness;
mod bridge_monitoring;
mod canary;
mod chat;
mod compliance;
mod coverage;
mod crashes;
mod drain;
mod drill;
mod health_protocol;
mod honest_life;
mod independence;
mod mutual;
mod observers;
mod pair;
mod performance;
mod recording;
mod registration;
mod replay;
mod restart;
mod resume;
mod scale;
mod server_sent_events;
mod silent_failure;
mod slow_reader;
mod subprotocols;
mod tracing;
mod witnesses;
