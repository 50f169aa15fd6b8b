//! Writes a metrics page in either text format that scrapers ask for.
//!
//! The formats differ where it matters: OpenMetrics names a counter's family without `_total` and
//! ends with `# EOF`; Prometheus text names it with. A library that speaks only one of them would
//! have to pretend the other.

use std::fmt::Write as _;

use crate::histogram::Histogram;
use crate::http::Exposition;

/// Units that a name may end in; OpenMetrics states them once more.
const UNITS: [&str; 3] = ["seconds", "bytes", "ratio"];

/// A page under way.
#[derive(Debug)]
pub struct Page {
    format: Exposition,
    text: String,
}

/// One family under way: samples go here until the next family begins.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Page,
    sample_name: String,
}

impl Page {
    /// An empty page.
    #[must_use]
    pub const fn new(format: Exposition) -> Self {
        Self {
            format,
            text: String::new(),
        }
    }

    /// Begins a counter. `name` is without `_total`, which every sample gets.
    pub fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        let sample_name = format!("{name}_total");
        let family = match self.format {
            Exposition::Prometheus => sample_name.clone(),
            Exposition::OpenMetrics => name.to_owned(),
        };
        self.begin(&family, "counter", help, sample_name)
    }

    /// Begins a gauge.
    pub fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        self.begin(name, "gauge", help, name.to_owned())
    }

    /// Writes a histogram of durations. `name` ends in `_seconds`.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        let mut family = self.begin(name, "histogram", help, format!("{name}_bucket"));
        for (bound, count) in histogram.cumulative() {
            family.count(&[("le", &number(bound))], count);
        }
        name.clone_into(&mut family.sample_name);
        family.sample_name.push_str("_sum");
        family.value(&[], histogram.sum().as_secs_f64());
        name.clone_into(&mut family.sample_name);
        family.sample_name.push_str("_count");
        family.count(&[], histogram.count());
    }

    /// Writes facts about the process as labels of one sample. `name` is without `_info`.
    pub fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) {
        let sample_name = format!("{name}_info");
        // Prometheus text has no such type; there it is a gauge that is always 1.
        let (family, kind) = match self.format {
            Exposition::Prometheus => (sample_name.clone(), "gauge"),
            Exposition::OpenMetrics => (name.to_owned(), "info"),
        };
        self.begin(&family, kind, help, sample_name)
            .count(labels, 1);
    }

    fn begin(&mut self, family: &str, kind: &str, help: &str, sample_name: String) -> Family<'_> {
        let _ = writeln!(self.text, "# HELP {family} {}", escape(help, self.format));
        let _ = writeln!(self.text, "# TYPE {family} {kind}");
        let unit = UNITS.iter().find(|unit| ends_in_word(family, unit));
        if let (Exposition::OpenMetrics, Some(unit)) = (self.format, unit) {
            let _ = writeln!(self.text, "# UNIT {family} {unit}");
        }
        Family {
            page: self,
            sample_name,
        }
    }

    /// The page, closed as its format asks.
    #[must_use]
    pub fn finish(mut self) -> String {
        if self.format == Exposition::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Family<'_> {
    /// Adds a sample of whole numbers; label values may hold any text.
    pub fn count(&mut self, labels: &[(&str, &str)], value: u64) -> &mut Self {
        self.sample(labels, &value.to_string())
    }

    /// Adds a sample.
    pub fn value(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.sample(labels, &number(value))
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: &str) -> &mut Self {
        let text = &mut self.page.text;
        text.push_str(&self.sample_name);
        for (index, (name, label)) in labels.iter().enumerate() {
            text.push(if index == 0 { '{' } else { ',' });
            let _ = write!(text, "{name}=\"{}\"", escape_quoted(label));
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
        self
    }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

fn ends_in_word(name: &str, word: &str) -> bool {
    name.strip_suffix(word)
        .is_some_and(|rest| rest.ends_with('_'))
}

fn escape(help: &str, format: Exposition) -> String {
    match format {
        Exposition::Prometheus => help.replace('\\', "\\\\").replace('\n', "\\n"),
        Exposition::OpenMetrics => escape_quoted(help),
    }
}

fn escape_quoted(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(format: Exposition) -> String {
        let mut page = Page::new(format);
        page.counter("monitor_audits", "Audits made.")
            .count(&[("verdict", "HEALTHY")], 3)
            .count(&[("verdict", "DOWN")], 0);
        page.gauge("monitor_tick_lateness_seconds", "How late.")
            .value(&[], 0.25);
        page.finish()
    }

    #[test]
    fn prometheus_text_names_the_counter_with_total() {
        assert_eq!(
            page(Exposition::Prometheus),
            "# HELP monitor_audits_total Audits made.\n\
             # TYPE monitor_audits_total counter\n\
             monitor_audits_total{verdict=\"HEALTHY\"} 3\n\
             monitor_audits_total{verdict=\"DOWN\"} 0\n\
             # HELP monitor_tick_lateness_seconds How late.\n\
             # TYPE monitor_tick_lateness_seconds gauge\n\
             monitor_tick_lateness_seconds 0.25\n"
        );
    }

    #[test]
    fn open_metrics_names_the_family_without_and_ends() {
        let page = page(Exposition::OpenMetrics);
        assert!(page.contains("# TYPE monitor_audits counter\n"), "{page}");
        assert!(
            page.contains("\nmonitor_audits_total{verdict=\"HEALTHY\"} 3\n"),
            "{page}"
        );
        assert!(page.ends_with("# EOF\n"), "{page}");
    }

    #[test]
    fn label_values_cannot_break_out() {
        let mut page = Page::new(Exposition::Prometheus);
        page.gauge("g", "h")
            .count(&[("id", "a\"} 1\nevil 2\\"), ("b", "c")], 1);
        assert!(
            page.finish()
                .contains("g{id=\"a\\\"} 1\\nevil 2\\\\\",b=\"c\"} 1\n")
        );
    }

    #[test]
    fn a_histogram_has_buckets_sum_and_count() {
        let mut histogram = Histogram::default();
        histogram.record(std::time::Duration::from_millis(2));
        let mut page = Page::new(Exposition::OpenMetrics);
        page.histogram("delay_seconds", "How long.", &histogram);
        let page = page.finish();
        for line in [
            "# TYPE delay_seconds histogram",
            "# UNIT delay_seconds seconds",
            "delay_seconds_bucket{le=\"0.001\"} 0",
            "delay_seconds_bucket{le=\"0.0025\"} 1",
            "delay_seconds_bucket{le=\"+Inf\"} 1",
            "delay_seconds_sum 0.002",
            "delay_seconds_count 1",
        ] {
            assert!(page.contains(&format!("{line}\n")), "{line}: {page}");
        }
    }

    #[test]
    fn numbers_that_are_none_have_their_names() {
        let mut page = Page::new(Exposition::Prometheus);
        page.gauge("g", "h")
            .value(&[], f64::NAN)
            .value(&[], f64::INFINITY)
            .value(&[], f64::NEG_INFINITY);
        assert!(page.finish().ends_with("g NaN\ng +Inf\ng -Inf\n"));
    }
}
