//! The settings of the service, checked whole before anything uses them.

#[cfg(test)]
mod documents;
pub(crate) mod table;

use std::time::Duration;

use clap::ArgMatches;
use service_kit::access::{Access, AccessSettings};
use service_kit::config::{ConfigErrors, Source, Values, duration, number};
use service_kit::grpc::GrpcLimits;
use service_kit::http::HttpLimits;
use service_kit::port::PortSettings;
use service_kit::rate::Rate;
use service_kit::reload::{Files, SharedSettings};
use service_kit::telemetry::{LogFormat, parse_filter};
use service_kit::traces::TraceSettings;

use crate::edge::ingest::IngestLimits;
use crate::edge::ingest::validate::check_identifier;
use crate::edge::origins::Origins;
use crate::edge::readers::ReaderLimits;
use crate::edge::tokens::Tokens;
use crate::health::settings::HealthSettings;
use crate::hub::limits::HubLimits;
use table::{PREFIX, SECRETS, SPECS};

/// Bytes of an event beside its data, at the most, that the hub counts into a window.
const EVENT_OVERHEAD_BYTES: usize = 2_048;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Everything that `serve` needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// As they were written, and the files that they came from.
    pub(crate) values: Values,
    pub(crate) files: Files,
    pub(crate) component_id: String,
    pub(crate) grpc: PortSettings,
    pub(crate) grpc_limits: GrpcLimits,
    pub(crate) http: PortSettings,
    pub(crate) http_limits: HttpLimits,
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
    /// `None`: traces go nowhere.
    pub(crate) traces: Option<TraceSettings>,
    pub(crate) access: AccessSettings,
    /// What the access settings and `auth.tokens` say now.
    pub(crate) known: Access,
    /// Whether readers must show who they are.
    pub(crate) readers_closed: bool,
    pub(crate) origins: Origins,
    pub(crate) insecure: bool,
    pub(crate) reflection: bool,
    pub(crate) metrics: bool,
    pub(crate) readers: ReaderLimits,
    pub(crate) ingest: IngestLimits,
    pub(crate) hub: HubLimits,
    pub(crate) health: HealthSettings,
    pub(crate) drain_deadline: Duration,
}

impl Settings {
    /// Reads file, environment and flags, and checks it all.
    ///
    /// # Errors
    /// Every mistake found, not only the first.
    pub(crate) fn load(flags: &ArgMatches) -> Result<Self, ConfigErrors> {
        Self::from_source(Source::load(PREFIX, SPECS, flags))
    }

    fn from_source(mut source: Source) -> Result<Self, ConfigErrors> {
        let values = source.values();
        let drain_deadline = duration(&mut source, "drain.deadline", millis(10)..=minutes(10));
        let hub = hub_limits(&mut source);
        let http = PortSettings::http(&mut source);
        let access = AccessSettings::take(&mut source);
        let Tokens(tokens) = source.take("auth.tokens");
        let readers_closed = access.is_set() || !tokens.is_empty();
        let known = access.load().unwrap_or_else(|errors| {
            errors.into_iter().for_each(|error| source.reject(error));
            Access::default()
        });
        let sockets = hub.connections.saturating_add(http.limits.max_connections);
        let mut settings = Self {
            values,
            files: Files::default(),
            component_id: source.take("component.id"),
            grpc: PortSettings::grpc(&mut source),
            grpc_limits: grpc_limits(&mut source, drain_deadline),
            http,
            http_limits: http_limits(&mut source, drain_deadline),
            log_level: source.take("log.level"),
            log_format: source.take("log.format"),
            traces: TraceSettings::take(&mut source),
            access,
            known: known.with_readers(tokens),
            readers_closed,
            origins: source.take("http.allowed_origins"),
            insecure: source.take("insecure"),
            reflection: source.take("grpc.reflection"),
            metrics: source.take("http.metrics"),
            readers: reader_limits(&mut source, sockets),
            ingest: ingest_limits(&mut source),
            hub,
            health: health_settings(&mut source),
            drain_deadline,
        };
        settings.files = source.files();
        for error in settings.contradictions() {
            source.reject(error);
        }
        source.finish()?;
        Ok(settings)
    }

    /// Whether the gRPC port, and whether the HTTP port, asks anybody who they are.
    pub(crate) fn closed(&self) -> (bool, bool) {
        (self.access.is_set(), self.readers_closed)
    }

    /// Whether requests must call this machine by a name of its own where nobody has to show who they
    /// are. With `insecure` something else keeps strangers out, and clients may know it by any name.
    pub(crate) fn asks_for_own_name(&self) -> bool {
        !self.insecure && self.http.can_be_taken_for_a_page()
    }

