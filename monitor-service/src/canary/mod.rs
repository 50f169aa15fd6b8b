//! The canary: the monitor's own runs through a component, in by gRPC and back by a real
//! WebSocket. It finds a broken path that no traffic would show, and proves one that works.

mod attempt;
mod runner;
pub(crate) mod settings;
mod socket;
mod story;
#[cfg(test)]
mod tests;
mod tls;
mod trouble;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use service_kit::clock::Clock;
use service_kit::tasks::payload_text;
use tokio::sync::Semaphore;

use self::attempt::Path;
use self::runner::Runner;
use self::settings::CanarySettings;
use crate::fleet::api::Target;
use crate::probe::Reporter;
use crate::probe::channel::EventsClient;
use crate::probe::pulse::Pulse;
use crate::probe::settings::ProbeSettings;

/// How long runs that ended by themselves stay away.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Characters of the monitor's instance that its threads' names hold: the random end of it.
const INSTANCE_CHARACTERS: usize = 12;

/// What the runs of all components share.
pub(crate) struct Canaries {
    settings: CanarySettings,
    /// Tells the threads of this process from those of every other.
    instance: String,
    slots: Arc<Semaphore>,
}

impl Canaries {
    pub(crate) fn new(settings: CanarySettings, instance_id: &str) -> Self {
        let plain: Vec<char> = instance_id
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let from = plain.len().saturating_sub(INSTANCE_CHARACTERS);
        Self {
            settings,
            instance: plain[from..].iter().collect(),
            slots: Arc::new(Semaphore::new(settings.concurrent_max)),
        }
    }

    /// The runs through one target, to be run for as long as it is watched; the first one comes
    /// after `delay`. `None`: it gets none.
    pub(crate) fn through(
        &self,
        target: &Target,
        client: EventsClient,
        probe: ProbeSettings,
        (clock, pulse): (Clock, Arc<Pulse>),
        (reporter, delay): (Reporter, Duration),
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        if !self.settings.enabled || target.canary.disabled {
            return None;
        }
        let interval = target.canary.interval.unwrap_or(self.settings.interval);
        let path = Path::new(client, target, probe, clock);
        let runner = Runner {
            path: Arc::new(path),
            settings: self.settings,
            interval,
            // One bridge may be registered twice: each has threads of its own.
            prefix: format!("$canary/{}/{}", self.instance, reporter.generation),
            slots: self.slots.clone(),
            pulse,
            clock,
            reporter,
        };
        Some(supervise(runner, delay))
    }
}

/// Runs the runs; where they end by themselves, that is told, and they begin again.
async fn supervise(runner: Runner, delay: Duration) {
    tokio::time::sleep(delay).await;
    loop {
        let why = match AssertUnwindSafe(runner.clone().run()).catch_unwind().await {
            Err(panic) => payload_text(&*panic),
            Ok(()) => "they returned".to_owned(),
        };
        let component_id = &runner.reporter.component_id;
        tracing::error!(%component_id, why, "the synthetic runs ended");
        let why = format!("the monitor's synthetic runs ended: {why}");
        runner.tell_own(why).await;
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}
