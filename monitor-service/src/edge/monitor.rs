//! `monitor.v1.Monitor`: what is watched, and what was found.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use monitorable::monitor::v1 as wire;
use monitorable::monitor::v1::monitor_server::Monitor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::Edge;
use super::convert;
use super::validate::maintenance::window;
use super::validate::target::target;
use super::validate::{Invalid, id, optional_id};
use crate::domain::{Audit, Finding};
use crate::fleet::api::{Command, FindingFilter, FleetError, FleetHandle, Suspicions};
use crate::fleet::history::Kept;
use crate::probe::settings::ProbeSettings;

/// Findings of one list where the caller names no limit.
const DEFAULT_FINDINGS: u32 = 100;
/// Findings of one list at the most.
pub(crate) const MAX_FINDINGS: u32 = 1_000;
/// Findings that may wait in one stream; beyond, the fleet's backlog holds them.
const STREAM_BUFFER: usize = 16;

/// The service.
pub(crate) struct MonitorService {
    fleet: FleetHandle,
    probes: ProbeSettings,
    watchers: Arc<Semaphore>,
    watchers_max: usize,
    shutdown: CancellationToken,
}

impl MonitorService {
    pub(crate) fn new(edge: &Edge) -> Self {
        Self {
            fleet: edge.fleet.clone(),
            probes: edge.probes,
            watchers: Arc::new(Semaphore::new(edge.limits.watchers_max)),
            watchers_max: edge.limits.watchers_max,
            shutdown: edge.shutdown.clone(),
        }
    }
}

/// How long an audit may take: the calls, one that may already be under way before them, and the
/// working loop's own answer.
pub(crate) fn audit_deadline(probes: &ProbeSettings) -> Duration {
    probes.call_deadline * 3 + Duration::from_secs(1)
}

/// Audits a component now; gRPC and HTTP both come through here.
///
/// # Errors
/// Where the fleet does not answer.
pub(crate) async fn audit_now(
    fleet: &FleetHandle,
    probes: &ProbeSettings,
    component_id: String,
) -> Result<Arc<Audit>, FleetError> {
    let audit = |reply| Command::Audit {
        component_id,
        reply,
    };
    fleet.ask_within(audit_deadline(probes), audit).await
}

/// Checks which findings are asked for.
///
/// # Errors
/// The first field that is not valid.
pub(crate) fn filter(request: wire::ListFindingsRequest) -> Result<FindingFilter, Invalid> {
    optional_id("component_id", &request.component_id)?;
    optional_id("rule_id", &request.rule_id)?;
    let included = if request.include_suspected {
        Suspicions::Included
    } else {
        Suspicions::LeftOut
    };
    let (open, suspicions) = match wire::finding::State::try_from(request.state) {
        Ok(wire::finding::State::Unspecified) => (None, included),
        Ok(wire::finding::State::Open) => (Some(true), included),
        Ok(wire::finding::State::Resolved) => (Some(false), included),
        Ok(wire::finding::State::Suspected) => (None, Suspicions::Only),
        Err(_) => {
            let why = format!(
                "{} is not allowed; allowed are STATE_UNSPECIFIED (0), STATE_OPEN (1), STATE_RESOLVED (2) and STATE_SUSPECTED (3)",
                request.state
            );
            return Err(Invalid::new("state", why));
        }
    };
    if request.limit > MAX_FINDINGS {
        let why = format!(
            "{} is not allowed; allowed are 0 to {MAX_FINDINGS}",
            request.limit
        );
        return Err(Invalid::new("limit", why));
    }
    let limit = if request.limit == 0 {
        DEFAULT_FINDINGS
    } else {
        request.limit
    };
    Ok(FindingFilter {
        component_id: request.component_id,
        rule_id: request.rule_id,
        open,
        limit: limit as usize,
        suspicions,
    })
}

/// How many of something: 0 stands for all.
pub(crate) const fn limit(limit: u32) -> usize {
    if limit == 0 {
        usize::MAX
    } else {
        limit as usize
    }
}

#[tonic::async_trait]
impl Monitor for MonitorService {
    async fn register_component(
        &self,
        request: Request<wire::RegisterComponentRequest>,
    ) -> Result<Response<wire::RegisterComponentResponse>, Status> {
        let component = request.into_inner().component;
        let component = component.ok_or_else(|| Invalid::new("component", "is missing"))?;
        let target = target(component, "component.", &self.probes)?;
        let shown = convert::component(&target);
        let register = |reply| Command::Register { target, reply };
        let replaced = self.fleet.ask(register).await??;
        tracing::info!(component_id = %shown.component_id, endpoint = %shown.endpoint, replaced, "registered");
        Ok(Response::new(wire::RegisterComponentResponse {
            component: Some(shown),
            replaced,
        }))
    }

