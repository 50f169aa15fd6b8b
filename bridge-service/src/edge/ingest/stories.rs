//! The door as an agent sees it: a real hub behind a real port.

use std::time::Duration;

use monitorable::bridge::v1::agent_events_client::AgentEventsClient;
use monitorable::bridge::v1::{
    AgentEvent, GetEgressRequest, GetEgressResponse, GetRunLedgerRequest, PublishRequest,
    PublishStreamRequest, PublishStreamResponse, Receipt, Status as ReceiptStatus,
};
use service_kit::access::Guard;
use service_kit::clock::Clock;
use service_kit::grpc::{GrpcLimits, serve};
use service_kit::rate::Rate;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

use super::{IngestLimits, routes};
use crate::hub;
use crate::hub::api::Identity;
use crate::hub::limits::HubLimits;

const HTTP_PORT: u16 = 8_081;
const LIMITS: IngestLimits = IngestLimits {
    max_data_bytes: 1_024,
    max_batch_events: 10,
    max_message_bytes: 8_192,
    max_streams: 2,
    stream_batches: 2,
    max_rate: Rate(0),
};

fn egress() -> GetEgressResponse {
    GetEgressResponse {
        http_port: HTTP_PORT.into(),
        path: "/v1/events".to_owned(),
        tls: false,
    }
}

struct Door {
    client: AgentEventsClient<Channel>,
    endpoint: Endpoint,
    draining: CancellationToken,
}

impl Door {
    async fn open() -> Self {
        Self::with(LIMITS).await
    }

    async fn with(limits: IngestLimits) -> Self {
        let identity = Identity {
            component_id: "bridge".into(),
            instance_id: "instance".into(),
        };
        let (handle, hub_loop) = hub::start(HubLimits::default(), &identity, Clock::system());
        tokio::spawn(hub_loop);
        let draining = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let clock = Clock::system();
        let guard = Guard::open(clock);
        let routes = routes(handle, limits, draining.clone(), egress(), guard, clock);
        let never = CancellationToken::new();
        tokio::spawn(serve(listener.into(), routes, GrpcLimits::default(), never));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let client = AgentEventsClient::new(endpoint.connect().await.unwrap());
        Self {
            client,
            endpoint,
            draining,
        }
    }

    async fn stream(
        &mut self,
    ) -> (
        mpsc::Sender<PublishStreamRequest>,
        Streaming<PublishStreamResponse>,
    ) {
        let (sender, requests) = mpsc::channel(100);
        let answers = self
            .client
            .publish_stream(ReceiverStream::new(requests))
            .await
            .unwrap();
        (sender, answers.into_inner())
    }

    async fn publish(&mut self, events: Vec<AgentEvent>) -> Result<Vec<Receipt>, tonic::Status> {
        let answer = self.client.publish(PublishRequest { events }).await?;
        Ok(answer.into_inner().receipts)
    }
}

fn event(number: usize) -> AgentEvent {
    AgentEvent {
        event_id: format!("e{number}"),
        thread_id: "thread".to_owned(),
        run_id: "run".to_owned(),
        r#type: 5,
        data: "{\"text\":\"hello\"}".into(),
        ..AgentEvent::default()
    }
}

fn batch(numbers: std::ops::Range<usize>) -> PublishStreamRequest {
    PublishStreamRequest {
        events: numbers.map(event).collect(),
    }
}

async fn next(answers: &mut Streaming<PublishStreamResponse>) -> Result<Vec<Receipt>, Code> {
    let answer = tokio::time::timeout(Duration::from_secs(5), answers.message());
    match answer.await.expect("an answer in time") {
        Ok(Some(answer)) => Ok(answer.receipts),
        Ok(None) => Err(Code::Ok),
        Err(status) => Err(status.code()),
    }
}

#[tokio::test]
async fn a_batch_gets_its_receipts_and_the_run_its_ledger() {
    let mut door = Door::open().await;
    let mut refused = event(2);
    refused.data = "not json".into();
    let events = vec![event(1), refused, event(3), event(1)];
    let receipts = door.publish(events).await.unwrap();
    let statuses: Vec<ReceiptStatus> = receipts.iter().map(Receipt::status).collect();
    let expected = [
        ReceiptStatus::Accepted,
        ReceiptStatus::Rejected,
        ReceiptStatus::Accepted,
        ReceiptStatus::Duplicate,
    ];
    assert_eq!(statuses, expected);
    let sequences: Vec<u64> = receipts.iter().map(|receipt| receipt.sequence).collect();
    assert_eq!(sequences, [1, 0, 2, 1]);
    let run_id = "run".to_owned();
    let ledger = door
        .client
        .get_run_ledger(GetRunLedgerRequest { run_id })
        .await
        .unwrap();
    let ledger = ledger.into_inner().ledger.unwrap();
    assert_eq!(
        (
            ledger.events_accepted,
            ledger.events_pending,
            ledger.last_sequence
        ),
        (2, 2, 2)
    );
}

#[tokio::test]
async fn where_readers_connect_is_said() {
    let mut door = Door::open().await;
    let egress = door.client.get_egress(GetEgressRequest {}).await.unwrap();
    let egress = egress.into_inner();
    assert_eq!(
        (egress.http_port, egress.path.as_str()),
        (8_081, "/v1/events")
    );
}

