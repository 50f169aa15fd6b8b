//! What the benchmarks print, and what callgrind writes beside it.

use std::path::Path;

use crate::shell::Failure;

/// One hot path, counted at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) units: u64,
    /// What one unit is.
    pub(super) unit: String,
    /// What there are as many of as the size. Empty: nothing grows.
    pub(super) grows: String,
    /// As the benchmark prints it: a decimal number.
    pub(super) allowed_growth: String,
    /// Of all units together.
    pub(super) instructions: u64,
}

impl Counted {
    /// Instructions of one unit.
    pub(super) fn each(&self) -> f64 {
        self.instructions as f64 / self.units as f64
    }

    /// The path and the size, as the baseline names them.
    pub(super) fn case(&self) -> String {
        format!("{} {}", self.name, self.size)
    }
}

/// Reads a benchmark's lines; the n-th one's instructions stand in the n-th file.
pub(super) fn read(lines: &str, files: &Path) -> Result<Vec<Counted>, Failure> {
    let counted = lines.lines().zip(1..).map(|(line, number)| {
        let file = format!("{}.{number}", files.display());
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Failure::new(format!("{file}, for {line:?}: {error}")))?;
        let instructions =
            totals(&text).ok_or_else(|| Failure::new(format!("{file} has no line `totals:`")))?;
        parse(line, instructions)
    });
    let counted = counted.collect::<Result<Vec<_>, _>>()?;
    match counted.iter().find(|one| one.instructions == 0) {
        None if !counted.is_empty() => Ok(counted),
        None => Err(Failure::new("the benchmark counted nothing")),
        Some(empty) => Err(Failure::new(format!("{}: nothing counted", empty.case()))),
    }
}

fn totals(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok())
}

fn parse(line: &str, instructions: u64) -> Result<Counted, Failure> {
    let strange = || Failure::new(format!("not a line of a counting benchmark: {line:?}"));
    let fields: Vec<&str> = line.split('\t').collect();
    let [name, size, units, unit, grows, allowed_growth] = fields[..] else {
        return Err(strange());
    };
    Ok(Counted {
        name: name.to_owned(),
        size: size.parse().map_err(|_| strange())?,
        units: units.parse().map_err(|_| strange())?,
        unit: unit.to_owned(),
        grows: grows.to_owned(),
        allowed_growth: allowed_growth.to_owned(),
        instructions,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A path whose units cost so much each.
    pub(crate) fn counted(name: &str, size: u64, each: u64) -> Counted {
        Counted {
            name: name.to_owned(),
            size,
            units: size,
            unit: "reader".to_owned(),
            grows: "readers".to_owned(),
            allowed_growth: "1.25".to_owned(),
            instructions: each * size,
        }
    }

    #[test]
    fn lines_and_files_come_together() {
        let line = "hub/leave\t1000\t1000\treader\treaders\t1.25";
        assert_eq!(parse(line, 5_000).unwrap(), counted("hub/leave", 1_000, 5));
        assert!(parse("==123== some warning", 1).is_err());
        assert_eq!(totals("version: 1\ntotals: 42\n"), Some(42));
        assert_eq!(totals("version: 1\n"), None);
    }
}
