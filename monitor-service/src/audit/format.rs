//! Values in sentences.

use std::time::Duration;

/// A duration as people say it: `850 ms`, `2.4 s`, `3 min 5 s`.
pub(crate) fn span(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{millis} ms"),
        1..120 if millis.is_multiple_of(1_000) => format!("{seconds} s"),
        1..120 => format!("{:.1} s", duration.as_secs_f64()),
        120..7_200 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        120..7_200 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// A count and its noun: `1 event`, `2 events`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Ranges of sequences: `sequence 3`, `sequences 3, 7-9`.
pub(crate) fn sequences(ranges: &[(u64, u64)]) -> String {
    let named: Vec<_> = ranges
        .iter()
        .map(|(from, to)| match to - from {
            0 => from.to_string(),
            _ => format!("{from}-{to}"),
        })
        .collect();
    let one = matches!(ranges, [(from, to)] if from == to);
    let noun = if one { "sequence" } else { "sequences" };
    format!("{noun} {}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let said = [850, 2_000, 2_440, 120_000, 185_000, 7_260_000]
            .map(|millis| span(Duration::from_millis(millis)));
        assert_eq!(
            said,
            ["850 ms", "2 s", "2.4 s", "2 min", "3 min 5 s", "2 h 1 min"]
        );
    }

    #[test]
    fn counts_and_ranges_read_well() {
        assert_eq!(count(1, "event"), "1 event");
        assert_eq!(count(0, "event"), "0 events");
        assert_eq!(sequences(&[(3, 3), (7, 9)]), "sequences 3, 7-9");
        assert_eq!(sequences(&[(3, 3)]), "sequence 3");
    }
}
