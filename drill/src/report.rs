//! What a drill showed, and how it is written down.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

/// The longest that finding a fault may take.
pub const WORST_ALLOWED: Duration = Duration::from_secs(7);
/// The median that is allowed.
pub const MEDIAN_ALLOWED: Duration = Duration::from_secs(2);

/// What became of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its rule found it.
    Found {
        /// So long after it was observable, or its threshold had passed.
        after: Duration,
        /// What the finding says.
        message: String,
    },
    /// Its rule did not find it.
    Missed,
    /// The scenario could not be played, and why.
    NotRun(String),
}

/// One class.
#[derive(Clone, Debug)]
pub struct Row {
    /// The rule.
    pub rule: &'static str,
    /// What went wrong.
    pub fault: &'static str,
    /// What looked like it and was fine.
    pub twin: &'static str,
    /// The time that the rule waits by declaration.
    pub threshold: Duration,
    /// What became of the fault.
    pub fate: Fate,
    /// Other rules that found something after the fault, which is theirs to judge.
    pub also: BTreeSet<String>,
    /// Findings about what was well. Empty: quiet.
    pub invented: Vec<String>,
}

impl Row {
    fn found(&self) -> Option<Duration> {
        match &self.fate {
            Fate::Found { after, .. } => Some(*after),
            _ => None,
        }
    }

    /// The row's middle columns, for people.
    fn cells(&self) -> [String; 3] {
        let (found, seconds) = match &self.fate {
            Fate::Found { after, .. } => ("yes", format!("{:.1}", after.as_secs_f64())),
            Fate::Missed => ("NO", "-".to_owned()),
            Fate::NotRun(_) => ("NOT RUN", "-".to_owned()),
        };
        let quiet = match (&self.fate, self.invented.is_empty()) {
            (Fate::NotRun(_), true) => "-",
            (_, true) => "yes",
            (_, false) => "NO",
        };
        [found.to_owned(), seconds, quiet.to_owned()]
    }

    fn fault_shown(&self) -> String {
        if self.threshold.is_zero() {
            return self.fault.to_owned();
        }
        let threshold = humantime::format_duration(self.threshold);
        format!("{} (threshold {threshold})", self.fault)
    }

    fn json(&self) -> Value {
        let (message, trouble) = match &self.fate {
            Fate::Found { message, .. } => (Some(message), None),
            Fate::Missed => (None, None),
            Fate::NotRun(why) => (None, Some(why)),
        };
        json!({
            "rule": self.rule,
            "fault": self.fault,
            "twin": self.twin,
            "threshold_seconds": self.threshold.as_secs_f64(),
            "found": self.found().is_some(),
            "seconds": self.found().map(|after| after.as_secs_f64()),
            "message": message,
            "also": self.also,
            "quiet": self.invented.is_empty(),
            "invented": self.invented,
            "not_run": trouble,
        })
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.fate {
            Fate::Found { after, message } => {
                write!(f, "{}: found after {after:.1?}: {message}", self.rule)?;
            }
            Fate::Missed => write!(f, "{}: missed", self.rule)?,
            Fate::NotRun(why) => write!(f, "{}: could not be played: {why}", self.rule)?,
        }
        for invented in &self.invented {
            write!(f, "; invented {invented}")?;
        }
        Ok(())
    }
}

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every fault was found, and nothing was invented.
    Passed,
    /// A fault was missed, or one was invented.
    Failed,
    /// Neither, but something could not be played.
    Incomplete,
}

/// Every class, in the catalogue's order.
#[derive(Clone, Debug)]
pub struct Report {
    rows: Vec<Row>,
}

/// The report in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Classes played.
    pub classes: usize,
    /// Faults found.
    pub found: usize,
    /// Classes in which nothing was invented.
    pub quiet: usize,
    /// Classes that could not be played.
    pub not_run: usize,
    /// The longest time to find, in seconds. Absent: none was found.
    pub worst_seconds: Option<f64>,
    /// The median time to find, in seconds. Absent: none was found.
    pub median_seconds: Option<f64>,
}

impl Report {
    /// A report of these rows.
    #[must_use]
    pub const fn new(rows: Vec<Row>) -> Self {
        Self { rows }
    }

