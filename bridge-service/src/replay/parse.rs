//! Recorded conversations in the OpenAI chat-completions message format.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::edge::ingest::validate::{check_identifier, shown};

/// Longest conversation id, so that every id made of it fits into 128 bytes.
const MAX_ID_BYTES: usize = 56;
const ROLES: &str = "user, assistant, tool, system and developer";

/// One recorded conversation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conversation {
    pub(crate) id: String,
    pub(crate) messages: Vec<Message>,
}

/// One recorded message that matters here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    User(String),
    Assistant {
        text: String,
        calls: Vec<Call>,
    },
    Tool {
        call_id: String,
        name: String,
        content: String,
    },
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    /// As recorded: JSON in a text, most of the time.
    pub(crate) arguments: String,
}

/// Parses a file's text: a JSON array of messages, which then is one conversation named
/// `default_id`, a JSON array of conversations, or JSON lines of conversations.
///
/// # Errors
/// One sentence with the line, the value and what is allowed.
pub(crate) fn parse(text: &str, default_id: &str) -> Result<Vec<Conversation>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let conversations = if text.trim_start().starts_with('[') {
        parse_array(text, default_id)?
    } else {
        parse_lines(text)?
    };
    let mut seen = std::collections::HashSet::new();
    for conversation in &conversations {
        if !seen.insert(&conversation.id) {
            let id = shown(&conversation.id);
            return Err(format!(
                "conversation_id: {id} is there twice; allowed is once"
            ));
        }
    }
    match conversations.is_empty() {
        true => Err("the file has no conversation; allowed is one or more".to_owned()),
        false => Ok(conversations),
    }
}

fn parse_lines(text: &str) -> Result<Vec<Conversation>, String> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            let place = format!("line {}", index + 1);
            let value: Value = serde_json::from_str(line).map_err(|error| {
                format!("{place}: not JSON at column {}: {error}", error.column())
            })?;
            conversation(value).map_err(|error| format!("{place}: {error}"))
        })
        .collect()
}

fn parse_array(text: &str, default_id: &str) -> Result<Vec<Conversation>, String> {
    let not_json = |error: serde_json::Error| format!("line {}: not JSON: {error}", error.line());
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(not_json)?;
    let mut conversations = Vec::new();
    let mut messages = Vec::new();
    for item in items {
        let place = format!("line {}", line_of(text, item.get()));
        let at = |error: String| format!("{place}: {error}");
        let value: Value = serde_json::from_str(item.get()).map_err(|e| at(e.to_string()))?;
        if value.get("messages").is_some() {
            conversations.push(conversation(value).map_err(at)?);
        } else {
            messages.extend(message(value).map_err(at)?);
        }
        if !conversations.is_empty() && !messages.is_empty() {
            return Err(at(
                "messages and conversations are mixed; allowed is one kind".to_owned(),
            ));
        }
    }
    if !messages.is_empty() {
        let id = check_id(default_id.to_owned())?;
        conversations.push(Conversation { id, messages });
    }
    Ok(conversations)
}

/// The line on which a part of a text begins, from 1.
fn line_of(text: &str, part: &str) -> usize {
    let offset = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

fn conversation(value: Value) -> Result<Conversation, String> {
    const ALLOWED: &str =
        "allowed is an object such as {\"conversation_id\": \"c1\", \"messages\": [...]}";
    let Value::Object(mut object) = value else {
        return Err(format!("it is no object; {ALLOWED}"));
    };
    let id = match object.remove("conversation_id") {
        Some(Value::String(id)) => check_id(id)?,
        Some(Value::Number(number)) => check_id(number.to_string())?,
        Some(other) => return Err(format!("conversation_id: {} is no text", brief(&other))),
        None => return Err(format!("conversation_id: it is missing; {ALLOWED}")),
    };
    let Some(Value::Array(items)) = object.remove("messages") else {
        return Err(format!("messages: it is missing or no array; {ALLOWED}"));
    };
    let mut messages = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let parsed = message(item);
        messages.extend(parsed.map_err(|error| format!("message {}: {error}", index + 1))?);
    }
    Ok(Conversation { id, messages })
}

