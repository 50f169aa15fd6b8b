//! When each event of a replay is due.

use std::str::FromStr;
use std::time::Duration;

/// How fast a person reads and types, and the shortest and longest pause before an event.
const CHARACTERS_PER_SECOND: f64 = 25.0;
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// Allowed speeds: from a hundredth to ten thousand times that of a reader.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.01..=10_000.0;

/// How fast to replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Speed {
    /// So many times faster than a person reads.
    Times(f64),
    /// As fast as the bridge takes it.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse() {
            Ok(times) if SPEEDS.contains(&times) => Ok(Self::Times(times)),
            _ => Err(format!(
                "{text:?} is not allowed; allowed are {} to {} and max",
                SPEEDS.start(),
                SPEEDS.end()
            )),
        }
    }
}

impl Speed {
    /// The pause before an event with so many characters to read.
    pub(crate) fn pause(self, characters: usize) -> Duration {
        match self {
            Self::Max => Duration::ZERO,
            Self::Times(times) => {
                let seconds = characters as f64 / CHARACTERS_PER_SECOND;
                let pause = Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64()));
                pause.max(SHORTEST).div_f64(times)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_numbers_or_max() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("2.5".parse(), Ok(Speed::Times(2.5)));
        for bad in ["", "0", "-1", "NaN", "inf", "fast", "1e9"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn pauses_follow_the_reader() {
        let reader = Speed::Times(1.0);
        assert_eq!(reader.pause(0), SHORTEST);
        assert_eq!(reader.pause(50), Duration::from_secs(2));
        assert_eq!(reader.pause(1_000_000), LONGEST);
        assert_eq!(Speed::Times(4.0).pause(50), Duration::from_millis(500));
        assert_eq!(Speed::Max.pause(50), Duration::ZERO);
    }
}
