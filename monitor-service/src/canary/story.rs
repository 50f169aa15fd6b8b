//! One synthetic run: what is handed in, and whether what comes back is the same. Pure.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use monitorable::bridge::v1::{AgentEvent, EventType, Receipt, Status as ReceiptStatus};
use serde::Deserialize;
use serde_json::{Value, json};

/// Events of one run.
pub(super) const EVENTS: usize = 5;
/// Events from before a run that its reader passes over, at the most.
const EARLIER_MAX: usize = 256;
/// Longest piece of a stranger's text in a sentence, in characters.
const SHOWN_CHARACTERS: usize = 64;
/// Who speaks in the runs.
const AGENT: &str = "canary";
const TOOL: &str = "echo";

/// The kinds of event, in order, with their names to readers.
const KINDS: [(EventType, &str); EVENTS] = [
    (EventType::AgentStarted, "agent_started"),
    (EventType::ToolExecuting, "tool_executing"),
    (EventType::ToolCompleted, "tool_completed"),
    (EventType::AgentMessage, "agent_message"),
    (EventType::AgentCompleted, "agent_completed"),
];

/// A place in a thread's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) epoch: String,
    pub(super) sequence: u64,
}

/// The first object that a reader gets.
#[derive(Debug, Deserialize)]
pub(super) struct Welcome {
    thread_id: String,
    epoch: String,
    recovered: bool,
}

/// An event as a reader gets it.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    seq: u64,
    epoch: String,
    event_id: String,
    event: String,
    thread_id: String,
    run_id: String,
    #[serde(default)]
    agent_name: String,
    #[serde(default)]
    tool_name: String,
    #[serde(default)]
    tool_call_id: String,
    #[serde(default)]
    data: Value,
}

/// A run to be handed in.
#[derive(Debug)]
pub(super) struct Story {
    thread_id: String,
    run_id: String,
}

impl Story {
    /// `mark` is new with each run: ids and contents hold it.
    pub(super) fn new(thread_id: &str, mark: &str) -> Self {
        Self {
            thread_id: thread_id.to_owned(),
            run_id: format!("canary-{mark}"),
        }
    }

    /// What is handed in.
    pub(super) fn events(&self) -> Vec<AgentEvent> {
        let event = |(index, (kind, name)): (usize, &(EventType, &str))| AgentEvent {
            event_id: self.event_id(index),
            thread_id: self.thread_id.clone(),
            run_id: self.run_id.clone(),
            agent_name: AGENT.to_owned(),
            r#type: (*kind).into(),
            tool_name: tool(name, TOOL),
            tool_call_id: tool(name, &self.run_id),
            data: Bytes::from(self.data(index).to_string()),
            ..AgentEvent::default()
        };
        KINDS.iter().enumerate().map(event).collect()
    }

    fn event_id(&self, index: usize) -> String {
        format!("{}-{index}", self.run_id)
    }

    fn data(&self, index: usize) -> Value {
        json!({ "run": self.run_id, "step": index, "text": "Ça va? \u{1f426}" })
    }

    fn index_of(&self, event_id: &str) -> Option<usize> {
        (0..EVENTS).find(|index| self.event_id(*index) == event_id)
    }

    /// The first thing about an event that is not as it was handed in.
    fn difference(&self, index: usize, event: &Event) -> Option<String> {
        let name = KINDS[index].1;
        let texts = [
            ("event", event.event.as_str(), name.to_owned()),
            ("run_id", &event.run_id, self.run_id.clone()),
            ("agent_name", &event.agent_name, AGENT.to_owned()),
            ("tool_name", &event.tool_name, tool(name, TOOL)),
            (
                "tool_call_id",
                &event.tool_call_id,
                tool(name, &self.run_id),
            ),
        ];
        let differs = texts
            .iter()
            .find(|(_, read, wrote)| *read != wrote.as_str());
        match differs {
            Some((field, read, wrote)) => Some(format!("{field} {} for {wrote:?}", shown(read))),
            None if event.data != self.data(index) => Some("other data".to_owned()),
            None => None,
        }
    }
}

/// The value, for events that are about a tool.
fn tool(event: &str, value: &str) -> String {
    if event.starts_with("tool_") {
        value.to_owned()
    } else {
        String::new()
    }
}

