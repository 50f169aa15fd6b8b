//! Where the repository, its tools and the services' binaries are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A folder with both services' binaries, built already. Absent: they are built first.
pub const BINARIES: &str = "MONITORABLE_BIN_DIR";
/// The folder with the strangers' tools. Absent: `.tools` of the repository.
pub const TOOLS: &str = "MONITORABLE_TOOLS";

/// The repository's root.
#[must_use]
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// The binary of a service.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| match std::env::var_os(BINARIES) {
        Some(folder) => PathBuf::from(folder),
        None => build(),
    });
    let path = folder.join(name);
    assert!(path.is_file(), "{} is not there", path.display());
    path
}

/// Builds both services with this program's own profile, so that no test meets a stale binary.
fn build() -> PathBuf {
    let program = std::env::current_exe().expect("a program knows its own file");
    let folder = program
        .parent()
        .expect("target/PROFILE/deps or target/PROFILE");
    let folder = match folder.parent() {
        Some(parent) if folder.ends_with("deps") => parent.to_path_buf(),
        _ => folder.to_path_buf(),
    };
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", "bridge-service"])
        .args(["-p", "monitor-service", "--profile", profile])
        .current_dir(repository())
        .status()
        .expect("cargo can be started");
    assert!(built.success(), "the services could not be built");
    folder
}

/// A stranger's tool, where it has been installed.
#[must_use]
pub fn tool(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(TOOLS).map_or_else(|| repository().join(".tools"), PathBuf::from);
    let path = folder.join(name);
    path.is_file().then_some(path)
}

/// A program of this machine, where it is installed.
#[must_use]
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
    places.find(|place| place.is_file())
}

/// A file of this crate's data.
#[must_use]
pub fn data(name: &str) -> PathBuf {
    repository().join("tests/data").join(name)
}