    async fn remove_component(
        &self,
        request: Request<wire::RemoveComponentRequest>,
    ) -> Result<Response<wire::RemoveComponentResponse>, Status> {
        let component_id = request.into_inner().component_id;
        id("component_id", &component_id)?;
        let remove = |reply| Command::Remove {
            component_id: component_id.clone(),
            reply,
        };
        self.fleet.ask(remove).await??;
        tracing::info!(component_id, "removed");
        Ok(Response::new(wire::RemoveComponentResponse {}))
    }

    async fn list_components(
        &self,
        _request: Request<wire::ListComponentsRequest>,
    ) -> Result<Response<wire::ListComponentsResponse>, Status> {
        let views = self.fleet.ask(|reply| Command::List { reply }).await?;
        Ok(Response::new(wire::ListComponentsResponse {
            components: views.iter().map(convert::component_status).collect(),
        }))
    }

    async fn audit_component(
        &self,
        request: Request<wire::AuditComponentRequest>,
    ) -> Result<Response<wire::AuditComponentResponse>, Status> {
        let component_id = request.into_inner().component_id;
        id("component_id", &component_id)?;
        let audit = audit_now(&self.fleet, &self.probes, component_id).await?;
        Ok(Response::new(wire::AuditComponentResponse {
            audit: Some(convert::audit(&audit)),
        }))
    }

    async fn list_audits(
        &self,
        request: Request<wire::ListAuditsRequest>,
    ) -> Result<Response<wire::ListAuditsResponse>, Status> {
        let request = request.into_inner();
        id("component_id", &request.component_id)?;
        let list = |reply| Command::Audits {
            component_id: request.component_id,
            limit: limit(request.limit),
            reply,
        };
        let (audits, trend) = self.fleet.ask(list).await??;
        Ok(Response::new(wire::ListAuditsResponse {
            audits: audits.iter().map(Kept::message).collect(),
            trend: Some(convert::trend(&trend)),
        }))
    }

    async fn get_summary(
        &self,
        _request: Request<wire::GetSummaryRequest>,
    ) -> Result<Response<wire::GetSummaryResponse>, Status> {
        let summary = self.fleet.ask(|reply| Command::Summary { reply }).await?;
        Ok(Response::new(convert::summary(&summary)))
    }

    async fn list_findings(
        &self,
        request: Request<wire::ListFindingsRequest>,
    ) -> Result<Response<wire::ListFindingsResponse>, Status> {
        let filter = filter(request.into_inner())?;
        let list = |reply| Command::Findings { filter, reply };
        let findings = self.fleet.ask(list).await?;
        Ok(Response::new(wire::ListFindingsResponse {
            findings: findings.iter().map(convert::finding).collect(),
        }))
    }

    type WatchFindingsStream =
        Pin<Box<dyn Stream<Item = Result<wire::WatchFindingsResponse, Status>> + Send + 'static>>;