    /// What changes while the service runs.
    pub(crate) fn shared(&self) -> SharedSettings<'_> {
        SharedSettings {
            log_level: &self.log_level,
            known: &self.known,
            jwks_url: self.access.jwks_url(),
            grpc: &self.grpc,
            http: &self.http,
            closed: self.closed(),
        }
    }

    /// What is wrong although each setting alone is allowed.
    fn contradictions(&self) -> Vec<String> {
        let (hub, ingest, health) = (&self.hub, &self.ingest, &self.health);
        let mut errors = Vec::new();
        let mut demand = |holds: bool, error: String| {
            if !holds {
                errors.push(error);
            }
        };
        if let Err(error) = check_identifier("component.id", &self.component_id) {
            demand(false, error);
        }
        if let Err(error) = parse_filter(&self.log_level) {
            let level = &self.log_level;
            demand(
                false,
                format!(
                    "log.level: {level:?} is not allowed ({error}); allowed is error, warn, info, debug, trace or directives such as info,hyper=warn"
                ),
            );
        }
        demand(
            self.grpc.listen != self.http.listen || self.grpc.listen.port() == 0,
            format!(
                "http.listen: {} is grpc.listen too; each needs its own port",
                self.http.listen
            ),
        );
        if !self.insecure {
            let doors = [
                (&self.grpc, self.access.is_set()),
                (&self.http, self.readers_closed),
            ];
            for error in doors
                .into_iter()
                .filter_map(|(port, closed)| port.stands_open(closed))
            {
                demand(false, error);
            }
        }
        demand(
            hub.reader_silence > hub.heartbeat * 2,
            format!(
                "hub.reader_silence: {:?} is not allowed; allowed is more than twice hub.heartbeat ({:?})",
                hub.reader_silence, hub.heartbeat
            ),
        );
        at_most(
            &mut demand,
            ("hub.reader_lag_events", hub.reader_lag_events),
            ("hub.window_events", hub.window_events as u64),
        );
        at_most(
            &mut demand,
            ("hub.reader_lag_bytes", hub.reader_lag_bytes),
            ("hub.window_thread_bytes", hub.window_thread_bytes as u64),
        );
        at_most(
            &mut demand,
            ("hub.window_thread_bytes", hub.window_thread_bytes as u64),
            ("hub.window_total_bytes", hub.window_total_bytes as u64),
        );
        at_most(
            &mut demand,
            ("hub.goodbye", hub.goodbye),
            ("drain.deadline", self.drain_deadline),
        );
        let leaving = hub.drain_spread + hub.goodbye;
        demand(
            leaving <= self.drain_deadline,
            format!(
                "drain.spread: {:?} is not allowed; with hub.goodbye ({:?}) it may take at most drain.deadline, which is {:?}",
                hub.drain_spread, hub.goodbye, self.drain_deadline
            ),
        );
        at_most(
            &mut demand,
            ("health.verification_timeout", health.verification_timeout),
            ("health.check_interval", health.check_interval),
        );
        at_most(
            &mut demand,
            ("health.recovery_backoff_base", health.recovery_backoff_base),
            ("health.recovery_backoff_cap", health.recovery_backoff_cap),
        );
        let largest = ingest.max_data_bytes + EVENT_OVERHEAD_BYTES;
        for (name, room) in [
            ("hub.window_thread_bytes", hub.window_thread_bytes),
            ("ingest.max_message_bytes", ingest.max_message_bytes),
        ] {
            demand(
                largest <= room,
                format!(
                    "ingest.max_data_bytes: {} is not allowed; an event of that size and {EVENT_OVERHEAD_BYTES} bytes around it must fit into {name} ({room})",
                    ingest.max_data_bytes
                ),
            );
        }
        errors
    }
}

/// The settings as they stand, as TOML, with secrets masked.
pub(crate) fn effective(flags: &ArgMatches) -> String {
    Source::load(PREFIX, SPECS, flags).effective_without(SECRETS)
}

