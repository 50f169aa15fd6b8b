//! `cargo xtask test`: sets up and runs every test.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use crate::shell::{Failure, Watch, cargo, root, step};
use crate::tally::Tally;
use crate::tools::{self, Tools};

/// Set to 1: tests that a missing tool would skip fail instead.
pub(crate) const REQUIRE_STRANGERS: &str = "MONITORABLE_REQUIRE_STRANGERS";
/// Stories run at once: they wait far more than they compute.
const TEST_THREADS: &str = "6";

/// What `test` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run only the tests whose name contains this.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Leave out the tests with grpcurl, buf, Python and Go.
    #[arg(long)]
    no_strangers: bool,
}

/// Builds, installs the strangers' tools, runs everything and adds it up.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let required = std::env::var(REQUIRE_STRANGERS).as_deref() == Ok("1");
    if required && options.no_strangers {
        let why = format!("--no-strangers contradicts {REQUIRE_STRANGERS}=1");
        return Err(Failure::new(why));
    }
    // Without the test dependencies' features: the binaries under test are the ones that ship.
    let mut build = cargo("build -p bridge-service -p monitor-service");
    step("build both services", &mut build)?;
    let tools = if options.no_strangers {
        Tools::left_out()
    } else {
        tools::install()
    };
    if required && !tools.missing.is_empty() {
        return Err(Failure::new(tools.missing.join("\n")));
    }
    let ledger = root().join(".tools/skips");
    std::fs::create_dir_all(root().join(".tools"))?;
    std::fs::write(&ledger, "")?;
    // Only as unit tests: no binary with fault points takes the place of the one that ships.
    let mut faults = cargo("test -p bridge-service --features fault-injection --lib");
    step("test the fault points", faults.args(["--quiet", "faults"]))?;
    let watch = Watch::start();
    let mut runner = runner(options, &ledger)?;
    println!("==> tests");
    let (mut tally, success) = follow(&mut runner)?;
    let skips = std::fs::read_to_string(&ledger)?;
    tally.skip(skips.lines().count() as u64);
    println!("==> tests: done in {watch}");
    report(&tally, &skips, &tools);
    if success && tally.failed == 0 {
        Ok(())
    } else {
        Err(Failure::new("tests failed"))
    }
}

fn runner(options: &Options, ledger: &Path) -> Result<Command, Failure> {
    let mut runner = cargo("test --workspace --no-fail-fast");
    runner
        .env("MONITORABLE_BIN_DIR", target_directory()?.join("debug"))
        .env("MONITORABLE_SKIPS", ledger);
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        runner.env("RUST_TEST_THREADS", TEST_THREADS);
    }
    if options.no_strangers {
        runner.env("MONITORABLE_TOOLS", root().join(".tools/none"));
    }
    if let Some(filter) = &options.filter {
        runner.arg(filter);
    }
    Ok(runner)
}

/// Where cargo builds, which a setting may move.
pub(crate) fn target_directory() -> Result<PathBuf, Failure> {
    let output = cargo("metadata --format-version 1 --no-deps").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.split_once(r#""target_directory":""#);
    let directory = found.and_then(|(_, rest)| rest.split('"').next());
    let directory = directory.ok_or_else(|| Failure::new("cargo metadata has no target"))?;
    Ok(PathBuf::from(directory))
}

/// Runs the tests, showing every line as it comes.
fn follow(runner: &mut Command) -> Result<(Tally, bool), Failure> {
    let mut child = runner
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (sender, lines) = mpsc::channel();
    let pipes: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|pipe| Box::new(pipe) as _),
        child.stderr.take().map(|pipe| Box::new(pipe) as _),
    ];
    for pipe in pipes.into_iter().flatten() {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }
    drop(sender);
    let mut tally = Tally::default();
    for line in lines {
        println!("{line}");
        tally.take(&line);
    }
    Ok((tally, child.wait()?.success()))
}

/// Skips once more, where nobody overlooks them, and then the closing lines.
fn report(tally: &Tally, skips: &str, tools: &Tools) {
    println!();
    let skips: BTreeSet<&str> = skips.lines().collect();
    for skip in skips {
        println!("{skip}");
    }
    for missing in &tools.missing {
        println!("MISSING {missing}");
    }
    println!("{tally}");
}
