//! What was kept, and what has changed since.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::counted::Counted;
use crate::shell::Failure;

/// What a count may differ by from run to run and still be the same: hash tables are keyed anew in
/// each process.
const TOLERANCE_PERCENT: f64 = 5.0;

/// What it was counted with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Circumstances {
    pub(super) rustc: String,
    pub(super) host: String,
    pub(super) valgrind: String,
}

/// What was kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Baseline {
    tolerance_percent: f64,
    counted_with: Circumstances,
    /// Of one unit, by path and size.
    instructions: BTreeMap<String, f64>,
}

/// What a change comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    Slower,
    Faster,
    New,
    Gone,
}

/// One path at one size, before and now.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    case: String,
    /// `None`: it is new.
    before: Option<f64>,
    /// `None`: it is gone.
    now: Option<f64>,
}

impl Change {
    fn percent(&self) -> Option<f64> {
        Some((self.now? / self.before? - 1.0) * 100.0)
    }
}

impl Baseline {
    /// What is to be kept.
    pub(super) fn of(counted: &[Counted], counted_with: Circumstances) -> Self {
        let rounded = |one: &Counted| (one.each() * 10.0).round() / 10.0;
        let instructions = counted.iter().map(|one| (one.case(), rounded(one)));
        Self {
            tolerance_percent: TOLERANCE_PERCENT,
            counted_with,
            instructions: instructions.collect(),
        }
    }

    pub(super) fn read(text: &str) -> Result<Self, Failure> {
        toml::from_str(text).map_err(|error| Failure::new(format!("the baseline: {error}")))
    }

    pub(super) fn to_text(&self) -> Result<String, Failure> {
        let text = toml::to_string(self).map_err(|error| Failure::new(error.to_string()))?;
        Ok(format!(
            "# Instructions of one unit of each hot path, by path and size. Written by `cargo xtask\n\
             # instructions --write`.\n{text}"
        ))
    }

    /// Why counts of here cannot be compared. `None`: they can.
    pub(super) fn differs_from(&self, here: &Circumstances) -> Option<String> {
        let kept = &self.counted_with;
        let same = (&kept.rustc, &kept.host) == (&here.rustc, &here.host);
        (!same).then(|| {
            format!(
                "it was counted with {} on {}, and this is {} on {}; `--write` on an unchanged \
                 tree renews it",
                kept.rustc, kept.host, here.rustc, here.host
            )
        })
    }

    pub(super) fn compare(&self, counted: &[Counted]) -> Vec<Change> {
        let now: BTreeMap<_, _> = counted.iter().map(|one| (one.case(), one.each())).collect();
        let cases: BTreeSet<&String> = self.instructions.keys().chain(now.keys()).collect();
        let changes = cases.into_iter().map(|case| Change {
            case: case.clone(),
            before: self.instructions.get(case).copied(),
            now: now.get(case).copied(),
        });
        changes.collect()
    }

    fn verdict(&self, change: &Change) -> Verdict {
        match change.percent() {
            Some(percent) if percent > self.tolerance_percent => Verdict::Slower,
            Some(percent) if percent < -self.tolerance_percent => Verdict::Faster,
            Some(_) => Verdict::Same,
            None if change.before.is_none() => Verdict::New,
            None => Verdict::Gone,
        }
    }

    /// Each path, what was kept, what it is now, and the change.
    pub(super) fn table(&self, changes: &[Change]) -> String {
        let number =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
        let mut table = format!(
            "{:<28}{:>12}{:>12}{:>10}\n",
            "path and size", "baseline", "now", "change"
        );
        for change in changes {
            let percent = change.percent();
            let percent = percent.map_or("-".to_owned(), |percent| format!("{percent:+.2} %"));
            let verdict = match self.verdict(change) {
                Verdict::Same => "",
                Verdict::Slower => "SLOWER",
                Verdict::Faster => "faster",
                Verdict::New => "NEW",
                Verdict::Gone => "GONE",
            };
            let row = format!(
                "{:<28}{:>12}{:>12}{:>10}  {verdict}",
                change.case,
                number(change.before),
                number(change.now),
                percent,
            );
            table.push_str(row.trim_end());
            table.push('\n');
        }
        let verdicts = changes.iter().map(|change| self.verdict(change));
        let faster = verdicts.filter(|verdict| *verdict == Verdict::Faster);
        let faster = faster.count();
        if faster > 0 {
            table.push_str(&format!(
                "{faster} cost less than was kept: `--write` keeps it, and holds on to the gain\n"
            ));
        }
        table
    }

    /// A sentence for each that is not as it may be.
    pub(super) fn offences(&self, changes: &[Change]) -> Vec<String> {
        let sentences = changes.iter().filter_map(|change| {
            let case = &change.case;
            match self.verdict(change) {
                Verdict::Slower => Some(format!(
                    "{case}: {:.1} instructions, {:+.2} % of the baseline's {:.1}; allowed is {} %",
                    change.now?,
                    change.percent()?,
                    change.before?,
                    self.tolerance_percent
                )),
                Verdict::New => Some(format!("{case}: not in the baseline; `--write` keeps it")),
                Verdict::Gone => Some(format!("{case}: only in the baseline; `--write` drops it")),
                Verdict::Same | Verdict::Faster => None,
            }
        });
        sentences.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::counted::tests::counted;
    use super::*;

    fn here() -> Circumstances {
        Circumstances {
            rustc: "rustc 1.95.0".to_owned(),
            host: "x86_64-unknown-linux-gnu".to_owned(),
            valgrind: "valgrind-3.19.0".to_owned(),
        }
    }

    #[test]
    fn a_slower_path_is_named_and_noise_is_not() {
        let kept = [("a", 1_000), ("b", 1_000), ("c", 1_000), ("gone", 1)];
        let now = [("a", 1_049), ("b", 1_051), ("c", 900), ("new", 1)];
        let all = |paths: [(&str, u64); 4]| paths.map(|(name, each)| counted(name, 100, each));
        let text = Baseline::of(&all(kept), here()).to_text().unwrap();
        let baseline = Baseline::read(&text).unwrap();
        let changes = baseline.compare(&all(now));
        assert_eq!(
            baseline.offences(&changes),
            [
                "b 100: 1051.0 instructions, +5.10 % of the baseline's 1000.0; allowed is 5 %",
                "gone 100: only in the baseline; `--write` drops it",
                "new 100: not in the baseline; `--write` keeps it",
            ]
        );
        let table = baseline.table(&changes);
        assert!(
            table.contains("+5.10 %  SLOWER\n") && table.contains("faster\n"),
            "{table}"
        );
        let same = baseline.compare(&all(kept));
        assert_eq!(baseline.offences(&same), [""; 0]);
    }

    #[test]
    fn another_compiler_is_not_compared() {
        let baseline = Baseline::of(&[counted("a", 100, 1)], here());
        assert_eq!(baseline.differs_from(&here()), None);
        let newer = Circumstances {
            rustc: "rustc 1.99.0".to_owned(),
            ..here()
        };
        let why = baseline.differs_from(&newer).unwrap();
        assert!(why.contains("1.95.0") && why.contains("1.99.0"), "{why}");
        let valgrind = Circumstances {
            valgrind: "valgrind-3.30.0".to_owned(),
            ..here()
        };
        assert_eq!(baseline.differs_from(&valgrind), None);
    }

    #[test]
    fn a_broken_baseline_is_refused() {
        let failure = Baseline::read("tolerance_percent = \"much\"").unwrap_err();
        assert!(
            failure.to_string().contains("tolerance_percent"),
            "{failure}"
        );
    }
}