#[tokio::test]
async fn whole_calls_fail_with_a_code_and_a_reason() {
    let mut door = Door::open().await;
    let empty = door.publish(Vec::new()).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument);
    let overfull = door.publish(vec![event(1); 11]).await.unwrap_err();
    assert_eq!(overfull.code(), Code::ResourceExhausted);
    let mut large = event(1);
    large.data = vec![b'1'; 10_000].into();
    let too_large = door.publish(vec![large]).await.unwrap_err();
    assert_eq!(too_large.code(), Code::ResourceExhausted, "{too_large}");
    for (run_id, code) in [("", Code::InvalidArgument), ("nobody", Code::NotFound)] {
        let run_id = run_id.to_owned();
        let ledger = door
            .client
            .get_run_ledger(GetRunLedgerRequest { run_id })
            .await;
        assert_eq!(ledger.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn a_stream_answers_in_order_however_fast_it_is_fed() {
    let mut door = Door::open().await;
    let (sender, mut answers) = door.stream().await;
    for start in (0..500).step_by(5) {
        sender.send(batch(start..start + 5)).await.unwrap();
        if start % 50 == 0 {
            tokio::task::yield_now().await;
        }
        if start >= 250 {
            let receipts = next(&mut answers).await.unwrap();
            assert_eq!(receipts[0].sequence as usize, start - 250 + 1);
        }
    }
    drop(sender);
    for start in (250..500).step_by(5) {
        let receipts = next(&mut answers).await.unwrap();
        assert_eq!(receipts[0].sequence as usize, start + 1);
    }
    assert_eq!(next(&mut answers).await, Err(Code::Ok));
}

#[tokio::test]
async fn a_stream_that_fails_has_answered_what_it_took() {
    let mut door = Door::open().await;
    let (sender, mut answers) = door.stream().await;
    for request in [batch(0..3), batch(3..5), batch(0..0), batch(5..6)] {
        sender.send(request).await.unwrap();
    }
    assert_eq!(next(&mut answers).await.unwrap().len(), 3);
    assert_eq!(next(&mut answers).await.unwrap().len(), 2);
    assert_eq!(next(&mut answers).await, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn an_open_stream_ends_at_the_drain() {
    let mut door = Door::open().await;
    let (sender, mut answers) = door.stream().await;
    sender.send(batch(0..3)).await.unwrap();
    assert_eq!(next(&mut answers).await.unwrap().len(), 3);
    door.draining.cancel();
    assert_eq!(next(&mut answers).await, Err(Code::Unavailable));
}

#[tokio::test]
async fn streams_are_limited_and_given_back() {
    let mut door = Door::open().await;
    let (first, mut answers) = door.stream().await;
    let _second = door.stream().await;
    let (_sender, requests) = mpsc::channel(1);
    let refused = door
        .client
        .publish_stream(ReceiverStream::new(requests))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    drop(first);
    assert_eq!(next(&mut answers).await, Err(Code::Ok));
    let (sender, mut answers) = door.stream().await;
    sender.send(batch(0..1)).await.unwrap();
    assert_eq!(next(&mut answers).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_stream_over_its_rate_is_read_later_and_refused_nothing() {
    let mut door = Door::with(IngestLimits {
        max_rate: Rate(5),
        ..LIMITS
    })
    .await;
    let clock = Clock::system();
    let (sender, mut answers) = door.stream().await;
    let before = clock.now().monotonic;
    sender.send(batch(0..10)).await.unwrap();
    assert_eq!(next(&mut answers).await.unwrap().len(), 10);
    // The second five are owed, so that nothing more is taken for over a second.
    let refused = door.publish(vec![event(10)]).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    sender.send(batch(10..11)).await.unwrap();
    assert_eq!(next(&mut answers).await.unwrap()[0].sequence, 11);
    assert!(clock.now().since(before) > Duration::from_secs(1));
}

#[tokio::test]
async fn a_client_that_reads_no_answers_is_not_read_either() {
    let mut door = Door::open().await;
    // A window without room: not one byte of an answer can be sent.
    let deaf = door.endpoint.clone().initial_stream_window_size(0);
    let mut deaf = AgentEventsClient::new(deaf.connect().await.unwrap());
    let (sender, requests) = mpsc::channel(100);
    let _answers = deaf.publish_stream(ReceiverStream::new(requests)).await;
    let accepted = async |door: &mut Door| {
        let run_id = "run".to_owned();
        let ledger = door.client.get_run_ledger(GetRunLedgerRequest { run_id });
        let ledger = ledger.await.ok();
        let ledger = ledger.and_then(|answer| answer.into_inner().ledger);
        ledger.map_or(0, |ledger| ledger.events_accepted)
    };
    for number in 0..100 {
        sender.send(batch(number..number + 1)).await.unwrap();
    }
    let waiting = LIMITS.stream_batches as u64;
    let taken = async {
        while accepted(&mut door).await < waiting {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), taken)
        .await
        .expect("what may wait is taken");
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Those that wait for their answers, and the few answers that the transport has taken already.
    let taken = accepted(&mut door).await;
    assert!(taken < waiting + 8, "{taken}");
    // Whoever reads is served meanwhile.
    let receipts = door.publish(vec![event(500)]).await.unwrap();
    assert_eq!(receipts[0].status(), ReceiptStatus::Accepted);
}
