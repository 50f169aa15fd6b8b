//! `drill`: injects each silent failure for real, and shows which ones a monitor found.

use std::path::{Path, PathBuf};

use ::drill::report::{Outcome, Row};
use ::drill::runner::{Options, Refusal};
use ::drill::scenario::Scenario;
use ::drill::scenarios::SCENARIOS;
use serde_json::json;

use super::args::{Drill, DrillOutput};
use super::show::{self, Cell, Table};
use super::{Exit, Failed};

/// The bridge's binary, beside the monitor's own.
const BRIDGE: &str = "bridge-service";

/// Runs the drill, or only lists it.
///
/// # Errors
/// `BadArguments`, or `CallFailed` where it could not be run.
pub(crate) async fn run(arguments: Drill) -> Result<Exit, Failed> {
    let output = arguments.output;
    if arguments.list {
        return Ok(list(output));
    }
    let options = options(arguments)?;
    // A scenario whose world is not as it must be panics; the row says so.
    std::panic::set_hook(Box::new(|_| ()));
    let report = ::drill::runner::run(&options, progress).await;
    let report = report.map_err(|refusal| match refusal {
        Refusal::BadArguments(why) => Failed::new(Exit::BadArguments, why),
        Refusal::CannotRun(why) => Failed::new(Exit::CallFailed, why),
    })?;
    // Whoever closed the output does not want to know.
    let _ = match output {
        DrillOutput::Table => show::say(&report.table()),
        DrillOutput::Json => show::say_json(&report.json()),
        DrillOutput::Markdown => show::say(&report.markdown()),
    };
    Ok(match report.outcome() {
        Outcome::Passed => Exit::Ok,
        Outcome::Failed => Exit::ClaimsDoNotHold,
        Outcome::Incomplete => Exit::CallFailed,
    })
}

fn options(arguments: Drill) -> Result<Options, Failed> {
    let own = || {
        std::env::current_exe().map_err(|error| {
            let why = format!(
                "this program does not know its own file ({error}); name it with --monitor-binary"
            );
            Failed::new(Exit::CallFailed, why)
        })
    };
    let monitor = match arguments.monitor_binary {
        Some(path) => path,
        None => own()?,
    };
    let bridge = match arguments.bridge {
        Some(path) => path,
        None => beside(&own()?),
    };
    Ok(Options {
        bridge,
        monitor,
        only: arguments.only,
        disabled: arguments.disable_rule,
        patience: arguments.patience,
        jobs: arguments.jobs as usize,
    })
}

fn beside(own: &Path) -> PathBuf {
    own.with_file_name(BRIDGE)
}

/// One line a class, on standard error: the report itself comes at the end.
fn progress(row: &Row) {
    eprintln!("{}", show::printable(&row.to_string()));
}

fn list(output: DrillOutput) -> Exit {
    match output {
        DrillOutput::Table => {
            let mut table = Table::new(&["RULE", "FAULT", "HARMLESS TWIN"]);
            for scenario in SCENARIOS {
                let cells = [scenario.rule, scenario.fault, scenario.twin];
                table.row(cells.map(Cell::plain).into());
            }
            show::say_table(&table);
        }
        DrillOutput::Json => {
            show::say_json(&SCENARIOS.iter().map(listed).collect());
        }
        DrillOutput::Markdown => {
            show::say("| rule | fault | harmless twin |\n|---|---|---|\n");
            for Scenario {
                rule, fault, twin, ..
            } in SCENARIOS
            {
                show::say(&format!("| `{rule}` | {fault} | {twin} |\n"));
            }
        }
    }
    Exit::Ok
}

fn listed(scenario: &Scenario) -> serde_json::Value {
    json!({ "rule": scenario.rule, "fault": scenario.fault, "twin": scenario.twin })
}
