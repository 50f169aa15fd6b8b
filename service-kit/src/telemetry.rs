//! Logs on standard error, as text or JSON.

use std::fmt::Write as _;

use tracing::{Event, Subscriber};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::request;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// Parses a level or a list of directives such as `info,hyper=warn`.
///
/// # Errors
/// Where the text is neither.
pub fn parse_filter(directives: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(directives)
}

/// Changes what is logged, while it is.
#[derive(Debug)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// From now on this is logged.
    ///
    /// # Errors
    /// Where logging has ended.
    pub fn set(&self, filter: EnvFilter) -> Result<(), String> {
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}

/// Starts logging for this process; a second call changes nothing.
pub fn start(format: LogFormat, filter: EnvFilter) -> LogLevel {
    let (filter, level) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines = match format {
        LogFormat::Text => {
            let text = fmt::format().with_ansi(false);
            lines.event_format(OfRequest(text, append_text)).boxed()
        }
        LogFormat::Json => {
            let json = fmt::format().json().flatten_event(true);
            lines
                .fmt_fields(JsonFields::new())
                .event_format(OfRequest(json.with_span_list(false), append_json))
                .boxed()
        }
    };
    let started = Registry::default().with(lines.with_filter(filter));
    if started.try_init().is_err() {
        tracing::debug!("logging had been started before");
    }
    LogLevel(level)
}

/// Lines that end with what they say of the request that they belong to.
struct OfRequest<F>(F, fn(&mut String, &str, &str));

impl<S, N, F> FormatEvent<S, N> for OfRequest<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let Self(lines, append) = self;
        let Some(said) = request::of_line() else {
            return lines.format_event(context, writer, event);
        };
        let mut line = String::new();
        lines.format_event(context, Writer::new(&mut line), event)?;
        line.truncate(line.trim_end().len());
        for (name, value) in said {
            append(&mut line, name, &value);
        }
        writeln!(writer, "{line}")
    }
}

/// A path may hold what a terminal obeys or an eye does not see: then it is written as text.
fn append_text(line: &mut String, name: &str, value: &str) {
    let plain = value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'"');
    // Writing to a string does not fail.
    let _ = if plain {
        write!(line, " {name}={value}")
    } else {
        write!(line, " {name}={value:?}")
    };
}

/// The line is one object.
fn append_json(line: &mut String, name: &str, value: &str) {
    line.pop();
    let value = serde_json::Value::from(value);
    let _ = write!(line, ",\"{name}\":{value}}}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_says_of_its_request_is_part_of_the_line() {
        let (mut text, mut json) = ("refused".to_owned(), r#"{"message":"refused"}"#.to_owned());
        for (name, value) in [
            ("request_id", r#"a"b"#),
            ("path", "/p"),
            ("odd", "\u{9b}\u{2028}"),
        ] {
            append_text(&mut text, name, value);
            append_json(&mut json, name, value);
        }
        let escaped = r#"refused request_id="a\"b" path=/p odd="\u{9b}\u{2028}""#;
        assert_eq!(text, escaped);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["request_id"], r#"a"b"#);
        assert_eq!(
            (&json["message"], &json["path"]),
            (&"refused".into(), &"/p".into())
        );
    }
}
