//! What is shown: Markdown for people, JSON for programs.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use crate::machine::Machine;

/// A table of text.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) caption: String,
    pub(crate) header: Vec<String>,
    pub(crate) lines: Vec<Vec<String>>,
}

/// What a figure must be, and what it is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bar {
    pub(crate) what: &'static str,
    /// `None`: it was not measured.
    pub(crate) measured: Option<f64>,
    /// `None`: nothing must be, and there is an ambition alone.
    pub(crate) must: Option<f64>,
    pub(crate) ambition: Option<f64>,
    pub(crate) at_most: bool,
}

impl Bar {
    pub(crate) fn at_least(
        what: &'static str,
        measured: Option<f64>,
        must: impl Into<Option<f64>>,
        ambition: Option<f64>,
    ) -> Self {
        Self {
            what,
            measured,
            must: must.into(),
            ambition,
            at_most: false,
        }
    }

    pub(crate) fn at_most(
        what: &'static str,
        measured: Option<f64>,
        must: impl Into<Option<f64>>,
        ambition: Option<f64>,
    ) -> Self {
        Self {
            at_most: true,
            ..Self::at_least(what, measured, must, ambition)
        }
    }

    fn verdict(&self) -> &'static str {
        let reaches = |measured: f64, bar: f64| {
            if self.at_most {
                measured <= bar
            } else {
                measured >= bar
            }
        };
        let Some(measured) = self.measured else {
            return "not measured";
        };
        if self.must.is_some_and(|must| !reaches(measured, must)) {
            return "**missed**";
        }
        match self.ambition {
            Some(ambition) if reaches(measured, ambition) => "met, ambition too",
            Some(_) if self.must.is_none() => "ambition missed",
            _ => "met",
        }
    }

    fn line(&self) -> Vec<String> {
        let sign = if self.at_most { "≤" } else { "≥" };
        let bound = |bar: f64| format!("{sign} {}", number(bar));
        vec![
            self.what.to_owned(),
            self.measured.map_or_else(String::new, number),
            self.must.map_or_else(String::new, bound),
            self.ambition.map_or_else(String::new, bound),
            self.verdict().to_owned(),
        ]
    }
}

/// What one workload gave.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    notes: Vec<String>,
    tables: Vec<Table>,
    bars: Vec<Bar>,
    data: Value,
}

impl Section {
    pub(crate) fn new(title: &'static str) -> Self {
        Self {
            title,
            notes: Vec::new(),
            tables: Vec::new(),
            bars: Vec::new(),
            data: Value::Null,
        }
    }

    /// Sentences under the title.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(crate) fn tables(mut self, tables: Vec<Table>) -> Self {
        self.tables.extend(tables);
        self
    }

    pub(crate) fn bars(mut self, bars: Vec<Bar>) -> Self {
        self.bars.extend(bars);
        self
    }

    /// Every single measurement.
    pub(crate) fn data(mut self, data: &impl Serialize) -> Self {
        self.data = serde_json::to_value(data).unwrap_or_default();
        self
    }

    /// As Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("### {}\n", self.title);
        for note in &self.notes {
            let _ = write!(out, "\n{note}\n");
        }
        for table in &self.tables {
            out.push_str(&table.markdown());
        }
        if !self.bars.is_empty() {
            let header = ["bar", "measured", "must", "ambition", ""];
            let table = Table {
                caption: String::new(),
                header: header.map(str::to_owned).to_vec(),
                lines: self.bars.iter().map(Bar::line).collect(),
            };
            out.push_str(&table.markdown());
        }
        out
    }

    fn json(&self) -> Value {
        json!({"workload": self.title, "notes": self.notes, "bars": self.bars, "measured": self.data})
    }
}

impl Table {
    fn markdown(&self) -> String {
        let mut out = String::from("\n");
        if !self.caption.is_empty() {
            let _ = write!(out, "{}:\n\n", self.caption);
        }
        let _ = writeln!(out, "| {} |", self.header.join(" | "));
        let columns = self.header.iter().enumerate();
        let rules = columns.map(|(column, _)| if column == 0 { "---" } else { "---:" });
        let _ = writeln!(out, "|{}|", rules.collect::<Vec<_>>().join("|"));
        for line in &self.lines {
            let _ = writeln!(out, "| {} |", line.join(" | "));
        }
        out
    }
}

/// On what, with what and how it was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Circumstances {
    pub(crate) command: String,
    pub(crate) machine: Machine,
    /// Name and version of every system measured.
    pub(crate) versions: Vec<(&'static str, String)>,
    /// What was not measured, and how it is installed.
    pub(crate) skipped: Vec<(&'static str, String)>,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
}

impl Circumstances {
    /// As Markdown.
    pub(crate) fn markdown(&self) -> String {
        let Machine {
            processor,
            cores,
            memory_gib,
            kernel,
            date,
        } = &self.machine;
        let mut out = format!(
            "- command: `{}`\n- machine: {cores} × {processor}, {memory_gib} GiB, {kernel}; server \
             on core 0, load on core 1\n- date: {date}\n- {} rounds of {} s, in turns; medians\n",
            self.command, self.rounds, self.seconds
        );
        for (name, version) in &self.versions {
            let _ = writeln!(out, "- {name}: {version}");
        }
        for (name, why) in &self.skipped {
            let _ = writeln!(out, "- {name}: SKIPPED, {why}");
        }
        out
    }

    /// Everything as one JSON object.
    pub(crate) fn json(&self, sections: &[Section]) -> Value {
        let sections: Vec<Value> = sections.iter().map(Section::json).collect();
        json!({"circumstances": self, "workloads": sections})
    }
}

/// A number with as many digits as it is worth.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return String::new();
    }
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..1_000.0 => format!("{value:.1}"),
        _ => thousands(value),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if value < 0.0 { format!("-{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_they_are_worth() {
        assert_eq!(number(1.234), "1.23");
        assert_eq!(number(56.78), "56.8");
        assert_eq!(number(1_234_567.8), "1,234,568");
        assert_eq!(number(-12_345.0), "-12,345");
        assert_eq!(number(f64::NAN), "");
    }

    #[test]
    fn a_bar_says_whether_it_is_met() {
        let least = |measured| Bar::at_least("x", measured, 0.8, Some(1.0)).verdict();
        assert_eq!(least(None), "not measured");
        assert_eq!(least(Some(0.7)), "**missed**");
        assert_eq!(least(Some(0.9)), "met");
        assert_eq!(least(Some(1.0)), "met, ambition too");
        assert_eq!(
            Bar::at_most("x", Some(1.3), 1.2, None).verdict(),
            "**missed**"
        );
        assert_eq!(Bar::at_most("x", Some(1.1), 1.2, None).verdict(), "met");
    }

    #[test]
    fn a_section_is_a_table_in_markdown() {
        let table = Table {
            caption: "slow".to_owned(),
            header: vec![String::new(), "rate".to_owned()],
            lines: vec![vec!["a".to_owned(), "1".to_owned()]],
        };
        let text = Section::new("T").tables(vec![table]).markdown();
        assert_eq!(
            text,
            "### T\n\nslow:\n\n|  | rate |\n|---|---:|\n| a | 1 |\n"
        );
    }
}
