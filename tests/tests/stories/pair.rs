//! A bridge and a monitor that watches it, with witnesses on both sides.

use std::time::Duration;

use monitorable::monitor::v1::Vantage;
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::process::Service;
use monitorable_tests::publisher::Publisher;
use monitorable_tests::reader::{Options, Reader};
use monitorable_tests::witness::Witness;

/// The bridge's component id by default.
pub(crate) const BRIDGE: &str = "bridge-service";
/// The bar for finding a failure, at the default settings.
pub(crate) const FOUND_WITHIN: Duration = Duration::from_secs(7);
/// A deadline for what should be there at once; generous, as the machine is shared.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// Flags of a monitor that looks without sending anything through.
pub(crate) const NO_CANARY: &[&str] = &["--canary-enabled", "false"];

/// Both services, the bridge registered at the monitor.
pub(crate) struct Pair {
    pub(crate) bridge: Service,
    pub(crate) monitor: Service,
    pub(crate) auditor: Auditor,
}

impl Pair {
    /// Both with these flags added, the bridge proven and registered.
    pub(crate) async fn start(bridge_flags: &[&str], monitor_flags: &[&str]) -> Self {
        let pair = Self::unregistered(bridge_flags, monitor_flags).await;
        pair.auditor.register(BRIDGE, &pair.bridge.uri()).await;
        pair
    }

    /// The same, the bridge not registered yet.
    pub(crate) async fn unregistered(bridge_flags: &[&str], monitor_flags: &[&str]) -> Self {
        let (bridge, monitor) = tokio::join!(
            Service::bridge(bridge_flags),
            Service::monitor(monitor_flags)
        );
        let auditor = Auditor::at(&monitor.uri());
        Target::at(&bridge.uri()).until_healthy(SOON).await;
        Self {
            bridge,
            monitor,
            auditor,
        }
    }

    /// Begins to report what producers hand in.
    pub(crate) fn producer_witness(&self) -> Witness {
        let monitor = self.monitor.uri();
        Witness::start(&monitor, "producer-1", BRIDGE, Vantage::Producer)
    }

    /// Begins to report what consumers get.
    pub(crate) fn consumer_witness(&self) -> Witness {
        let monitor = self.monitor.uri();
        Witness::start(&monitor, "consumer-1", BRIDGE, Vantage::Consumer)
    }

    /// An agent whose events a witness reports.
    pub(crate) fn witnessed_publisher(&self, witness: &Witness) -> Publisher {
        Publisher::new(&self.bridge.uri()).witnessed_by(witness.pen())
    }

    /// A reader whose events a witness reports.
    pub(crate) async fn witnessed_reader(&self, thread_id: &str, witness: &Witness) -> Reader {
        let options = Options::thread(thread_id).witnessed_by(witness.pen());
        Reader::connect(self.bridge.http, options).await
    }
}
