//! The settings of the service, checked whole before anything uses them.

pub(crate) mod components;
#[cfg(test)]
mod documents;
pub(crate) mod table;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::ArgMatches;
use service_kit::access::{Access, AccessSettings};
use service_kit::config::{ConfigErrors, Setting, Source, Values};
use service_kit::grpc::GrpcLimits;
use service_kit::http::HttpLimits;
use service_kit::port::PortSettings;
use service_kit::reload::{Files, SharedSettings};
use service_kit::telemetry::{LogFormat, parse_filter};
use service_kit::traces::TraceSettings;

use self::table::{PREFIX, SECRETS, SPECS};
use crate::alert::settings::AlertSettings;
use crate::audit::canary::FAILURES_MAX;
use crate::audit::disabled::Disabled;
use crate::audit::settings::{AuditSettings, FleetRuleSettings, RuleSettings};
use crate::canary::settings::CanarySettings;
use crate::discovery;
use crate::discovery::settings::Discovery;
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
    pub(crate) access: AccessSettings,
    /// What the access settings say now.
    pub(crate) known: Access,
    pub(crate) insecure: bool,
    pub(crate) reflection: bool,
    pub(crate) metrics: bool,
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
    /// `None`: traces go nowhere.
    pub(crate) traces: Option<TraceSettings>,
    pub(crate) edge: EdgeLimits,
    pub(crate) probe: ProbeSettings,
    pub(crate) fleet: FleetSettings,
    pub(crate) drain_deadline: Duration,
    pub(crate) components: Vec<Target>,
    pub(crate) discovery: Vec<Discovery>,
    pub(crate) canary: CanarySettings,
    pub(crate) alert: AlertSettings,
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
        let drain_deadline = span(&mut source, "drain.deadline", millis(10)..=10 * MINUTE);
        let access = AccessSettings::take(&mut source);
        let known = access.load().unwrap_or_else(|errors| {
            errors.into_iter().for_each(|error| source.reject(error));
            Access::default()
        });
        let probe = probe(&mut source);
        let alert = alert(&mut source);
        let mut fleet = fleet(&mut source);
        fleet.dead_man_interval = alert
            .dead_man_url
            .is_set()
            .then_some(alert.dead_man_interval);
        let components = components::take(&mut source, &probe, fleet.components_max);
        let mut settings = Self {
            values,
            files: Files::default(),
            component_id: source.take("component.id"),
            grpc: PortSettings::grpc(&mut source),
            grpc_limits: GrpcLimits {
                max_header_bytes: within(&mut source, "grpc.max_header_bytes", 8_192..=1 << 20),
                drain_deadline,
                ..GrpcLimits::default()
            },
            http: PortSettings::http(&mut source),
            http_limits: HttpLimits {
                header_timeout: span(&mut source, "http.header_timeout", millis(100)..=5 * MINUTE),
                max_header_bytes: count(&mut source, "http.max_header_bytes", 8_192..=1 << 20),
                drain_deadline,
            },
            access,
            known,
            insecure: source.take("insecure"),
            reflection: source.take("grpc.reflection"),
            metrics: source.take("http.metrics"),
            log_level: source.take("log.level"),
            log_format: source.take("log.format"),
            traces: TraceSettings::take(&mut source),
            edge: EdgeLimits {
                watchers_max: count(&mut source, "grpc.watchers", 1..=100_000),
            },
            probe,
            fleet,
            drain_deadline,
            components,
            discovery: discovery::settings::take(&mut source, &probe),
            canary: canary(&mut source),
            alert,
        };
        settings.files = source.files();
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

    /// Whether the gRPC port, and whether the HTTP port, asks anybody who they are.
    pub(crate) fn closed(&self) -> (bool, bool) {
        (self.access.is_set(), self.access.is_set())
    }

    /// Whether requests must call this machine by a name of its own where nobody has to show who they
    /// are. With `insecure` something else keeps strangers out, and clients may know it by any name.
    pub(crate) fn asks_for_own_name(&self) -> bool {
        !self.insecure && self.http.can_be_taken_for_a_page()
    }

    /// What changes while the service runs, as in every service.
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
        if self.grpc.listen == self.http.listen && self.grpc.listen.port() != 0 {
            errors.push(format!(
                "http.listen: {} is grpc.listen too; each needs its own port",
                self.http.listen
            ));
        }
        if !self.insecure {
            let closed = self.access.is_set();
            errors.extend(
                [&self.grpc, &self.http]
                    .into_iter()
                    .filter_map(|port| port.stands_open(closed)),
            );
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
        demand(
            fleet.rules.late_warning <= fleet.rules.late_critical,
            format!(
                "rules.late_critical: {:?} is not allowed; allowed is at least rules.late_warning, which is {:?}",
                fleet.rules.late_critical, fleet.rules.late_warning
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
        let incident = &fleet.incident;
        demand(
            incident.resolve_hold_max >= incident.resolve_hold,
            format!(
                "incident.resolve_hold_max: {:?} is not allowed; allowed is at least incident.resolve_hold, which is {:?}",
                incident.resolve_hold_max, incident.resolve_hold
            ),
        );
        let alert = &self.alert;
        demand(
            alert.retry_cap >= alert.retry_base,
            format!(
                "alert.retry_cap: {:?} is not allowed; allowed is at least alert.retry_base, which is {:?}",
                alert.retry_cap, alert.retry_base
            ),
        );
        errors
    }
}

/// The settings as they stand, as TOML. Components are in the file alone and not repeated.
pub(crate) fn effective(flags: &ArgMatches) -> String {
    Source::load(PREFIX, SPECS, flags).effective_without(SECRETS)
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
        glance_interval: span(source, "probe.glance_interval", millis(100)..=DAY),
        glance_rate: within(source, "probe.glance_rate", 1..=1_000_000),
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
        fleet_rules: fleet_rules(source),
        late_tick: span(source, "fleet.late_tick", millis(1)..=MINUTE),
        stretch_max: within(source, "fleet.stretch_max", 0..=100),
        // Follows from the alerts' settings.
        dead_man_interval: None,
    }
}

