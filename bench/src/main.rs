//! How fast the two services are, beside the best of their kind, with every event checked.

mod audits;
mod bare;
mod calls;
mod check;
mod cpu;
mod dialect;
mod failure;
mod frames;
mod load;
mod machine;
mod payload;
mod process;
mod publisher;
mod readers;
mod report;
mod result;
mod systems;
mod timer;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use failure::Failure;
use machine::Machine;
use report::{Circumstances, Section};
use systems::System;
use workloads::{Plan, Workload};

/// Connections of every workload but the widest, and what else is open.
const OPEN_FILES: u64 = 11_000;

/// Measures the services beside their peers, each on a core of its own, the load on another.
#[derive(Debug, Parser)]
#[command(name = "bench", bin_name = "cargo xtask bench")]
struct Options {
    /// What to measure; everything where nothing is named.
    workloads: Vec<Workload>,
    /// These systems only, separated by commas; ratios need both sides.
    #[arg(long, value_delimiter = ',', value_name = "SYSTEM,...")]
    systems: Vec<System>,
    /// Rounds; each measures every system once.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// Length of the soak, in minutes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    minutes: u64,
    /// Length of one measurement, in seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Write every single measurement to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables to this file too.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Serve the bare health check that W5 measures, and nothing else.
    #[arg(long, hide = true)]
    serve_health: bool,
    /// Serve so many of the components that W4 lets the monitor audit, and nothing else.
    #[arg(long, hide = true, value_name = "COUNT")]
    serve_components: Option<usize>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match (runtime, options.serve_components) {
        (Ok(runtime), _) if options.serve_health => runtime.block_on(bare::serve()),
        (Ok(runtime), Some(count)) => runtime.block_on(audits::components::serve(count)),
        (Ok(runtime), None) => runtime.block_on(run(&options)),
        (Err(error), _) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), Failure> {
    let machine = Machine::here();
    machine::pin(machine::LOAD_CORE)?;
    let allowed = machine::allow_open_files(OPEN_FILES);
    if allowed < OPEN_FILES {
        return Err(Failure::new(format!(
            "open files: {allowed} are allowed, and {OPEN_FILES} are needed; see `ulimit -Hn`"
        )));
    }
    let (mut versions, mut skipped, mut systems) = (Vec::new(), Vec::new(), Vec::new());
    let wanted = |system: &System| options.systems.is_empty() || options.systems.contains(system);
    for system in System::ALL.into_iter().filter(wanted) {
        match system.version() {
            Ok(version) => {
                systems.push(system);
                versions.push((system.name(), version));
            }
            Err(why) if system == System::Bridge => return Err(why),
            Err(why) => skipped.push((system.name(), why.to_string())),
        }
    }
    let circumstances = Circumstances {
        command: command(),
        machine,
        versions,
        skipped,
        rounds: options.rounds as usize,
        seconds: options.seconds as f64,
    };
    let plan = Plan {
        systems,
        rounds: options.rounds as usize,
        seconds: options.seconds as f64,
        minutes: options.minutes,
    };
    let heading = circumstances.markdown();
    println!("{heading}");
    let workloads = match &options.workloads[..] {
        [] => Workload::by_default(),
        named => named.to_vec(),
    };
    let mut sections: Vec<Section> = Vec::new();
    for workload in workloads {
        let section = workload.run(&plan).await?;
        println!("{}", section.markdown());
        sections.push(section);
    }
    if let Some(file) = &options.json {
        std::fs::write(file, format!("{:#}\n", circumstances.json(&sections)))?;
    }
    if let Some(file) = &options.markdown {
        let sections: Vec<String> = sections.iter().map(Section::markdown).collect();
        std::fs::write(file, format!("{heading}\n{}", sections.join("\n")))?;
    }
    Ok(())
}

/// What to type to measure this again.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask bench {}", arguments.join(" "))
        .trim_end()
        .to_owned()
}
