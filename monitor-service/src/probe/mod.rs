//! The probes: one supervised task for each component, which watches and audits it over one
//! persistent channel and tells the fleet what it saw.

pub(crate) mod backoff;
mod calls;
pub(crate) mod channel;
pub(crate) mod convert;
pub(crate) mod error;
mod pulse;
pub(crate) mod settings;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service_kit::clock::Clock;
use service_kit::tasks::panic_text;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use self::calls::Caller;
use self::pulse::Pulse;
use self::settings::ProbeSettings;
use crate::domain::{ComponentId, ProbeEvent};
use crate::fleet::api::{Command, FleetHandle, Probes, Target};

/// The least time between two audits of one component, so that one that changes all the time
/// cannot make the monitor call it all the time.
const MIN_AUDIT_GAP: Duration = Duration::from_millis(100);
/// Starts with less than this between them belong to one burst and are spread out.
const BURST_GAP: Duration = Duration::from_secs(1);

/// A way to tell the fleet what one probe saw.
#[derive(Clone)]
struct Reporter {
    component_id: ComponentId,
    generation: u64,
    fleet: FleetHandle,
}

impl Reporter {
    async fn tell(&self, event: ProbeEvent) {
        let command = Command::Probe {
            component_id: self.component_id.clone(),
            generation: self.generation,
            event,
        };
        self.fleet.tell(command).await;
    }
}

/// A probe under way; dropping it ends its task and closes its channel.
struct Running {
    audit: Arc<Notify>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts that come close together.
struct Burst {
    last: Option<Instant>,
    started: u32,
}

/// Every probe, by component.
pub(crate) struct ProbeSet {
    settings: ProbeSettings,
    clock: Clock,
    pulse: Arc<Pulse>,
    running: HashMap<ComponentId, Running>,
    burst: Burst,
}

impl ProbeSet {
    /// No probe yet, and the task that tells the monitor's own stalls from the targets' faults;
    /// it has to be run for as long as the probes are.
    pub(crate) fn new(
        settings: ProbeSettings,
        clock: Clock,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let pulse = Pulse::new(clock);
        let set = Self {
            settings,
            clock,
            pulse: pulse.clone(),
            running: HashMap::new(),
            burst: Burst {
                last: None,
                started: 0,
            },
        };
        (set, pulse.run())
    }

    /// Zero for a start on its own; a random share of a growing span for each one of a burst.
    fn start_delay(&mut self) -> Duration {
        let now = self.clock.now();
        let in_burst = self
            .burst
            .last
            .is_some_and(|last| now.since(last) < BURST_GAP);
        self.burst.started = if in_burst { self.burst.started + 1 } else { 0 };
        self.burst.last = Some(now.monotonic);
        let span = self.settings.start_pace.saturating_mul(self.burst.started);
        span.min(self.settings.audit_interval)
            .mul_f64(fastrand::f64())
    }
}

impl Probes for ProbeSet {
    fn start(&mut self, target: Target, generation: u64, fleet: FleetHandle) {
        let delay = self.start_delay();
        let audit = Arc::new(Notify::new());
        let reporter = Reporter {
            component_id: target.component_id.clone(),
            generation,
            fleet,
        };
        let probe = Probe {
            caller: channel::open(&target, &self.settings).map(|(client, link)| Caller {
                client,
                link,
                settings: self.settings,
                clock: self.clock,
                pulse: self.pulse.clone(),
            }),
            reporter: reporter.clone(),
            audit: audit.clone(),
            audit_interval: self.settings.audit_interval,
        };
        let task = tokio::spawn(supervise(probe.run(delay), reporter)).abort_handle();
        // A probe that ran under this id before ends here.
        self.running
            .insert(target.component_id, Running { audit, task });
    }

    fn audit_now(&mut self, component_id: &str) {
        if let Some(running) = self.running.get(component_id) {
            running.audit.notify_one();
        }
    }

    fn stop(&mut self, component_id: &str) {
        self.running.remove(component_id);
    }
}

/// Runs a probe; its end is a message to the fleet, which starts it again.
async fn supervise(probe: impl Future<Output = ()> + Send + 'static, reporter: Reporter) {
    let mut task = JoinSet::new();
    task.spawn(probe);
    let why = match task.join_next().await {
        Some(Err(error)) => panic_text(error),
        Some(Ok(())) | None => "it returned".to_owned(),
    };
    tracing::error!(component_id = %reporter.component_id, why, "a probe ended");
    let ended = Command::ProbeEnded {
        component_id: reporter.component_id.clone(),
        generation: reporter.generation,
        why,
    };
    reporter.fleet.tell(ended).await;
}

/// One component's watching and auditing.
struct Probe {
    /// Why there is no caller, where the target's options are not usable.
    caller: Result<Caller, String>,
    reporter: Reporter,
    audit: Arc<Notify>,
    audit_interval: Duration,
}

impl Probe {
    async fn run(self, delay: Duration) {
        match &self.caller {
            Ok(caller) => {
                let watching = async {
                    tokio::time::sleep(delay).await;
                    watch::run(caller.clone(), self.reporter.clone(), self.audit.clone()).await;
                };
                tokio::join!(watching, self.audit_for_ever(delay));
            }
            Err(_) => self.audit_for_ever(delay).await,
        }
    }

    /// Audits after `delay`, then once an interval, and whenever it is notified. Notifications
    /// that come while an audit runs are one audit more, however many they are.
    async fn audit_for_ever(&self, delay: Duration) {
        let mut pause = delay;
        loop {
            tokio::select! {
                () = self.audit.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            let probed = match &self.caller {
                Ok(caller) => caller.probe().await,
                Err(why) => calls::not_probed(why),
            };
            self.reporter
                .tell(ProbeEvent::Probed(Box::new(probed)))
                .await;
            tokio::time::sleep(MIN_AUDIT_GAP).await;
            pause = backoff::jittered(self.audit_interval);
        }
    }
}
