//! From a recorded conversation to the events that its agent would have sent.

use monitorable::bridge::v1::{AgentEvent, EventType};
use serde_json::{Value, json};

use super::parse::{Call, Conversation, Message};
use crate::edge::ingest::validate::MAX_NAME_BYTES;

/// What an agent would call itself.
const AGENT_NAME: &str = "replay";

/// An event, and how much of it there is to read.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) event: AgentEvent,
    pub(crate) characters: usize,
}

/// The events of a conversation, in order. The ids follow from prefix, conversation and replay id
/// alone, so that sending them again is harmless.
pub(crate) fn tell(conversation: &Conversation, prefix: &str, replay_id: &str) -> Vec<Scene> {
    let thread_id = format!("{prefix}{}", conversation.id);
    let mut story = Story {
        id_stem: format!("{thread_id}.{replay_id}"),
        thread_id,
        scenes: Vec::new(),
        runs: 0,
        run: None,
    };
    let mut messages = conversation.messages.iter().peekable();
    while let Some(message) = messages.next() {
        let turn_ends = matches!(messages.peek(), None | Some(Message::User(_)));
        story.take(message, turn_ends);
    }
    story.break_off();
    story.scenes
}

struct Story {
    thread_id: String,
    id_stem: String,
    scenes: Vec<Scene>,
    runs: u64,
    run: Option<Run>,
}

/// The run under way.
struct Run {
    run_id: String,
    events: u64,
    /// Calls of tools, for the names that tools' messages may leave out.
    calls: Vec<(String, String)>,
}

impl Story {
    fn take(&mut self, message: &Message, turn_ends: bool) {
        match message {
            Message::User(text) => {
                self.break_off();
                self.begin(&json!({"input": text}), text.chars().count());
            }
            Message::Assistant { text, calls } => self.assistant(text, calls, turn_ends),
            Message::Tool {
                call_id,
                name,
                content,
            } => {
                let name = self.tool_name(call_id, name);
                let event = AgentEvent {
                    tool_call_id: call_id.clone(),
                    tool_name: shortened(&name),
                    ..typed(EventType::ToolCompleted, &json!({"result": content}))
                };
                self.push(event, 0);
            }
        }
    }

    fn assistant(&mut self, text: &str, calls: &[Call], turn_ends: bool) {
        let characters = text.chars().count();
        let data = json!({"text": text});
        if !calls.is_empty() {
            if !text.is_empty() {
                self.push(typed(EventType::AgentThinking, &data), characters);
            }
            for call in calls {
                self.call(call);
            }
        } else if !text.is_empty() {
            self.push(typed(EventType::AgentMessage, &data), characters);
            if turn_ends {
                self.push(empty(EventType::AgentCompleted), 0);
                self.run = None;
            }
        }
    }

    fn call(&mut self, call: &Call) {
        let arguments: Value = serde_json::from_str(&call.arguments)
            .unwrap_or_else(|_| Value::String(call.arguments.clone()));
        let event = AgentEvent {
            tool_call_id: call.id.clone(),
            tool_name: shortened(&call.name),
            ..typed(EventType::ToolExecuting, &json!({"arguments": arguments}))
        };
        self.push(event, 0);
        if let Some(run) = &mut self.run {
            run.calls.push((call.id.clone(), call.name.clone()));
        }
    }

    fn tool_name(&self, call_id: &str, recorded: &str) -> String {
        if !recorded.is_empty() {
            return recorded.to_owned();
        }
        let calls = self
            .run
            .as_ref()
            .map_or(&[][..], |run| run.calls.as_slice());
        let call = calls.iter().rev().find(|(id, _)| id == call_id);
        call.map(|(_, name)| name.clone()).unwrap_or_default()
    }

    fn begin(&mut self, data: &Value, characters: usize) {
        self.runs += 1;
        self.run = Some(Run {
            run_id: format!("{}.r{}", self.id_stem, self.runs),
            events: 0,
            calls: Vec::new(),
        });
        self.push(typed(EventType::AgentStarted, data), characters);
    }

    /// A turn that got no closing text: the agent failed, as far as the recording shows.
    fn break_off(&mut self) {
        if self.run.is_some() {
            let data = json!({"message": "the recording has no closing text for this turn"});
            self.push(typed(EventType::AgentError, &data), 0);
            self.run = None;
        }
    }

    fn push(&mut self, mut event: AgentEvent, characters: usize) {
        if self.run.is_none() {
            // An assistant that speaks first, such as with a greeting.
            self.begin(&json!({"input": null}), 0);
        }
        let Some(run) = &mut self.run else { return };
        run.events += 1;
        event.event_id = format!("{}.e{}", self.id_stem, self.scenes.len() + 1);
        event.thread_id.clone_from(&self.thread_id);
        event.run_id.clone_from(&run.run_id);
        event.agent_name = AGENT_NAME.to_owned();
        event.producer_sequence = run.events;
        self.scenes.push(Scene { event, characters });
    }
}

