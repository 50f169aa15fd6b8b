//! The services as real processes on free ports, from the binaries under test.

use std::ops::{Deref, DerefMut};
use std::process::ExitStatus;

use tokio::process::Command;

pub use drill::process::channel;

use crate::paths::binary;

/// One running service; killed when dropped.
#[derive(Debug)]
pub struct Service(drill::process::Service);

impl Service {
    /// A bridge with these flags added.
    pub async fn bridge(flags: &[&str]) -> Self {
        Self::start_in(&[], "bridge-service", flags).await
    }

    /// A monitor with these flags added.
    pub async fn monitor(flags: &[&str]) -> Self {
        Self::start_in(&[], "monitor-service", flags).await
    }

    /// A service with these variables in its environment and these flags added.
    pub async fn start_in(variables: &[(&str, &str)], name: &'static str, flags: &[&str]) -> Self {
        Self(drill::process::Service::start_in(variables, name, &binary(name), flags).await)
    }

    /// SIGTERM, and how the process ended.
    pub async fn stop(self) -> ExitStatus {
        self.0.stop().await
    }

    /// SIGKILL: nothing is said, nothing is saved.
    pub async fn kill(self) {
        self.0.kill().await;
    }
}

impl Deref for Service {
    type Target = drill::process::Service;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Service {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// A service's binary as a command, free of settings from this test's own environment.
#[must_use]
pub fn command(name: &str) -> Command {
    drill::process::command(&binary(name))
}
