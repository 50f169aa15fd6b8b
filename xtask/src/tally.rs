//! Reading the test runner's own closing lines, and adding them up.

/// Counts over all of a run's test binaries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// The tests that failed.
    pub(crate) failures: Vec<String>,
    /// The runner's closing lines, each with the binary that it is about.
    pub(crate) closing: Vec<String>,
    binary: String,
}

impl Tally {
    /// Takes one line of the runner's output.
    pub(crate) fn take(&mut self, line: &str) {
        let trimmed = line.trim();
        if let Some(binary) = trimmed.strip_prefix("Running ") {
            self.binary = shown(binary);
        } else if let Some(crate_name) = trimmed.strip_prefix("Doc-tests ") {
            self.binary = format!("{crate_name} (documentation)");
        } else if let Some(rest) = trimmed.strip_prefix("test result: ") {
            self.passed += count(rest, "passed");
            self.failed += count(rest, "failed");
            self.skipped += count(rest, "ignored");
            self.closing.push(format!("{}: {trimmed}", self.binary));
        } else if let Some(name) = failed_test(trimmed) {
            self.failures.push(format!("{} in {}", name, self.binary));
        }
    }

    /// Counts what tests said that they skipped: the runner counts those as passed.
    pub(crate) fn skip(&mut self, skips: u64) {
        self.passed = self.passed.saturating_sub(skips);
        self.skipped += skips;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.closing {
            writeln!(f, "{line}")?;
        }
        for failure in &self.failures {
            writeln!(f, "FAILED {failure}")?;
        }
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// `unittests src/main.rs (target/debug/deps/a_crate-0123)` as `a_crate src/main.rs`.
fn shown(binary: &str) -> String {
    let Some((what, path)) = binary.split_once(" (") else {
        return binary.to_owned();
    };
    let file = path.trim_end_matches(')').rsplit('/').next().unwrap_or("");
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    format!("{name} {}", what.trim_start_matches("unittests "))
}

/// The number before a word such as `passed`.
fn count(line: &str, word: &str) -> u64 {
    let parts = line.split([';', '.']);
    let mut numbers = parts.filter_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok());
    numbers.next().unwrap_or(0)
}

fn failed_test(line: &str) -> Option<&str> {
    let name = line.strip_prefix("test ")?;
    let (name, verdict) = name.rsplit_once(" ... ")?;
    (verdict == "FAILED").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
     Running unittests src/main.rs (target/debug/deps/bridge_service-0a1b)
test hub::tests::one ... ok
test hub::tests::two ... FAILED
test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.1s
     Running tests/tidy.rs (target/debug/deps/tidy-ffff)
test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 2.00s";

    #[test]
    fn closing_lines_are_added_up() {
        let mut tally = Tally::default();
        OUTPUT.lines().for_each(|line| tally.take(line));
        tally.skip(3);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (5, 1, 5));
        assert_eq!(
            tally.failures,
            ["hub::tests::two in bridge_service src/main.rs"]
        );
        assert!(tally.closing[1].starts_with("tidy tests/tidy.rs: test result: ok. 7 passed"));
        assert!(
            tally
                .to_string()
                .ends_with("\n5 passed, 1 failed, 5 skipped")
        );
    }

    #[test]
    fn other_lines_count_nothing() {
        let mut tally = Tally::default();
        tally.take("12 passed; this is prose");
        tally.take("running 3 tests");
        assert_eq!((tally.passed, tally.failed, tally.skipped), (0, 0, 0));
    }
}
