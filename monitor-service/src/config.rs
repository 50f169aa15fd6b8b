//! The settings of the service, checked whole before anything uses them.

pub(crate) mod components;
pub(crate) mod table;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::ArgMatches;
use service_kit::config::{ConfigErrors, Setting, Source};
use service_kit::http::HttpLimits;
use service_kit::telemetry::{LogFormat, parse_filter};

use self::table::{PREFIX, SPECS};
use crate::audit::settings::{AuditSettings, RuleSettings};
use crate::edge::EdgeLimits;
use crate::edge::validate::id;
use crate::evidence::limits::EvidenceLimits;
use crate::fleet::api::Target;
use crate::fleet::settings::FleetSettings;
use crate::incident::settings::IncidentSettings;
use crate::probe::settings::ProbeSettings;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// Everything that `serve` needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) component_id: String,
    pub(crate) grpc_listen: SocketAddr,
    pub(crate) http_listen: SocketAddr,
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
    pub(crate) http: HttpLimits,
    pub(crate) edge: EdgeLimits,
    pub(crate) probe: ProbeSettings,
    pub(crate) fleet: FleetSettings,
    pub(crate) drain_deadline: Duration,
    pub(crate) components: Vec<Target>,
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
        let drain_deadline = span(&mut source, "drain.deadline", millis(10)..=10 * MINUTE);
        let probe = probe(&mut source);
        let fleet = fleet(&mut source);
        let components = components::take(&mut source, &probe, fleet.components_max);
        let settings = Self {
            component_id: source.take("component.id"),
            grpc_listen: source.take("grpc.listen"),
            http_listen: source.take("http.listen"),
            log_level: source.take("log.level"),
            log_format: source.take("log.format"),
            http: HttpLimits {
                max_connections: count(&mut source, "http.max_connections", 1..=1_000_000),
                header_timeout: span(&mut source, "http.header_timeout", millis(100)..=5 * MINUTE),
                drain_deadline,
                ..HttpLimits::default()
            },
            edge: EdgeLimits {
                watchers_max: count(&mut source, "grpc.watchers", 1..=100_000),
            },
            probe,
            fleet,
            drain_deadline,
            components,
        };
        for error in settings.contradictions() {
            source.reject(error);
        }
        std::mem::replace(
            &mut source,
            Source::from_parts(PREFIX, SPECS, None, &[], Vec::new()),
        )
        .finish()?;
        Ok(settings)
    }

    /// What is wrong although each setting alone is allowed.
    fn contradictions(&self) -> Vec<String> {
        let (probe, fleet) = (&self.probe, &self.fleet);
        let mut errors = Vec::new();
        if let Err(error) = id("component.id", &self.component_id) {
            errors.push(error.0);
        }
        if let Err(error) = parse_filter(&self.log_level) {
            errors.push(format!(
                "log.level: {:?} is not allowed ({error}); allowed is error, warn, info, debug, trace or directives such as info,hyper=warn",
                self.log_level
            ));
        }
        if self.grpc_listen == self.http_listen && self.grpc_listen.port() != 0 {
            errors.push(format!(
                "http.listen: {} is grpc.listen too; each needs its own port",
                self.http_listen
            ));
        }
        let mut demand = |holds: bool, error: String| {
            if !holds {
                errors.push(error);
            }
        };
        demand(
            probe.connect_deadline < probe.call_deadline,
            format!(
                "probe.connect_deadline: {:?} is not allowed; allowed is less than probe.call_deadline, which is {:?}",
                probe.connect_deadline, probe.call_deadline
            ),
        );
        demand(
            probe.reconnect_base <= probe.reconnect_cap,
            format!(
                "probe.reconnect_cap: {:?} is not allowed; allowed is at least probe.reconnect_base, which is {:?}",
                probe.reconnect_cap, probe.reconnect_base
            ),
        );
        demand(
            probe.silence_limit > probe.beat_interval,
            format!(
                "probe.silence_limit: {:?} is not allowed; allowed is more than probe.beat_interval, which is {:?}",
                probe.silence_limit, probe.beat_interval
            ),
        );
        demand(
            fleet.claims_max >= fleet.rules.frozen_answers_min as usize,
            format!(
                "fleet.claims: {} is not allowed; allowed is at least rules.frozen_answers, which is {}",
                fleet.claims_max, fleet.rules.frozen_answers_min
            ),
        );
        let evidence = &fleet.evidence;
        demand(
            evidence.events_total_max >= evidence.events_max,
            format!(
                "evidence.events_total: {} is not allowed; allowed is at least evidence.events, which is {}",
                evidence.events_total_max, evidence.events_max
            ),
        );
        let rules = &fleet.rules;
        demand(
            rules.flap_low_percent < rules.flap_high_percent,
            format!(
                "rules.flap_low_percent: {} is not allowed; allowed is less than rules.flap_high_percent, which is {}",
                rules.flap_low_percent, rules.flap_high_percent
            ),
        );
        let audit = &fleet.audit;
        demand(
            audit.claims_weight + audit.evidence_weight + audit.integration_weight > 0.0,
            "audit.claims_weight, audit.evidence_weight and audit.integration_weight: all are 0; at least one must not be".to_owned(),
        );
        errors
    }
}

