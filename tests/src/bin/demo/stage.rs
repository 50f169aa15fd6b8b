//! Who plays: both services, the agent, the chat users behind a network that can be broken, and
//! the witnesses.

use std::process::Stdio;
use std::time::Duration;

use monitorable::monitor::v1::{Finding, Vantage, Verdict, finding};
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::paths::data;
use monitorable_tests::process::{self, Service};
use monitorable_tests::proxy::{Fault, Proxy};
use monitorable_tests::reader::{Frame, Options, Reader};
use monitorable_tests::witness::Witness;
use tokio::process::Child;

/// What the bridge is called.
const COMPONENT: &str = "bridge-service";
/// The shipped conversations and the threads that they are played on.
const RECORDING: &str = "demo.jsonl";
const THREADS: [&str; 3] = ["night-train", "lost-parcel", "broken-build"];
/// Times the reading speed: a minute is short.
const SPEED: &str = "2";
/// How long the bridge may take to prove itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everybody who plays.
pub(crate) struct Stage {
    bridge: Service,
    monitor: Service,
    auditor: Auditor,
    network: Proxy,
    readers: Vec<(Reader, usize)>,
    witness: Witness,
    agent: Option<Child>,
}

impl Stage {
    /// Starts both services, registers the bridge, and connects the chat users through the
    /// network that can be broken.
    pub(crate) async fn set() -> Result<Self, String> {
        let monitor = Service::monitor(&[]).await;
        let bridge = Service::bridge(&[]).await;
        Target::at(&bridge.uri()).until_healthy(PATIENCE).await;
        let auditor = Auditor::at(&monitor.uri());
        auditor.register(COMPONENT, &bridge.uri()).await;
        let network = Proxy::start(bridge.http).await;
        let witness = Witness::start(&monitor.uri(), "chat-users", COMPONENT, Vantage::Consumer);
        let mut readers = Vec::new();
        for thread in THREADS {
            let options = Options::thread(thread).witnessed_by(witness.pen());
            readers.push((Reader::connect(network.address, options).await, 0));
        }
        Ok(Self {
            bridge,
            monitor,
            auditor,
            network,
            readers,
            witness,
            agent: None,
        })
    }

    /// Where everything is.
    pub(crate) fn addresses(&self) -> Vec<String> {
        vec![
            format!(
                "  bridge-service   gRPC {}  HTTP {}",
                self.bridge.grpc, self.bridge.http
            ),
            format!(
                "  monitor-service  gRPC {}  HTTP {}",
                self.monitor.grpc, self.monitor.http
            ),
            format!("  dashboard        http://{}/", self.monitor.http),
        ]
    }

    /// Starts the agent: the bridge's own `replay`, reporting to the monitor as a producer.
    pub(crate) fn start_agent(&mut self) -> Result<(), String> {
        let child = process::command("bridge-service")
            .arg("replay")
            .arg(data(RECORDING))
            .args(["--speed", SPEED, "--target", &self.bridge.uri()])
            .args([
                "--report-to",
                &self.monitor.uri(),
                "--component-id",
                COMPONENT,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("the agent cannot start: {error}"))?;
        self.agent = Some(child);
        Ok(())
    }

    /// Where the recording is over, plays it again.
    pub(crate) fn keep_agent_playing(&mut self) -> Result<(), String> {
        let Some(agent) = &mut self.agent else {
            return Ok(());
        };
        match agent.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) if status.success() => self.start_agent(),
            Ok(Some(status)) => Err(format!("the agent ended with {status}")),
            Err(error) => Err(format!("the agent is lost: {error}")),
        }
    }

    /// Breaks the network between bridge and chat users, or heals it.
    pub(crate) fn network(&self, fault: Fault) {
        self.network.set(fault);
    }

    /// What chat users got since the last look.
    pub(crate) fn new_events(&mut self) -> Vec<Frame> {
        let mut new = Vec::new();
        for (reader, seen) in &mut self.readers {
            let record = reader.record();
            new.extend(record.events().skip(*seen).cloned());
            *seen = record.events().count();
        }
        new.sort_by_key(|frame| frame.at);
        new
    }

    /// How the monitor stands to the bridge now.
    pub(crate) async fn standing(&self) -> Result<(Verdict, String), String> {
        let standing = self.auditor.standing(COMPONENT).await?;
        let verdict = standing.verdict();
        let name = verdict
            .as_str_name()
            .trim_start_matches("VERDICT_")
            .to_owned();
        Ok((verdict, format!("{name} {:.0}", standing.score)))
    }

    /// What the bridge says of itself.
    pub(crate) async fn claim(&self) -> Result<String, String> {
        let health = Target::at(&self.bridge.uri()).health().await;
        let health = health.map_err(|status| status.to_string())?;
        Ok(format!(
            "{}, healthy: {}",
            health.state().as_str_name(),
            health.healthy
        ))
    }

    /// The findings in a state.
    pub(crate) async fn findings(&self, state: finding::State) -> Vec<Finding> {
        let findings = self.auditor.findings(COMPONENT).await;
        findings
            .into_iter()
            .filter(|finding| finding.state() == state)
            .collect()
    }

    /// What to try while everything is kept up.
    pub(crate) fn invitation(&self) -> Vec<String> {
        let (bridge, monitor) = (self.bridge.grpc, self.monitor.grpc);
        let (http, dashboard) = (self.bridge.http, self.monitor.http);
        vec![
            "  Everything stays up until Ctrl-C. To try:".to_owned(),
            format!("    open the dashboard: http://{dashboard}/"),
            format!("    grpcurl -plaintext {bridge} monitorable.v1.Monitorable/GetHealthStatus"),
            format!("    grpcurl -plaintext {bridge} monitorable.v1.Monitorable/GetMetrics"),
            format!(
                "    grpcurl -plaintext -d '{{\"component_id\":\"{COMPONENT}\"}}' {monitor} monitor.v1.Monitor/AuditComponent"
            ),
            format!(
                "    websocat 'ws://{http}/v1/events?thread_id={}'",
                THREADS[0]
            ),
            format!(
                "    curl -N -H 'Accept: text/event-stream' 'http://{http}/v1/events?thread_id={}'",
                THREADS[0]
            ),
            format!("    monitor-service findings --monitor http://{monitor}"),
        ]
    }

    /// Keeps the agent playing until Ctrl-C.
    pub(crate) async fn hold(&mut self) {
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        loop {
            tokio::select! {
                _ = &mut interrupted => return,
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    if let Err(error) = self.keep_agent_playing() {
                        eprintln!("{error}");
                        return;
                    }
                }
            }
        }
    }

    /// Ends everything in order.
    pub(crate) async fn clear(mut self) -> Result<(), String> {
        drop(self.agent.take());
        self.witness.sign_off().await;
        drop(self.readers);
        for (name, service) in [("bridge", self.bridge), ("monitor", self.monitor)] {
            let status = service.stop().await;
            if !status.success() {
                return Err(format!("the {name} ended with {status}"));
            }
        }
        Ok(())
    }
}