fn fleet_rules(source: &mut Source) -> FleetRuleSettings {
    FleetRuleSettings {
        blind_components: count(source, "rules.blind_components", 2..=1_000_000),
        blind_window: span(source, "rules.blind_window", millis(10)..=10 * MINUTE),
        blind_gather: span(source, "rules.blind_gather", millis(0)..=MINUTE),
        very_late_tick: span(source, "rules.very_late_tick", millis(10)..=MINUTE),
        late_ticks: within(source, "rules.late_ticks", 1..=1_000),
        dead_man_intervals: within(source, "rules.dead_man_intervals", 1..=1_000),
    }
}

fn alert(source: &mut Source) -> AlertSettings {
    AlertSettings {
        webhook_url: source.take("alert.webhook_url"),
        min_severity: source.take("alert.min_severity"),
        dead_man_url: source.take("alert.dead_man_url"),
        dead_man_interval: span(source, "alert.dead_man_interval", millis(100)..=DAY),
        deadline: span(source, "alert.deadline", millis(10)..=MINUTE),
        attempts: within(source, "alert.attempts", 1..=100),
        retry_base: span(source, "alert.retry_base", millis(10)..=MINUTE),
        retry_cap: span(source, "alert.retry_cap", millis(10)..=HOUR),
        queue_max: count(source, "alert.queue", 1..=100_000),
    }
}

fn rules(source: &mut Source) -> RuleSettings {
    let zero = Duration::ZERO;
    RuleSettings {
        disabled: disabled(source),
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
        canary_failures_min: within(source, "rules.canary_failures", 2..=FAILURES_MAX as u32),
        canary_recent_intervals: within(source, "rules.canary_recent_intervals", 1..=1_000),
        late_warning: span(source, "rules.late_warning", millis(10)..=HOUR),
        late_critical: span(source, "rules.late_critical", millis(10)..=HOUR),
        late_events_min: within(source, "rules.late_events", 1..=1_000),
        disorder_shown: span(source, "rules.disorder_shown", SECOND..=DAY),
        stall_reports: within(source, "rules.stall_reports", 1..=1_000),
        phantom_events: within(source, "rules.phantom_events", 0..=1_000_000),
        acknowledgement_silence: span(source, "rules.acknowledgement_silence", SECOND..=HOUR),
        backlog_growth: span(source, "rules.backlog_growth", SECOND..=HOUR),
        observer_grace: span(source, "rules.observer_grace", zero..=10 * MINUTE),
        observer_intervals: within(source, "rules.observer_intervals", 2..=1_000),
    }
}

fn disabled(source: &mut Source) -> Disabled {
    let ids: String = source.take("rules.disabled");
    Disabled::parse(&ids).unwrap_or_else(|error| {
        source.reject(format!("rules.disabled: {error}"));
        Disabled::default()
    })
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
        settle: span(source, "evidence.settle", SECOND..=MONTH),
        sessions_max: count(source, "evidence.sessions", 1..=10_000_000),
        report_wait: span(source, "evidence.report_wait", Duration::ZERO..=10 * MINUTE),
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
        reopen_window: span(source, "incident.reopen_window", zero..=DAY),
        resolve_hold_max: span(source, "incident.resolve_hold_max", zero..=DAY),
        absorb_window: span(source, "incident.absorb_window", zero..=10 * MINUTE),
    }
}

fn canary(source: &mut Source) -> CanarySettings {
    CanarySettings {
        enabled: source.take("canary.enabled"),
        interval: span(source, "canary.interval", millis(100)..=HOUR),
        deadline: span(source, "canary.deadline", millis(100)..=MINUTE),
        keys: count(source, "canary.keys", 2..=64),
        concurrent_max: count(source, "canary.concurrent", 1..=10_000),
        recheck_interval: span(source, "canary.recheck", SECOND..=DAY),
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