    async fn watch_findings(
        &self,
        request: Request<wire::WatchFindingsRequest>,
    ) -> Result<Response<Self::WatchFindingsStream>, Status> {
        let component_id = request.into_inner().component_id;
        optional_id("component_id", &component_id)?;
        let permit = self.watchers.clone().try_acquire_owned().map_err(|_| {
            let max = self.watchers_max;
            Status::resource_exhausted(format!("watchers: {max} are open, and no more are allowed"))
        })?;
        let watch = |reply| Command::WatchFindings { reply };
        let (open, changes) = self.fleet.ask(watch).await?;
        let (sender, receiver) = mpsc::channel(STREAM_BUFFER);
        let watcher = Watcher {
            component_id,
            sender,
            shutdown: self.shutdown.clone(),
            _permit: permit,
        };
        tokio::spawn(watcher.run(open, changes));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn start_maintenance(
        &self,
        request: Request<wire::StartMaintenanceRequest>,
    ) -> Result<Response<wire::StartMaintenanceResponse>, Status> {
        let window = window(request.into_inner())?;
        let start = |reply| Command::StartMaintenance {
            component_id: window.component_id.clone(),
            duration: window.duration,
            reply,
        };
        let end = self.fleet.ask(start).await??;
        tracing::info!(
            component_id = %window.component_id,
            duration = ?window.duration,
            reason = %window.reason,
            "maintenance begins"
        );
        Ok(Response::new(wire::StartMaintenanceResponse {
            end_time: Some(convert::timestamp(end)),
        }))
    }

    async fn end_maintenance(
        &self,
        request: Request<wire::EndMaintenanceRequest>,
    ) -> Result<Response<wire::EndMaintenanceResponse>, Status> {
        let component_id = request.into_inner().component_id;
        id("component_id", &component_id)?;
        let end = |reply| Command::EndMaintenance {
            component_id: component_id.clone(),
            reply,
        };
        self.fleet.ask(end).await??;
        tracing::info!(component_id, "maintenance ends");
        Ok(Response::new(wire::EndMaintenanceResponse {}))
    }

    async fn get_thread_status(
        &self,
        request: Request<wire::GetThreadStatusRequest>,
    ) -> Result<Response<wire::GetThreadStatusResponse>, Status> {
        let request = request.into_inner();
        id("thread_id", &request.thread_id)?;
        optional_id("component_id", &request.component_id)?;
        let thread = |reply| Command::Thread {
            component_id: request.component_id,
            thread_id: request.thread_id,
            reply,
        };
        let thread = self.fleet.ask(thread).await??;
        Ok(Response::new(wire::GetThreadStatusResponse {
            thread: Some(convert::thread(&thread)),
        }))
    }
}

/// One stream of findings; it ends with the peer, with the process, or when it falls behind.
struct Watcher {
    component_id: String,
    sender: mpsc::Sender<Result<wire::WatchFindingsResponse, Status>>,
    shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    async fn run(self, open: Vec<Finding>, mut changes: broadcast::Receiver<Finding>) {
        for finding in open {
            if !self.send(&finding).await {
                return;
            }
        }
        loop {
            let change = tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = self.sender.closed() => return,
                change = changes.recv() => change,
            };
            match change {
                Ok(finding) => {
                    if !self.send(&finding).await {
                        return;
                    }
                }
                Err(broadcast::error::RecvError::Closed) => return,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    let why = format!(
                        "the watcher fell behind and missed {missed} changes; watch again to get the open findings"
                    );
                    let last = self.sender.send(Err(Status::resource_exhausted(why)));
                    tokio::select! {
                        () = self.shutdown.cancelled() => {}
                        _ = last => {}
                    }
                    return;
                }
            }
        }
    }

    /// Whether the watcher is still there.
    async fn send(&self, finding: &Finding) -> bool {
        if !self.component_id.is_empty() && *finding.component_id != *self.component_id {
            return true;
        }
        let message = wire::WatchFindingsResponse {
            finding: Some(convert::finding(finding)),
        };
        tokio::select! {
            () = self.shutdown.cancelled() => false,
            sent = self.sender.send(Ok(message)) => sent.is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_without_a_limit_has_the_default() {
        let filter = filter(wire::ListFindingsRequest::default()).unwrap();
        assert_eq!(filter.limit, 100);
        assert_eq!(filter.open, None);
    }

    #[test]
    fn suspicions_are_listed_where_they_are_asked_for() {
        use wire::finding::State;
        let suspicions = |state: State, include_suspected| {
            let request = wire::ListFindingsRequest {
                state: state.into(),
                include_suspected,
                ..Default::default()
            };
            filter(request).unwrap().suspicions
        };
        assert_eq!(suspicions(State::Unspecified, false), Suspicions::LeftOut);
        assert_eq!(suspicions(State::Open, true), Suspicions::Included);
        assert_eq!(suspicions(State::Suspected, false), Suspicions::Only);
    }

    #[test]
    fn a_filter_names_what_is_wrong() {
        let refused = |request| filter(request).unwrap_err().0;
        let request = wire::ListFindingsRequest {
            limit: 1_001,
            ..Default::default()
        };
        assert!(refused(request).starts_with("limit: 1001"));
        let request = wire::ListFindingsRequest {
            state: 9,
            ..Default::default()
        };
        assert!(refused(request).starts_with("state: 9"));
        let request = wire::ListFindingsRequest {
            rule_id: "a b".to_owned(),
            ..Default::default()
        };
        assert!(refused(request).starts_with("rule_id: "));
    }
}