    /// How the drill ended.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let failed = |row: &Row| row.fate == Fate::Missed || !row.invented.is_empty();
        if self.rows.iter().any(failed) {
            Outcome::Failed
        } else if self.summary().not_run > 0 {
            Outcome::Incomplete
        } else {
            Outcome::Passed
        }
    }

    /// The report in numbers.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut times: Vec<Duration> = self.rows.iter().filter_map(Row::found).collect();
        times.sort();
        let ran = |row: &&Row| !matches!(row.fate, Fate::NotRun(_));
        let seconds = |time: &Duration| time.as_secs_f64();
        Summary {
            classes: self.rows.len(),
            found: times.len(),
            quiet: self
                .rows
                .iter()
                .filter(ran)
                .filter(|row| row.invented.is_empty())
                .count(),
            not_run: self.rows.len() - self.rows.iter().filter(ran).count(),
            worst_seconds: times.last().map(seconds),
            median_seconds: times.get(times.len() / 2).map(seconds),
        }
    }

    /// A table for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let rule_width = self
            .rows
            .iter()
            .map(|row| row.rule.len())
            .max()
            .unwrap_or(4);
        let fault_width = self
            .rows
            .iter()
            .map(|row| row.fault_shown().len())
            .max()
            .unwrap_or(5);
        let mut page = format!(
            "{:rule_width$}  {:fault_width$}  {:7}  {:>7}  QUIET ON TWIN\n",
            "RULE", "FAULT", "FOUND", "SECONDS"
        );
        for row in &self.rows {
            let [found, seconds, quiet] = row.cells();
            let _ = writeln!(
                page,
                "{:rule_width$}  {:fault_width$}  {found:7}  {seconds:>7}  {quiet}",
                row.rule,
                row.fault_shown()
            );
        }
        page.push('\n');
        page.push_str(&self.closing());
        page
    }

    /// A table in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut page = String::from(
            "| rule | fault | found | seconds | harmless twin | quiet |\n|---|---|---|---:|---|---|\n",
        );
        for row in &self.rows {
            let [found, seconds, quiet] = row.cells();
            let (rule, fault, twin) = (row.rule, row.fault_shown(), row.twin);
            let _ = writeln!(
                page,
                "| `{rule}` | {fault} | {found} | {seconds} | {twin} | {quiet} |"
            );
        }
        page.push('\n');
        page.push_str(&self.closing());
        page
    }

    /// Everything, for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        json!({ "rows": rows, "summary": self.summary() })
    }

    /// The numbers in words, and what was wrong.
    fn closing(&self) -> String {
        let summary = self.summary();
        let mut text = format!(
            "{} of {} found, {} of {} quiet",
            summary.found, summary.classes, summary.quiet, summary.classes
        );
        if let (Some(worst), Some(median)) = (summary.worst_seconds, summary.median_seconds) {
            let _ = write!(
                text,
                "; worst {worst:.1} s ({} allowed), median {median:.1} s ({} allowed)",
                humantime::format_duration(WORST_ALLOWED),
                humantime::format_duration(MEDIAN_ALLOWED)
            );
        }
        text.push_str(".\n");
        for row in &self.rows {
            if let Fate::NotRun(why) = &row.fate {
                let _ = writeln!(text, "- {} could not be played: {why}", row.rule);
            }
            for invented in &row.invented {
                let _ = writeln!(text, "- {}: {invented}", row.rule);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fate: Fate, invented: &[&str]) -> Row {
        Row {
            rule: "black_hole",
            fault: "nothing arrives",
            twin: "nobody reads",
            threshold: Duration::ZERO,
            fate,
            also: BTreeSet::new(),
            invented: invented.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    fn found(seconds: u64) -> Fate {
        Fate::Found {
            after: Duration::from_secs(seconds),
            message: "3 events reached nobody.".to_owned(),
        }
    }

    #[test]
    fn one_missed_or_invented_fails_the_drill() {
        let outcome = |rows| Report::new(rows).outcome();
        assert_eq!(outcome(vec![row(found(1), &[])]), Outcome::Passed);
        assert_eq!(
            outcome(vec![row(found(1), &[]), row(Fate::Missed, &[])]),
            Outcome::Failed
        );
        assert_eq!(
            outcome(vec![row(found(1), &["on the twin: x"])]),
            Outcome::Failed
        );
        let broken = || row(Fate::NotRun("no bridge".to_owned()), &[]);
        assert_eq!(
            outcome(vec![row(found(1), &[]), broken()]),
            Outcome::Incomplete
        );
        assert_eq!(
            outcome(vec![row(Fate::Missed, &[]), broken()]),
            Outcome::Failed
        );
    }

    #[test]
    fn the_numbers_are_those_of_the_rows() {
        let rows = vec![
            row(found(1), &[]),
            row(found(9), &["on the twin: x"]),
            row(found(2), &[]),
            row(Fate::Missed, &[]),
            row(Fate::NotRun("no bridge".to_owned()), &[]),
        ];
        let report = Report::new(rows);
        let summary = report.summary();
        assert_eq!((summary.classes, summary.found, summary.quiet), (5, 3, 3));
        assert_eq!(summary.worst_seconds, Some(9.0));
        assert_eq!(summary.median_seconds, Some(2.0));
        for page in [report.table(), report.markdown()] {
            assert!(page.contains("3 of 5 found, 3 of 5 quiet"), "{page}");
            assert!(page.contains("could not be played: no bridge"), "{page}");
        }
        assert_eq!(report.json()["rows"][3]["found"], false);
    }
}
