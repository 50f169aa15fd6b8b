//! `check ENDPOINT`: one audit without a monitor, by the same probe and the same rules.

use std::time::Duration;

use monitorable::monitor::v1 as wire;
use service_kit::clock::{Clock, Now};
use tokio::sync::mpsc;

use super::args::{Check, Output};
use super::commands::{audit_table, metadata, tls, token};
use super::show::{self, Cell, Table};
use super::verdict;
use super::{Exit, Failed};
use crate::audit::assess::{Material, OpenFinding, assess};
use crate::audit::claims::{Claims, WatchPhase};
use crate::audit::deliveries::Witnessed;
use crate::audit::peers::Peers;
use crate::audit::rule::{Outcome, Part, Rule, View};
use crate::audit::rules::RULES;
use crate::audit::settings::{AuditSettings, RuleSettings};
use crate::domain::{
    CallError, ComponentId, Finding, FindingState, ProbeEvent, Probed, WatchMessage,
};
use crate::edge::convert;
use crate::edge::validate::target::target;
use crate::evidence::Evidence;
use crate::evidence::limits::EvidenceLimits;
use crate::evidence::loss::Losses;
use crate::fleet::api::{Command, FleetHandle, Probes, Target};
use crate::json;
use crate::probe::ProbeSet;
use crate::probe::settings::ProbeSettings;

/// Under which id the probe runs, and what an endpoint is called that says no id of its own.
const NAMELESS: &str = "unnamed";
/// Between two rounds of calls; a window holds at least three, so that frozen answers show.
const ROUNDS_IN_WINDOW: u32 = 3;
/// Messages of the probe that may wait.
const MAILBOX: usize = 64;
/// Pulses kept of each kind; a window at the fastest beat holds no more that matter.
const PULSES: usize = 64;

/// What was seen in the window.
struct Seen {
    claims: Claims,
    began: Now,
    newest: Option<Probed>,
    messages: u64,
    sequences: Option<(u64, u64)>,
    last_message: Option<Now>,
    longest_gap: Duration,
    watch_error: Option<CallError>,
}

/// Audits an endpoint once.
///
/// # Errors
/// `BadArguments` where endpoint or options are not valid.
pub(crate) async fn run(arguments: Check) -> Result<Exit, Failed> {
    let settings = ProbeSettings {
        audit_interval: arguments.window / ROUNDS_IN_WINDOW,
        call_deadline: arguments.deadline,
        connect_deadline: arguments.deadline.mul_f64(0.75),
        ..ProbeSettings::default()
    };
    let target = component(&arguments, &settings)?;
    let endpoint = target.endpoint.clone();
    let seen = look(target, settings, arguments.window).await;
    let seen = seen.ok_or_else(|| {
        let why = format!("{endpoint} answered no call within the window");
        Failed::new(Exit::CallFailed, why)
    })?;
    Ok(seen.conclude(&endpoint, arguments.format.output))
}

fn component(arguments: &Check, settings: &ProbeSettings) -> Result<Target, Failed> {
    let token = token(&arguments.access)?;
    let component = wire::Component {
        component_id: NAMELESS.to_owned(),
        endpoint: arguments.endpoint.clone(),
        tls: tls(&arguments.access)?,
        metadata: metadata(&arguments.access, token.as_deref()),
        ..Default::default()
    };
    target(component, "", settings).map_err(|error| Failed::new(Exit::BadArguments, error.0))
}

/// Runs a probe for the window and one more round. `None`: no call ended in time.
async fn look(target: Target, settings: ProbeSettings, window: Duration) -> Option<Seen> {
    let clock = Clock::system();
    let (sender, mut events) = mpsc::channel(MAILBOX);
    let (mut probes, pulse) = ProbeSet::new(settings, clock);
    let pulse = tokio::spawn(pulse);
    let fleet = FleetHandle::new(sender, settings.call_deadline);
    probes.start(target, 0, fleet);
    let mut seen = Seen::new(clock.now());
    let window_over = tokio::time::sleep(window);
    tokio::pin!(window_over);
    let mut last_round = false;
    // Two deadlines: a round may be under way when the last one is asked for.
    let last_deadline = window + settings.call_deadline * 2 + Duration::from_secs(1);
    let looking = async {
        loop {
            tokio::select! {
                () = &mut window_over, if !last_round => {
                    last_round = true;
                    probes.audit_now(NAMELESS);
                }
                command = events.recv() => match command {
                    Some(Command::Probe { event, .. }) => {
                        if seen.take(event, clock.now(), last_round) {
                            return;
                        }
                    }
                    Some(_) => {}
                    None => return,
                }
            }
        }
    };
    // What was seen until then counts.
    let _ = tokio::time::timeout(last_deadline, looking).await;
    pulse.abort();
    seen.newest.is_some().then_some(seen)
}