fn typed(event_type: EventType, data: &Value) -> AgentEvent {
    AgentEvent {
        data: data.to_string().into(),
        ..empty(event_type)
    }
}

fn empty(event_type: EventType) -> AgentEvent {
    AgentEvent {
        r#type: event_type.into(),
        ..AgentEvent::default()
    }
}

/// A tool's name, cut where the contract cuts it.
fn shortened(name: &str) -> String {
    let fits = |(start, character): &(usize, char)| start + character.len_utf8() <= MAX_NAME_BYTES;
    name.char_indices()
        .take_while(fits)
        .map(|(_, character)| character)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::parse::parse;

    fn told(messages: &str) -> Vec<Scene> {
        let conversations = parse(&format!("[{messages}]"), "c").unwrap();
        tell(&conversations[0], "p-", "id")
    }

    fn types(scenes: &[Scene]) -> Vec<&'static str> {
        let name = |scene: &Scene| scene.event.r#type().as_str_name();
        let short = |name: &'static str| name.trim_start_matches("EVENT_TYPE_");
        scenes.iter().map(name).map(short).collect()
    }

    const USER: &str = r#"{"role": "user", "content": "Hi"}"#;
    const CALL: &str = r#"{"role": "assistant", "content": "Let me look", "tool_calls": [
        {"id": "c1", "function": {"name": "look", "arguments": "{\"x\": 1}"}},
        {"id": "c2", "function": {"name": "ask", "arguments": "not json"}}]}"#;
    const TOOL: &str = r#"{"role": "tool", "tool_call_id": "c1", "content": "found"}"#;
    const CLOSING: &str = r#"{"role": "assistant", "content": "Here you are"}"#;

    #[test]
    fn a_turn_from_question_to_answer() {
        let scenes = told(&[USER, CALL, TOOL, CLOSING].join(","));
        let expected = [
            "AGENT_STARTED",
            "AGENT_THINKING",
            "TOOL_EXECUTING",
            "TOOL_EXECUTING",
            "TOOL_COMPLETED",
            "AGENT_MESSAGE",
            "AGENT_COMPLETED",
        ];
        assert_eq!(types(&scenes), expected);
        let events: Vec<&AgentEvent> = scenes.iter().map(|scene| &scene.event).collect();
        assert_eq!(events[0].thread_id, "p-c");
        assert_eq!(
            (events[6].run_id.as_str(), events[6].event_id.as_str()),
            ("p-c.id.r1", "p-c.id.e7")
        );
        assert_eq!(events[6].producer_sequence, 7);
        assert_eq!(events[2].data, r#"{"arguments":{"x":1}}"#);
        assert_eq!(events[3].data, r#"{"arguments":"not json"}"#);
        assert_eq!(
            (
                events[4].tool_name.as_str(),
                events[4].tool_call_id.as_str()
            ),
            ("look", "c1")
        );
        assert_eq!(scenes[5].characters, 12);
    }

    #[test]
    fn a_turn_without_an_answer_ends_in_error() {
        let scenes = told(&[USER, CALL, USER, CLOSING, USER].join(","));
        let ends: Vec<&str> = types(&scenes)
            .into_iter()
            .filter(|name| ["AGENT_STARTED", "AGENT_ERROR", "AGENT_COMPLETED"].contains(name))
            .collect();
        let expected = [
            "AGENT_STARTED",
            "AGENT_ERROR",
            "AGENT_STARTED",
            "AGENT_COMPLETED",
            "AGENT_STARTED",
            "AGENT_ERROR",
        ];
        assert_eq!(ends, expected);
    }

    #[test]
    fn an_assistant_may_speak_first_and_twice() {
        let scenes = told(&[CLOSING, CLOSING, USER, CLOSING].join(","));
        let expected = [
            "AGENT_STARTED",
            "AGENT_MESSAGE",
            "AGENT_MESSAGE",
            "AGENT_COMPLETED",
            "AGENT_STARTED",
            "AGENT_MESSAGE",
            "AGENT_COMPLETED",
        ];
        assert_eq!(types(&scenes), expected);
    }

    #[test]
    fn every_event_passes_the_door() {
        let long = format!(
            r#"{{"role": "assistant", "tool_calls": [{{"id": "c", "function": {{"name": "{}"}}}}]}}"#,
            "é".repeat(100)
        );
        for scene in told(&[USER, &long, TOOL, CLOSING, CALL].join(",")) {
            crate::edge::ingest::validate::check_event(scene.event, 65_536).unwrap();
        }
    }

    #[test]
    fn the_same_replay_has_the_same_ids() {
        let ids = |scenes: Vec<Scene>| -> Vec<String> {
            scenes
                .into_iter()
                .map(|scene| scene.event.event_id)
                .collect()
        };
        let messages = [USER, CALL, TOOL, CLOSING].join(",");
        assert_eq!(ids(told(&messages)), ids(told(&messages)));
    }
}
