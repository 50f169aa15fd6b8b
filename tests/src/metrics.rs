//! Names of metrics: those that a page shows, and those that an expression asks for.

use std::collections::BTreeSet;

/// Beginnings of the names that are ours.
const OURS: [&str; 2] = ["bridge_", "monitor_"];

/// The names of samples that a page in Prometheus' text format may have, from what it describes:
/// a family is described where it has no sample yet, too.
#[must_use]
pub fn described(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.flat_map(|line| match line.split_once(' ') {
        Some((name, "histogram")) => ["_bucket", "_sum", "_count"]
            .map(|ending| format!("{name}{ending}"))
            .to_vec(),
        Some((name, _)) => vec![name.to_owned()],
        None => Vec::new(),
    });
    names.collect()
}

/// Our metrics in an expression of PromQL; the names of recorded series, which have colons, are
/// kept whole.
#[must_use]
pub fn asked(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let ours = |word: &&str| {
        word.contains(':') || OURS.iter().any(|beginning| word.starts_with(beginning))
    };
    let words = words.filter(|word| word.len() > 1);
    words.filter(ours).map(str::to_owned).collect()
}

/// The values of a key in YAML of the plain kind that the rules are written in: `key: value`, or
/// `key: |` and deeper lines.
#[must_use]
pub fn values(yaml: &str, key: &str) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '-']).len();
    let lines: Vec<&str> = yaml.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let inner = line.trim_start_matches([' ', '-']);
        let Some(value) = inner
            .strip_prefix(key)
            .and_then(|rest| rest.strip_prefix(": "))
        else {
            continue;
        };
        if value == "|" {
            let deeper = lines[number + 1..].iter();
            let deeper = deeper.take_while(|next| indent(next) > indent(line));
            found.push(deeper.copied().collect::<Vec<_>>().join("\n"));
        } else {
            found.push(value.trim_matches('"').to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_without_a_sample_is_described() {
        let page = "# HELP bridge_a_total A.\n# TYPE bridge_a_total counter\n# TYPE bridge_b_seconds histogram\n";
        let names: Vec<_> = described(page).into_iter().collect();
        assert_eq!(
            names,
            [
                "bridge_a_total",
                "bridge_b_seconds_bucket",
                "bridge_b_seconds_count",
                "bridge_b_seconds_sum"
            ]
        );
    }

    #[test]
    fn an_expression_names_its_metrics_and_no_label() {
        let found =
            asked(r#"sum by (rule) (rate(monitor_x_total{a="b"}[5m])) / up + a:bridge_y:b"#);
        let names: Vec<_> = found.into_iter().collect();
        assert_eq!(names, ["a:bridge_y:b", "monitor_x_total"]);
    }

    #[test]
    fn values_may_span_lines() {
        let yaml = "  - alert: A\n    expr: |\n      x\n        - y\n    for: 1m\n  - alert: B\n    expr: z\n";
        assert_eq!(values(yaml, "alert"), ["A", "B"]);
        assert_eq!(values(yaml, "expr"), ["      x\n        - y", "z"]);
    }
}