/// The settings as they stand, as TOML. Components are in the file alone and not repeated.
pub(crate) fn effective(flags: &ArgMatches) -> String {
    Source::load(PREFIX, SPECS, flags).effective()
}

fn probe(source: &mut Source) -> ProbeSettings {
    ProbeSettings {
        beat_interval: span(source, "probe.beat_interval", millis(100)..=HOUR),
        audit_interval: span(source, "probe.audit_interval", millis(100)..=DAY),
        call_deadline: span(source, "probe.call_deadline", millis(20)..=MINUTE),
        connect_deadline: span(source, "probe.connect_deadline", millis(10)..=MINUTE),
        reconnect_base: span(source, "probe.reconnect_base", millis(10)..=MINUTE),
        reconnect_cap: span(source, "probe.reconnect_cap", millis(10)..=HOUR),
        keepalive_interval: span(source, "probe.keepalive_interval", millis(100)..=HOUR),
        keepalive_timeout: span(source, "probe.keepalive_timeout", millis(100)..=MINUTE),
        silence_limit: span(source, "probe.silence_limit", millis(100)..=DAY),
        start_pace: span(source, "probe.start_pace", millis(0)..=SECOND),
    }
}

fn fleet(source: &mut Source) -> FleetSettings {
    FleetSettings {
        mailbox_max: count(source, "fleet.mailbox", 16..=1_000_000),
        answer_deadline: span(source, "fleet.answer_deadline", millis(10)..=MINUTE),
        components_max: count(source, "fleet.components", 1..=1_000_000),
        audits_max: count(source, "fleet.audits", 1..=10_000),
        claims_max: count(source, "fleet.claims", 2..=1_000),
        audit_waiters_max: count(source, "fleet.audit_waiters", 1..=10_000),
        finding_backlog_max: count(source, "fleet.finding_backlog", 1..=1_000_000),
        tick: span(source, "fleet.tick", millis(10)..=10 * SECOND),
        evaluation_gap: span(source, "fleet.evaluation_gap", millis(0)..=10 * SECOND),
        audit_gap: span(source, "fleet.audit_gap", millis(0)..=MINUTE),
        stall_tolerance: span(source, "fleet.stall_tolerance", millis(10)..=MINUTE),
        stall_recovery: span(source, "fleet.stall_recovery", millis(0)..=5 * MINUTE),
        rules: rules(source),
        evidence: evidence(source),
        audit: AuditSettings {
            claims_weight: within(source, "audit.claims_weight", 0.0..=1e6),
            evidence_weight: within(source, "audit.evidence_weight", 0.0..=1e6),
            integration_weight: within(source, "audit.integration_weight", 0.0..=1e6),
        },
        incident: incident(source),
    }
}

