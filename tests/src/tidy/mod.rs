//! Checks that keep the repository true to its own rules. Each returns what is wrong, one
//! sentence an offence, and its own tests show that it can fail.

pub mod documents;
pub mod limits;
pub mod modules;
pub mod protos;
pub mod purity;
pub mod rust_text;
pub mod texts;

use std::path::{Path, PathBuf};

/// Folders that hold nothing of the project's own writing.
const SKIPPED: [&str; 7] = [
    "target",
    ".git",
    ".tools",
    "node_modules",
    "__pycache__",
    "gen",
    "build",
];

/// One file of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Relative to the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl File {
    /// A file from its parts.
    #[must_use]
    pub fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Whether its name ends in this extension.
    #[must_use]
    pub fn is(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|found| found == extension)
    }
}

/// Every text file of the repository, in order of path.
#[must_use]
pub fn files(root: &Path) -> Vec<File> {
    let mut found = Vec::new();
    collect(root, root, &mut found);
    found.sort_by(|left, right| left.path.cmp(&right.path));
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<File>) {
    let entries = std::fs::read_dir(folder).expect("a folder of the repository can be read");
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or_default();
        if path.is_dir() {
            if !SKIPPED.contains(&name) && !name.ends_with(".egg-info") {
                collect(root, &path, found);
            }
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let relative = path.strip_prefix(root).expect("inside the root");
            found.push(File::new(&relative.to_string_lossy(), &text));
        }
    }
}
