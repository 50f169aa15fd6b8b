//! `cargo xtask drill`: injects each silent failure for real, and shows what the monitor found.

use std::path::Path;
use std::process::Command;

use crate::shell::{Failure, cargo, command, root, said, step};
use crate::test::target_directory;

/// Where the report is kept.
const DOCUMENT: &str = "docs/DETECTION.md";
/// The build under test, as in the demo; what it finds in time, an optimized one does too.
const PROFILE: &str = "dev";
/// Where cargo puts it.
const FOLDER: &str = "debug";

/// What `drill` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// These rules only.
    #[arg(long, value_name = "RULE,...")]
    only: Option<String>,
    /// How many worlds stand at once.
    #[arg(long, value_name = "COUNT")]
    jobs: Option<u32>,
    /// Keep the report, with this machine and today's date, in docs/DETECTION.md.
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

/// Builds both services, the bridge once more with its fault points, and runs the drill.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let target = target_directory()?;
    let mut monitor = cargo("build -p monitor-service --profile");
    step("build the monitor", monitor.arg(PROFILE))?;
    // In a folder of its own, so that no other build is replaced by one that can fail silently.
    let faulty = target.join("fault-injection");
    let mut bridge = cargo("build -p bridge-service --features fault-injection --profile");
    bridge.arg(PROFILE).arg("--target-dir").arg(&faulty);
    step("build a bridge with fault points", &mut bridge)?;
    let mut drill = command(target.join(FOLDER).join("monitor-service"));
    drill.arg("drill");
    drill
        .arg("--bridge")
        .arg(faulty.join(FOLDER).join("bridge-service"));
    if let Some(only) = &options.only {
        drill.args(["--only", only]);
    }
    if let Some(jobs) = options.jobs {
        drill.args(["--jobs", &jobs.to_string()]);
    }
    if options.write {
        return write(&mut drill);
    }
    step("drill", &mut drill)
}

/// Runs the drill, and keeps its report whatever it says.
fn write(drill: &mut Command) -> Result<(), Failure> {
    println!("==> drill");
    drill.args(["--output", "markdown"]);
    let ran = drill.stderr(std::process::Stdio::inherit()).output()?;
    let report = String::from_utf8_lossy(&ran.stdout);
    if report.is_empty() {
        return Err(Failure::new(format!("drill failed: {}", ran.status)));
    }
    let page = format!("{INTRODUCTION}\n{}\n{report}", circumstances());
    std::fs::write(root().join(DOCUMENT), page)?;
    println!("{report}");
    println!("==> kept in {DOCUMENT}");
    if ran.status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("drill failed: {}", ran.status)))
    }
}

const INTRODUCTION: &str = "\
# Detection

Each class of silent failure, injected for real into running services, and whether the monitor \
found it. Beside each stands its harmless twin: a world that looks like the fault and is fine, on \
which nothing may be found. `cargo xtask drill --write` makes this page.

The seconds count from the moment at which the fault could be observed; where a rule waits by \
declaration, from the moment at which that threshold had passed. Settings are the defaults, save \
the thresholds that the table names. Every scenario has a monitor of its own, and what the monitor \
found before the fault counts as invented too.
";

/// On what and when it was measured.
fn circumstances() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = field("/proc/meminfo", "MemTotal");
    let memory = memory
        .split(' ')
        .next()
        .and_then(|kib| kib.parse::<u64>().ok());
    let memory = memory.map_or_else(String::new, |kib| {
        format!(", {} GiB", kib.div_ceil(1024 * 1024))
    });
    let processor = field("/proc/cpuinfo", "model name");
    format!(
        "- machine: {cores} × {processor}{memory}, {} {}\n- date: {}\n- build: profile `{PROFILE}`\n",
        said("uname", "-s"),
        said("uname", "-m"),
        said("date", "+%F"),
    )
}

/// A field's first value in a file of lines such as `name : value`.
fn field(path: &str, name: &str) -> String {
    let text = std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or_else(
        || "unknown".to_owned(),
        |(_, value)| value.trim().to_owned(),
    )
}
