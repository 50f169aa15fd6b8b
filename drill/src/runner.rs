//! Plays scenarios, several at a time, and says what came of each.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use service_kit::clock::{Clock, Now};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::findings::Told;
use crate::report::{Fate, Report, Row};
use crate::scenario::{Act, Scenario, Threshold};
use crate::scenarios::SCENARIOS;
use crate::settings::MonitorSettings;
use crate::stage::Stage;

/// How long a harmless twin is watched after its act: longer than any fault may take to be found.
const QUIET_WATCH: Duration = Duration::from_secs(8);
/// How long one side of a scenario may take in all.
const DEADLINE: Duration = Duration::from_secs(180);

/// What to drill, and with what.
#[derive(Clone, Debug)]
pub struct Options {
    /// A bridge with the feature `fault-injection`.
    pub bridge: PathBuf,
    /// The monitor.
    pub monitor: PathBuf,
    /// These rules only. Empty: all.
    pub only: Vec<String>,
    /// Rules that the monitor must not ask, so that the drill itself can be tried.
    pub disabled: Vec<String>,
    /// How long a fault may stay unfound after it became observable.
    pub patience: Duration,
    /// Scenarios played at once.
    pub jobs: usize,
}

/// Why a drill could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The options are not valid.
    BadArguments(String),
    /// What is needed is not there.
    CannotRun(String),
}

/// Plays every scenario that was asked for, each with its twin.
///
/// # Errors
/// Where nothing could be played; a scenario that fails by itself is a row of the report.
pub async fn run(options: &Options, progress: impl Fn(&Row)) -> Result<Report, Refusal> {
    let scenarios = chosen(&options.only)?;
    let defaults = MonitorSettings::of(&options.monitor);
    let defaults = defaults.await.map_err(Refusal::CannotRun)?;
    if !options.bridge.is_file() {
        let shown = options.bridge.display();
        return Err(Refusal::CannotRun(format!(
            "{shown} is not there; it must be a bridge-service built with --features fault-injection"
        )));
    }
    let defaults = disable(defaults, &options.disabled)?;
    let places = Arc::new(Semaphore::new(options.jobs.max(1)));
    let mut playing = JoinSet::new();
    for (order, scenario) in scenarios.into_iter().enumerate() {
        let places = places.clone();
        let player = Player {
            scenario,
            options: options.clone(),
            settings: scenario
                .settings
                .iter()
                .fold(defaults.clone(), |all, (path, value)| all.with(path, value)),
        };
        playing.spawn(async move { (order, player.play(&places).await) });
    }
    let mut rows = Vec::new();
    while let Some(played) = playing.join_next().await {
        let (order, row) = played.map_err(|error| Refusal::CannotRun(error.to_string()))?;
        progress(&row);
        rows.push((order, row));
    }
    rows.sort_by_key(|(order, _)| *order);
    Ok(Report::new(rows.into_iter().map(|(_, row)| row).collect()))
}

/// The scenarios of these rules, in the catalogue's order.
fn chosen(only: &[String]) -> Result<Vec<&'static Scenario>, Refusal> {
    for rule in only {
        if SCENARIOS.iter().all(|scenario| scenario.rule != rule) {
            let known: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.rule).collect();
            return Err(Refusal::BadArguments(format!(
                "--only: {rule:?} is no rule of the drill; allowed are {}",
                known.join(", ")
            )));
        }
    }
    let wanted =
        |scenario: &&Scenario| only.is_empty() || only.iter().any(|rule| rule == scenario.rule);
    Ok(SCENARIOS.iter().filter(wanted).collect())
}

fn disable(settings: MonitorSettings, disabled: &[String]) -> Result<MonitorSettings, Refusal> {
    const PATH: &str = "rules.disabled";
    if disabled.is_empty() {
        return Ok(settings);
    }
    if !settings.has(PATH) {
        let why = format!("--disable-rule: this monitor has no setting {PATH}");
        return Err(Refusal::BadArguments(why));
    }
    Ok(settings.with(PATH, &disabled.join(",")))
}

struct Player {
    scenario: &'static Scenario,
    options: Options,
    settings: MonitorSettings,
}

/// What one side of a scenario showed.
struct Shown {
    broke_at: Option<(Now, Now)>,
    found: Option<Told>,
    all: Arc<Vec<Told>>,
}

