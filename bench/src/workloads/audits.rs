//! W4, audits: what one costs the monitor, what a component does, and how soon a fault is found,
//! with a crowd of cheap components; beside a health prober with the same crowd.

use std::time::Duration;

use serde::Serialize;
use service_kit::clock::Clock;

use super::Plan;
use crate::audits::Rate;
use crate::audits::components::id;
use crate::audits::crowd::Crowd;
use crate::audits::prober::{self, Prober};
use crate::audits::subject::{Findings, Subject};
use crate::failure::Failure;
use crate::report::{Bar, Section, Table, number};
use crate::result::median;

const FEW: usize = 1_000;
/// So many that audits each [`SHORTEST`] are more than a core can make.
const BUSY: usize = 2_000;
pub(super) const MANY: usize = 10_000;
/// Audits kept of each component, at the default.
pub(super) const HISTORY: usize = 50;
/// Between two audits while a history is filled: short, and not more than a core can make, or the
/// monitor would be too busy to take what is still to be registered.
const FILLING_INTERVAL: &str = "1s";
/// Of so many components one is asked whether its history is full.
const SAMPLE: usize = 100;
/// The shortest pause between two audits of a component that can be set.
const SHORTEST: &str = "100ms";
/// Components that lie, and components that die.
const FAULTS: usize = 10;
/// A measurement is so many times as long as others: processor time is counted in steps of 10 ms,
/// and a paced monitor uses few of them.
const LONGER: f64 = 2.0;
/// Nothing but audits: no looks in between, and beats that are rare.
const AUDITS_ALONE: [&str; 4] = [
    "--probe-glance-interval",
    "1d",
    "--probe-beat-interval",
    "20s",
];

/// What checks the components.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Checker {
    Paced,
    Saturated,
    Prober,
}

#[derive(Clone, Debug, Serialize)]
struct Row {
    checker: Checker,
    rounds: Vec<Rate>,
}

