//! What W4 is made of: components in a process of their own, the monitor that audits them, and a
//! health prober beside it.

pub(crate) mod components;
pub(crate) mod crowd;
pub(crate) mod prober;
pub(crate) mod subject;

use std::time::Duration;

use serde::Serialize;
use service_kit::clock::Clock;

use crate::cpu::Cpu;
use crate::failure::Failure;
use crate::process::Server;

use crowd::Crowd;

/// Audits or probes, counted for a while.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    /// Processor time of who makes them, in microseconds each.
    pub(crate) cpu_us: f64,
    /// Of one core.
    pub(crate) server_cpu_percent: f64,
    /// The same of the components and of this program. Near 100 it was them that were measured.
    pub(crate) load_cpu_percent: f64,
}

impl Rate {
    /// Counts what a server does with a crowd from now on.
    ///
    /// # Errors
    /// Where the count cannot be had.
    async fn measure(
        server: &Server,
        crowd: &Crowd,
        length: Duration,
        count: impl AsyncFn() -> Result<f64, Failure>,
    ) -> Result<Self, Failure> {
        let clock = Clock::system();
        let load_cpu = || (crowd.server.cpu() + Cpu::own()).total();
        let (began, before) = (clock.now().monotonic, count().await?);
        let (server_before, load_before) = (server.cpu().total(), load_cpu());
        tokio::time::sleep(length).await;
        let server_seconds = server.cpu().total() - server_before;
        let load_seconds = load_cpu() - load_before;
        let (made, seconds) = (
            count().await? - before,
            clock.now().since(began).as_secs_f64(),
        );
        Ok(Self {
            per_second: made / seconds,
            cpu_us: server_seconds * 1e6 / made,
            server_cpu_percent: server_seconds * 100.0 / seconds,
            load_cpu_percent: load_seconds * 100.0 / seconds,
        })
    }
}