fn hub_limits(source: &mut Source) -> HubLimits {
    HubLimits {
        mailbox: number(source, "hub.mailbox", 16..=1_000_000),
        threads: number(source, "hub.threads", 1..=100_000_000),
        runs: number(source, "hub.runs", 1..=100_000_000),
        run_idle: duration(source, "hub.run_idle", SECOND..=DAY * 30),
        connections: number(source, "hub.connections", 1..=10_000_000),
        window_events: number(source, "hub.window_events", 1..=10_000_000),
        window_thread_bytes: number(source, "hub.window_thread_bytes", 4_096..=usize::MAX),
        window_total_bytes: number(source, "hub.window_total_bytes", 4_096..=usize::MAX),
        window_age: duration(source, "hub.window_age", SECOND..=DAY * 30),
        thread_idle: duration(source, "hub.thread_idle", SECOND..=DAY * 30),
        idempotency_entries: number(source, "hub.idempotency_entries", 1..=100_000_000),
        reader_lag_events: number(source, "hub.reader_lag_events", 1..=usize::MAX) as u64,
        reader_lag_bytes: number(source, "hub.reader_lag_bytes", 4_096..=usize::MAX) as u64,
        heartbeat: duration(source, "hub.heartbeat", millis(100)..=minutes(60)),
        reader_silence: duration(source, "hub.reader_silence", millis(200)..=DAY),
        goodbye: duration(source, "hub.goodbye", millis(10)..=minutes(1)),
        drain_spread: duration(source, "drain.spread", Duration::ZERO..=minutes(10)),
        retry_after: duration(source, "hub.retry_after", millis(1)..=minutes(10)),
        watchers: number(source, "hub.watchers", 1..=100_000),
    }
}

fn health_settings(source: &mut Source) -> HealthSettings {
    let count = |source: &mut Source, path| {
        source.take_if(path, "a whole number from 1 to 1000", |value: &u32| {
            (1..=1_000).contains(value)
        })
    };
    HealthSettings {
        check_interval: duration(source, "health.check_interval", millis(100)..=DAY),
        verification_timeout: duration(
            source,
            "health.verification_timeout",
            millis(10)..=minutes(5),
        ),
        initialization_timeout: duration(
            source,
            "health.initialization_timeout",
            millis(10)..=minutes(10),
        ),
        failures_before_recovery: count(source, "health.failures_before_recovery"),
        recovery_attempts: count(source, "health.recovery_attempts"),
        recovery_backoff_base: duration(
            source,
            "health.recovery_backoff_base",
            millis(1)..=minutes(60),
        ),
        recovery_backoff_cap: duration(source, "health.recovery_backoff_cap", millis(1)..=DAY),
    }
}

fn ingest_limits(source: &mut Source) -> IngestLimits {
    IngestLimits {
        max_data_bytes: number(source, "ingest.max_data_bytes", 1..=16 << 20),
        max_batch_events: number(source, "ingest.max_batch_events", 1..=100_000),
        max_message_bytes: number(source, "ingest.max_message_bytes", 4_096..=256 << 20),
        max_streams: number(source, "ingest.max_streams", 1..=100_000),
        stream_batches: number(source, "ingest.stream_batches", 1..=1_000),
        max_rate: rate(source, "ingest.max_events_per_second"),
    }
}

fn reader_limits(source: &mut Source, max_sockets: usize) -> ReaderLimits {
    ReaderLimits {
        auth_frame_timeout: duration(source, "auth.frame_timeout", millis(100)..=minutes(5)),
        max_frame_bytes: number(source, "websocket.max_frame_bytes", 128..=1 << 20),
        max_message_rate: rate(source, "websocket.max_messages_per_second"),
        max_sockets,
    }
}

fn grpc_limits(source: &mut Source, drain_deadline: Duration) -> GrpcLimits {
    let max_header_bytes = number(source, "grpc.max_header_bytes", 8_192..=1 << 20);
    GrpcLimits {
        max_header_bytes: u32::try_from(max_header_bytes).unwrap_or(u32::MAX),
        drain_deadline,
        ..GrpcLimits::default()
    }
}

fn http_limits(source: &mut Source, drain_deadline: Duration) -> HttpLimits {
    HttpLimits {
        header_timeout: duration(source, "http.header_timeout", millis(100)..=minutes(5)),
        max_header_bytes: number(source, "http.max_header_bytes", 8_192..=1 << 20),
        drain_deadline,
    }
}

fn rate(source: &mut Source, path: &'static str) -> Rate {
    let rate = number(source, path, 0..=1_000_000_000);
    Rate(u32::try_from(rate).unwrap_or(u32::MAX))
}

