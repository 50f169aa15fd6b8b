//! The monitor under test.

use std::collections::HashSet;
use std::time::Duration;

use monitorable::monitor::v1::monitor_client::MonitorClient;
use monitorable::monitor::v1::{
    Component, Finding, ListAuditsRequest, RegisterComponentRequest, WatchFindingsRequest,
    WatchFindingsResponse, finding,
};
use monitorable::monitorable::v1::GetMetricsRequest;
use monitorable::monitorable::v1::monitorable_client::MonitorableClient;
use service_kit::clock::Clock;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::Rate;
use super::components::id;
use super::crowd::Crowd;
use crate::failure::Failure;
use crate::machine::SERVER_CORE;
use crate::process::Server;
use crate::systems::bridge;

/// Registrations under way at once.
const REGISTRATIONS: usize = 32;
/// How often, and after how long, a monitor that is too busy is asked again.
const BUSY_ATTEMPTS: usize = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(200);
/// What is waited for comes within this time or not at all.
const DEADLINE: Duration = Duration::from_secs(300);

/// A monitor on a core of its own.
pub(crate) struct Subject {
    server: Server,
    monitor: MonitorClient<Channel>,
    claims: MonitorableClient<Channel>,
}

impl Subject {
    /// Starts one with these flags added.
    ///
    /// # Errors
    /// Where it does not start.
    pub(crate) fn start(flags: &[&str]) -> Result<Self, Failure> {
        let mut command = bridge::service("monitor-service")?;
        command.args(flags);
        let (server, addresses) = Server::announced(&mut command, SERVER_CORE, &["grpc"])?;
        let channel = bridge::channel(addresses[0])?;
        Ok(Self {
            server,
            monitor: MonitorClient::new(channel.clone()),
            claims: MonitorableClient::new(channel),
        })
    }

    /// Registers so many of a crowd and waits until there were as many audits.
    ///
    /// # Errors
    /// Where the monitor refuses one, or is too slow.
    pub(crate) async fn register(&self, crowd: &Crowd, count: usize) -> Result<(), Failure> {
        let mut under_way = JoinSet::new();
        for index in 0..count {
            if under_way.len() == REGISTRATIONS {
                done(under_way.join_next().await)?;
            }
            let component = Component {
                component_id: id(index),
                endpoint: format!("http://{}", crowd.address(index)),
                ..Component::default()
            };
            let request = RegisterComponentRequest {
                component: Some(component),
            };
            let monitor = self.monitor.clone();
            under_way.spawn(asked_again(move || {
                let (mut monitor, request) = (monitor.clone(), request.clone());
                async move { monitor.register_component(request).await }
            }));
        }
        while let Some(registered) = under_way.join_next().await {
            done(Some(registered))?;
        }
        self.until_audits(count as f64).await
    }

    /// Audits since the start.
    async fn audits(&self) -> Result<f64, Failure> {
        let asked = asked_again(|| {
            let mut claims = self.claims.clone();
            async move { claims.get_metrics(GetMetricsRequest {}).await }
        });
        let metrics = asked.await?.into_inner().metrics;
        let count = metrics.and_then(|metrics| metrics.gauges.get("audits_count").copied());
        count.ok_or_else(|| Failure::new("the monitor's claims have no audits_count"))
    }

    /// Waits until there were so many audits since the start.
    ///
    /// # Errors
    /// Where that takes too long.
    pub(crate) async fn until_audits(&self, count: f64) -> Result<(), Failure> {
        until("audits", count, async || self.audits().await).await
    }

    /// Counts its audits of the crowd from now on.
    ///
    /// # Errors
    /// Where it does not answer.
    pub(crate) async fn measure(&self, crowd: &Crowd, length: Duration) -> Result<Rate, Failure> {
        Rate::measure(&self.server, crowd, length, async || self.audits().await).await
    }

    /// Its resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.server.resident_kib()
    }

    /// Waits until it keeps so many audits of one component.
    ///
    /// # Errors
    /// Where that takes too long.
    pub(crate) async fn until_history(&self, index: usize, count: usize) -> Result<(), Failure> {
        let kept = async || {
            let request = ListAuditsRequest {
                component_id: id(index),
                limit: 0,
            };
            let answer = asked_again(|| {
                let (mut monitor, request) = (self.monitor.clone(), request.clone());
                async move { monitor.list_audits(request).await }
            });
            Ok::<_, Failure>(answer.await?.into_inner().audits.len() as f64)
        };
        let what = format!("audits in the history of {}", id(index));
        until(&what, count as f64, kept).await
    }

    /// What it finds from now on.
    ///
    /// # Errors
    /// Where it does not answer.
    pub(crate) async fn findings(&self) -> Result<Findings, Failure> {
        let request = WatchFindingsRequest::default();
        let stream = self.monitor.clone().watch_findings(request).await;
        Ok(Findings {
            stream: stream.map_err(failure)?.into_inner(),
            found: HashSet::new(),
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err passes it")]
fn failure(status: Status) -> Failure {
    Failure::new(status.to_string())
}

/// Asks again where the answer is that the monitor is too busy now.
async fn asked_again<T, F>(mut ask: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Status>>,
{
    for _ in 0..BUSY_ATTEMPTS {
        match ask().await {
            Err(status) if status.code() == Code::Unavailable => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            answer => return answer.map_err(failure),
        }
    }
    ask().await.map_err(failure)
}

fn done<T>(
    registered: Option<Result<Result<T, Failure>, tokio::task::JoinError>>,
) -> Result<(), Failure> {
    match registered {
        None => Ok(()),
        Some(Ok(registered)) => registered.map(drop),
        Some(Err(error)) => Err(Failure::new(error.to_string())),
    }
}

/// Waits until there is so much of something.
async fn until(
    what: &str,
    wanted: f64,
    count: impl AsyncFn() -> Result<f64, Failure>,
) -> Result<(), Failure> {
    let began = Clock::system().now().monotonic;
    loop {
        let counted = count().await?;
        if counted >= wanted {
            return Ok(());
        }
        if Clock::system().now().since(began) > DEADLINE {
            return Err(Failure::new(format!(
                "after {DEADLINE:?} there were {counted} {what}; awaited were {wanted}"
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What the monitor finds, as it finds it.
pub(crate) struct Findings {
    stream: Streaming<WatchFindingsResponse>,
    /// Ids of the components that something was found about.
    found: HashSet<String>,
}

impl Findings {
    /// The next open finding about a component that there was none about.
    ///
    /// # Errors
    /// Where there is none in time, or the stream ends.
    pub(crate) async fn next(&mut self) -> Result<Finding, Failure> {
        let next = async {
            while let Some(message) = self.stream.message().await.map_err(failure)? {
                let found = message.finding.unwrap_or_default();
                let open = found.state() == finding::State::Open;
                if open && self.found.insert(found.component_id.clone()) {
                    return Ok(found);
                }
            }
            Err(Failure::new("the stream of findings ended"))
        };
        let next = tokio::time::timeout(DEADLINE, next).await;
        next.map_err(|_| Failure::new(format!("nothing was found within {DEADLINE:?}")))?
    }
}
