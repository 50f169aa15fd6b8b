//! One batch: what goes to the hub, and the receipts that come back in the request's order.

use std::sync::Arc;

use monitorable::bridge::v1::{AgentEvent, Receipt, Status as ReceiptStatus};
use service_kit::trace_context::TraceContext;
use tonic::Status;

use super::IngestLimits;
use super::validate::check_event;
use crate::hub::event::{Event, Outcome, Place};

/// A checked batch.
#[derive(Debug)]
pub(super) struct Batch {
    events: Vec<Event>,
    receipts: Receipts,
}

/// A receipt for each event of the request; those of refused events are already filled.
#[derive(Debug)]
pub(super) struct Receipts {
    receipts: Vec<Receipt>,
    rejected: u64,
}

impl Batch {
    /// Checks each event.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a batch without events, `RESOURCE_EXHAUSTED` for one with too many.
    pub(super) fn check(events: Vec<AgentEvent>, limits: &IngestLimits) -> Result<Self, Status> {
        let (count, limit) = (events.len(), limits.max_batch_events);
        if count == 0 {
            return Err(Status::invalid_argument(format!(
                "events: the batch is empty; allowed are 1 to {limit} events"
            )));
        }
        if count > limit {
            return Err(Status::resource_exhausted(format!(
                "events: the batch has {count}; allowed are 1 to {limit} events"
            )));
        }
        let mut batch = Self {
            events: Vec::with_capacity(count),
            receipts: Receipts {
                receipts: Vec::with_capacity(count),
                rejected: 0,
            },
        };
        for event in events {
            batch.push(event, limits.max_data_bytes);
        }
        Ok(batch)
    }

    fn push(&mut self, event: AgentEvent, max_data_bytes: usize) {
        let mut receipt = Receipt {
            event_id: event.event_id.clone(),
            ..Receipt::default()
        };
        match check_event(event, max_data_bytes) {
            Ok(event) => self.events.push(event),
            Err(error) => {
                receipt.set_status(ReceiptStatus::Rejected);
                receipt.error = error;
                self.receipts.rejected += 1;
            }
        }
        self.receipts.receipts.push(receipt);
    }

    /// Events that name no trace of their own belong to the call's.
    pub(super) fn traced(mut self, call: Option<&Arc<TraceContext>>) -> Self {
        if let Some(call) = call {
            for event in &mut self.events {
                event.trace.get_or_insert_with(|| call.clone());
            }
        }
        self
    }

    /// How many events it had, refused ones among them.
    pub(super) fn len(&self) -> usize {
        self.receipts.receipts.len()
    }

    /// The events for the hub, and the receipts to fill with its answer.
    pub(super) fn split(self) -> (Vec<Event>, Receipts) {
        (self.events, self.receipts)
    }
}

impl Receipts {
    /// How many events were refused at the door.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Fills in what became of the events that went to the hub.
    ///
    /// # Errors
    /// `INTERNAL` where the hub answered for another number of events than it was given.
    pub(super) fn fill(self, outcomes: Vec<Outcome>) -> Result<Vec<Receipt>, Status> {
        let mut receipts = self.receipts;
        let mut outcomes = outcomes.into_iter();
        let open = |receipt: &&mut Receipt| receipt.status() == ReceiptStatus::Unspecified;
        for receipt in receipts.iter_mut().filter(open) {
            let outcome = outcomes
                .next()
                .ok_or_else(|| Status::internal("the hub answered for too few events"))?;
            write(receipt, outcome);
        }
        match outcomes.next() {
            None => Ok(receipts),
            Some(_) => Err(Status::internal("the hub answered for too many events")),
        }
    }
}

fn write(receipt: &mut Receipt, outcome: Outcome) {
    let (status, Place { sequence, epoch }) = match outcome {
        Outcome::Accepted(place) => (ReceiptStatus::Accepted, place),
        Outcome::Duplicate(place) => (ReceiptStatus::Duplicate, place),
        Outcome::Rejected(error) => {
            receipt.set_status(ReceiptStatus::Rejected);
            receipt.error = error;
            return;
        }
    };
    receipt.set_status(status);
    receipt.sequence = sequence;
    receipt.epoch = epoch.as_str().to_owned();
}

