//! The probes: one supervised task for each component, which watches and audits it over one
//! persistent channel and tells the fleet what it saw.

pub(crate) mod backoff;
mod calls;
pub(crate) mod channel;
mod client;
pub(crate) mod convert;
pub(crate) mod error;
mod line;
mod pace;
pub(crate) mod pulse;
pub(crate) mod settings;
mod stretch;
mod telling;
#[cfg(test)]
mod tests;
pub(crate) mod transport;
mod watch;

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use service_kit::clock::Clock;
use service_kit::tasks::payload_text;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use self::calls::Caller;
use self::channel::Opened;
use self::pace::Pace;
use self::pulse::Pulse;
use self::settings::ProbeSettings;
use self::stretch::Stretch;
use self::telling::Telling;
use crate::canary::Canaries;
use crate::domain::{ComponentId, ProbeEvent};
use crate::fleet::api::{Command, FleetHandle, Probes, Target};

/// The least time between two audits of one component, so that one that changes all the time
/// cannot make the monitor call it all the time.
const MIN_AUDIT_GAP: Duration = Duration::from_millis(100);
/// Starts with less than this between them belong to one burst and are spread out.
const BURST_GAP: Duration = Duration::from_secs(1);

/// A way to tell the fleet what one probe saw.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) component_id: ComponentId,
    pub(crate) generation: u64,
    pub(crate) fleet: FleetHandle,
}

impl Reporter {
    pub(crate) async fn tell(&self, event: ProbeEvent) {
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
    /// The monitor's own runs through it.
    canary: Option<AbortHandle>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(canary) = &self.canary {
            canary.abort();
        }
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
    stretch: Arc<Stretch>,
    running: HashMap<ComponentId, Running>,
    pace: Arc<Pace>,
    burst: Burst,
    /// `None`: no runs of the monitor's own are sent.
    canaries: Option<Canaries>,
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
            stretch: Arc::default(),
            running: HashMap::new(),
            pace: Arc::new(Pace::new(&settings)),
            burst: Burst {
                last: None,
                started: 0,
            },
            canaries: None,
        };
        (set, pulse.run())
    }

    /// The same, and runs of the monitor's own are sent through every target.
    pub(crate) fn with_canaries(mut self, canaries: Canaries) -> Self {
        self.canaries = Some(canaries);
        self
    }

    fn start_canary(
        &self,
        target: &Target,
        opened: &Opened,
        reporter: &Reporter,
        delay: Duration,
    ) -> Option<AbortHandle> {
        let runs = self.canaries.as_ref()?.through(
            target,
            opened.events.clone(),
            self.settings,
            (self.clock, self.pulse.clone()),
            (reporter.clone(), delay),
        )?;
        Some(tokio::spawn(runs).abort_handle())
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
        let opened = channel::open(&target, &self.settings, self.clock);
        let canary = opened
            .as_ref()
            .ok()
            .and_then(|opened| self.start_canary(&target, opened, &reporter, delay));
        let probe = Probe {
            caller: opened.map(|opened| Caller {
                client: opened.client,
                link: opened.link,
                settings: self.settings,
                clock: self.clock,
                pulse: self.pulse.clone(),
                stretch: self.stretch.clone(),
            }),
            reporter: reporter.clone(),
            audit: audit.clone(),
            audit_interval: self.settings.audit_interval,
            clock: self.clock,
            pace: self.pace.clone(),
        };
        // Boxed, since a future that is handed on by value has room for itself twice.
        let probing = Box::pin(probe.run(delay));
        let task = tokio::spawn(supervise(probing, reporter)).abort_handle();
        // A probe that ran under this id before ends here.
        let running = Running {
            audit,
            task,
            canary,
        };
        self.running.insert(target.component_id, running);
        self.pace.shared_by(self.running.len());
    }

    fn audit_now(&mut self, component_id: &str) {
        if let Some(running) = self.running.get(component_id) {
            running.audit.notify_one();
        }
    }

    fn stop(&mut self, component_id: &str) {
        self.running.remove(component_id);
        self.pace.shared_by(self.running.len());
    }

    fn stretch(&mut self, factor: u32) {
        self.stretch.set(factor);
    }
}

/// Runs a probe; its end is a message to the fleet, which starts it again.
async fn supervise(probe: impl Future<Output = ()> + Send + 'static, reporter: Reporter) {
    let why = match AssertUnwindSafe(probe).catch_unwind().await {
        Err(panic) => payload_text(&*panic),
        Ok(()) => "it returned".to_owned(),
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
    clock: Clock,
    pace: Arc<Pace>,
}

impl Probe {
    async fn run(self, delay: Duration) {
        match &self.caller {
            Ok(caller) => {
                tokio::join!(
                    async {
                        tokio::time::sleep(delay).await;
                        let (reporter, audit) = (self.reporter.clone(), self.audit.clone());
                        watch::run(caller.clone(), reporter, audit).await;
                    },
                    self.look_for_ever(delay)
                );
            }
            Err(_) => self.look_for_ever(delay).await,
        }
    }

    /// Audits after `delay`, then once an interval, and whenever it is notified; in between it looks
    /// with the same two calls. Notifications that come while calls are under way are one audit
    /// more, however many they are.
    async fn look_for_ever(&self, delay: Duration) {
        let mut audit_at = self.clock.now().later(delay).monotonic;
        let mut telling = Telling::default();
        let mut gap = Duration::ZERO;
        loop {
            let began = self.clock.now().monotonic;
            let to_audit = audit_at.saturating_duration_since(began);
            let pause = to_audit.min(backoff::jittered(self.pace.interval()));
            let asked = tokio::select! {
                () = self.audit.notified() => {
                    let waited = self.clock.now().since(began);
                    tokio::time::sleep(gap.saturating_sub(waited)).await;
                    // What was asked for meanwhile is answered by the same calls.
                    let _ = self.audit.notified().now_or_never();
                    true
                }
                () = tokio::time::sleep(pause.max(gap)) => pause == to_audit,
            };
            gap = MIN_AUDIT_GAP;
            let probed = match &self.caller {
                // Boxed, so that a probe that waits is small.
                Ok(caller) => Box::pin(caller.probe()).await,
                Err(why) => calls::not_probed(why),
            };
            let told = telling.of(asked, probed);
            if let Some(ProbeEvent::Probed(_)) = told {
                audit_at = self
                    .clock
                    .now()
                    .later(backoff::jittered(self.audit_interval))
                    .monotonic;
            }
            if let Some(event) = told {
                self.reporter.tell(event).await;
            }
        }
    }
}
