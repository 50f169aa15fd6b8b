//! The services' RPCs as one-line calls: each makes its own channel, has a deadline and answers
//! the status where it fails.

use std::time::Duration;

use monitorable::monitor::v1::monitor_client::MonitorClient;
use monitorable::monitor::v1::{
    Audit, AuditComponentRequest, Component, ComponentStatus, Finding, GetSummaryRequest,
    GetSummaryResponse, GetThreadStatusRequest, ListAuditsRequest, ListAuditsResponse,
    ListComponentsRequest, ListFindingsRequest, RegisterComponentRequest,
    RegisterComponentResponse, RemoveComponentRequest, ThreadStatus, Verdict,
};
use monitorable::monitorable::v1::monitorable_client::MonitorableClient;
use monitorable::monitorable::v1::{
    GetHealthStatusRequest, GetHealthStatusResponse, GetMetricsRequest, HealthStatus, Metrics,
    WatchHealthRequest, WatchHealthResponse,
};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::eventually::{eventually, holds};
use crate::process::channel;

/// How long a unary call may take.
const DEADLINE: Duration = Duration::from_secs(10);

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// A component under test, by its URI.
#[derive(Clone, Debug)]
pub struct Target(MonitorableClient<Channel>);

impl Target {
    /// The component that serves at a URI.
    #[must_use]
    pub fn at(uri: &str) -> Self {
        Self(MonitorableClient::new(channel(uri)))
    }

    /// `GetHealthStatus`.
    ///
    /// # Errors
    /// The status that was answered.
    pub async fn answer(&self, nonce: &str) -> Result<GetHealthStatusResponse, Status> {
        let request = GetHealthStatusRequest {
            nonce: nonce.to_owned(),
        };
        let answer = self.0.clone().get_health_status(timed(request)).await?;
        Ok(answer.into_inner())
    }

    /// The health.
    ///
    /// # Errors
    /// The status that was answered.
    pub async fn health(&self) -> Result<HealthStatus, Status> {
        let answer = self.answer("").await?;
        Ok(answer.health.expect("always present"))
    }

    /// `GetMetrics`.
    ///
    /// # Errors
    /// The status that was answered.
    pub async fn metrics(&self) -> Result<Metrics, Status> {
        let request = timed(GetMetricsRequest {});
        let answer = self.0.clone().get_metrics(request).await?.into_inner();
        Ok(answer.metrics.expect("always present"))
    }

    /// `WatchHealth`.
    ///
    /// # Errors
    /// The status that was answered.
    pub async fn watch(
        &self,
        max_interval: Option<prost_types::Duration>,
    ) -> Result<Streaming<WatchHealthResponse>, Status> {
        let request = WatchHealthRequest { max_interval };
        Ok(self.0.clone().watch_health(request).await?.into_inner())
    }

    /// Waits until the component claims to be healthy.
    pub async fn until_healthy(&self, deadline: Duration) -> HealthStatus {
        eventually(deadline, "the component claims health", || async {
            let health = self.health().await.map_err(|status| status.to_string())?;
            holds(health.healthy, &health).map(|()| health)
        })
        .await
    }
}

/// A monitor, by its URI.
#[derive(Clone, Debug)]
pub struct Auditor(MonitorClient<Channel>);

impl Auditor {
    /// The monitor that serves at a URI.
    #[must_use]
    pub fn at(uri: &str) -> Self {
        Self(MonitorClient::new(channel(uri)))
    }

    /// The generated client, for what has no shorter way here.
    #[must_use]
    pub fn client(&self) -> MonitorClient<Channel> {
        self.0.clone()
    }

    /// `RegisterComponent` with an id and an endpoint; it must succeed.
    pub async fn register(&self, component_id: &str, endpoint: &str) -> RegisterComponentResponse {
        let component = Component {
            component_id: component_id.to_owned(),
            endpoint: endpoint.to_owned(),
            ..Component::default()
        };
        let registered = self.try_register(component).await;
        registered.unwrap_or_else(|status| panic!("{component_id} at {endpoint}: {status}"))
    }

    /// `RegisterComponent`.
    ///
    /// # Errors
    /// The status that was answered.
    pub async fn try_register(
        &self,
        component: Component,
    ) -> Result<RegisterComponentResponse, Status> {
        let request = RegisterComponentRequest {
            component: Some(component),
        };
        let answer = self.client().register_component(timed(request)).await?;
        Ok(answer.into_inner())
    }

    /// `RemoveComponent`.
    ///
    /// # Errors
    /// The status that was answered.
    pub async fn remove(&self, component_id: &str) -> Result<(), Status> {
        let request = RemoveComponentRequest {
            component_id: component_id.to_owned(),
        };
        self.client().remove_component(timed(request)).await?;
        Ok(())
    }

    /// `ListComponents`.
    pub async fn components(&self) -> Vec<ComponentStatus> {
        let request = timed(ListComponentsRequest {});
        let listed = self.client().list_components(request).await;
        listed.expect("ListComponents").into_inner().components
    }

