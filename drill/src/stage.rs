//! The stage of one scenario: a private monitor, and whatever the scenario puts before it.

use std::any::Any;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use monitorable::monitor::v1::{Vantage, Verdict};
use service_kit::clock::{Clock, Now};

use tokio::task::JoinSet;

use crate::calls::{Auditor, Target};
use crate::eventually::{eventually, holds};
use crate::fake::Fake;
use crate::findings::Findings;
use crate::process::Service;
use crate::settings::MonitorSettings;
use crate::witness::Witness;

/// A deadline for what should be there at once; generous, as machines are shared.
pub const SOON: Duration = Duration::from_secs(20);
/// How long a component is left alone before it is broken, so that it has a past.
const PAST: Duration = Duration::from_secs(3);

/// The stage.
pub struct Stage {
    bridge_binary: PathBuf,
    monitor_binary: PathBuf,
    settings: MonitorSettings,
    monitor: Service,
    auditor: Auditor,
    findings: Findings,
    began: Option<Now>,
    observable: Option<Now>,
    observers: AtomicU32,
    kept: Vec<Box<dyn Any + Send + Sync>>,
}

impl Stage {
    /// A stage with its own monitor.
    pub async fn open(
        bridge_binary: PathBuf,
        monitor_binary: PathBuf,
        settings: MonitorSettings,
    ) -> Self {
        let flags = settings.flags();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let monitor = Service::start("monitor-service", &monitor_binary, &flags).await;
        Self {
            bridge_binary,
            monitor_binary,
            settings,
            auditor: Auditor::at(&monitor.uri()),
            findings: Findings::follow(&monitor.uri()).await,
            monitor,
            began: None,
            observable: None,
            observers: AtomicU32::new(0),
            kept: Vec::new(),
        }
    }

    /// Begins again with a monitor whose settings differ further, before anything is watched.
    pub async fn reopen(&mut self, changes: &[(&str, &str)]) {
        let settings = changes
            .iter()
            .fold(self.settings.clone(), |all, (path, value)| {
                all.with(path, value)
            });
        let (bridge, monitor) = (self.bridge_binary.clone(), self.monitor_binary.clone());
        *self = Self::open(bridge, monitor, settings).await;
    }

    /// The private monitor.
    #[must_use]
    pub const fn auditor(&self) -> &Auditor {
        &self.auditor
    }

    /// What the private monitor found so far.
    #[must_use]
    pub const fn findings(&self) -> &Findings {
        &self.findings
    }

    /// What a setting of the private monitor says; 0 where there is none of that name.
    #[must_use]
    pub fn limit(&self, path: &str) -> Duration {
        self.settings.duration(path)
    }

    /// A bridge with these flags added, well and proven, not registered yet.
    pub async fn bridge(&self, component_id: &str, flags: &[&str]) -> Service {
        let mut all = vec!["--component-id", component_id];
        all.extend_from_slice(flags);
        let bridge = Service::start("bridge-service", &self.bridge_binary, &all).await;
        Target::at(&bridge.uri()).until_healthy(SOON).await;
        bridge
    }

    /// A component that can lie, registered and watched for a while.
    pub async fn fake(&self, component_id: &str) -> Fake {
        let fake = Fake::start(component_id).await;
        self.watch(component_id, &fake.uri()).await;
        fake
    }

    /// Registers a component and waits until the monitor watches it and has audited it well.
    pub async fn watch(&self, component_id: &str, uri: &str) {
        self.auditor.register(component_id, uri).await;
        self.until_well(component_id).await;
        tokio::time::sleep(PAST).await;
    }

    /// Waits until the monitor, on its own, thinks well of a component.
    pub async fn until_well(&self, component_id: &str) {
        let what = format!("{component_id} is watched and well");
        eventually(SOON, &what, || async {
            let standing = self.auditor.standing(component_id).await?;
            let verdict = standing.verdict();
            let well = matches!(verdict, Verdict::Healthy | Verdict::Unverified);
            holds(well && standing.watching, verdict)
        })
        .await;
    }

    /// A witness of what is handed in to a component.
    #[must_use]
    pub fn producer(&self, component_id: &str) -> Witness {
        self.witness(component_id, Vantage::Producer, Duration::ZERO)
    }

    /// A witness of what arrives from a component.
    #[must_use]
    pub fn consumer(&self, component_id: &str) -> Witness {
        self.witness(component_id, Vantage::Consumer, Duration::ZERO)
    }

    /// A witness whose wall clock is ahead by so much.
    #[must_use]
    pub fn witness(&self, component_id: &str, vantage: Vantage, clock_ahead: Duration) -> Witness {
        let number = self.observers.fetch_add(1, Ordering::Relaxed);
        let name = format!("observer-{number}");
        let monitor = self.monitor.uri();
        Witness::with_clock_ahead(&monitor, &name, component_id, vantage, clock_ahead)
    }

    /// The fault is injected now, and can be observed from now on.
    pub fn breaks_now(&mut self) {
        self.breaks_in(Duration::ZERO);
    }

    /// The fault is injected now, and can be observed by nobody before so much time has passed.
    pub fn breaks_in(&mut self, wait: Duration) {
        let now = Clock::system().now();
        self.began.get_or_insert(now);
        self.observable = Some(now.later(wait));
    }

    /// When the fault was injected, and when it became observable.
    #[must_use]
    pub fn broke_at(&self) -> Option<(Now, Now)> {
        Some((self.began?, self.observable?))
    }

    /// Does something again and again until the scenario is over; it is told how often it has been
    /// done before.
    pub fn every(&mut self, pace: Duration, mut act: impl FnMut(u64) + Send + 'static) {
        let mut acting = JoinSet::new();
        acting.spawn(async move {
            let mut beat = tokio::time::interval(pace);
            for number in 0_u64.. {
                beat.tick().await;
                act(number);
            }
        });
        self.keep(acting);
    }

    /// Keeps something alive until the scenario is over.
    pub fn keep(&mut self, thing: impl Any + Send + Sync) {
        self.kept.push(Box::new(thing));
    }
}
