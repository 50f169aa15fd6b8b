//! An agent: makes events, hands them in and, where it has a witness, tells what it handed in.

use monitorable::bridge::v1::agent_events_client::AgentEventsClient;
use monitorable::bridge::v1::{
    AgentEvent, EventType, GetRunLedgerRequest, PublishRequest, Receipt, RunLedger, Status,
};
use service_kit::clock::Clock;
use tonic::transport::Channel;

use crate::process::channel;
use crate::witness::{Pen, produced};

/// Events of one call; under the bridge's own limit.
const BATCH: usize = 500;

/// A producer at one bridge.
#[derive(Clone, Debug)]
pub struct Publisher {
    client: AgentEventsClient<Channel>,
    witness: Option<Pen>,
}

impl Publisher {
    /// A producer for the bridge at a URI.
    #[must_use]
    pub fn new(bridge: &str) -> Self {
        Self {
            client: AgentEventsClient::new(channel(bridge)),
            witness: None,
        }
    }

    /// A producer over a channel of one's own.
    #[must_use]
    pub fn over(channel: Channel) -> Self {
        Self {
            client: AgentEventsClient::new(channel),
            witness: None,
        }
    }

    /// Also tells a witness every event that the bridge took.
    #[must_use]
    pub fn witnessed_by(mut self, witness: Pen) -> Self {
        self.witness = Some(witness);
        self
    }

    /// Hands in events; the call's own error is returned.
    ///
    /// # Errors
    /// The status that the bridge answered.
    pub async fn try_publish(&self, events: &[AgentEvent]) -> Result<Vec<Receipt>, tonic::Status> {
        let mut receipts = Vec::with_capacity(events.len());
        for batch in events.chunks(BATCH) {
            let request = PublishRequest {
                events: batch.to_vec(),
            };
            let answer = self.client.clone().publish(request).await?.into_inner();
            if let Some(witness) = &self.witness {
                let pairs = batch.iter().zip(&answer.receipts);
                pairs
                    // A repeat was accepted before, and its receipt may have been lost.
                    .filter(|(_, receipt)| {
                        matches!(receipt.status(), Status::Accepted | Status::Duplicate)
                    })
                    .for_each(|(event, receipt)| witness.saw(produced(event, receipt)));
            }
            receipts.extend(answer.receipts);
        }
        Ok(receipts)
    }

    /// Hands in events that must all be accepted.
    pub async fn publish(&self, events: &[AgentEvent]) -> Vec<Receipt> {
        let receipts = self.try_publish(events).await;
        let receipts = receipts.unwrap_or_else(|status| panic!("Publish failed: {status}"));
        assert_eq!(receipts.len(), events.len(), "one receipt for each event");
        for (event, receipt) in events.iter().zip(&receipts) {
            assert_eq!(receipt.event_id, event.event_id, "receipts in order");
            assert_eq!(receipt.status(), Status::Accepted, "{receipt:?}");
        }
        receipts
    }

    /// A run's ledger.
    ///
    /// # Errors
    /// The status that the bridge answered.
    pub async fn ledger(&self, run_id: &str) -> Result<RunLedger, tonic::Status> {
        let request = GetRunLedgerRequest {
            run_id: run_id.to_owned(),
        };
        let answer = self.client.clone().get_run_ledger(request).await?;
        Ok(answer.into_inner().ledger.expect("always present"))
    }
}

/// Makes the events of one run.
#[derive(Debug)]
pub struct Run {
    thread_id: String,
    run_id: String,
    count: u64,
}

impl Run {
    /// A run on a thread.
    #[must_use]
    pub fn new(thread_id: &str, run_id: &str) -> Self {
        Self {
            thread_id: thread_id.to_owned(),
            run_id: run_id.to_owned(),
            count: 0,
        }
    }

    /// The next event of a type, with its own id and a little data.
    pub fn event(&mut self, event_type: EventType) -> AgentEvent {
        self.count += 1;
        AgentEvent {
            event_id: format!("{}.{}", self.run_id, self.count),
            user_id: "user-1".to_owned(),
            thread_id: self.thread_id.clone(),
            run_id: self.run_id.clone(),
            agent_name: "booking-agent".to_owned(),
            r#type: event_type.into(),
            create_time: Some(Clock::system().now().wall.into()),
            tool_name: String::new(),
            tool_call_id: String::new(),
            data: format!(r#"{{"step":{}}}"#, self.count).into(),
            producer_sequence: self.count,
            ..AgentEvent::default()
        }
    }

    /// A tool's event.
    pub fn tool(&mut self, event_type: EventType, tool_call_id: &str) -> AgentEvent {
        AgentEvent {
            tool_name: "search_flights".to_owned(),
            tool_call_id: tool_call_id.to_owned(),
            ..self.event(event_type)
        }
    }

    /// A whole run with this many tool calls.
    pub fn whole(thread_id: &str, run_id: &str, tools: usize) -> Vec<AgentEvent> {
        let mut run = Self::new(thread_id, run_id);
        let mut events = vec![
            run.event(EventType::AgentStarted),
            run.event(EventType::AgentThinking),
        ];
        for tool in 0..tools {
            let call = format!("{run_id}-call-{tool}");
            events.push(run.tool(EventType::ToolExecuting, &call));
            events.push(run.tool(EventType::ToolCompleted, &call));
        }
        events.push(run.event(EventType::AgentMessage));
        events.push(run.event(EventType::AgentCompleted));
        events
    }
}

/// Panics where a ledger breaks the conservation law.
pub fn assert_balanced(ledger: &RunLedger) {
    let dropped: u64 = ledger.events_dropped.values().sum();
    let stages = ledger.events_delivered + ledger.events_expired + dropped + ledger.events_pending;
    assert_eq!(ledger.events_accepted, stages, "{ledger:?}");
    assert!(
        ledger.events_acknowledged <= ledger.events_delivered,
        "{ledger:?}"
    );
}
