//! What both services really share, and nothing that decides anything.

pub mod accept;
pub mod access;
pub mod client;
pub mod clock;
pub mod config;
pub mod exposition;
pub mod files;
pub mod grpc;
pub mod health_protocol;
pub mod histogram;
pub mod http;
pub mod panics;
pub mod port;
pub mod rate;
pub mod reload;
pub mod request;
pub mod signals;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod trace_context;
pub mod traces;