fn at_most<T: PartialOrd + std::fmt::Debug>(
    demand: &mut impl FnMut(bool, String),
    (name, value): (&str, T),
    (bound_name, bound): (&str, T),
) {
    demand(
        value <= bound,
        format!(
            "{name}: {value:?} is not allowed; allowed is at most {bound_name}, which is {bound:?}"
        ),
    );
}

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(flags: &[(&'static str, &str)]) -> Source {
        let flags = flags.iter().map(|(p, v)| (*p, (*v).to_owned())).collect();
        Source::from_parts(PREFIX, SPECS, None, &[], flags)
    }

    fn errors(flags: &[(&'static str, &str)]) -> String {
        let errors = Settings::from_source(source(flags)).unwrap_err();
        errors.errors.join("\n")
    }

    #[test]
    fn the_table_says_what_the_parts_take_for_default() {
        let settings = Settings::from_source(source(&[])).unwrap();
        assert_eq!(settings.hub, HubLimits::default());
        assert_eq!(settings.health, HealthSettings::default());
        assert!(!settings.readers_closed && !settings.access.is_set());
    }

    #[test]
    fn every_setting_is_taken_and_every_range_is_held() {
        for spec in SPECS {
            if spec.path == "auth.tokens" {
                continue;
            }
            let found = errors(&[(spec.path, "\u{1}nonsense value")]);
            assert!(found.contains(spec.path), "{}: {found}", spec.path);
        }
        for path in ["hub.threads", "ingest.max_streams", "http.max_connections"] {
            let found = errors(&[(path, "0")]);
            assert!(
                found.contains(&format!("{path}: 0 is not allowed")),
                "{found}"
            );
        }
        assert!(errors(&[("hub.heartbeat", "1ms")]).contains("from 100ms to 1h"));
    }

    #[test]
    fn contradictions_are_found_all_at_once() {
        let found = errors(&[
            ("hub.heartbeat", "40s"),
            ("hub.window_events", "10"),
            ("hub.window_thread_bytes", "8192"),
            ("health.recovery_backoff_cap", "10ms"),
            ("http.listen", "127.0.0.1:50051"),
            ("hub.goodbye", "30s"),
            ("component.id", "two words"),
            ("log.level", "loud=="),
        ]);
        for part in [
            "hub.reader_silence: 80s",
            "hub.reader_lag_events: 1024",
            "hub.reader_lag_bytes: 1048576",
            "ingest.max_data_bytes: 65536",
            "health.recovery_backoff_base: 1s",
            "http.listen: 127.0.0.1:50051",
            "hub.goodbye: 30s",
            "component.id: \"two words\"",
            "log.level: \"loud==\"",
        ] {
            assert!(found.contains(part), "{part} is missing from\n{found}");
        }
    }

    #[test]
    fn tokens_are_never_shown() {
        let secret = "correct-horse-battery";
        let page = source(&[("auth.tokens", secret)]).effective_without(SECRETS);
        assert!(
            !page.contains(secret) && page.contains(r#"tokens = "***""#),
            "{page}"
        );
        let settings = Settings::from_source(source(&[("auth.tokens", secret)])).unwrap();
        assert!(!format!("{settings:?}").contains(secret));
        let found = errors(&[("auth.tokens", "short-secret, also bad\u{7f}characters")]);
        assert!(
            !found.contains("short-secret") && found.contains("auth.tokens"),
            "{found}"
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bridge.toml");
        std::fs::write(&path, format!("[auth]\ntokens = \"{secret}")).unwrap();
        let unclosed = Source::from_parts(PREFIX, SPECS, Some(path), &[], Vec::new());
        let found = Settings::from_source(unclosed)
            .unwrap_err()
            .errors
            .join("\n");
        assert!(found.contains("bridge.toml: not TOML: line 2: "), "{found}");
        assert!(!found.contains(secret), "{found}");
    }

    #[test]
    fn urls_are_never_shown_with_what_is_secret_in_them() {
        for (path, url) in [
            ("auth.jwks_url", "https://user:hush@id.example/jwks"),
            ("auth.jwks_url", "http://id.example/jwks?key=hush"),
            ("trace.otlp_endpoint", "http://user:hush@127.0.0.1:4317"),
            ("trace.otlp_endpoint", "http://127.0.0.1:4317/?key=hush"),
        ] {
            let flags = [(path, url), ("auth.jwt_audience", "bridge")];
            let found = errors(&flags);
            assert!(found.contains(path) && !found.contains("hush"), "{found}");
            let page = source(&flags).effective_without(SECRETS);
            assert!(page.contains("***") && !page.contains("hush"), "{page}");
        }
        let url = ("auth.jwks_url", "https://id.example/jwks?key=hush");
        let flags = [url, ("auth.jwt_audience", "bridge")];
        let settings = Settings::from_source(source(&flags)).unwrap();
        let shown = format!("{settings:?}");
        assert!(
            shown.contains("id.example") && !shown.contains("hush"),
            "{shown}"
        );
    }

    #[test]
    fn the_printed_settings_are_settings() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bridge.toml");
        std::fs::write(&path, source(&[]).effective()).unwrap();
        let again = Source::from_parts(PREFIX, SPECS, Some(path), &[], Vec::new());
        assert_eq!(
            Settings::from_source(again).unwrap().hub,
            HubLimits::default()
        );
    }
}
