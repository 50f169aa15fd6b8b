//! The monitor under test, and the crowd that it audits.

use std::process::Stdio;
use std::time::{Duration, Instant};

use monitorable::monitor::v1::monitor_client::MonitorClient;
use monitorable::monitor::v1::{
    Component, Finding, ListAuditsRequest, RegisterComponentRequest, WatchFindingsRequest,
    WatchFindingsResponse, finding,
};
use monitorable_tests::http;
use monitorable_tests::process::Service;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tonic::Streaming;
use tonic::transport::Channel;

use super::crowd;
use super::machine::{on_core, seconds_used};

/// The core of what is measured.
pub(crate) const MEASURED_CORE: usize = 0;
/// The core of everything else.
pub(crate) const OTHER_CORE: usize = 1;
/// Registrations under way at once.
const REGISTRATIONS: usize = 32;
/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(200);

/// The components, in a process of their own.
pub(crate) struct Crowd {
    pub(crate) size: usize,
    pub(crate) port: u16,
    orders: ChildStdin,
    _child: Child,
}

impl Crowd {
    pub(crate) async fn start(size: usize) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        command
            .args(["--crowd", &size.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = on_core(OTHER_CORE, async { command.spawn().unwrap() }).await;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let greeting = lines.next_line().await.unwrap().unwrap_or_default();
        let port = greeting
            .strip_prefix(crowd::GREETING)
            .and_then(|port| port.parse().ok());
        Self {
            size,
            port: port.unwrap_or_else(|| panic!("the crowd said {greeting:?}")),
            orders: child.stdin.take().unwrap(),
            _child: child,
        }
    }

    /// Lets one component `lie` or `die`.
    pub(crate) async fn order(&mut self, deed: &str, index: usize) {
        let line = format!("{deed} {index}\n");
        self.orders.write_all(line.as_bytes()).await.unwrap();
    }
}

/// A stretch of time at the monitor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) seconds: f64,
    pub(crate) audits: f64,
    pub(crate) processor_seconds: f64,
}

impl Span {
    pub(crate) fn audits_per_second(self) -> f64 {
        self.audits / self.seconds
    }

    pub(crate) fn micros_per_audit(self) -> f64 {
        self.processor_seconds * 1e6 / self.audits
    }

    pub(crate) fn core_percent(self) -> f64 {
        self.processor_seconds * 100.0 / self.seconds
    }
}

/// A monitor on a core of its own.
pub(crate) struct Subject {
    pub(crate) service: Service,
    client: MonitorClient<Channel>,
}

impl Subject {
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let service = on_core(MEASURED_CORE, Service::monitor(flags)).await;
        let client = MonitorClient::new(service.channel()).max_decoding_message_size(1 << 28);
        Self { service, client }
    }

    /// Registers the whole crowd and waits until each was audited once.
    pub(crate) async fn register(&self, crowd: &Crowd) {
        let mut indices = 0..crowd.size;
        let mut under_way = tokio::task::JoinSet::new();
        loop {
            while under_way.len() < REGISTRATIONS
                && let Some(index) = indices.next()
            {
                under_way.spawn(register(self.client.clone(), index, crowd.port));
            }
            match under_way.join_next().await {
                Some(registered) => registered.unwrap(),
                None => break,
            }
        }
        self.until_audits(crowd.size as f64).await;
    }

    /// Audits since the start.
    pub(crate) async fn audits(&self) -> f64 {
        let page = http::get(self.service.http, "/metrics").await.body;
        let lines = page
            .lines()
            .filter(|line| line.starts_with("monitor_audits_total"));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    pub(crate) async fn until_audits(&self, count: f64) {
        while self.audits().await < count {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What happens in a while, from now on.
    pub(crate) async fn measure(&self, length: Duration) -> Span {
        let pid = self.service.pid();
        let began = (Instant::now(), self.audits().await, seconds_used(pid));
        tokio::time::sleep(length).await;
        Span {
            audits: self.audits().await - began.1,
            processor_seconds: seconds_used(pid) - began.2,
            seconds: began.0.elapsed().as_secs_f64(),
        }
    }

    /// How many audits are kept of one component.
    pub(crate) async fn history(&self, index: usize) -> usize {
        let request = ListAuditsRequest {
            component_id: crowd::id(index),
            limit: 1_000,
        };
        let answer = self.client.clone().list_audits(request).await;
        answer.expect("ListAudits").into_inner().audits.len()
    }

    pub(crate) async fn findings(&self) -> Findings {
        let request = WatchFindingsRequest::default();
        let stream = self.client.clone().watch_findings(request).await;
        Findings(stream.expect("WatchFindings").into_inner())
    }
}

async fn register(mut client: MonitorClient<Channel>, index: usize, port: u16) {
    let component = Component {
        component_id: crowd::id(index),
        endpoint: format!("http://{}", crowd::address(index, port)),
        ..Component::default()
    };
    let request = RegisterComponentRequest {
        component: Some(component),
    };
    client
        .register_component(request)
        .await
        .expect("RegisterComponent");
}

/// What the monitor finds, as it finds it.
pub(crate) struct Findings(Streaming<WatchFindingsResponse>);

impl Findings {
    /// The next finding that opens.
    pub(crate) async fn next(&mut self) -> Finding {
        loop {
            let message = self.0.message().await.unwrap().expect("the stream goes on");
            let finding = message.finding.expect("always present");
            if finding.state() == finding::State::Open {
                return finding;
            }
        }
    }
}