fn rules(source: &mut Source) -> RuleSettings {
    let zero = Duration::ZERO;
    RuleSettings {
        delivery_grace: span(source, "rules.delivery_grace", millis(10)..=HOUR),
        lone_event_grace: span(source, "rules.lone_event_grace", millis(10)..=HOUR),
        watch_grace: span(source, "rules.watch_grace", zero..=10 * MINUTE),
        reconnect_grace: span(source, "rules.reconnect_grace", zero..=10 * MINUTE),
        watch_audit_grace: span(source, "rules.watch_audit_grace", zero..=10 * MINUTE),
        restart_grace: span(source, "rules.restart_grace", zero..=HOUR),
        drain_notice_grace: span(source, "rules.drain_notice_grace", zero..=10 * MINUTE),
        restart_shown: span(source, "rules.restart_shown", SECOND..=DAY),
        frozen_answers_min: within(source, "rules.frozen_answers", 2..=1_000),
        health_check_silence: span(source, "rules.health_check_silence", SECOND..=DAY),
        health_check_intervals: within(source, "rules.health_check_intervals", 1..=1_000),
        success_rate_tolerance: within(source, "rules.success_rate_tolerance", 0.0..=1.0),
        run_silence: span(source, "rules.run_silence", SECOND..=MONTH),
        tool_limit: span(source, "rules.tool_limit", SECOND..=MONTH),
        lateness_grace: span(source, "rules.lateness_grace", zero..=10 * MINUTE),
        recheck: span(source, "rules.recheck", SECOND..=HOUR),
        contradiction_grace: span(source, "rules.contradiction_grace", zero..=10 * MINUTE),
        regression_shown: span(source, "rules.regression_shown", SECOND..=DAY),
        flap_high_percent: within(source, "rules.flap_high_percent", 1..=100),
        flap_low_percent: within(source, "rules.flap_low_percent", 0..=99),
        clock_tolerance: span(source, "rules.clock_tolerance", millis(10)..=DAY),
        limping_calls_min: within(source, "rules.limping_calls", 2..=8),
        limping_floor: span(source, "rules.limping_floor", millis(50)..=MINUTE),
        limping_factor: within(source, "rules.limping_factor", 3..=1_000),
        limping_peer_factor: within(source, "rules.limping_peer_factor", 2..=1_000),
        recovery_attempts_min: within(source, "rules.recovery_attempts", 1..=1_000),
        recovery_window: span(source, "rules.recovery_window", SECOND..=DAY),
        startup_grace: span(source, "rules.startup_grace", zero..=DAY),
    }
}

fn evidence(source: &mut Source) -> EvidenceLimits {
    EvidenceLimits {
        window: span(source, "evidence.window", SECOND..=MONTH),
        observers_max: count(source, "evidence.observers", 1..=1_000_000),
        threads_max: count(source, "evidence.threads", 1..=10_000_000),
        readers_per_thread_max: count(source, "evidence.readers_per_thread", 1..=1_000_000),
        runs_max: count(source, "evidence.runs", 1..=10_000_000),
        tools_per_run_max: count(source, "evidence.tools_per_run", 1..=100_000),
        events_per_thread_max: count(source, "evidence.events_per_thread", 1..=10_000_000),
        events_max: count(source, "evidence.events", 1..=100_000_000),
        events_total_max: count(source, "evidence.events_total", 1..=1_000_000_000),
        gaps_per_reader_max: count(source, "evidence.gaps_per_reader", 1..=10_000),
        observer_silence: span(source, "evidence.observer_silence", SECOND..=DAY),
        unregistered_max: count(source, "evidence.unregistered", 0..=10_000),
    }
}