impl Seen {
    fn new(now: Now) -> Self {
        Self {
            claims: Claims::new(PULSES, now),
            began: now,
            newest: None,
            messages: 0,
            sequences: None,
            last_message: None,
            longest_gap: Duration::ZERO,
            watch_error: None,
        }
    }

    /// Whether everything has been seen.
    fn take(&mut self, event: ProbeEvent, now: Now, last_round: bool) -> bool {
        match event {
            ProbeEvent::Watched(message) => self.watched(message, now),
            ProbeEvent::WatchEnded => {
                self.claims.watch_lost(WatchPhase::Ended, now);
            }
            ProbeEvent::WatchFailed(error) => {
                self.watch_error = Some(error.clone());
                self.claims.watch_lost(WatchPhase::Failed(error), now);
            }
            // A check hands nothing in.
            ProbeEvent::Canary(_) | ProbeEvent::NoCanary => {}
            ProbeEvent::Probed(probed) => {
                self.called(&probed, now);
                let unreachable = matches!(probed.health, Err(CallError::Unreachable(_)));
                self.newest = Some(*probed);
                // Nothing more is to be learned where nobody is.
                return last_round || unreachable;
            }
            ProbeEvent::Glanced(probed) => self.called(&probed, now),
        }
        false
    }

    fn called(&mut self, probed: &Probed, now: Now) {
        self.claims.probed(probed, now);
        if let Ok(answer) = &probed.metrics {
            self.claims.counted(answer, Witnessed::default());
        }
    }

    fn watched(&mut self, message: WatchMessage, now: Now) {
        let sequence = message.health.sequence;
        let first = self.sequences.map_or(sequence, |(first, _)| first);
        self.sequences = Some((first, sequence));
        if let Some(last) = self.last_message.replace(now) {
            self.longest_gap = self.longest_gap.max(now.since(last.monotonic));
        }
        self.messages += 1;
        self.watch_error = None;
        self.claims.watched(message, now);
    }

    /// Asks the rules, says what came out, and gives the exit code.
    fn conclude(self, endpoint: &str, output: Output) -> Exit {
        let now = Clock::system().now();
        let evidence = Evidence::new(EvidenceLimits::default());
        let losses = Losses::default();
        let peers = Peers::default();
        let view = View {
            claims: &self.claims,
            evidence: &evidence,
            losses: &losses,
            awake_since: self.began.monotonic,
            registered: None,
            peers: &peers,
            canary: None,
        };
        let settings = RuleSettings::default();
        // Without a witness the other rules have nothing to say.
        let outcomes: Vec<_> = RULES
            .iter()
            .filter(|rule| rule.part == Part::Claims)
            .map(|rule| (rule, (rule.check)(&view, &settings, now)))
            .collect();
        let id = self.component_id();
        let findings: Vec<_> = outcomes
            .iter()
            .flat_map(|(rule, outcome)| {
                let violations = match outcome {
                    Outcome::Decided(violations) | Outcome::Mild(violations) => {
                        violations.as_slice()
                    }
                    Outcome::Undecided(_) => &[],
                };
                violations.iter().map(|violation| {
                    let finding = Finding {
                        finding_id: format!("check-{}", rule.id),
                        rule_id: rule.id,
                        component_id: id.clone(),
                        subject: violation.subject.clone(),
                        severity: outcome.severity(rule.severity),
                        open_time: now.wall,
                        resolve_time: None,
                        message: violation.message.clone(),
                        evidence: violation.evidence.clone(),
                        state: FindingState::Open,
                        reopened: 0,
                        in_maintenance: false,
                    };
                    (finding, rule.part, violation.conclusive)
                })
            })
            .collect();
        let open = findings
            .iter()
            .map(|(finding, part, conclusive)| OpenFinding {
                finding,
                part: *part,
                conclusive: *conclusive,
            })
            .collect();
        let Some(probed) = self.newest.clone() else {
            return Exit::CallFailed;
        };
        let material = Material {
            component_id: &id,
            view,
            probed,
            open,
            resolved: Vec::new(),
            witness_coverage: None,
            history: 0,
            monitor_stalled: false,
            monitor_blind: false,
        };
        let audit = assess(material, &settings, &AuditSettings::default(), now);
        let audit = convert::audit(&audit);
        let exit = self.exit(&audit);
        match output {
            Output::Table => self.say(endpoint, &audit, &outcomes, exit),
            Output::Json => {
                show::say_json(&self.json(endpoint, &audit, &outcomes, exit));
            }
        }
        exit
    }

