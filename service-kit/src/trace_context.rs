//! W3C Trace Context: which trace a piece of work belongs to, as two texts that are carried along
//! (www.w3.org/TR/trace-context).

use axum::http::{HeaderMap, HeaderValue};

/// The header, and the metadata key, of the trace and the span in it.
pub const TRACEPARENT: &str = "traceparent";
/// The header, and the metadata key, of what vendors keep with it.
pub const TRACESTATE: &str = "tracestate";

/// Bytes of a `traceparent` of version 00.
const PARENT_BYTES: usize = 55;
/// Where its dashes are.
const DASHES: [usize; 3] = [2, 35, 52];
/// The flags that are known: sampled and random. Others go no further.
const KNOWN_FLAGS: u8 = 0b11;
/// Longest `tracestate` that is carried, in bytes: what the specification asks for.
const MAX_STATE_BYTES: usize = 512;
/// Most members that it may have.
const MAX_STATE_MEMBERS: usize = 32;

/// A trace, and the span in it that caused what comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Both texts, one behind the other: the first has a fixed length.
    text: Box<str>,
}

impl TraceContext {
    /// Reads both texts. `None`: the first is not valid, and then no trace is named. A second one
    /// that is not valid is left out alone.
    #[must_use]
    pub fn parse(traceparent: &str, tracestate: &str) -> Option<Self> {
        let flags = flags(traceparent)? & KNOWN_FLAGS;
        // A later version is taken for what it has of this one, and goes on as this one.
        let ids = &traceparent[DASHES[0]..DASHES[2]];
        let state = Some(tracestate).filter(|state| is_state(state));
        let state = state.unwrap_or_default();
        Some(Self {
            text: format!("00{ids}-{flags:02x}{state}").into(),
        })
    }

    /// What a request's headers or metadata say; `None` where they name no trace.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = parents.next()?.to_str().unwrap_or_default();
        let states = headers.get_all(TRACESTATE).iter();
        let states: Vec<&str> = states.flat_map(HeaderValue::to_str).collect();
        let only = parents.next().is_none();
        let read = Self::parse(parent, &states.join(",")).filter(|_| only);
        if read.is_none() {
            tracing::debug!(traceparent = parent, "ignored: no W3C trace context");
        }
        read
    }

    /// Both texts as one, to be kept; [`split`] takes them apart.
    #[must_use]
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// `00-TRACE-SPAN-FLAGS`, 55 bytes.
    #[must_use]
    pub fn traceparent(&self) -> &str {
        split(&self.text).0
    }

    /// A list of `key=value`, up to 512 bytes. Empty: none.
    #[must_use]
    pub fn tracestate(&self) -> &str {
        split(&self.text).1
    }

    /// The trace's id, 32 hex digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.text[DASHES[0] + 1..DASHES[1]]
    }

    /// The span's id, 16 hex digits.
    #[must_use]
    pub fn span_id(&self) -> &str {
        &self.text[DASHES[1] + 1..DASHES[2]]
    }

    /// Whether the caller has the trace recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags() & 1 == 1
    }

    /// The flags, of those that are known.
    #[must_use]
    pub fn flags(&self) -> u8 {
        flags(self.traceparent()).unwrap_or_default()
    }
}

/// `traceparent` and `tracestate` of [`TraceContext::as_text`]; both empty where it is.
#[must_use]
pub fn split(text: &str) -> (&str, &str) {
    text.split_at_checked(PARENT_BYTES).unwrap_or_default()
}

/// The flags of a `traceparent`; `None` where it is not valid.
fn flags(text: &str) -> Option<u8> {
    let (known, rest) = text.split_at_checked(PARENT_BYTES)?;
    let hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let named = |part: &str| hex(part) && part.bytes().any(|b| b != b'0');
    let mut parts = known.split('-');
    let [version, trace, span, flags] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    let lengths = [version, trace, span, flags].map(str::len) == [2, 32, 16, 2];
    let ends = match version {
        "00" => rest.is_empty(),
        "ff" => false,
        // What a later version may add comes behind a dash.
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    let valid = lengths && ends && hex(version) && named(trace) && named(span) && hex(flags);
    valid.then(|| u8::from_str_radix(flags, 16).ok()).flatten()
}

/// Whether a text is a list that may be carried, and shown.
fn is_state(text: &str) -> bool {
    let member = |member: &str| {
        let member = member.trim_matches([' ', '\t']);
        let named = member
            .split_once('=')
            .is_some_and(|(key, _)| !key.is_empty());
        member.is_empty() || named
    };
    let printable = text.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t'));
    text.len() <= MAX_STATE_BYTES
        && printable
        && text.split(',').count() <= MAX_STATE_MEMBERS
        && text.split(',').all(member)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(traceparent: &str) -> Option<String> {
        let context = TraceContext::parse(traceparent, "")?;
        Some(context.traceparent().to_owned())
    }

    #[test]
    fn the_specifications_example_is_read() {
        let context = TraceContext::parse(EXAMPLE, "rojo=00f067aa0ba902b7,congo=t61").unwrap();
        assert_eq!(context.traceparent(), EXAMPLE);
        assert_eq!(context.tracestate(), "rojo=00f067aa0ba902b7,congo=t61");
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id(), "00f067aa0ba902b7");
        assert!(context.is_sampled());
        let unsampled = EXAMPLE.replace("-01", "-00");
        assert!(!TraceContext::parse(&unsampled, "").unwrap().is_sampled());
    }

    #[test]
    fn a_later_version_goes_on_as_this_one_and_unknown_flags_go_no_further() {
        for later in [
            EXAMPLE.replacen("00", "cc", 1),
            EXAMPLE.replacen("00", "01", 1) + "-what-the-future-will-be-like",
            EXAMPLE.replace("-01", "-fd"),
        ] {
            assert_eq!(read(&later).as_deref(), Some(EXAMPLE), "{later}");
        }
        let random = EXAMPLE.replace("-01", "-03");
        assert_eq!(read(&random), Some(random.clone()));
    }

    #[test]
    fn what_is_no_trace_context_is_ignored() {
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0é",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_bad_state_is_left_out_and_the_trace_stays() {
        let members = |count: usize| vec!["a=1"; count].join(",");
        for (state, stays) in [
            (members(32), true),
            ("a=1, b=2,,c=\"\\\"".to_owned(), true),
            (members(33), false),
            (format!("a={}", "x".repeat(510)), true),
            (format!("a={}", "x".repeat(511)), false),
            ("no value".to_owned(), false),
            ("=1".to_owned(), false),
            ("a=é".to_owned(), false),
            ("a=1\n".to_owned(), false),
        ] {
            let context = TraceContext::parse(EXAMPLE, &state).unwrap();
            let kept = if stays { state.as_str() } else { "" };
            assert_eq!(context.tracestate(), kept);
        }
    }

    #[test]
    fn headers_name_one_trace_or_none() {
        let parent = (TRACEPARENT.parse().unwrap(), EXAMPLE.parse().unwrap());
        let state = |value: &str| (TRACESTATE.parse().unwrap(), value.parse().unwrap());
        let mut headers = HeaderMap::from_iter([parent, state("a=1")]);
        let (name, value) = state("b=2");
        headers.append::<axum::http::HeaderName>(name, value);
        let context = TraceContext::of(&headers).unwrap();
        assert_eq!(context.tracestate(), "a=1,b=2");
        headers.append(TRACEPARENT, EXAMPLE.parse().unwrap());
        assert_eq!(TraceContext::of(&headers), None);
        assert_eq!(TraceContext::of(&HeaderMap::new()), None);
    }
}
