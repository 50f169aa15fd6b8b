//! What no file may be or contain.

use super::File;

/// Lines that a source file may have.
pub const MAX_LINES: usize = 500;
const SOURCES: [&str; 7] = ["rs", "proto", "py", "go", "ts", "js", "css"];

/// Source files that are too long to be about one thing.
#[must_use]
pub fn too_long(files: &[File]) -> Vec<String> {
    let sources = files
        .iter()
        .filter(|file| SOURCES.iter().any(|source| file.is(source)));
    sources
        .filter_map(|file| {
            let lines = file.text.lines().count();
            let message = format!("{}: {lines} lines; allowed are {MAX_LINES}", file.path);
            (lines > MAX_LINES).then_some(message)
        })
        .collect()
}

/// Folders that exist on somebody's machine only. In parts, so that this file holds none.
const MACHINE_FOLDERS: [[&str; 2]; 4] = [
    ["/wo", "rk/"],
    ["/ro", "ot/"],
    ["/ho", "me/"],
    ["/Us", "ers/"],
];

/// Paths of one machine.
#[must_use]
pub fn machine_paths(files: &[File]) -> Vec<String> {
    let folders = MACHINE_FOLDERS.map(|parts| parts.concat());
    let mut found = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            let named = folders.iter().filter(|folder| names(line, folder));
            found.extend(named.map(|folder| {
                let place = format!("{}:{}", file.path, number + 1);
                format!("{place}: {folder} is a path of one machine")
            }));
        }
    }
    found
}

/// Whether a line names the folder as a path of its own, not as a part of a URL or a longer path.
fn names(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-$})".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found() {
        let long = "\n".repeat(MAX_LINES + 1);
        let files = [
            File::new("a.rs", &long),
            File::new("a.md", &long),
            File::new("b.rs", "\n"),
        ];
        assert_eq!(too_long(&files), ["a.rs: 501 lines; allowed are 500"]);
    }

    #[test]
    fn a_machine_path_is_found() {
        let folder = MACHINE_FOLDERS[2].concat();
        let bad = format!("see {folder}somebody/x\nand https://a.example{folder}page");
        let found = machine_paths(&[File::new("a.md", &bad)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("a.md:1:"), "{found:?}");
    }
}
