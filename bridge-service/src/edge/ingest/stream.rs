//! One publish stream: batches are taken in order while earlier ones wait for their answers.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream;
use monitorable::bridge::v1::{AgentEvent, PublishStreamRequest, PublishStreamResponse};
use service_kit::access::{Identity, Lapse};
use service_kit::request::carried;
use service_kit::trace_context::TraceContext;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::IngestLimits;
use super::batch::{Batch, Receipts};
use super::rates::Rates;
use crate::edge::access::may_write;
use crate::edge::convert::hub_status;
use crate::hub::api::{Command, HubError, HubHandle};
use crate::hub::event::Outcome;

/// The answers, in the order of the requests.
pub(crate) type Answers =
    Pin<Box<dyn Stream<Item = Result<PublishStreamResponse, Status>> + Send + 'static>>;

/// A batch that was taken, or the status that ends the stream.
enum Taken {
    Batch(Receipts, oneshot::Receiver<Result<Vec<Outcome>, HubError>>),
    End(Status),
}

/// What a stream's batches go through.
pub(super) struct Taking {
    pub(super) hub: HubHandle,
    pub(super) limits: IngestLimits,
    pub(super) draining: CancellationToken,
    pub(super) rates: Arc<Rates>,
    /// Whose account the events are taken from.
    pub(super) caller: String,
    /// `None`: nobody needs to be known.
    pub(super) identity: Option<Arc<Identity>>,
    /// Which trace the call belongs to.
    pub(super) trace: Option<Arc<TraceContext>>,
}

impl Taking {
    /// Starts reading the stream; the permit is given back when reading ends. Nothing is read after
    /// the lapse, whether the client reads its answers or not.
    pub(super) fn open(
        self,
        requests: Streaming<PublishStreamRequest>,
        permit: OwnedSemaphorePermit,
        lapse: impl Future<Output = Lapse> + Send + 'static,
    ) -> Answers {
        let (taken, waiting) = mpsc::channel(self.limits.stream_batches);
        let reading = async move {
            let lapsed = tokio::select! {
                biased;
                lapse = lapse => Some(lapse),
                () = self.read(requests, taken.clone()) => None,
            };
            drop(permit);
            if let Some(lapse) = lapsed {
                // Where the client is gone there is nobody to tell.
                let _ = taken.send(Taken::End(lapse.into())).await;
            }
        };
        tokio::spawn(carried(reading));
        Box::pin(stream::unfold(Some(waiting), next_answer))
    }

    /// Takes a request only where its answer has a place to wait, so nothing grows without bound: a
    /// client that does not read its answers is not read either.
    async fn read(
        &self,
        mut requests: Streaming<PublishStreamRequest>,
        taken: mpsc::Sender<Taken>,
    ) {
        let Self { hub, draining, .. } = self;
        loop {
            let Ok(place) = taken.reserve().await else {
                return;
            };
            let request = tokio::select! {
                request = requests.message() => request,
                () = draining.cancelled() => Err(hub_status(HubError::Draining)),
                () = taken.closed() => return,
            };
            let batch = match request {
                Ok(Some(request)) => self.check(request.events),
                Ok(None) => return,
                Err(status) => Err(too_large_as_exhausted(status)),
            };
            match batch {
                Ok(batch) => {
                    if !self.wait_for_room(batch.len(), &taken).await {
                        return;
                    }
                    let (events, receipts) = batch.traced(self.trace.as_ref()).split();
                    let (reply, answer) = oneshot::channel();
                    let rejected = receipts.rejected();
                    // Told one after the other, so that the hub sees them in the stream's order.
                    hub.tell(Command::Publish {
                        events,
                        rejected,
                        reply,
                    })
                    .await;
                    place.send(Taken::Batch(receipts, answer));
                }
                Err(status) => return place.send(Taken::End(status)),
            }
        }
    }

    /// An agent over its rate is not refused here: it is read later, which slows it down. False:
    /// the stream is over.
    async fn wait_for_room(&self, count: usize, taken: &mpsc::Sender<Taken>) -> bool {
        while let Err(wait) = self.rates.take(&self.caller, count) {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.draining.cancelled() => return true,
                () = taken.closed() => return false,
            }
        }
        true
    }

    fn check(&self, events: Vec<AgentEvent>) -> Result<Batch, Status> {
        may_write(self.identity.as_deref(), &events)?;
        Batch::check(events, &self.limits)
    }
}

type Waiting = Option<mpsc::Receiver<Taken>>;

async fn next_answer(waiting: Waiting) -> Option<(Result<PublishStreamResponse, Status>, Waiting)> {
    let mut waiting = waiting?;
    let answer = match waiting.recv().await? {
        Taken::End(status) => Err(status),
        Taken::Batch(receipts, answer) => match answer.await {
            Ok(Ok(outcomes)) => receipts.fill(outcomes),
            Ok(Err(error)) => Err(hub_status(error)),
            Err(_) => Err(hub_status(HubError::Ended)),
        },
    };
    match answer {
        Ok(receipts) => Some((Ok(PublishStreamResponse { receipts }), Some(waiting))),
        Err(status) => Some((Err(status), None)),
    }
}

/// tonic says `OUT_OF_RANGE` of a message over the limit; a limit is `RESOURCE_EXHAUSTED` here.
fn too_large_as_exhausted(status: Status) -> Status {
    match status.code() {
        Code::OutOfRange => Status::resource_exhausted(status.message()),
        _ => status,
    }
}
