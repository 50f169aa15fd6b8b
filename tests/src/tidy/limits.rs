//! The page of limits, held to the settings and to the tests that it names.

use std::collections::BTreeSet;

use super::File;

/// The page.
pub const PAGE: &str = "docs/LIMITS.md";
/// The pages that list every setting, which follow from the code.
const SETTINGS: [(&str, &str); 2] = [
    ("bridge", "docs/settings/bridge.md"),
    ("monitor", "docs/settings/monitor.md"),
];

/// Settings that the page does not have, or twice over as a limit and as none; what it has and no
/// service knows; tests that it names and that are not there.
#[must_use]
pub fn offences(files: &[File]) -> Vec<String> {
    let text = |path: &str| {
        let file = files.iter().find(|file| file.path == path);
        file.map_or("", |file| file.text.as_str())
    };
    let page = text(PAGE);
    let mut found = Vec::new();
    let (mut used_limits, mut used_patterns) = (BTreeSet::new(), BTreeSet::new());
    let limits = section(page, "## Limits that are settings");
    let patterns = section(page, "## What is no limit");
    let patterns: Vec<&str> = patterns.flat_map(|cells| quoted(cells[0])).collect();
    let limits: Vec<(&str, &str)> = limits
        .flat_map(|cells| quoted(cells[0]).map(move |setting| (setting, cells[1])))
        .collect();
    for (service, path) in SETTINGS {
        for setting in settings(text(path)) {
            let of = |named: &str| named == service || named == "both";
            let limit = limits.iter().find(|row| row.0 == setting && of(row.1));
            let pattern = patterns.iter().find(|pattern| fits(pattern, setting));
            match (limit, pattern) {
                (None, None) => found.push(format!(
                    "{PAGE}: {setting} of the {service} is neither a limit nor anything else"
                )),
                (Some(_), Some(pattern)) => found.push(format!(
                    "{PAGE}: {setting} of the {service} is a limit, and {pattern} says that it is none"
                )),
                _ => {}
            }
            used_limits.extend(limit.map(|row| (row.0, row.1, service)));
            used_patterns.extend(pattern.copied());
        }
    }
    for (setting, of) in &limits {
        let services = SETTINGS.map(|(service, _)| service);
        for service in services
            .iter()
            .filter(|service| *of == **service || *of == "both")
        {
            if !used_limits.contains(&(*setting, *of, *service)) {
                found.push(format!("{PAGE}: the {service} has no setting {setting}"));
            }
        }
    }
    let unused = patterns
        .iter()
        .filter(|pattern| !used_patterns.contains(**pattern));
    found.extend(unused.map(|pattern| format!("{PAGE}: no setting is like {pattern}")));
    for line in page.lines().filter(|line| line.starts_with('|')) {
        found.extend(missing_test(line, files));
    }
    found
}

/// The cells of each row of the table under a heading.
fn section<'a>(page: &'a str, heading: &str) -> impl Iterator<Item = Vec<&'a str>> {
    let body = page.split_once(heading).map_or("", |(_, rest)| rest);
    let body = body.split("\n## ").next().unwrap_or_default();
    let rows = body.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.split('|').skip(1).map(str::trim).collect())
}

/// The words of a cell that stand in code.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The settings of a page of settings.
fn settings(page: &str) -> impl Iterator<Item = &str> {
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.filter_map(|row| row.split('`').nth(1))
}

/// Whether a setting is like a pattern, in which each `*` stands for anything.
fn fits(pattern: &str, setting: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == setting;
    };
    let Some(left) = setting.strip_prefix(head) else {
        return false;
    };
    left.char_indices()
        .map(|(at, _)| at)
        .chain([left.len()])
        .any(|at| fits(rest, &left[at..]))
}

/// What a row says of its test, where that is not there: the last cell is `[`test`](file)`.
fn missing_test(row: &str, files: &[File]) -> Option<String> {
    let (_, last) = row.trim_end_matches(['|', ' ']).rsplit_once("| ")?;
    let (name, link) = last.strip_prefix("[`")?.split_once("`](../")?;
    let path = link.trim_end_matches(')');
    let Some(file) = files.iter().find(|file| file.path == path) else {
        return Some(format!("{PAGE}: {path} is not there"));
    };
    let mut is_test = false;
    for line in file.text.lines().map(str::trim) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        if let Some((_, rest)) = line.split_once("fn ") {
            if is_test && rest.starts_with(&format!("{name}(")) {
                return None;
            }
            is_test = false;
        }
    }
    Some(format!("{PAGE}: {path} has no test {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(page: &str) -> Vec<File> {
        let page = format!("## Limits that are settings\n{page}");
        vec![
            File::new(PAGE, &page),
            File::new(
                "docs/settings/bridge.md",
                "| `hub.a` | 1 |\n| `log.b` | 2 |",
            ),
            File::new("docs/settings/monitor.md", "| `hub.a` | 1 |"),
            File::new("x.rs", "#[test]\nfn one_over() {}\nfn helper() {}"),
        ]
    }

    #[test]
    fn a_page_that_has_them_all_passes() {
        let page = "| `hub.a` | both | refused | [`one_over`](../x.rs) |\n\
                    ## What is no limit\n| `log.*` | logs |";
        assert_eq!(offences(&files(page)), [""; 0]);
    }

    #[test]
    fn whatever_does_not_meet_is_found() {
        let page = "| `hub.a` | bridge | refused | [`helper`](../x.rs) |\n\
                    | `hub.c` | both | refused | [`one_over`](../y.rs) |\n\
                    ## What is no limit\n| `hub.a`, `nobody.*` | paces |";
        let found = offences(&files(page)).join("\n");
        for part in [
            "hub.a of the bridge is a limit, and hub.a says that it is none",
            "log.b of the bridge is neither",
            "the monitor has no setting hub.c",
            "no setting is like nobody.*",
            "x.rs has no test helper",
            "y.rs is not there",
        ] {
            assert!(found.contains(part), "{part} is missing from:\n{found}");
        }
    }

    #[test]
    fn stars_stand_for_anything() {
        assert!(fits("*.tls_*", "grpc.tls_key_file") && fits("log.*", "log.level"));
        assert!(!fits("*.tls_*", "grpc.listen") && !fits("log.*", "logs.level"));
    }
}