#[cfg(test)]
mod tests {
    use service_kit::rate::Rate;

    use super::*;
    use crate::hub::epoch::Epoch;

    const LIMITS: IngestLimits = IngestLimits {
        max_data_bytes: 16,
        max_batch_events: 3,
        max_message_bytes: 4_096,
        max_streams: 1,
        stream_batches: 1,
        max_rate: Rate(0),
    };

    fn event(event_id: &str) -> AgentEvent {
        AgentEvent {
            event_id: event_id.to_owned(),
            thread_id: "t".to_owned(),
            run_id: "r".to_owned(),
            r#type: 1,
            ..AgentEvent::default()
        }
    }

    fn place(sequence: u64) -> Place {
        Place {
            sequence,
            epoch: Epoch::new(1, 1),
        }
    }

    #[test]
    fn receipts_keep_the_order_of_the_request() {
        let events = vec![event("a"), event("not good"), event("c")];
        let (events, receipts) = Batch::check(events, &LIMITS).unwrap().split();
        assert_eq!((events.len(), receipts.rejected()), (2, 1));
        let outcomes = vec![
            Outcome::Accepted(place(7)),
            Outcome::Rejected("full".to_owned()),
        ];
        let receipts = receipts.fill(outcomes).unwrap();
        let ids: Vec<&str> = receipts.iter().map(|r| r.event_id.as_str()).collect();
        assert_eq!(ids, ["a", "not good", "c"]);
        assert_eq!(
            (receipts[0].status(), receipts[0].sequence),
            (ReceiptStatus::Accepted, 7)
        );
        assert!(receipts[1].error.starts_with("event_id: \"not good\""));
        assert_eq!(
            (receipts[2].error.as_str(), receipts[2].epoch.as_str()),
            ("full", "")
        );
    }

    #[test]
    fn an_event_keeps_its_own_trace_and_the_others_share_the_calls() {
        let context = |span: char| {
            let span = span.to_string().repeat(16);
            let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{span}-01");
            TraceContext::parse(&parent, "").unwrap()
        };
        let naming = |traceparent: &str| AgentEvent {
            traceparent: traceparent.to_owned(),
            ..event("a")
        };
        let events = vec![
            naming(context('1').traceparent()),
            naming("bad"),
            event("b"),
        ];
        let batch = Batch::check(events, &LIMITS).unwrap();
        let call = Arc::new(context('2'));
        let (events, receipts) = batch.traced(Some(&call)).split();
        assert_eq!(receipts.rejected(), 0);
        let traces: Vec<_> = events.iter().flat_map(|event| &event.trace).collect();
        assert_eq!(**traces[0], context('1'));
        assert!(Arc::ptr_eq(traces[1], &call) && Arc::ptr_eq(traces[2], &call));
        let batch = Batch::check(vec![event("a")], &LIMITS).unwrap();
        assert_eq!(batch.traced(None).split().0[0].trace, None);
    }

    #[test]
    fn an_empty_and_an_overfull_batch_fail_whole() {
        let empty = Batch::check(Vec::new(), &LIMITS).unwrap_err();
        assert_eq!(empty.code(), tonic::Code::InvalidArgument);
        let overfull = Batch::check(vec![event("a"); 4], &LIMITS).unwrap_err();
        assert_eq!(overfull.code(), tonic::Code::ResourceExhausted);
        assert!(overfull.message().contains("has 4; allowed are 1 to 3"));
    }

    #[test]
    fn an_answer_for_another_batch_is_an_error() {
        let receipts = || Batch::check(vec![event("a")], &LIMITS).unwrap().split().1;
        assert!(receipts().fill(Vec::new()).is_err());
        let two = vec![Outcome::Accepted(place(1)), Outcome::Accepted(place(2))];
        assert!(receipts().fill(two).is_err());
    }
}
