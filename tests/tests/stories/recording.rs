//! What a recording must become, worked out apart from the bridge's own replay.

use std::path::Path;

use serde_json::Value;

/// One recorded conversation.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    pub(crate) id: String,
    /// The types of its events, in order.
    pub(crate) expected: Vec<&'static str>,
    /// How many runs it has.
    pub(crate) runs: usize,
}

/// The conversations of a file of JSON lines.
pub(crate) fn read(path: &Path) -> Vec<Conversation> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| conversation(&serde_json::from_str(line).unwrap()))
        .collect()
}

fn conversation(line: &Value) -> Conversation {
    let (mut expected, mut runs, mut running) = (Vec::new(), 0, false);
    for message in line["messages"].as_array().unwrap() {
        let text = message["content"].as_str().unwrap_or("");
        let calls = message["tool_calls"].as_array().map_or(0, Vec::len);
        match message["role"].as_str().unwrap() {
            "user" => {
                expected.push("agent_started");
                runs += 1;
                running = true;
            }
            "assistant" if calls > 0 => {
                expected.extend((!text.is_empty()).then_some("agent_thinking"));
                expected.extend(std::iter::repeat_n("tool_executing", calls));
            }
            "assistant" => {
                expected.extend(["agent_message", "agent_completed"]);
                running = false;
            }
            "tool" => expected.push("tool_completed"),
            other => panic!("a role that the recordings do not have: {other}"),
        }
    }
    expected.extend(running.then_some("agent_error"));
    Conversation {
        id: line["conversation_id"].as_str().unwrap().to_owned(),
        expected,
        runs,
    }
}
