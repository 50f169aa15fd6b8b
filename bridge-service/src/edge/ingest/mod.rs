//! `bridge.v1.AgentEvents`: the door through which agents hand events in.

mod batch;
mod json;
mod rates;
#[cfg(test)]
mod stories;
mod stream;
pub(crate) mod validate;

use std::sync::Arc;

use monitorable::bridge::v1::agent_events_server::{AgentEvents, AgentEventsServer};
use monitorable::bridge::v1::{
    GetEgressRequest, GetEgressResponse, GetRunLedgerRequest, GetRunLedgerResponse, PublishRequest,
    PublishResponse, PublishStreamRequest,
};
use service_kit::access::{Guard, identity_of};
use service_kit::clock::Clock;
use service_kit::grpc::too_large_as_exhausted;
use service_kit::rate::Rate;
use service_kit::request::trace_of;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::access::may_write;
use super::convert::{hub_status, run_ledger};
use crate::hub::api::HubHandle;
use batch::Batch;
use rates::Rates;

/// Limits of the door.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IngestLimits {
    /// Bytes of one event's data. Over it the event is rejected.
    pub(crate) max_data_bytes: usize,
    /// Events of one batch. Over it the call fails.
    pub(crate) max_batch_events: usize,
    /// Bytes of one gRPC message. Over it the call fails.
    pub(crate) max_message_bytes: usize,
    /// Publish streams open. Over it a new one is refused.
    pub(crate) max_streams: usize,
    /// Batches of one stream that wait for their answers. At it no more is read: back-pressure.
    pub(crate) stream_batches: usize,
    /// Events a second of one agent. Over it a call fails and a stream waits.
    pub(crate) max_rate: Rate,
}

/// The service.
#[derive(Debug)]
pub(crate) struct Ingest {
    hub: HubHandle,
    limits: IngestLimits,
    rates: Arc<Rates>,
    streams: Arc<Semaphore>,
    draining: CancellationToken,
    egress: GetEgressResponse,
    guard: Guard,
}

/// The service, ready to be served. Open streams end once `draining` is cancelled; `egress` says
/// where readers connect, and `guard` when an agent has to go.
pub(crate) fn routes(
    hub: HubHandle,
    limits: IngestLimits,
    draining: CancellationToken,
    egress: GetEgressResponse,
    guard: Guard,
    clock: Clock,
) -> Routes {
    let ingest = Ingest {
        hub,
        limits,
        rates: Arc::new(Rates::new(limits.max_rate, clock)),
        streams: Arc::new(Semaphore::new(limits.max_streams)),
        draining,
        egress,
        guard,
    };
    let server = AgentEventsServer::new(ingest).max_decoding_message_size(limits.max_message_bytes);
    too_large_as_exhausted(Routes::new(server))
}

#[tonic::async_trait]
impl AgentEvents for Ingest {
    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let identity = identity_of(&request);
        let caller = self.rates.caller(&request, identity.as_deref());
        let trace = trace_of(request.extensions());
        let events = request.into_inner().events;
        may_write(identity.as_deref(), &events)?;
        let count = events.len();
        let batch = Batch::check(events, &self.limits)?;
        self.rates.take_or_refuse(&caller, count)?;
        let (events, receipts) = batch.traced(trace.as_ref()).split();
        let published = self.hub.publish(events, receipts.rejected()).await;
        let outcomes = published.map_err(hub_status)?;
        Ok(Response::new(PublishResponse {
            receipts: receipts.fill(outcomes)?,
        }))
    }

    type PublishStreamStream = stream::Answers;

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let permit = self.streams.clone().try_acquire_owned().map_err(|_| {
            let limit = self.limits.max_streams;
            Status::resource_exhausted(format!(
                "streams: {limit} are open, and no more are allowed"
            ))
        })?;
        let identity = identity_of(&request);
        let lapse = self.guard.lapse(identity.clone());
        let taking = stream::Taking {
            caller: self.rates.caller(&request, identity.as_deref()),
            rates: self.rates.clone(),
            hub: self.hub.clone(),
            limits: self.limits,
            draining: self.draining.clone(),
            identity,
            trace: trace_of(request.extensions()),
        };
        Ok(Response::new(taking.open(
            request.into_inner(),
            permit,
            lapse,
        )))
    }

    async fn get_run_ledger(
        &self,
        request: Request<GetRunLedgerRequest>,
    ) -> Result<Response<GetRunLedgerResponse>, Status> {
        let run_id = request.into_inner().run_id;
        validate::check_identifier("run_id", &run_id).map_err(Status::invalid_argument)?;
        let shown = validate::shown(&run_id);
        let found = self.hub.run_ledger(run_id).await.map_err(hub_status)?;
        let report =
            found.ok_or_else(|| Status::not_found(format!("run_id: no run {shown} is held")))?;
        Ok(Response::new(GetRunLedgerResponse {
            ledger: Some(run_ledger(report)),
        }))
    }

    async fn get_egress(
        &self,
        _request: Request<GetEgressRequest>,
    ) -> Result<Response<GetEgressResponse>, Status> {
        Ok(Response::new(self.egress.clone()))
    }
}
