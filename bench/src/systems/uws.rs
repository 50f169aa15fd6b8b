//! uWebSockets: our own small server, built from its sources.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::{Running, is_installed, not_installed, peers};
use crate::dialect::Dialect;
use crate::failure::Failure;
use crate::machine::SERVER_CORE;
use crate::process::{Server, free_address};
use crate::publisher::{Plain, Wire};
use crate::readers::Manner;

/// A checkout of uWebSockets with uSockets inside. Absent: the sources that a crate carries.
const SOURCES: &str = "MONITORABLE_UWS_DIR";
const CRATE: &str = "libuwebsockets-sys";
const C_FLAGS: &str = "-O3 -march=native -DLIBUS_NO_SSL -DUWS_NO_ZLIB";

pub(super) fn version() -> Result<String, Failure> {
    let (sources, version) = sources()?;
    built(&sources)?;
    Ok(version)
}

pub(super) fn start() -> Result<Running, Failure> {
    let address = free_address()?;
    let (sources, _) = sources()?;
    let mut command = Command::new(built(&sources)?);
    command.arg(address.port().to_string());
    let server = Server::silent(&mut command, SERVER_CORE, address)?;
    let manner = Manner {
        address,
        dialect: Dialect::Plain,
        subscribe: None,
        acknowledge_every: None,
    };
    Ok(Running {
        server,
        manner,
        path: |topic| format!("/sub/{topic}"),
        publisher: Box::new(move |topics| {
            Ok(Box::new(Plain::open(
                Wire::WebSocket,
                address,
                1,
                topics,
                b"",
            )?))
        }),
        _folder: None,
    })
}

/// The folder of the sources, and which ones they are.
fn sources() -> Result<(PathBuf, String), Failure> {
    if let Some(folder) = std::env::var_os(SOURCES) {
        let folder = PathBuf::from(folder);
        for file in ["src/App.h", "uSockets/src/libusockets.h"] {
            if !folder.join(file).is_file() {
                return Err(Failure::new(format!(
                    "{SOURCES}: {} has no {file}; a checkout of uWebSockets with its submodule \
                     uSockets is needed",
                    folder.display()
                )));
            }
        }
        let version = format!("sources of {SOURCES}");
        return Ok((folder, version));
    }
    static FETCHED: OnceLock<Result<(PathBuf, String), Failure>> = OnceLock::new();
    FETCHED.get_or_init(fetch).clone()
}

/// Lets cargo download the crate, and finds where it put it. Nothing of it is built by cargo.
fn fetch() -> Result<(PathBuf, String), Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--locked",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(peers().join("uws/Cargo.toml"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let package = packages.iter().find(|package| package["name"] == CRATE);
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let (Some(package), Some(manifest)) = (package, manifest) else {
        return Err(Failure::new(format!(
            "the sources in the crate {CRATE} cannot be downloaded; {SOURCES} may name a checkout \
             of uWebSockets with its submodule uSockets"
        )));
    };
    let folder = PathBuf::from(manifest).with_file_name("uWebSockets");
    let version = package["version"].as_str().unwrap_or("unknown");
    Ok((folder, format!("sources of {CRATE} {version}")))
}

/// The server's binary, built where it is not there or older than our server's text.
fn built(sources: &Path) -> Result<PathBuf, Failure> {
    if !is_installed("g++") {
        return Err(not_installed("a C++ compiler", "g++"));
    }
    let text = peers().join("uws/server.cpp");
    let mut hasher = DefaultHasher::new();
    sources.hash(&mut hasher);
    let name = format!("uws-server-{:016x}", hasher.finish());
    let program = std::env::current_exe()?.with_file_name(name);
    let modified = |path: &Path| std::fs::metadata(path)?.modified();
    match (modified(&program), modified(&text)) {
        (Ok(built), Ok(written)) if built > written => Ok(program),
        _ => build(sources, &text, program),
    }
}

fn build(sources: &Path, text: &Path, program: PathBuf) -> Result<PathBuf, Failure> {
    eprintln!("    building a server from {}", sources.display());
    // Two compilers, since uSockets is C; one shell line says it best.
    let script = "set -e; cd \"$(mktemp -d)\"; \
        gcc $4 -I\"$1/uSockets/src\" -c \"$1\"/uSockets/src/*.c \"$1\"/uSockets/src/eventing/*.c \
        \"$1\"/uSockets/src/crypto/*.c; \
        g++ $4 -std=c++20 -I\"$1/src\" -I\"$1/uSockets/src\" \"$2\" ./*.o -o \"$3\"; rm -r \"$PWD\"";
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .args([sources, text, &program])
        .arg(C_FLAGS)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(program);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|line| line.contains("error"));
    let line = line.unwrap_or("the compiler failed").trim();
    let sources = sources.display();
    Err(Failure::new(format!("{sources} cannot be built: {line}")))
}