impl Player {
    async fn play(self, places: &Semaphore) -> Row {
        let threshold = self.threshold();
        let (fault, twin) = tokio::join!(
            self.side(
                places,
                self.scenario.inject,
                Some(self.options.patience + threshold)
            ),
            self.side(places, self.scenario.act_twin, None),
        );
        let (mut also, mut invented) = (BTreeSet::new(), Vec::new());
        let (found, mut trouble) = match fault {
            Ok(shown) => {
                also = self.after_the_fault(&shown);
                invented.extend(self.before_the_fault(&shown));
                (found(&shown, threshold), None)
            }
            Err(why) => (None, Some(format!("fault: {why}"))),
        };
        match twin {
            Ok(shown) => invented.extend(self.on_the_twin(&shown)),
            Err(why) => {
                trouble.get_or_insert_with(|| format!("twin: {why}"));
            }
        }
        Row {
            rule: self.scenario.rule,
            fault: self.scenario.fault,
            twin: self.scenario.twin,
            threshold,
            fate: match (trouble, found) {
                (Some(why), _) => Fate::NotRun(why),
                (None, Some((after, message))) => Fate::Found { after, message },
                (None, None) => Fate::Missed,
            },
            also,
            invented,
        }
    }

    /// Plays one side on a stage of its own. With a patience it waits for the rule to find it, and
    /// without one it watches for a while.
    async fn side(
        &self,
        places: &Semaphore,
        act: Act,
        patience: Option<Duration>,
    ) -> Result<Shown, String> {
        let _place = places.acquire().await.map_err(|error| error.to_string())?;
        let (bridge, monitor) = (self.options.bridge.clone(), self.options.monitor.clone());
        let (settings, rule) = (self.settings.clone(), self.scenario.rule);
        let played = tokio::spawn(async move {
            let mut stage = Stage::open(bridge, monitor, settings).await;
            act(&mut stage).await;
            let found = match (patience, stage.broke_at()) {
                (Some(patience), Some((began, observable))) => {
                    let wait = observable.since(Clock::system().now().monotonic);
                    stage.findings().of_rule(rule, began, wait + patience).await
                }
                (Some(_), None) => panic!("the scenario never said when it broke"),
                (None, _) => {
                    tokio::time::sleep(QUIET_WATCH).await;
                    None
                }
            };
            Shown {
                broke_at: stage.broke_at(),
                found,
                all: stage.findings().so_far(),
            }
        });
        let stop = played.abort_handle();
        match tokio::time::timeout(DEADLINE, played).await {
            Ok(Ok(shown)) => Ok(shown),
            Ok(Err(error)) => Err(said(error)),
            Err(_) => {
                stop.abort();
                Err(format!("it did not end within {DEADLINE:?}"))
            }
        }
    }

    fn threshold(&self) -> Duration {
        match self.scenario.threshold {
            Threshold::None => Duration::ZERO,
            Threshold::Fixed(time) => time,
            Threshold::Setting(path) => self.settings.duration(path),
        }
    }

    /// Findings from before the fault: alarms about a world that was well.
    fn before_the_fault(&self, shown: &Shown) -> Vec<String> {
        let Some((began, _)) = shown.broke_at else {
            return Vec::new();
        };
        let early = |told: &&Told| told.at.monotonic < began.monotonic;
        let early = shown.all.iter().filter(early);
        early
            .map(|told| described("before the fault", told))
            .collect()
    }

    /// What other rules saw of the same fault.
    fn after_the_fault(&self, shown: &Shown) -> BTreeSet<String> {
        let Some((began, _)) = shown.broke_at else {
            return BTreeSet::new();
        };
        let late = |told: &&Told| told.at.monotonic >= began.monotonic;
        let rules = shown
            .all
            .iter()
            .filter(late)
            .map(|told| &told.finding.rule_id);
        rules
            .filter(|rule| **rule != self.scenario.rule)
            .cloned()
            .collect()
    }

    fn on_the_twin(&self, shown: &Shown) -> Vec<String> {
        let wrong = |told: &&Told| {
            !self
                .scenario
                .twin_may_show
                .contains(&&*told.finding.rule_id)
        };
        let wrong = shown.all.iter().filter(wrong);
        wrong.map(|told| described("on the twin", told)).collect()
    }
}

/// The time to find, after the fault was observable and its threshold had passed.
fn found(shown: &Shown, threshold: Duration) -> Option<(Duration, String)> {
    let (_, observable) = shown.broke_at?;
    let told = shown.found.as_ref()?;
    let after = told.at.since(observable.later(threshold).monotonic);
    Some((after, told.finding.message.clone()))
}

fn described(when: &str, told: &Told) -> String {
    let finding = &told.finding;
    format!(
        "{when}: {} on {}: {}",
        finding.rule_id, finding.component_id, finding.message
    )
}

/// Why a side could not be played.
fn said(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "it was stopped".to_owned();
    };
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let text = text.unwrap_or_else(|| "it failed, and did not say why".to_owned());
    text.lines().next().unwrap_or_default().to_owned()
}
