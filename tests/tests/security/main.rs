//! Who gets in and who does not: real certificates, real tokens, real limits.
#![allow(
    clippy::unwrap_used,
    reason = "a story panics where the world is not as it must be"
)]

mod encryption;
mod guarded;
mod healthcheck;
mod limits;
mod limits_of_the_monitor;
mod monitoring;
mod open_doors;
mod reloading;
mod tokens;

use std::time::Duration;

/// How long something that must happen may take; generous, as the machine is shared.
const SOON: Duration = Duration::from_secs(15);
