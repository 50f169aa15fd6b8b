//! The page of limits, held to the settings and to the tests that it names.

use std::collections::BTreeSet;

use super::File;

/// The page.
pub const PAGE: &str = "docs/LIMITS.md";
/// Its headings under which each row names a test.
const LIMITS: &str = "## Limits that are settings";
const FIXED: &str = "## Limits that are fixed";
/// The one under which the other settings are.
const NONE: &str = "## What is no limit";
/// The pages that list every setting, which follow from the code.
const SETTINGS: [(&str, &str); 2] = [
    ("bridge", "docs/settings/bridge.md"),
    ("monitor", "docs/settings/monitor.md"),
];

/// Settings that the page does not have, or twice over as a limit and as none; what it has and no
/// service knows; limits without a test, and tests that are not there.
#[must_use]
pub fn offences(files: &[File]) -> Vec<String> {
    let text = |path: &str| {
        let file = files.iter().find(|file| file.path == path);
        file.map_or("", |file| file.text.as_str())
    };
    let page = text(PAGE);
    let mut found = Vec::new();
    let (mut used_limits, mut used_patterns) = (BTreeSet::new(), BTreeSet::new());
    let limits = section(page, LIMITS);
    let patterns = section(page, NONE);
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
    let rows = section(page, LIMITS).chain(section(page, FIXED));
    found.extend(rows.filter_map(|cells| missing_test(&cells, files)));
    found
}

/// The cells of each row of the table under a heading, without the table's head.
fn section<'a>(page: &'a str, heading: &str) -> impl Iterator<Item = Vec<&'a str>> {
    let body = page.split_once(heading).map_or("", |(_, rest)| rest);
    let body = body.split("\n## ").next().unwrap_or_default();
    let rows = body.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells = row.trim_matches(['|', ' ']).split('|');
        cells.map(str::trim).collect()
    })
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
fn missing_test(cells: &[&str], files: &[File]) -> Option<String> {
    let (limit, proof) = (cells.first()?, cells.last()?);
    let link = proof.strip_prefix("[`");
    let Some((name, link)) = link.and_then(|link| link.split_once("`](../")) else {
        return Some(format!("{PAGE}: {limit} names no test"));
    };
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

    fn files(limits: &str, fixed: &str, patterns: &str) -> Vec<File> {
        let table = |heading, rows| format!("{heading}\n\n| of |\n|---|\n{rows}\n\n");
        let page = table(LIMITS, limits) + &table(FIXED, fixed) + &table(NONE, patterns);
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
        let limits = "| `hub.a` | both | refused | [`one_over`](../x.rs) |";
        let fixed = "| a name | both | 8 bytes | refused | [`one_over`](../x.rs) |";
        let files = files(limits, fixed, "| `log.*` | logs |");
        assert_eq!(offences(&files), [""; 0]);
    }

    #[test]
    fn whatever_does_not_meet_is_found() {
        let limits = "| `hub.a` | bridge | refused | [`helper`](../x.rs) |\n\
                      | `hub.c` | both | refused | [`one_over`](../y.rs) |\n\
                      | `hub.d` | both | refused | |";
        let fixed = "| a name | both | 8 bytes | refused | `one_over` |";
        let files = files(limits, fixed, "| `hub.a`, `nobody.*` | paces |");
        let found = offences(&files).join("\n");
        for part in [
            "hub.a of the bridge is a limit, and hub.a says that it is none",
            "log.b of the bridge is neither",
            "the monitor has no setting hub.c",
            "no setting is like nobody.*",
            "x.rs has no test helper",
            "y.rs is not there",
            "`hub.d` names no test",
            "a name names no test",
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
