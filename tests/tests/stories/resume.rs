//! A reader that comes back gets exactly the rest, or is told that it cannot.

use monitorable_tests::process::Service;
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};

use crate::pair::SOON;

const RUNS: usize = 20;
/// Events of `Run::whole` with three tools.
const EVENTS_OF_A_RUN: usize = 10;

#[tokio::test]
async fn a_reader_that_resumes_gets_exactly_the_rest() {
    let bridge = Service::bridge(&[]).await;
    let publisher = Publisher::new(&bridge.uri());
    let mut reader = Reader::connect(bridge.http, Options::thread("long")).await;
    let publishing = tokio::spawn(async move {
        for run in 0..RUNS {
            let events = Run::whole("long", &format!("run-{run}"), 3);
            assert_eq!(events.len(), EVENTS_OF_A_RUN);
            publisher.publish(&events).await;
        }
    });
    // Leaves in the middle, while events are on their way.
    let record = reader.until_events(SOON, 37).await;
    drop(reader);
    let mut got: Vec<_> = record
        .events()
        .map(|event| event.text("event_id").to_owned())
        .collect();
    let last = record.events().last().unwrap();
    let options = Options::thread("long").after(last.text("epoch"), last.sequence());
    let mut reader = Reader::connect(bridge.http, options).await;
    let welcome = reader.welcome().await;
    assert_eq!(welcome["recovered"], true, "{welcome}");
    assert_eq!(welcome["epoch"], last.text("epoch"));
    let total = RUNS * EVENTS_OF_A_RUN;
    let rest = reader.until_events(SOON, total - got.len()).await;
    publishing.await.unwrap();
    got.extend(rest.events().map(|event| event.text("event_id").to_owned()));
    let expected: Vec<_> = (0..RUNS)
        .flat_map(|run| (1..=EVENTS_OF_A_RUN).map(move |event| format!("run-{run}.{event}")))
        .collect();
    assert_eq!(got, expected);
}

#[tokio::test]
async fn a_position_that_is_gone_is_never_silent() {
    let limits = ["--hub-window-events", "8", "--hub-reader-lag-events", "8"];
    let bridge = Service::bridge(&limits).await;
    let publisher = Publisher::new(&bridge.uri());
    let mut receipts = Vec::new();
    for run in 0..4 {
        let events = Run::whole("short", &format!("run-{run}"), 3);
        receipts.extend(publisher.publish(&events).await);
    }
    let (epoch, total) = (receipts[0].epoch.clone(), receipts.len() as u64);
    // Too old, of another epoch, and ahead of the log.
    for (epoch, after, first) in [
        (epoch.as_str(), 1, total - 7),
        ("another-epoch", 35, total - 7),
        (epoch.as_str(), total + 100, 0),
    ] {
        let options = Options::thread("short").after(epoch, after);
        let mut reader = Reader::connect(bridge.http, options).await;
        let welcome = reader.welcome().await;
        assert_eq!(
            welcome["recovered"], false,
            "after {epoch}:{after}: {welcome}"
        );
        assert_eq!(welcome["seq"], total, "{welcome}");
        if first > 0 {
            let record = reader.until_events(SOON, 8).await;
            assert_eq!(record.events().next().unwrap().sequence(), first);
        }
    }
    // At the window's very edge, nothing is missing.
    let options = Options::thread("short").after(&epoch, total - 8);
    let mut reader = Reader::connect(bridge.http, options).await;
    assert_eq!(reader.welcome().await["recovered"], true);
    reader.until_events(SOON, 8).await;
    // What expired before any reader came is accounted for.
    let mut expired = 0;
    for run in 0..4 {
        let ledger = publisher.ledger(&format!("run-{run}")).await.unwrap();
        monitorable_tests::publisher::assert_balanced(&ledger);
        expired += ledger.events_expired;
    }
    assert_eq!(expired, total - 8);
}

#[tokio::test]
async fn resuming_where_no_event_came_yet_works() {
    let bridge = Service::bridge(&[]).await;
    let mut reader = Reader::connect(bridge.http, Options::thread("empty")).await;
    let welcome = reader.welcome().await;
    assert_eq!(welcome["seq"], 0, "{welcome}");
    let epoch = welcome["epoch"].as_str().unwrap().to_owned();
    drop(reader);
    let publisher = Publisher::new(&bridge.uri());
    publisher.publish(&Run::whole("empty", "run-1", 0)).await;
    let options = Options::thread("empty").after(&epoch, 0);
    let mut reader = Reader::connect(bridge.http, options).await;
    assert_eq!(reader.welcome().await["recovered"], true);
    let record = reader.until_events(SOON, 4).await;
    assert_eq!(record.events().next().unwrap().sequence(), 1);
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_first_place() {
    let bridge = Service::bridge(&[]).await;
    let publisher = Publisher::new(&bridge.uri());
    let mut reader = Reader::connect(bridge.http, Options::thread("once")).await;
    let events = Run::whole("once", "run-1", 1);
    let first = publisher.publish(&events).await;
    let again = publisher.try_publish(&events).await.unwrap();
    for (first, again) in first.iter().zip(&again) {
        assert_eq!(again.status(), monitorable::bridge::v1::Status::Duplicate);
        assert_eq!(
            (again.sequence, &again.epoch),
            (first.sequence, &first.epoch)
        );
    }
    // A later event is the next one: the repeat took no place and was not delivered.
    publisher.publish(&Run::whole("once", "run-2", 0)).await;
    let record = reader.until_events(SOON, 10).await;
    let sequences: Vec<_> = record.events().map(|event| event.sequence()).collect();
    assert_eq!(sequences, (1..=10).collect::<Vec<_>>());
}
