use proptest::prelude::*;

use super::*;

const THREAD: &str = "$canary/m/1-0";

fn story() -> Story {
    Story::new(THREAD, "mark")
}

/// The story's event as a reader gets it.
fn read(story: &Story, index: usize, seq: u64) -> Event {
    let event = &story.events()[index];
    let wire = json!({
        "type": "event",
        "seq": seq,
        "epoch": "e1",
        "event_id": event.event_id,
        "event": KINDS[index].1,
        "thread_id": event.thread_id,
        "run_id": event.run_id,
        "agent_name": event.agent_name,
        "tool_name": event.tool_name,
        "tool_call_id": event.tool_call_id,
        "data": serde_json::from_slice::<Value>(&event.data).unwrap(),
    });
    serde_json::from_value(wire).unwrap()
}

fn welcome(epoch: &str, recovered: bool) -> Welcome {
    Welcome {
        thread_id: THREAD.to_owned(),
        epoch: epoch.to_owned(),
        recovered,
    }
}

fn after(sequence: u64) -> Option<Position> {
    Some(Position {
        epoch: "e1".to_owned(),
        sequence,
    })
}

fn receipts(story: &Story, first: u64) -> Vec<Receipt> {
    let receipt = |index: usize| Receipt {
        event_id: story.event_id(index),
        status: ReceiptStatus::Accepted.into(),
        sequence: first + index as u64,
        epoch: "e1".to_owned(),
        ..Receipt::default()
    };
    (0..EVENTS).map(receipt).collect()
}

/// What is wrong with these events, read after a fresh welcome.
fn wrong(change: impl Fn(&mut Vec<Event>)) -> String {
    let story = story();
    let mut events: Vec<_> = (0..EVENTS)
        .map(|index| read(&story, index, 11 + index as u64))
        .collect();
    change(&mut events);
    let mut reading = Reading::new(&story, after(10));
    reading.welcome(welcome("e1", true)).unwrap();
    events
        .iter()
        .find_map(|event| reading.event(event).err())
        .expect("something is wrong")
}

#[test]
fn a_story_that_comes_back_is_whole_and_says_where_it_ended() {
    let story = story();
    for asked in [None, after(3), after(0)] {
        let first = asked.as_ref().map_or(7, |after| after.sequence + 1);
        let mut reading = Reading::new(&story, asked);
        reading.welcome(welcome("e1", true)).unwrap();
        for index in 0..EVENTS {
            let event = read(&story, index, first + index as u64);
            assert_eq!(reading.event(&event), Ok(index == EVENTS - 1));
        }
        let end = reading.compare(&receipts(&story, first)).unwrap();
        assert_eq!(Some(end), after(first + 4));
    }
}

#[test]
fn a_forgotten_thread_begins_a_new_epoch_and_is_no_fault() {
    let story = story();
    let mut reading = Reading::new(&story, after(3));
    reading.welcome(welcome("e2", false)).unwrap();
    let mut event = read(&story, 0, 1);
    event.epoch = "e2".to_owned();
    assert_eq!(reading.event(&event), Ok(false));
}

#[test]
fn a_place_that_is_lost_in_the_same_epoch_is_one() {
    let story = story();
    let mut reading = Reading::new(&story, after(3));
    let error = reading.welcome(welcome("e1", false)).unwrap_err();
    assert!(error.contains("sequence 3 was not recovered"), "{error}");
}

#[test]
fn the_rest_of_a_run_that_was_cut_off_is_passed_over() {
    let (earlier, story) = (Story::new(THREAD, "earlier"), story());
    let mut reading = Reading::new(&story, None);
    reading.welcome(welcome("e1", false)).unwrap();
    for index in 0..EVENTS {
        let event = read(&earlier, index, 20 + index as u64);
        assert_eq!(reading.event(&event), Ok(false));
    }
    assert_eq!(reading.event(&read(&story, 0, 25)), Ok(false));
    let error = reading.event(&read(&earlier, 0, 26)).unwrap_err();
    assert!(error.contains("nobody handed in"), "{error}");
}

#[test]
fn whatever_else_comes_back_is_told() {
    type Change = fn(&mut Vec<Event>);
    let cases: [(Change, &str); 12] = [
        (|e| drop(e.remove(1)), "sequence 13 came for 12"),
        (|e| e.swap(1, 2), "sequence 13 came for 12"),
        (
            |e| {
                e.swap(1, 2);
                e[1].seq = 12;
            },
            "event 3 of 5 (tool_completed) came too early",
        ),
        (
            |e| {
                let again = e[0].event_id.clone();
                e[1].event_id = again;
            },
            "event 1 of 5 (agent_started) came twice",
        ),
        (|e| e[1].seq = 11, "sequence 11 came for 12"),
        (|e| e[0].seq = 0, "sequence 0 came"),
        (|e| e[2].epoch = "e2".into(), "epoch \"e2\" came"),
        (
            |e| e[0].thread_id = "t".into(),
            "an event of thread \"t\" came",
        ),
        (
            |e| e[0].event_id = "x".into(),
            "event \"x\" came, which nobody",
        ),
        (
            |e| e[3].event = "agent_thinking".into(),
            "event \"agent_thinking\" for \"agent_message\"",
        ),
        (|e| e[1].tool_call_id.clear(), "tool_call_id \"\" for"),
        (|e| e[4].data = json!({}), "with other data"),
    ];
    for (change, says) in cases {
        let error = wrong(change);
        assert!(error.contains(says), "{error} lacks {says}");
    }
}

#[test]
fn receipts_have_to_agree() {
    let story = story();
    let mut reading = Reading::new(&story, None);
    reading.welcome(welcome("e1", true)).unwrap();
    for index in 0..EVENTS {
        reading
            .event(&read(&story, index, 1 + index as u64))
            .unwrap();
    }
    type Change = fn(&mut Vec<Receipt>);
    let cases: [(Change, &str); 5] = [
        (|r| drop(r.pop()), "4 receipts came for 5"),
        (
            |r| r[1].sequence = 9,
            "came at sequence 2, its receipt said 9",
        ),
        (|r| r[1].epoch = "e2".into(), "of epoch \"e2\""),
        (|r| r[2].event_id = "x".into(), "a receipt for \"x\" came"),
        (
            |r| r[0].set_status(ReceiptStatus::Duplicate),
            "was answered STATUS_DUPLICATE",
        ),
    ];
    for (change, says) in cases {
        let mut changed = receipts(&story, 1);
        change(&mut changed);
        let error = reading.compare(&changed).unwrap_err();
        assert!(error.contains(says), "{error} lacks {says}");
    }
}

proptest! {
    #[test]
    fn no_sequence_panics(asked in any::<u64>(), seqs in prop::collection::vec(any::<u64>(), 1..8)) {
        let story = story();
        let mut reading = Reading::new(&story, after(asked));
        reading.welcome(welcome("e1", true)).unwrap();
        for seq in seqs {
            let _ = reading.event(&read(&story, 0, seq));
        }
    }
}
