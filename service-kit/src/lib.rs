//! What both services really share, and nothing that decides anything.

pub mod clock;
pub mod config;
pub mod exposition;
pub mod grpc;
pub mod health_protocol;
pub mod histogram;
pub mod http;
pub mod panics;
pub mod signals;
pub mod tasks;
pub mod telemetry;