fn incident(source: &mut Source) -> IncidentSettings {
    let zero = Duration::ZERO;
    IncidentSettings {
        confirm_hold: span(source, "incident.confirm_hold", zero..=10 * MINUTE),
        resolve_evaluations: within(source, "incident.resolve_evaluations", 1..=1_000),
        resolve_hold: span(source, "incident.resolve_hold", zero..=10 * MINUTE),
        open_max: count(source, "incident.open", 1..=100_000),
        resolved_max: count(source, "incident.resolved", 0..=100_000),
        evidence_items_max: count(source, "incident.evidence_items", 1..=100),
    }
}

fn within<T: Setting + PartialOrd + Debug>(
    source: &mut Source,
    path: &'static str,
    range: RangeInclusive<T>,
) -> T {
    let allowed = format!("{:?} to {:?}", range.start(), range.end());
    source.take_if(path, &allowed, |value| range.contains(value))
}

fn count(source: &mut Source, path: &'static str, range: RangeInclusive<usize>) -> usize {
    within(source, path, range)
}

fn span(source: &mut Source, path: &'static str, range: RangeInclusive<Duration>) -> Duration {
    let written = |span: &Duration| humantime::format_duration(*span).to_string();
    let allowed = format!("{} to {}", written(range.start()), written(range.end()));
    source.take_if(path, &allowed, |value| range.contains(value))
}

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(flags: &[(&'static str, &str)]) -> Source {
        let flags = flags.iter().map(|(p, v)| (*p, (*v).to_owned())).collect();
        Source::from_parts(PREFIX, SPECS, None, &[], flags)
    }

    fn errors(flags: &[(&'static str, &str)]) -> String {
        Settings::from_source(source(flags))
            .unwrap_err()
            .0
            .join("\n")
    }

    #[test]
    fn the_table_says_what_the_parts_take_for_default() {
        let settings = Settings::from_source(source(&[])).unwrap();
        assert_eq!(settings.probe, ProbeSettings::default());
        assert_eq!(settings.fleet, FleetSettings::default());
        assert!(settings.components.is_empty());
    }

    #[test]
    fn every_setting_is_taken_and_checked() {
        for spec in SPECS {
            let found = errors(&[(spec.path, "\u{1} nonsense")]);
            assert!(found.contains(spec.path), "{}: {found}", spec.path);
        }
    }

    #[test]
    fn ranges_are_held_and_shown() {
        for (path, value, allowed) in [
            ("fleet.mailbox", "15", "16 to 1000000"),
            ("probe.beat_interval", "1ms", "100ms to 1h"),
            ("rules.success_rate_tolerance", "1.5", "0.0 to 1.0"),
            ("audit.claims_weight", "NaN", "0.0 to 1000000.0"),
            ("rules.frozen_answers", "1", "2 to 1000"),
        ] {
            let found = errors(&[(path, value)]);
            assert!(found.contains(allowed), "{path}: {found}");
        }
    }

    #[test]
    fn contradictions_are_found_together() {
        let found = errors(&[
            ("probe.connect_deadline", "3s"),
            ("probe.silence_limit", "1s"),
            ("http.listen", "127.0.0.1:50061"),
            ("evidence.events_total", "5"),
            ("rules.flap_low_percent", "40"),
            ("component.id", "two words"),
            ("log.level", "=="),
        ]);
        for part in [
            "probe.connect_deadline",
            "probe.silence_limit",
            "http.listen",
            "evidence.events_total",
            "rules.flap_low_percent",
            "component.id",
            "log.level",
        ] {
            assert!(found.contains(part), "{part} is missing from {found}");
        }
    }

    #[test]
    fn weights_that_are_all_zero_judge_nothing() {
        let found = errors(&[
            ("audit.claims_weight", "0"),
            ("audit.evidence_weight", "0"),
            ("audit.integration_weight", "0"),
        ]);
        assert!(found.contains("all are 0"), "{found}");
    }
}