    /// How one component stands in `ListComponents`.
    ///
    /// # Errors
    /// A text, where the component or the monitor is not there.
    pub async fn standing(&self, component_id: &str) -> Result<ComponentStatus, String> {
        let request = timed(ListComponentsRequest {});
        let listed = self.client().list_components(request).await;
        let listed = listed.map_err(|status| status.to_string())?.into_inner();
        let found = listed.components.into_iter().find(|listed| {
            let component = listed.component.as_ref();
            component.is_some_and(|component| component.component_id == component_id)
        });
        found.ok_or_else(|| format!("{component_id} is not listed"))
    }

    /// `AuditComponent`.
    ///
    /// # Errors
    /// The status that was answered.
    pub async fn try_audit(&self, component_id: &str) -> Result<Audit, Status> {
        let request = AuditComponentRequest {
            component_id: component_id.to_owned(),
        };
        let answer = self.client().audit_component(timed(request)).await?;
        Ok(answer.into_inner().audit.expect("always present"))
    }

    /// `AuditComponent`; it must answer.
    pub async fn audit(&self, component_id: &str) -> Audit {
        let audit = self.try_audit(component_id).await;
        audit.unwrap_or_else(|status| panic!("auditing {component_id}: {status}"))
    }

    /// `ListAudits`.
    ///
    /// # Errors
    /// The status that was answered.
    pub async fn audits(
        &self,
        component_id: &str,
        limit: u32,
    ) -> Result<ListAuditsResponse, Status> {
        let request = ListAuditsRequest {
            component_id: component_id.to_owned(),
            limit,
        };
        Ok(self
            .client()
            .list_audits(timed(request))
            .await?
            .into_inner())
    }

    /// `GetSummary`.
    pub async fn summary(&self) -> GetSummaryResponse {
        let answer = self.client().get_summary(timed(GetSummaryRequest {})).await;
        answer.expect("GetSummary").into_inner()
    }

    /// `ListFindings` of one component, open and resolved.
    pub async fn findings(&self, component_id: &str) -> Vec<Finding> {
        let request = ListFindingsRequest {
            component_id: component_id.to_owned(),
            ..ListFindingsRequest::default()
        };
        let answer = self.client().list_findings(timed(request)).await;
        answer.expect("ListFindings").into_inner().findings
    }

    /// `GetThreadStatus`.
    ///
    /// # Errors
    /// The status that was answered.
    pub async fn thread(&self, thread_id: &str) -> Result<ThreadStatus, Status> {
        let request = GetThreadStatusRequest {
            thread_id: thread_id.to_owned(),
            component_id: String::new(),
        };
        let answer = self.client().get_thread_status(timed(request)).await?;
        Ok(answer.into_inner().thread.expect("always present"))
    }

    /// Waits until the monitor, on its own, stands at a verdict for a component.
    pub async fn until_standing(&self, component_id: &str, verdict: Verdict, deadline: Duration) {
        let what = format!("{component_id} stands at {}", verdict.as_str_name());
        eventually(deadline, &what, || async {
            let standing = self.standing(component_id).await?;
            let seen = format!("{}, {}", standing.verdict().as_str_name(), standing.score);
            holds(standing.verdict() == verdict, seen)
        })
        .await;
    }

    /// Audits until the verdict is this one, and returns that audit.
    pub async fn until_audited(
        &self,
        component_id: &str,
        verdict: Verdict,
        deadline: Duration,
    ) -> Audit {
        let what = format!("an audit says {}", verdict.as_str_name());
        eventually(deadline, &what, || async {
            let audit = self.try_audit(component_id).await;
            let audit = audit.map_err(|status| status.to_string())?;
            let seen = shown(&audit);
            holds(crate::calls::verdict(&audit) == verdict, seen).map(|()| audit)
        })
        .await
    }

    /// Waits until the monitor, on its own, has a finding of a rule that satisfies a condition.
    pub async fn until_finding(
        &self,
        component_id: &str,
        rule_id: &str,
        deadline: Duration,
        condition: impl Fn(&Finding) -> bool,
    ) -> Finding {
        let what = format!("a finding of {rule_id} on {component_id}");
        eventually(deadline, &what, || async {
            let findings = self.findings(component_id).await;
            let seen: Vec<_> = findings.iter().map(summary).collect();
            let found = findings
                .into_iter()
                .find(|finding| finding.rule_id == rule_id && condition(finding));
            found.ok_or_else(|| format!("{seen:?}"))
        })
        .await
    }
}

/// An audit's verdict.
#[must_use]
pub fn verdict(audit: &Audit) -> Verdict {
    let assessment = audit.overall_assessment.as_ref();
    assessment.expect("always present").verdict()
}

/// An audit in one line.
#[must_use]
pub fn shown(audit: &Audit) -> String {
    let assessment = audit.overall_assessment.as_ref();
    let message = assessment.map_or("", |assessment| &assessment.message);
    let validation = audit.event_monitor_validation.as_ref();
    let validation = validation.map_or("", |validation| &validation.message);
    let findings: Vec<_> = audit.findings.iter().map(summary).collect();
    let verdict = verdict(audit).as_str_name();
    format!("{verdict}: {message}; {validation}; {findings:?}")
}

/// A finding in one line.
#[must_use]
pub fn summary(finding: &Finding) -> String {
    let state = finding.state().as_str_name();
    format!(
        "{} {} {:?}: {}",
        finding.rule_id, state, finding.subject, finding.message
    )
}