    /// As an audit's, and the watch is a call too.
    fn exit(&self, audit: &wire::Audit) -> Exit {
        match verdict::exit(audit) {
            Exit::Ok if self.watch_error.is_some() => Exit::CallFailed,
            exit => exit,
        }
    }

    fn component_id(&self) -> ComponentId {
        let claimed = self.claims.health.as_ref();
        let claimed = claimed.map(|(health, _)| health.component_id.as_str());
        claimed
            .filter(|id| !id.is_empty())
            .unwrap_or(NAMELESS)
            .into()
    }

    fn watch_words(&self) -> String {
        let failed = match &self.watch_error {
            Some(error) => format!("; then: {error}"),
            None => String::new(),
        };
        match self.sequences {
            None => format!("no message{failed}"),
            Some((first, last)) => {
                let promise = self.claims.watch.promise;
                let promise = promise.map_or("none".to_owned(), |promise| format!("{promise:.1?}"));
                format!(
                    "{} messages, sequence {first} to {last}, longest silence {:.1?}, promised {promise}{failed}",
                    self.messages, self.longest_gap
                )
            }
        }
    }

    fn say(&self, endpoint: &str, audit: &wire::Audit, outcomes: &[Asked<'_>], exit: Exit) {
        let mut table = audit_table(audit);
        table.row(vec![Cell::plain("stream"), Cell::plain(self.watch_words())]);
        show::say_table(&table);
        let mut rules = Table::new(&["RULE", "RESULT", "WHY"]);
        for (rule, outcome) in outcomes {
            for (result, why) in results(rule, outcome) {
                rules.row(vec![
                    Cell::plain(rule.id),
                    Cell::plain(result),
                    Cell::plain(why),
                ]);
            }
        }
        show::say("\n");
        show::say_table(&rules);
        let unasked = RULES.len() - outcomes.len();
        show::say(&format!(
            "\n{unasked} rules need witnesses or synthetic runs beside the claims and were not asked.\n"
        ));
        let meaning = match exit {
            Exit::Ok => "no claim was contradicted",
            Exit::BadArguments => "the arguments are not valid",
            Exit::CannotConnect => "it cannot be connected to",
            Exit::CallFailed => "a call failed or timed out",
            Exit::Unhealthy => "it says itself that it is not well",
            Exit::ClaimsDoNotHold => "its claims do not hold",
        };
        let (code, endpoint) = (exit as u8, show::printable(endpoint));
        show::say(&format!("{endpoint}: {meaning} (exit code {code})\n"));
    }

    fn json(
        &self,
        endpoint: &str,
        audit: &wire::Audit,
        outcomes: &[Asked<'_>],
        exit: Exit,
    ) -> serde_json::Value {
        let rules: Vec<_> = outcomes
            .iter()
            .flat_map(|(rule, outcome)| {
                results(rule, outcome).into_iter().map(|(result, why)| {
                    serde_json::json!({ "rule_id": rule.id, "result": result, "message": why })
                })
            })
            .collect();
        serde_json::json!({
            "endpoint": endpoint,
            "exit_code": exit as u8,
            "audit": json::write(audit),
            "rules": rules,
            "stream": {
                "messages": self.messages,
                "first_sequence": self.sequences.map(|(first, _)| first),
                "last_sequence": self.sequences.map(|(_, last)| last),
                "longest_silence_seconds": self.longest_gap.as_secs_f64(),
                "error": self.watch_error.as_ref().map(ToString::to_string),
            },
        })
    }
}

/// A rule and its answer.
type Asked<'a> = (&'a Rule, Outcome);

/// Each result of a rule in a word, and why.
fn results(rule: &Rule, outcome: &Outcome) -> Vec<(&'static str, String)> {
    match outcome {
        Outcome::Undecided(why) => vec![("undecided", (*why).to_owned())],
        Outcome::Decided(violations) | Outcome::Mild(violations) if violations.is_empty() => {
            vec![("clear", format!("looked for: {}", rule.summary))]
        }
        Outcome::Decided(violations) | Outcome::Mild(violations) => violations
            .iter()
            .map(|violation| {
                let word = if violation.conclusive {
                    "broken"
                } else {
                    "suspected"
                };
                (word, violation.message.clone())
            })
            .collect(),
    }
}
