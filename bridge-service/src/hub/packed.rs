//! An event as the window keeps it: its texts in one allocation, and its data.

use bytes::Bytes;

use super::event::{Event, EventType};

/// Texts that are kept: what readers are shown and the thread does not say.
const TEXTS: usize = 5;

/// An event without its thread, which the window belongs to, and its user, whom no reader is shown.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Behind the others the trace, where there is one.
    texts: Box<str>,
    /// Where each text ends: `event_id`, `run_id`, `agent_name`, `tool_name`, `tool_call_id`.
    ends: [u32; TEXTS],
    pub(crate) event_type: EventType,
    /// An own copy of what came, or a part of a frame: never of a request's buffer, which would be
    /// held whole for it.
    data: Bytes,
    shared: bool,
}

impl Packed {
    /// Copies out of the event what is kept of it.
    pub(crate) fn new(event: &Event) -> Self {
        let texts: [&str; TEXTS] = [
            &event.event_id,
            &event.run_id,
            &event.agent_name,
            &event.tool_name,
            &event.tool_call_id,
        ];
        let mut end = 0;
        let ends = texts.map(|text| {
            end += text.len() as u32;
            end
        });
        let mut texts = texts.concat();
        if let Some(trace) = &event.trace {
            texts.push_str(trace.as_text());
        }
        Self {
            texts: texts.into(),
            ends,
            event_type: event.event_type,
            data: Bytes::copy_from_slice(&event.data),
            shared: false,
        }
    }

    fn text(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.texts[start as usize..self.ends[index] as usize]
    }

    pub(crate) fn event_id(&self) -> &str {
        self.text(0)
    }

    pub(crate) fn run_id(&self) -> &str {
        self.text(1)
    }

    pub(crate) fn agent_name(&self) -> &str {
        self.text(2)
    }

    pub(crate) fn tool_name(&self) -> &str {
        self.text(3)
    }

    pub(crate) fn tool_call_id(&self) -> &str {
        self.text(4)
    }

    /// One JSON value; empty where there is none.
    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Which trace it belongs to, as [`TraceContext::as_text`] has it; empty where none is known.
    ///
    /// [`TraceContext::as_text`]: service_kit::trace_context::TraceContext::as_text
    pub(crate) fn trace(&self) -> &str {
        &self.texts[self.ends[TEXTS - 1] as usize..]
    }

    /// Bytes of its texts and its data.
    pub(crate) fn bytes(&self) -> usize {
        self.texts.len() + self.data.len()
    }

    /// Bytes that it keeps itself.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.texts.len() + if self.shared { 0 } else { self.data.len() }
    }

    /// Lets go of its data where a frame has it at its end, to the letter, before the brace that
    /// closes the object: then it is kept once.
    pub(crate) fn share(&mut self, frame: &Bytes) {
        let body = frame.strip_suffix(b"}").unwrap_or_default();
        if !self.shared && !self.data.is_empty() && body.ends_with(&self.data) {
            self.data = frame.slice(body.len() - self.data.len()..body.len());
            self.shared = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use service_kit::trace_context::{TraceContext, split};

    use super::*;
    use crate::hub::testing::event;

    #[test]
    fn every_text_comes_back() {
        let whole = Event {
            tool_name: "search".to_owned(),
            tool_call_id: "call-1".to_owned(),
            ..event("t", "r", "e")
        };
        let kept = Packed::new(&whole);
        let texts = [
            kept.event_id(),
            kept.run_id(),
            kept.agent_name(),
            kept.tool_name(),
            kept.tool_call_id(),
        ];
        assert_eq!(texts, ["e", "r", "agent", "search", "call-1"]);
        assert_eq!(
            (kept.data(), kept.event_type),
            (&whole.data[..], whole.event_type)
        );
        let empty = Packed::new(&Event {
            tool_name: String::new(),
            tool_call_id: String::new(),
            agent_name: String::new(),
            ..whole
        });
        assert_eq!((empty.agent_name(), empty.tool_call_id()), ("", ""));
    }

    #[test]
    fn a_trace_comes_back_and_counts() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let plain = event("t", "r", "e");
        let traced = Event {
            trace: TraceContext::parse(parent, "a=1").map(Arc::new),
            ..plain.clone()
        };
        let (plain, traced) = (Packed::new(&plain), Packed::new(&traced));
        assert_eq!(split(traced.trace()), (parent, "a=1"));
        assert_eq!((traced.event_id(), traced.tool_call_id()), ("e", ""));
        assert_eq!(traced.bytes(), plain.bytes() + 58);
        assert_eq!(plain.trace(), "");
    }

    #[test]
    fn data_that_a_frame_ends_with_is_kept_once() {
        let mut kept = Packed::new(&event("t", "r", "e"));
        let data = kept.data().to_vec();
        kept.share(&Bytes::from_static(b"data: {}\n\n"));
        kept.share(&Bytes::from_static(b"}"));
        assert!(!kept.shared);
        let frame = Bytes::from([b"{\"data\":", &data[..], b"}"].concat());
        kept.share(&frame);
        assert_eq!(
            (kept.data(), kept.kept_bytes()),
            (&data[..], kept.texts.len())
        );
        assert_eq!(
            kept.data().as_ptr(),
            frame[frame.len() - 1 - data.len()..].as_ptr()
        );
    }
}