fn check_id(id: String) -> Result<String, String> {
    check_identifier("conversation_id", &id)?;
    if id.len() > MAX_ID_BYTES {
        let id = shown(&id);
        return Err(format!(
            "conversation_id: {id} is not allowed; allowed are 1 to {MAX_ID_BYTES} bytes"
        ));
    }
    Ok(id)
}

/// `None`: a message to the model, not part of the chat.
fn message(value: Value) -> Result<Option<Message>, String> {
    let Value::Object(mut object) = value else {
        return Err("it is no object; allowed is a message such as {\"role\": \"user\", \"content\": \"Hi\"}".to_owned());
    };
    let role = match object.remove("role") {
        Some(Value::String(role)) => role,
        Some(other) => {
            return Err(format!(
                "role: {} is not allowed; allowed are {ROLES}",
                brief(&other)
            ));
        }
        None => return Err(format!("role: it is missing; allowed are {ROLES}")),
    };
    match role.as_str() {
        "system" | "developer" => Ok(None),
        "user" => Ok(Some(Message::User(content(&mut object)?))),
        "assistant" => assistant(&mut object).map(Some),
        "tool" => tool(&mut object).map(Some),
        other => Err(format!(
            "role: {} is not allowed; allowed are {ROLES}",
            shown(other)
        )),
    }
}

fn assistant(object: &mut Map<String, Value>) -> Result<Message, String> {
    let mut text = content(object)?;
    if text.is_empty()
        && let Some(Value::String(refusal)) = object.remove("refusal")
    {
        text = refusal;
    }
    let items = match object.remove("tool_calls") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(format!("tool_calls: {} is no array", brief(&other))),
    };
    let mut calls = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let call = call(item).map_err(|error| format!("tool_calls {}: {error}", index + 1))?;
        calls.push(call);
    }
    Ok(Message::Assistant { text, calls })
}

fn call(value: Value) -> Result<Call, String> {
    const ALLOWED: &str =
        "allowed is {\"id\": TEXT, \"function\": {\"name\": TEXT, \"arguments\": TEXT}}";
    let Value::Object(mut object) = value else {
        return Err(format!("it is no object; {ALLOWED}"));
    };
    let id =
        text_member(&mut object, "id")?.ok_or_else(|| format!("id: it is missing; {ALLOWED}"))?;
    check_identifier("id", &id)?;
    let Some(Value::Object(mut function)) = object.remove("function") else {
        return Err(format!("function: it is missing or no object; {ALLOWED}"));
    };
    let name = text_member(&mut function, "name")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| format!("function.name: it is missing; {ALLOWED}"))?;
    let arguments = match function.remove("arguments") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    Ok(Call {
        id,
        name,
        arguments,
    })
}

fn tool(object: &mut Map<String, Value>) -> Result<Message, String> {
    let call_id = text_member(object, "tool_call_id")?
        .ok_or("tool_call_id: it is missing; a tool's message needs the id of its call")?;
    check_identifier("tool_call_id", &call_id)?;
    Ok(Message::Tool {
        call_id,
        name: text_member(object, "name")?.unwrap_or_default(),
        content: content(object)?,
    })
}

fn text_member(object: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match object.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!(
            "{name}: {} is not allowed; allowed is a text",
            brief(&other)
        )),
    }
}

/// The text of a message. Of a list of parts it is the texts, each on its own line; a part of
/// another kind shows as its name in brackets.
fn content(object: &mut Map<String, Value>) -> Result<String, String> {
    const ALLOWED: &str = "allowed are a text, null and a list of parts such as {\"type\": \"text\", \"text\": \"Hi\"}";
    let parts = match object.remove("content") {
        None | Some(Value::Null) => return Ok(String::new()),
        Some(Value::String(text)) => return Ok(text),
        Some(Value::Array(parts)) => parts,
        Some(other) => {
            return Err(format!(
                "content: {} is not allowed; {ALLOWED}",
                brief(&other)
            ));
        }
    };
    let texts: Result<Vec<String>, String> = parts
        .into_iter()
        .map(
            |part| match (part.get("type"), part.get("text"), part.get("refusal")) {
                (Some(Value::String(_)), Some(Value::String(text)), _)
                | (Some(Value::String(_)), None, Some(Value::String(text))) => Ok(text.clone()),
                (Some(Value::String(kind)), None, None) if kind != "text" => {
                    Ok(format!("[{kind}]"))
                }
                _ => Err(format!(
                    "content: the part {} is not allowed; {ALLOWED}",
                    brief(&part)
                )),
            },
        )
        .collect();
    Ok(texts?.join("\n"))
}

fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(48) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text, "chat").unwrap_err()
    }

    #[test]
    fn every_form_of_message() {
        let text = r#"[
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"x\":1}"}},
                {"id": "c2", "type": "function", "function": {"name": "ask"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "found"},
            {"role": "assistant", "refusal": "I will not"}
        ]"#;
        let conversations = parse(text, "chat").unwrap();
        let [Conversation { id, messages }] = conversations.as_slice() else {
            panic!("one conversation")
        };
        assert_eq!(id, "chat");
        assert_eq!(messages[0], Message::User("a\n[image_url]".to_owned()));
        let Message::Assistant { calls, .. } = &messages[1] else {
            panic!("the assistant's")
        };
        assert_eq!(
            (calls[0].arguments.as_str(), calls[1].arguments.as_str()),
            ("{\"x\":1}", "")
        );
        let tool = Message::Tool {
            call_id: "c1".to_owned(),
            name: String::new(),
            content: "found".to_owned(),
        };
        assert_eq!(messages[2], tool);
        let refusal = Message::Assistant {
            text: "I will not".to_owned(),
            calls: Vec::new(),
        };
        assert_eq!(messages[3], refusal);
    }

    #[test]
    fn lines_and_arrays_of_conversations() {
        let one = r#"{"conversation_id": "a", "messages": [{"role": "user", "content": "Hi"}]}"#;
        let two = r#"{"conversation_id": 2, "messages": []}"#;
        let lines = parse(&format!("\u{feff}{one}\n\n{two}\n"), "x").unwrap();
        let array = parse(&format!("[{one},\n{two}]"), "x").unwrap();
        assert_eq!(lines, array);
        assert_eq!((lines[0].id.as_str(), lines[1].id.as_str()), ("a", "2"));
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let good = r#"{"conversation_id": "a", "messages": []}"#;
        let line =
            |rest: &str| format!("{good}\n{{\"conversation_id\": \"b\", \"messages\": [{rest}]}}");
        for (text, parts) in [
            (String::new(), ["no conversation", "one or more"]),
            ("hello".to_owned(), ["line 1", "not JSON"]),
            (format!("{good}\n{good}"), ["\"a\" is there twice", "once"]),
            (format!("{good}\n{{}}"), ["line 2", "conversation_id"]),
            (
                line(r#"{"role": "robot"}"#),
                ["line 2: message 1", "\"robot\" is not allowed"],
            ),
            (
                line(r#"{"role": "user", "content": 5}"#),
                ["content: 5", "list of parts"],
            ),
            (
                line(r#"{"role": "user", "content": [5]}"#),
                ["the part 5", "list of parts"],
            ),
            (
                line(r#"{"role": "tool", "content": "x"}"#),
                ["tool_call_id", "missing"],
            ),
            (
                line(r#"{"role": "assistant", "tool_calls": [{"id": "a b"}]}"#),
                ["tool_calls 1", "\"a b\""],
            ),
            (
                "[\n{\"role\": \"user\"},\n{\"role\": 1}]".to_owned(),
                ["line 3", "role: 1"],
            ),
            (
                "[\n{\"role\": \"user\"},\n}".to_owned(),
                ["line 3", "not JSON"],
            ),
        ] {
            let error = error(&text);
            for part in parts {
                assert!(error.contains(part), "{part} is missing from {error}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".*", inner in "[\\[\\]{}\":,a-z0-9 \n]*") {
            let _ = parse(&text, "x");
            let _ = parse(&format!("[{inner}"), "x");
        }
    }
}
