//! Every Rust file is declared by a module: one that is not is never compiled, nor tested.

use std::collections::{BTreeMap, BTreeSet};

use super::File;
use super::rust_text::code;

/// Rust files that no crate reaches.
#[must_use]
pub fn undeclared(files: &[File]) -> Vec<String> {
    let sources: BTreeMap<&str, &str> = files
        .iter()
        .filter(|file| file.is("rs"))
        .map(|file| (file.path.as_str(), file.text.as_str()))
        .collect();
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<String> = sources
        .keys()
        .filter(|path| is_root(path))
        .map(|path| (*path).to_owned())
        .collect();
    while let Some(path) = waiting.pop() {
        if let Some(text) = sources.get(path.as_str())
            && reached.insert(path.clone())
        {
            waiting.extend(children(&path, text));
        }
    }
    let unreached = sources.keys().filter(|path| !reached.contains(**path));
    unreached
        .map(|path| format!("{path}: no module declares it"))
        .collect()
}

/// Whether Cargo compiles the file by itself.
fn is_root(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = folder.rsplit('/').next().unwrap_or("");
    let grandparent = folder.rsplit('/').nth(1).unwrap_or("");
    let targets = ["tests", "examples", "benches", "bin"];
    match name {
        "build.rs" => true,
        "lib.rs" => parent == "src" || path == "proto/lib.rs",
        "main.rs" => parent == "src" || targets.contains(&grandparent),
        // The crate named "tests" has its own `src`, so its files are not meant here.
        _ => targets.contains(&parent) && folder != "tests",
    }
}

/// The files of modules that are compiled for unit tests only.
#[must_use]
pub fn test_modules(files: &[File]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files.iter().filter(|file| file.is("rs")) {
        let code = code(&file.text);
        let lines: Vec<&str> = code.lines().map(str::trim).collect();
        let gated = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]");
        let names = gated.filter_map(|pair| declared(pair[1]));
        found.extend(names.flat_map(|name| places(&file.path, name)));
    }
    found
}

/// The files that a module's declarations may mean.
fn children(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let declared = code.lines().filter_map(declared);
    let listed = code.lines().filter_map(|line| listed(&code, line));
    declared
        .chain(listed)
        .flat_map(|child| places(path, child))
        .collect()
}

/// A name in a list that a macro of the same file makes modules of.
fn listed<'a>(code: &str, line: &'a str) -> Option<&'a str> {
    let name = line.trim().strip_suffix(',')?;
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    (is_name && code.contains("mod $")).then_some(name)
}

/// Where a child of a module may be.
fn places(path: &str, child: &str) -> [String; 2] {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name.trim_end_matches(".rs");
    let inside = if stem == "mod" || is_root(path) {
        folder.to_owned()
    } else {
        format!("{folder}/{stem}")
    };
    [
        format!("{inside}/{child}.rs"),
        format!("{inside}/{child}/mod.rs"),
    ]
}

/// The name in a line such as `pub(crate) mod name;`.
fn declared(line: &str) -> Option<&str> {
    let line = line.trim().strip_suffix(';')?;
    let (before, name) = line.rsplit_once("mod ")?;
    let before = before.trim();
    let visible = before.is_empty() || before.starts_with("pub") || before.ends_with(']');
    visible.then_some(name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nobody_declares_is_found() {
        let files = [
            File::new("a/src/main.rs", "mod one;\n// mod two;\nfn main() {}"),
            File::new("a/src/one.rs", "pub(crate) mod deep;"),
            File::new("a/src/one/deep.rs", ""),
            File::new("a/src/two.rs", ""),
            File::new("a/src/three/mod.rs", ""),
        ];
        let found = undeclared(&files);
        assert_eq!(
            found,
            [
                "a/src/three/mod.rs: no module declares it",
                "a/src/two.rs: no module declares it"
            ]
        );
    }

    #[test]
    fn a_macro_may_declare() {
        let rules = "macro_rules! all { ($($f:ident,)*) => { $(mod $f;)* } }\nall! {\n    one,\n}";
        let files = [
            File::new("a/src/lib.rs", "mod rules;"),
            File::new("a/src/rules/mod.rs", rules),
            File::new("a/src/rules/one.rs", ""),
            File::new("a/src/rules/two.rs", ""),
        ];
        let found = undeclared(&files);
        assert_eq!(found, ["a/src/rules/two.rs: no module declares it"]);
    }

    #[test]
    fn modules_for_unit_tests_are_known() {
        let text = "#[cfg(test)]\nmod scenes;\nmod real;";
        let found = test_modules(&[File::new("a/src/hub/mod.rs", text)]);
        let scenes = ["a/src/hub/scenes.rs", "a/src/hub/scenes/mod.rs"];
        assert_eq!(found, BTreeSet::from(scenes.map(str::to_owned)));
    }

    #[test]
    fn roots_need_no_declaration() {
        let files = [
            File::new("build.rs", ""),
            File::new("proto/lib.rs", ""),
            File::new("a/src/lib.rs", "#[cfg(test)] mod testing;"),
            File::new("a/src/testing.rs", ""),
            File::new("a/tests/story.rs", ""),
            File::new("a/tests/stories/main.rs", "mod first;"),
            File::new("a/tests/stories/first.rs", ""),
        ];
        assert_eq!(undeclared(&files), Vec::<String>::new());
    }
}