/// How long it took until the monitor said what was done to a component.
#[derive(Clone, Debug, Serialize)]
struct Delays {
    deed: &'static str,
    rules: Vec<String>,
    seconds: Vec<f64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Memory {
    empty_kib: u64,
    /// Each component audited once.
    watched_kib_each: f64,
    /// With a full history.
    full_kib_each: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Seen {
    rows: Vec<Row>,
    delays: Vec<Delays>,
    memory: Memory,
}

/// Measures costs once a round, delays and memory once.
///
/// # Errors
/// Where something does not start or answer, or what is found is not what was done.
pub(super) async fn run(plan: &Plan) -> Result<Section, Failure> {
    let prober = Prober::find();
    let mut crowd = Crowd::start(BUSY)?;
    let mut seen = Seen {
        rows: costs(plan, &crowd, prober.as_ref().ok()).await?,
        delays: delays(&mut crowd).await?,
        memory: memory().await?,
    };
    seen.rows.retain(|row| !row.rounds.is_empty());
    let note = match prober {
        Ok(prober) => prober.version,
        Err(why) => format!("{}: SKIPPED, {why}", prober::NAME),
    };
    Ok(section(&seen).note(note))
}

async fn costs(plan: &Plan, crowd: &Crowd, prober: Option<&Prober>) -> Result<Vec<Row>, Failure> {
    let length = Duration::from_secs_f64(plan.seconds * LONGER);
    let mut rows = [Checker::Paced, Checker::Saturated, Checker::Prober].map(|checker| Row {
        checker,
        rounds: Vec::new(),
    });
    for round in 0..plan.rounds {
        for row in &mut rows {
            eprintln!("    round {}, {}", round + 1, row.checker.name());
            let rate = match (row.checker, prober) {
                (Checker::Paced, _) => audits(crowd, FEW, "1s", length).await?,
                (Checker::Saturated, _) => audits(crowd, BUSY, SHORTEST, length).await?,
                (Checker::Prober, Some(prober)) => prober.measure(crowd, length).await?,
                (Checker::Prober, None) => continue,
            };
            row.rounds.push(rate);
        }
        rows.reverse();
    }
    rows.sort_by_key(|row| row.checker as u8);
    Ok(rows.into())
}

async fn audits(
    crowd: &Crowd,
    components: usize,
    interval: &str,
    length: Duration,
) -> Result<Rate, Failure> {
    let flags = [&AUDITS_ALONE[..], &["--probe-audit-interval", interval]].concat();
    let subject = Subject::start(&flags)?;
    subject.register(crowd, components).await?;
    subject.measure(crowd, length).await
}

/// At the default settings.
async fn delays(crowd: &mut Crowd) -> Result<Vec<Delays>, Failure> {
    let subject = Subject::start(&[])?;
    subject.register(crowd, FEW).await?;
    let mut findings = subject.findings().await?;
    let mut all = Vec::new();
    let mut victims = 0..;
    for deed in ["lie", "die"] {
        eprintln!("    {FAULTS} components {deed}");
        let mut delays = Delays {
            deed,
            rules: Vec::new(),
            seconds: Vec::new(),
        };
        for victim in victims.by_ref().take(FAULTS) {
            let (rule, seconds) = delay(crowd, deed, victim, &mut findings).await?;
            delays.seconds.push(seconds);
            if !delays.rules.contains(&rule) {
                delays.rules.push(rule);
            }
        }
        all.push(delays);
    }
    Ok(all)
}

async fn delay(
    crowd: &mut Crowd,
    deed: &str,
    victim: usize,
    findings: &mut Findings,
) -> Result<(String, f64), Failure> {
    let clock = Clock::system();
    let began = clock.now().monotonic;
    crowd.order(deed, victim)?;
    let found = findings.next().await?;
    let seconds = clock.now().since(began).as_secs_f64();
    let expected = id(victim);
    if found.component_id != expected {
        let (rule, on) = (found.rule_id, found.component_id);
        return Err(Failure::new(format!(
            "{rule} was found on {on}; expected was a finding on {expected}, which was told to {deed}"
        )));
    }
    Ok((found.rule_id, seconds))
}

async fn memory() -> Result<Memory, Failure> {
    eprintln!("    memory of {MANY}");
    let crowd = Crowd::start(MANY)?;
    let flags = [
        &AUDITS_ALONE[..],
        &["--probe-audit-interval", FILLING_INTERVAL],
    ]
    .concat();
    let full = with_full_histories(&crowd, &flags).await?;
    let each = |kib: u64| kib.saturating_sub(full.empty_kib) as f64 / MANY as f64;
    Ok(Memory {
        empty_kib: full.empty_kib,
        watched_kib_each: each(full.watched_kib),
        full_kib_each: each(full.subject.resident_kib()),
    })
}

/// A monitor that keeps as many audits of everybody as it ever will.
pub(super) struct Full {
    pub(super) subject: Subject,
    /// Its memory without components.
    empty_kib: u64,
    /// Its memory when each component had been audited once.
    watched_kib: u64,
}

/// Starts a monitor of the whole crowd and waits until it keeps [`HISTORY`] audits of each.
///
/// # Errors
/// Where it refuses a component, or is too slow.
pub(super) async fn with_full_histories(crowd: &Crowd, flags: &[&str]) -> Result<Full, Failure> {
    let subject = Subject::start(flags)?;
    let empty_kib = subject.resident_kib();
    subject.register(crowd, MANY).await?;
    let watched_kib = subject.resident_kib();
    subject.until_audits((MANY * HISTORY) as f64).await?;
    // Some are audited more often than others.
    for index in (0..MANY).step_by(SAMPLE) {
        subject.until_history(index, HISTORY).await?;
    }
    Ok(Full {
        subject,
        empty_kib,
        watched_kib,
    })
}

impl Checker {
    fn name(self) -> &'static str {
        match self {
            Self::Paced => "monitor, 1,000 components each second",
            Self::Saturated => "monitor, 2,000 as often as it can",
            Self::Prober => prober::NAME,
        }
    }
}

impl Seen {
    /// The middle of a figure over the rounds. `None`: it was not measured.
    fn median(&self, checker: Checker, of: fn(&Rate) -> f64) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.checker == checker)?;
        Some(median(row.rounds.iter().map(of).collect()))
    }

    fn costs(&self) -> Table {
        let header = [
            "",
            "audits or probes/s",
            "CPU µs each",
            "its core %",
            "load's core %",
        ];
        let line = |row: &Row| {
            let of = |of: fn(&Rate) -> f64| number(median(row.rounds.iter().map(of).collect()));
            vec![
                row.checker.name().to_owned(),
                of(|rate| rate.per_second),
                of(|rate| rate.cpu_us),
                of(|rate| rate.server_cpu_percent),
                of(|rate| rate.load_cpu_percent),
            ]
        };
        Table {
            caption: "Nothing but audits: no looks in between, and beats that are rare".to_owned(),
            header: header.map(str::to_owned).to_vec(),
            lines: self.rows.iter().map(line).collect(),
        }
    }

    fn delays(&self) -> Table {
        let header = ["told to", "found as", "median s", "worst s"];
        let line = |delays: &Delays| {
            let worst = delays.seconds.iter().copied().fold(0.0, f64::max);
            vec![
                delays.deed.to_owned(),
                delays.rules.join(", "),
                number(median(delays.seconds.clone())),
                number(worst),
            ]
        };
        Table {
            caption: format!(
                "From a fault to its finding at the default settings, {FAULTS} of {} components \
                 each, one after the other",
                number(FEW as f64)
            ),
            header: header.map(str::to_owned).to_vec(),
            lines: self.delays.iter().map(line).collect(),
        }
    }

    fn memory(&self) -> Table {
        let header = ["", "KiB RSS each"];
        let full = format!("with {HISTORY} audits of history");
        Table {
            caption: format!(
                "{} components and a watch stream for each; the history was filled by an audit \
                 every {FILLING_INTERVAL}",
                number(MANY as f64)
            ),
            header: header.map(str::to_owned).to_vec(),
            lines: vec![
                vec![
                    "audited once".to_owned(),
                    number(self.memory.watched_kib_each),
                ],
                vec![full, number(self.memory.full_kib_each)],
            ],
        }
    }
}

fn section(seen: &Seen) -> Section {
    let rate = |rate: &Rate| rate.per_second;
    let cost = |rate: &Rate| rate.cpu_us;
    let audits = seen.median(Checker::Saturated, rate);
    let probes = seen.median(Checker::Prober, rate);
    let ratio = audits.zip(probes).map(|(audits, probes)| audits / probes);
    Section::new("W4 audits")
        .note(
            "An audit is two calls on a connection that stays open, and every rule; a probe is one \
             health check on a new connection. All components are one process, on the load's core.",
        )
        .tables(vec![seen.costs(), seen.delays(), seen.memory()])
        .bars(vec![
            Bar::at_most(
                "CPU µs an audit, paced",
                seen.median(Checker::Paced, cost),
                80.0,
                None,
            ),
            Bar::at_most(
                "CPU µs an audit, saturated",
                seen.median(Checker::Saturated, cost),
                80.0,
                None,
            ),
            Bar::at_most(
                "10,000 components, KiB each",
                Some(seen.memory.full_kib_each),
                75.0,
                Some(32.0),
            ),
            Bar::at_least("audits/s ÷ blackbox_exporter's probes/s", ratio, 15.0, None),
        ])
        .data(seen)
}
