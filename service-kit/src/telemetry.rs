//! Logs on standard error, as text or JSON.

use tracing::Level;
use tracing_subscriber::filter::{FilterExt as _, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::request::REQUESTS;

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
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            lines.with_span_list(false).boxed()
        }
    };
    // However little is logged, a line knows its request.
    let requests = Targets::new().with_target(REQUESTS, Level::ERROR);
    let filter = filter.or(requests);
    let started = Registry::default().with(lines.with_filter(filter));
    if started.try_init().is_err() {
        tracing::debug!("logging had been started before");
    }
    LogLevel(level)
}
