//! Answers for people. Whatever came from a component is made printable first, so that a hostile
//! one cannot drive the terminal.

use std::io::{IsTerminal, Write};

use monitorable::monitor::v1 as wire;
use prost_types::Timestamp;

use super::args::Output;
use crate::json::{self, Named};

/// A table under way.
pub(crate) struct Table {
    headers: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

/// One cell.
pub(crate) struct Cell {
    text: String,
    color: Option<&'static str>,
}

impl Cell {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self {
            text: printable(&text.into()),
            color: None,
        }
    }
}

impl Table {
    pub(crate) const fn new(headers: &'static [&'static str]) -> Self {
        Self {
            headers,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table as text; the last column is as wide as it likes.
    fn draw(&self, colors: bool) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.text.chars().count()).max();
            widest
                .unwrap_or_default()
                .max(self.headers[column].chars().count())
        };
        let widths: Vec<usize> = (0..self.headers.len()).map(width).collect();
        let mut text = String::new();
        let mut line = |cells: Vec<(&str, Option<&str>)>| {
            let mut drawn = String::new();
            for (index, (cell, color)) in cells.into_iter().enumerate() {
                let pad = widths[index].saturating_sub(cell.chars().count());
                drawn.push_str(&paint(cell, color.filter(|_| colors)));
                drawn.push_str(&" ".repeat(pad + 2));
            }
            text.push_str(drawn.trim_end());
            text.push('\n');
        };
        line(self.headers.iter().map(|header| (*header, None)).collect());
        for row in &self.rows {
            line(row.iter().map(|c| (c.text.as_str(), c.color)).collect());
        }
        text
    }
}

fn paint(text: &str, color: Option<&str>) -> String {
    match color {
        None => text.to_owned(),
        Some(code) => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
    }
}

/// Colors are for people at a terminal who did not say that they want none.
fn colors() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// The text without control characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '\n' | '\t' => ' ',
            control if control.is_control() => '\u{fffd}',
            // They turn the direction of what follows.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                '\u{fffd}'
            }
            other => other,
        })
        .collect()
}

/// Writes to standard output. `false`: nobody reads it any more.
pub(crate) fn say(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_ok()
}

pub(crate) fn say_table(table: &Table) -> bool {
    say(&table.draw(colors()))
}

/// A message as indented JSON, or whatever `table` says.
pub(crate) fn answer<M: Named>(output: Output, message: &M, table: impl FnOnce()) {
    match output {
        Output::Table => table(),
        Output::Json => {
            say_json(&json::write(message));
        }
    }
}

pub(crate) fn say_json(value: &serde_json::Value) -> bool {
    say(&format!("{value:#}\n"))
}

/// Such as `silent failure`.
pub(crate) fn verdict(verdict: wire::Verdict) -> Cell {
    let color = match verdict {
        wire::Verdict::Healthy => "32",
        wire::Verdict::Unverified | wire::Verdict::NotMonitored => "36",
        wire::Verdict::Degraded | wire::Verdict::NoData | wire::Verdict::Unspecified => "33",
        wire::Verdict::SilentFailure => "1;35",
        wire::Verdict::Down => "1;31",
    };
    Cell {
        text: words(verdict.as_str_name(), "VERDICT_"),
        color: Some(color),
    }
}

pub(crate) fn severity(severity: wire::Severity) -> Cell {
    let color = match severity {
        wire::Severity::Critical => "1;31",
        wire::Severity::Warning => "33",
        wire::Severity::Info | wire::Severity::Unspecified => "36",
    };
    Cell {
        text: words(severity.as_str_name(), "SEVERITY_"),
        color: Some(color),
    }
}

/// An enum's name in words.
pub(crate) fn words(name: &str, prefix: &str) -> String {
    let name = name.strip_prefix(prefix).unwrap_or(name);
    name.to_lowercase().replace('_', " ")
}

/// Such as `2025-01-31T12:00:00Z`; `-` where there is none.
pub(crate) fn time(time: Option<&Timestamp>) -> String {
    let known = time.and_then(|time| crate::probe::convert::time(*time));
    known.map_or("-".to_owned(), |time| {
        humantime::format_rfc3339_seconds(time).to_string()
    })
}

pub(crate) fn span(span: Option<&prost_types::Duration>) -> String {
    let known = span.and_then(|span| crate::probe::convert::span(*span));
    known.map_or("-".to_owned(), |span| format!("{span:.1?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["ID", "VERDICT", "ENDPOINT"]);
        table.row(vec![
            Cell::plain("bridge"),
            verdict(wire::Verdict::SilentFailure),
            Cell::plain("http://127.0.0.1:1"),
        ]);
        table.row(vec![
            Cell::plain("ö"),
            verdict(wire::Verdict::Down),
            Cell::plain("x"),
        ]);
        table
    }

    #[test]
    fn columns_are_aligned_by_characters() {
        assert_eq!(
            table().draw(false),
            "ID      VERDICT         ENDPOINT\n\
             bridge  silent failure  http://127.0.0.1:1\n\
             ö       down            x\n"
        );
    }

    #[test]
    fn colors_move_nothing() {
        let colored = table().draw(true);
        assert!(colored.contains("\u{1b}[1;31mdown\u{1b}[0m            x"));
    }

    #[test]
    fn a_hostile_text_cannot_drive_the_terminal() {
        let shown = printable("\u{1b}]0;owned\u{7}\u{202e}\r\nnext\u{9b}2J");
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert!(!shown.contains('\u{202e}'));
    }

    #[test]
    fn times_that_are_none_are_dashes() {
        assert_eq!(time(None), "-");
        let nonsense = Timestamp {
            seconds: i64::MAX,
            nanos: -1,
        };
        assert_eq!(time(Some(&nonsense)), "-");
        let known = Timestamp {
            seconds: 0,
            nanos: 0,
        };
        assert_eq!(time(Some(&known)), "1970-01-01T00:00:00Z");
    }
}
