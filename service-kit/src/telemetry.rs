//! Logs on standard error, as text or JSON.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

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
pub struct LogLevel(Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>);

impl LogLevel {
    /// From now on this is logged.
    ///
    /// # Errors
    /// Where logging has ended.
    pub fn set(&self, filter: EnvFilter) -> Result<(), String> {
        (self.0)(filter)
    }
}

impl std::fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogLevel")
    }
}

/// Starts logging for this process; a second call changes nothing.
pub fn start(format: LogFormat, filter: EnvFilter) -> LogLevel {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    let (started, level) = match format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            let change = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            (builder.try_init(), LogLevel(Box::new(change)))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            let change = move |filter| handle.reload(filter).map_err(|error| error.to_string());
            (builder.try_init(), LogLevel(Box::new(change)))
        }
    };
    if started.is_err() {
        tracing::debug!("logging had been started before");
    }
    level
}
