//! The two text formats: what they share, and where they differ.

use std::fmt::Write as _;

use service_kit::http::Exposition;

/// Every name begins with it.
const NAMESPACE: &str = "bridge";

/// A page under way.
pub(super) struct Writer {
    page: String,
    format: Exposition,
}

impl Writer {
    pub(super) fn new(format: Exposition) -> Self {
        Self {
            page: String::with_capacity(8 * 1024),
            format,
        }
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, count: u64) {
        self.head(name, "counter", "_total", "", help);
        let _ = writeln!(self.page, "{NAMESPACE}_{name}_total {count}");
    }

    pub(super) fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        counts: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.head(name, "counter", "_total", "", help);
        for (value, count) in counts {
            let value = escaped(value);
            let _ = writeln!(
                self.page,
                "{NAMESPACE}_{name}_total{{{label}=\"{value}\"}} {count}"
            );
        }
    }

    pub(super) fn gauge(&mut self, name: &str, unit: &str, help: &str, value: f64) {
        self.head(name, "gauge", "", unit, help);
        let _ = writeln!(self.page, "{NAMESPACE}_{name} {value}");
    }

    pub(super) fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) {
        self.head(name, "gauge", "", "", help);
        for (of, value) in values {
            let of = escaped(of);
            let _ = writeln!(self.page, "{NAMESPACE}_{name}{{{label}=\"{of}\"}} {value}");
        }
    }

    pub(super) fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) {
        // Prometheus text has no such type; there it is a gauge that is always 1.
        let kind = match self.format {
            Exposition::OpenMetrics => "info",
            Exposition::Prometheus => "gauge",
        };
        self.head(name, kind, "_info", "", help);
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
            .collect();
        let _ = writeln!(
            self.page,
            "{NAMESPACE}_{name}_info{{{}}} 1",
            labels.join(",")
        );
    }

    /// OpenMetrics names the family, Prometheus text the sample: the suffix is the difference.
    fn head(&mut self, name: &str, kind: &str, suffix: &str, unit: &str, help: &str) {
        let suffix = match self.format {
            Exposition::OpenMetrics => "",
            Exposition::Prometheus => suffix,
        };
        let family = format!("{NAMESPACE}_{name}{suffix}");
        let _ = writeln!(self.page, "# HELP {family} {help}");
        let _ = writeln!(self.page, "# TYPE {family} {kind}");
        if self.format == Exposition::OpenMetrics && !unit.is_empty() {
            let _ = writeln!(self.page, "# UNIT {family} {unit}");
        }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Exposition::OpenMetrics {
            self.page.push_str("# EOF\n");
        }
        self.page
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
