//! `monitor.v1.Evidence`: where witnesses report, past the component.

use monitorable::monitor::v1::evidence_server::Evidence;
use monitorable::monitor::v1::{ReportEventsRequest, ReportEventsResponse};
use service_kit::access::{Identity, identity_of};
use tonic::{Request, Response, Status};

use super::access::in_its_name;
use super::convert::timestamp;
use super::validate::report::report;
use crate::fleet::api::{Command, FleetHandle};

/// The service.
pub(crate) struct EvidenceService {
    fleet: FleetHandle,
}

impl EvidenceService {
    pub(crate) fn new(fleet: FleetHandle) -> Self {
        Self { fleet }
    }
}

/// Checks a report and hands it in; gRPC and HTTP both come through here.
///
/// # Errors
/// INVALID_ARGUMENT naming the field, PERMISSION_DENIED naming the side or the thread, UNAVAILABLE where the fleet does not answer.
pub(crate) async fn take_report(
    fleet: &FleetHandle,
    request: ReportEventsRequest,
    identity: Option<&Identity>,
) -> Result<ReportEventsResponse, Status> {
    let report = in_its_name(identity, report(request)?)?;
    let (outcome, received) = fleet.ask(|reply| Command::Report { report, reply }).await?;
    Ok(ReportEventsResponse {
        recorded: outcome.recorded,
        repeated_events: outcome.repeated,
        receive_time: Some(timestamp(received)),
    })
}

#[tonic::async_trait]
impl Evidence for EvidenceService {
    async fn report_events(
        &self,
        request: Request<ReportEventsRequest>,
    ) -> Result<Response<ReportEventsResponse>, Status> {
        let identity = identity_of(&request);
        take_report(&self.fleet, request.into_inner(), identity.as_deref())
            .await
            .map(Response::new)
    }
}
