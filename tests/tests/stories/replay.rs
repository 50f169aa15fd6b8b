//! Recorded conversations go through the pair: exactly once, in order, and every ledger balances.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use monitorable::monitor::v1::{Agreement, Verdict};
use monitorable_tests::calls::{self, Target};
use monitorable_tests::command;
use monitorable_tests::eventually::{eventually, holds};
use monitorable_tests::paths;
use monitorable_tests::publisher::{Publisher, assert_balanced};
use monitorable_tests::reader::{Options, Reader, Record};
use monitorable_tests::skip::skip_optional;

use crate::compliance::assert_conserved;
use crate::pair::{BRIDGE, NO_CANARY, Pair, SOON};
use crate::recording::{Conversation, read};

/// Names a recording of real conversations.
const RECORDINGS: &str = "MONITORABLE_RECORDINGS";
/// Everything must be through by then.
const THROUGH: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_shipped_recording_arrives_exactly_once_and_in_order() {
    goes_through(&paths::data("conversations.jsonl"), 4).await;
}

#[tokio::test]
async fn real_conversations_arrive_exactly_once_and_in_order() {
    let Some(path) = std::env::var_os(RECORDINGS) else {
        let why = format!("{RECORDINGS} names no file of recorded conversations");
        return skip_optional("real_conversations_arrive_exactly_once_and_in_order", &why);
    };
    goes_through(&PathBuf::from(path), 20).await;
}

#[tokio::test]
async fn without_witnesses_the_verdict_is_unverified() {
    let pair = Pair::start(&[], NO_CANARY).await;
    let conversations = read(&paths::data("conversations.jsonl"));
    let mut readers = connect(&pair, &conversations, None).await;
    replay(&pair, &paths::data("conversations.jsonl"), &[]).await;
    everything_arrives(&mut readers, &conversations).await;
    let audit = pair.auditor.audit(BRIDGE).await;
    assert_eq!(
        calls::verdict(&audit),
        Verdict::Unverified,
        "{}",
        calls::shown(&audit)
    );
    let coverage = audit.integration_health.unwrap().witness_coverage;
    assert_eq!(coverage, Some(0.0));
}

async fn goes_through(recording: &Path, at_least: usize) {
    let pair = Pair::start(&[], NO_CANARY).await;
    let conversations = read(recording);
    assert!(conversations.len() >= at_least, "{}", conversations.len());
    let consumers = pair.consumer_witness();
    let mut readers = connect(&pair, &conversations, Some(&consumers)).await;
    let monitor = pair.monitor.uri();
    let report = ["--report-to", monitor.as_str(), "--component-id", BRIDGE];
    replay(&pair, recording, &report).await;
    let records = everything_arrives(&mut readers, &conversations).await;
    ledgers_balance(&pair, &records, &conversations).await;
    let audit = pair
        .auditor
        .until_audited(BRIDGE, Verdict::Healthy, SOON)
        .await;
    let validation = audit.event_monitor_validation.as_ref().unwrap();
    assert_eq!(validation.agreement(), Agreement::Confirmed);
    assert_eq!(validation.unseen, 0, "{validation:?}");
    let total: usize = conversations.iter().map(|one| one.expected.len()).sum();
    eventually(SOON, "both witnesses reported everything", || async {
        let audit = pair.auditor.audit(BRIDGE).await;
        let seen = audit.event_monitor_validation.unwrap();
        let seen = (seen.produced, seen.consumed);
        holds(seen == (total as u64, total as u64), seen)
    })
    .await;
    let findings = pair.auditor.findings(BRIDGE).await;
    assert!(findings.is_empty(), "{findings:?}");
    consumers.sign_off().await;
}

async fn connect(
    pair: &Pair,
    conversations: &[Conversation],
    witness: Option<&monitorable_tests::witness::Witness>,
) -> Vec<Reader> {
    let mut readers = Vec::new();
    for conversation in conversations {
        let options = Options::thread(&conversation.id);
        let options = match witness {
            Some(witness) => options.witnessed_by(witness.pen()),
            None => options,
        };
        let mut reader = Reader::connect(pair.bridge.http, options).await;
        assert_eq!(reader.welcome().await["seq"], 0);
        readers.push(reader);
    }
    readers
}

async fn replay(pair: &Pair, recording: &Path, report: &[&str]) {
    let target = pair.bridge.uri();
    let file = recording.to_str().unwrap();
    let mut arguments = vec!["replay", file, "--target", &target, "--speed", "max"];
    arguments.extend(report);
    let replayed = command::bridge(&arguments).await;
    assert_eq!(replayed.code, Some(0), "{replayed}");
}

async fn everything_arrives(
    readers: &mut [Reader],
    conversations: &[Conversation],
) -> Vec<std::sync::Arc<Record>> {
    let mut records = Vec::new();
    for (reader, conversation) in readers.iter_mut().zip(conversations) {
        let record = reader
            .until_events(THROUGH, conversation.expected.len())
            .await;
        exactly_once_in_order(&record, conversation);
        records.push(record);
    }
    records
}

fn exactly_once_in_order(record: &Record, conversation: &Conversation) {
    let types: Vec<_> = record.events().map(|event| event.text("event")).collect();
    assert_eq!(types, conversation.expected, "{}", conversation.id);
    let sequences: Vec<_> = record.events().map(|event| event.sequence()).collect();
    let gapless: Vec<_> = (1..=conversation.expected.len() as u64).collect();
    assert_eq!(sequences, gapless, "{}", conversation.id);
    let ids: BTreeSet<_> = record
        .events()
        .map(|event| event.text("event_id"))
        .collect();
    assert_eq!(
        ids.len(),
        types.len(),
        "{}: an id came twice",
        conversation.id
    );
    let runs: BTreeSet<_> = record.events().map(|event| event.text("run_id")).collect();
    assert_eq!(runs.len(), conversation.runs, "{}", conversation.id);
}

async fn ledgers_balance(
    pair: &Pair,
    records: &[std::sync::Arc<Record>],
    conversations: &[Conversation],
) {
    let publisher = Publisher::new(&pair.bridge.uri());
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for record in records {
        for event in record.events() {
            *counts.entry(event.text("run_id")).or_default() += 1;
        }
    }
    for (run_id, count) in counts {
        let ledger = publisher.ledger(run_id).await.unwrap();
        assert_balanced(&ledger);
        assert_eq!(ledger.events_accepted, count, "{ledger:?}");
        assert_eq!(ledger.events_delivered, count, "{ledger:?}");
        assert!(ledger.finished, "{ledger:?}");
        assert_eq!(
            ledger.last_sequence - ledger.first_sequence + 1,
            count,
            "{ledger:?}"
        );
    }
    let total: usize = conversations.iter().map(|one| one.expected.len()).sum();
    let target = Target::at(&pair.bridge.uri());
    eventually(SOON, "every event is acknowledged", || async {
        let metrics = target
            .metrics()
            .await
            .map_err(|status| status.to_string())?;
        assert_conserved(&metrics);
        let delivery = metrics.delivery.unwrap();
        let all = delivery.events_accepted == total as u64
            && delivery.events_delivered == delivery.events_accepted
            && delivery.events_acknowledged == delivery.events_accepted
            && delivery.runs_open == 0;
        holds(all, &delivery)
    })
    .await;
}
