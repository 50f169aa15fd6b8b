//! What was measured, and what is said of it.

use serde::Serialize;

use crate::check::Faults;
use crate::cpu::DISTURBED_PERCENT;

/// One measurement of delivery.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figures {
    /// Messages that reached every reader of their thread.
    pub(crate) events_per_second: f64,
    /// Messages that reached a reader, over all readers.
    pub(crate) deliveries_per_second: f64,
    /// Processor time of the server, in microseconds.
    pub(crate) cpu_us_per_delivery: f64,
    /// Of one core.
    pub(crate) server_cpu_percent: f64,
    /// The same of the load. Near 100 it was the load that was measured.
    pub(crate) load_cpu_percent: f64,
    /// Everything else on the machine, outside the kernel.
    pub(crate) others_cpu_percent: f64,
    /// From sending to reading.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// Memory of the server at the end.
    pub(crate) resident_kib: f64,
    pub(crate) faults: Faults,
}

impl Figures {
    /// Whether something else used the cores meanwhile.
    pub(crate) fn disturbed(&self) -> bool {
        self.others_cpu_percent > DISTURBED_PERCENT
    }
}

/// One way to measure one system.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) system: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) rounds: Vec<Figures>,
    /// Why rounds failed, one sentence each.
    pub(crate) failures: Vec<String>,
}

impl Row {
    /// What the row is called: what was wrong with it belongs to its name.
    pub(crate) fn name(&self, name: &str) -> String {
        let disturbed = self.rounds.iter().filter(|round| round.disturbed()).count();
        let mut name = name.to_owned();
        if disturbed > 0 {
            name += &format!(" ({disturbed} rounds disturbed by other work)");
        }
        if !self.failures.is_empty() {
            let failed = self.failures.len();
            name += &format!(" ({failed} rounds FAILED: {})", self.failures.join("; "));
        }
        name
    }

    /// The middle of a figure over the rounds; NaN where there is none.
    pub(crate) fn median(&self, of: impl Fn(&Figures) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect())
    }
}

/// The middle value; NaN where there is none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }
}
