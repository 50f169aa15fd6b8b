//! `cargo xtask instructions`: counts the instructions of the hot paths, holds them against what was
//! kept, and shows how they grow. Counts repeat from run to run where seconds do not.

mod baseline;
mod counted;
mod growth;

use std::path::Path;

use crate::shell::{Failure, answers, cargo, root, said, step};
use crate::test::target_directory;
use baseline::{Baseline, Circumstances};
use counted::Counted;

/// The services that list hot paths.
const SERVICES: [&str; 2] = ["bridge-service", "monitor-service"];
/// The one function whose instructions count, with all that it calls.
const MEASURED: &str = "yardstick::measured";
/// What was kept.
const BASELINE: &str = "xtask/instructions.toml";
/// Where the table of growth stands, and what it begins behind.
const DOCUMENT: &str = "docs/GROWTH.md";
const MARK: &str = "<!-- What follows is written by `cargo xtask instructions --write`. -->\n";
const NO_VALGRIND: &str = "valgrind is not on this machine, and it counts the instructions; get \
                           it from your system (Debian, Ubuntu: apt-get install valgrind; Fedora: \
                           dnf install valgrind) and run again";

/// What `instructions` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Keep what is counted as the new baseline, and the table of growth in docs/GROWTH.md.
    #[arg(long)]
    write: bool,
    /// Show only how the costs grow, and hold them against no baseline.
    #[arg(long, conflicts_with = "write")]
    growth: bool,
}

/// Counts, shows, and fails where a path costs more than was kept or grows more than it may.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    if !answers("valgrind", "--version") {
        return Err(Failure::new(NO_VALGRIND));
    }
    let mut counted = Vec::new();
    for service in SERVICES {
        counted.extend(count(service)?);
    }
    let curves = growth::curves(&counted);
    let table = growth::table(&curves);
    println!("{table}");
    let mut failures = growth::steep(&curves);
    if options.write {
        keep(&counted, &table)?;
    } else if !options.growth {
        failures.extend(compare(&counted)?);
    }
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure::new(failures.join("\n")))
}

/// Counts one service's hot paths.
fn count(service: &str) -> Result<Vec<Counted>, Failure> {
    let bench = || {
        let mut bench = cargo("bench --quiet --features hot-paths --bench hot_paths --package");
        bench.arg(service);
        bench
    };
    step(
        &format!("build the hot paths of {service}"),
        bench().arg("--no-run"),
    )?;
    println!("==> count the instructions of {service}");
    let folder = target_directory()?.join("instructions").join(service);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let files = folder.join("counted");
    let output = bench()
        .args(["--config", &runner(&files), "--", "--count"])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        let why = format!("counting {service} failed: {}", output.status);
        return Err(Failure::new(why));
    }
    counted::read(&String::from_utf8_lossy(&output.stdout), &files)
}

/// Has cargo run the benchmark under callgrind.
fn runner(files: &Path) -> String {
    format!(
        "target.'cfg(all())'.runner = ['valgrind', '--quiet', '--tool=callgrind', \
         '--collect-atstart=no', '--toggle-collect={MEASURED}', '--dump-after={MEASURED}', \
         '--callgrind-out-file={}']",
        files.display()
    )
}

/// What this machine counts with.
fn circumstances() -> Circumstances {
    let rustc = said("rustc", "-vV");
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    Circumstances {
        host: host.unwrap_or_default().to_owned(),
        rustc: rustc.lines().next().unwrap_or_default().to_owned(),
        valgrind: said("valgrind", "--version"),
    }
}

fn keep(counted: &[Counted], table: &str) -> Result<(), Failure> {
    let baseline = Baseline::of(counted, circumstances());
    std::fs::write(root().join(BASELINE), baseline.to_text()?)?;
    let document = root().join(DOCUMENT);
    let page = std::fs::read_to_string(&document)
        .map_err(|error| Failure::new(format!("{DOCUMENT}: {error}")))?;
    let Some((text, _)) = page.split_once(MARK) else {
        return Err(Failure::new(format!("{DOCUMENT} has no line {MARK}")));
    };
    std::fs::write(document, format!("{text}{MARK}\n{table}"))?;
    println!("==> kept in {BASELINE} and {DOCUMENT}");
    Ok(())
}

/// Shows each path beside what was kept; a sentence for each that is not as it may be.
fn compare(counted: &[Counted]) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(root().join(BASELINE))
        .map_err(|error| Failure::new(format!("{BASELINE}: {error}; `--write` makes it")))?;
    let baseline = Baseline::read(&text)?;
    if let Some(why) = baseline.differs_from(&circumstances()) {
        // Another compiler makes other code of the same text.
        println!("SKIPPED the comparison with {BASELINE}: {why}");
        return Ok(Vec::new());
    }
    let changes = baseline.compare(counted);
    println!("{}", baseline.table(&changes));
    Ok(baseline.offences(&changes))
}
