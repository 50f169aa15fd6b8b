//! What decides does no I/O and reads no clock.

use super::File;
use super::modules::test_modules;
use super::rust_text::{code_without_tests, mentions};

/// What pure code never says: its words, and why not.
const FORBIDDEN: [(&str, &str); 17] = [
    ("tokio", "is no business of pure code"),
    ("tokio_util", "is no business of pure code"),
    ("tonic", "belongs at the edge"),
    ("prost", "belongs at the edge"),
    ("prost_types", "belongs at the edge"),
    ("monitorable", "the wire format belongs at the edge"),
    ("rusqlite", "storing belongs behind the store"),
    ("sqlx", "storing belongs behind the store"),
    ("std::fs", "is I/O"),
    ("std::net", "is I/O"),
    ("std::io", "is I/O"),
    ("std::env", "settings come in as arguments"),
    ("std::thread", "pure code starts nothing"),
    ("Instant::now", "time comes in as an argument"),
    ("SystemTime::now", "time comes in as an argument"),
    ("Clock", "time comes in as an argument"),
    ("elapsed", "time comes in as an argument"),
];
const PRINTING: [&str; 4] = ["println!", "eprintln!", "print!", "eprint!"];

/// Folders whose code is pure, and the beginnings of names of the files in them that are not.
const PURE: [(&str, &[&str]); 4] = [
    ("bridge-service/src/hub/", &["actor", "api", "outlet"]),
    ("monitor-service/src/audit/", &[]),
    ("monitor-service/src/incident/", &[]),
    ("monitor-service/src/evidence/", &[]),
];

/// Whether a file must be pure.
#[must_use]
pub fn must_be_pure(path: &str) -> bool {
    PURE.iter().any(|(folder, exempt)| {
        let Some(inside) = path.strip_prefix(folder) else {
            return false;
        };
        path.ends_with(".rs") && !exempt.iter().any(|name| inside.starts_with(name))
    })
}

/// Impure words in pure code.
#[must_use]
pub fn offences(files: &[File]) -> Vec<String> {
    let tests = test_modules(files);
    let pure = files
        .iter()
        .filter(|file| must_be_pure(&file.path) && !tests.contains(&file.path));
    pure.flat_map(|file| {
        let code = code_without_tests(&file.text);
        let said = FORBIDDEN.iter().filter(|(word, _)| mentions(&code, word));
        let mut found: Vec<_> = said
            .map(|(word, why)| format!("{}: {word} {why}", file.path))
            .collect();
        let printed = PRINTING.iter().filter(|word| code.contains(*word));
        found.extend(printed.map(|word| format!("{}: {word} is I/O", file.path)));
        found
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impure_code_is_found() {
        for bad in [
            "use tokio::sync::mpsc;",
            "fn f() { let _ = std::time::Instant::now(); }",
            "fn f() { std::fs::read(\"x\"); }",
            "use monitorable::monitor::v1::Audit;",
            "fn f(c: Clock) {}",
            "fn f() { println!(); }",
        ] {
            let file = File::new("monitor-service/src/audit/rules/bad.rs", bad);
            assert_eq!(offences(&[file]).len(), 1, "{bad}");
        }
    }

    #[test]
    fn pure_code_and_what_lies_elsewhere_pass() {
        let pure = "#[cfg(test)]\nmod scenes;\n/// Unlike tokio's clock.\nuse std::time::Duration;\nfn f(now: Now) {}";
        let impure = "use tokio::sync::mpsc;";
        let files = [
            File::new("monitor-service/src/audit/mod.rs", pure),
            File::new("monitor-service/src/audit/scenes.rs", impure),
            File::new("bridge-service/src/hub/actor.rs", impure),
            File::new("monitor-service/src/probe/mod.rs", impure),
        ];
        assert_eq!(offences(&files), Vec::<String>::new());
    }
}