/// What a reader has got of a story so far.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    story: &'a Story,
    /// After which place it asked to go on. `None`: it asked for everything.
    after: Option<Position>,
    epoch: String,
    /// The sequence that the next event must have. `None`: any.
    next: Option<u64>,
    earlier: usize,
    /// Sequences of the story's own events.
    read: Vec<u64>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(story: &'a Story, after: Option<Position>) -> Self {
        Self {
            story,
            after,
            epoch: String::new(),
            next: None,
            earlier: 0,
            read: Vec::with_capacity(EVENTS),
        }
    }

    /// How many of the story's events are there.
    pub(super) fn count(&self) -> usize {
        self.read.len()
    }

    /// Takes the first object.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn welcome(&mut self, welcome: Welcome) -> Result<(), String> {
        if welcome.thread_id != self.story.thread_id {
            let other = shown(&welcome.thread_id);
            return Err(format!("the welcome was for thread {other}"));
        }
        // A thread that was forgotten, or a new process, begins a new epoch.
        let known = self.after.take_if(|after| after.epoch == welcome.epoch);
        if let Some(after) = &known {
            if !welcome.recovered {
                let sequence = after.sequence;
                return Err(format!(
                    "the place after sequence {sequence} was not recovered"
                ));
            }
            self.next = Some(after.sequence.saturating_add(1));
        }
        self.after = known;
        self.epoch = welcome.epoch;
        Ok(())
    }

    /// Takes an event; says whether the story is whole.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn event(&mut self, event: &Event) -> Result<bool, String> {
        if event.thread_id != self.story.thread_id {
            let other = shown(&event.thread_id);
            return Err(format!("an event of thread {other} came"));
        }
        if event.epoch != self.epoch {
            let other = shown(&event.epoch);
            return Err(format!(
                "epoch {other} came on a stream of {:?}",
                self.epoch
            ));
        }
        self.in_sequence(event.seq)?;
        let Some(index) = self.story.index_of(&event.event_id) else {
            return self.earlier(event).map(|()| false);
        };
        let expected = self.read.len();
        if index != expected {
            let how = if index < expected {
                "twice"
            } else {
                "too early"
            };
            return Err(format!("{} came {how}", named(index)));
        }
        if let Some(difference) = self.story.difference(index, event) {
            return Err(format!("{} came back with {difference}", named(index)));
        }
        self.read.push(event.seq);
        Ok(self.read.len() == EVENTS)
    }

    fn in_sequence(&mut self, sequence: u64) -> Result<(), String> {
        let next = sequence.checked_add(1);
        match self.next {
            _ if sequence == 0 || next.is_none() => Err(format!("sequence {sequence} came")),
            Some(expected) if expected != sequence => {
                Err(format!("sequence {sequence} came for {expected}"))
            }
            _ => {
                self.next = next;
                Ok(())
            }
        }
    }

    /// An event that is not of the story: allowed before it, where an earlier run was cut off.
    fn earlier(&mut self, event: &Event) -> Result<(), String> {
        self.earlier += 1;
        let own = self.after.is_none() && self.read.is_empty();
        if own && self.earlier <= EARLIER_MAX && event.run_id != self.story.run_id {
            return Ok(());
        }
        let id = shown(&event.event_id);
        Err(format!("event {id} came, which nobody handed in now"))
    }

    /// Holds the receipts against what was read, and says where the next run goes on.
    ///
    /// # Errors
    /// What does not agree.
    pub(super) fn compare(&self, receipts: &[Receipt]) -> Result<Position, String> {
        accepted(self.story, receipts)?;
        for (index, (receipt, sequence)) in receipts.iter().zip(&self.read).enumerate() {
            if receipt.sequence != *sequence || receipt.epoch != self.epoch {
                let (at, promised) = (sequence, receipt.sequence);
                let name = named(index);
                return Err(format!(
                    "{name} came at sequence {at}, its receipt said {promised} of epoch {}",
                    shown(&receipt.epoch)
                ));
            }
        }
        Ok(Position {
            epoch: self.epoch.clone(),
            sequence: self.read.last().copied().unwrap_or_default(),
        })
    }
}

/// Whether every event of the story was accepted.
///
/// # Errors
/// What was not.
pub(super) fn accepted(story: &Story, receipts: &[Receipt]) -> Result<(), String> {
    if receipts.len() != EVENTS {
        let count = receipts.len();
        return Err(format!("{count} receipts came for {EVENTS} events"));
    }
    for (index, receipt) in receipts.iter().enumerate() {
        if receipt.event_id != story.event_id(index) {
            let other = shown(&receipt.event_id);
            return Err(format!("a receipt for {other} came for {}", named(index)));
        }
        if receipt.status() != ReceiptStatus::Accepted {
            let (status, why) = (receipt.status().as_str_name(), shown(&receipt.error));
            return Err(format!("{} was answered {status}: {why}", named(index)));
        }
    }
    Ok(())
}

fn named(index: usize) -> String {
    format!("event {} of {EVENTS} ({})", index + 1, KINDS[index].1)
}

/// A stranger's text in quotes, cut where it is long.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARACTERS).collect();
    format!("{cut:?}")
}
