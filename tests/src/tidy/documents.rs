//! Documents that keep up with the code: links lead somewhere, commands exist, each rule has its
//! page.

use std::collections::BTreeSet;

use super::File;

/// Links in Markdown files to files or headings that are not there.
#[must_use]
pub fn dead_links(files: &[File]) -> Vec<String> {
    let mut paths: BTreeSet<String> = files.iter().map(|file| file.path.clone()).collect();
    let folders: Vec<String> = paths.iter().flat_map(|path| parents(path)).collect();
    paths.extend(folders);
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is("md")) {
        for (number, target) in links(&file.text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, heading) = target.split_once('#').unwrap_or((&target, ""));
            let path = resolve(&file.path, path);
            let place = format!("{}:{number}", file.path);
            if !paths.contains(&path) {
                found.push(format!("{place}: {target} leads nowhere"));
            } else if !heading.is_empty() && !has_heading(files, &path, heading) {
                found.push(format!("{place}: {target}: there is no such heading"));
            }
        }
    }
    found
}

fn parents(path: &str) -> Vec<String> {
    let cuts = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
    cuts.collect()
}

/// The targets of `[text](target)`, with their lines, outside of code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let rest = &line[at + 2..];
            let target = rest.split([')', ' ']).next().unwrap_or("");
            found.push((number + 1, target.to_owned()));
        }
    }
    found
}

fn resolve(from: &str, target: &str) -> String {
    if target.is_empty() {
        return from.to_owned();
    }
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

fn has_heading(files: &[File], path: &str, heading: &str) -> bool {
    let Some(file) = files.iter().find(|file| file.path == path) else {
        return false;
    };
    let headings = file.text.lines().filter(|line| line.starts_with('#'));
    let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#').trim()));
    anchors.any(|anchor| anchor == heading)
}

/// A heading's anchor, as the forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// Command lines in the fenced blocks of a document: words after an optional `$`, continued lines
/// joined, comments cut.
#[must_use]
pub fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    let mut joined = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if !fenced {
            continue;
        }
        let line = line.strip_prefix("$ ").unwrap_or(line);
        let line = line.split(" # ").next().unwrap_or(line).trim_end();
        joined.push_str(line.trim_end_matches('\\'));
        if !line.ends_with('\\') && !joined.is_empty() {
            found.push(std::mem::take(&mut joined));
        }
    }
    found
}

/// Methods named on grpcurl lines that no proto declares.
#[must_use]
pub fn unknown_methods(commands: &[String], files: &[File]) -> Vec<String> {
    let known = methods(files);
    let named = commands
        .iter()
        .filter(|command| command.split_whitespace().next() == Some("grpcurl"))
        .flat_map(|command| command.split_whitespace())
        .map(|word| word.trim_matches(['\'', '"']))
        .filter(|word| is_method(word));
    named
        .filter(|method| !known.contains(*method))
        .map(|method| format!("{method}: no proto declares it"))
        .collect()
}

/// A word such as `a.v1.Service/Method`; `HOST:PORT` and paths are none.
fn is_method(word: &str) -> bool {
    let Some((service, method)) = word.split_once('/') else {
        return false;
    };
    service.contains(".v1.") && method.starts_with(|c: char| c.is_ascii_uppercase())
}

fn methods(files: &[File]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files.iter().filter(|file| file.is("proto")) {
        let (mut package, mut service) = ("", "");
        for line in file.text.lines() {
            let mut words = line.trim().split([' ', ';', '(', '{']);
            match (words.next(), words.next()) {
                (Some("package"), Some(name)) => package = name,
                (Some("service"), Some(name)) => service = name,
                (Some("rpc"), Some(name)) => {
                    found.insert(format!("{package}.{service}/{name}"));
                }
                _ => {}
            }
        }
    }
    found
}

/// Rules without a page in `docs/rules`, and pages without a rule.
#[must_use]
pub fn rule_pages(rules: &BTreeSet<String>, files: &[File]) -> Vec<String> {
    let pages: BTreeSet<String> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix("docs/rules/")?.strip_suffix(".md"))
        .filter(|page| *page != "README")
        .map(str::to_owned)
        .collect();
    let missing = rules
        .difference(&pages)
        .map(|rule| format!("{rule}: the rule has no page docs/rules/{rule}.md"));
    let stale = pages
        .difference(rules)
        .map(|page| format!("docs/rules/{page}.md: there is no such rule"));
    missing.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_are_found() {
        let page = "[a](b.md) [c](no.md) [d](../x.rs)\n[e](b.md#the-end) [f](#nope)\n\
                    ```\n[g](never.md)\n```\n[h](https://example.org)\n# Title";
        let files = [
            File::new("docs/a.md", page),
            File::new("docs/b.md", "## The end"),
            File::new("x.rs", ""),
        ];
        let found = dead_links(&files);
        assert_eq!(
            found,
            [
                "docs/a.md:1: no.md leads nowhere",
                "docs/a.md:2: #nope: there is no such heading"
            ]
        );
    }

    #[test]
    fn commands_are_read_from_blocks() {
        let page = "cargo nothing\n```sh\n$ cargo xtask demo --hold # holds\na \\\n  b\n```";
        assert_eq!(commands(page), ["cargo xtask demo --hold", "a b"]);
    }

    #[test]
    fn a_method_that_is_not_there_is_found() {
        let proto = "package a.v1;\nservice S {\n  rpc Do(M) returns (M);\n}";
        let files = [File::new("proto/a.proto", proto)];
        let command = |method: &str| vec![format!("grpcurl -plaintext host:1 {method}")];
        assert!(unknown_methods(&command("a.v1.S/Do"), &files).is_empty());
        let found = unknown_methods(&command("a.v1.S/Undo"), &files);
        assert_eq!(found, ["a.v1.S/Undo: no proto declares it"]);
    }

    #[test]
    fn rules_and_pages_must_meet() {
        let rules = BTreeSet::from(["one".to_owned(), "two".to_owned()]);
        let files = [
            File::new("docs/rules/one.md", ""),
            File::new("docs/rules/three.md", ""),
            File::new("docs/rules/README.md", ""),
        ];
        assert_eq!(
            rule_pages(&rules, &files),
            [
                "two: the rule has no page docs/rules/two.md",
                "docs/rules/three.md: there is no such rule"
            ]
        );
    }
}
