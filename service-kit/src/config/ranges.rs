//! Settings that must lie in a range, which the error shows.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Source;

/// A whole number within a range.
pub fn number(source: &mut Source, path: &'static str, range: RangeInclusive<usize>) -> usize {
    let allowed = match range.end() {
        &usize::MAX => format!("a whole number, {} or more", range.start()),
        end => format!("a whole number from {} to {end}", range.start()),
    };
    source.take_if(path, &allowed, |value| range.contains(value))
}

/// A duration within a range.
pub fn duration(
    source: &mut Source,
    path: &'static str,
    range: RangeInclusive<Duration>,
) -> Duration {
    let written = |span: &Duration| humantime::format_duration(*span).to_string();
    let allowed = format!(
        "a duration from {} to {}",
        written(range.start()),
        written(range.end())
    );
    source.take_if(path, &allowed, |value| range.contains(value))
}
