//! The strangers: programs of others that the tests meet the services with. Each is installed at a
//! pinned version into `.tools`, which git ignores; nothing is installed on the machine itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{Failure, answers, cargo, command, root, step};

/// Go programs: binary, package, version.
const GO_TOOLS: [(&str, &str, &str); 4] = [
    (
        "grpcurl",
        "github.com/fullstorydev/grpcurl/cmd/grpcurl",
        "v1.9.4",
    ),
    ("buf", "github.com/bufbuild/buf/cmd/buf", "v1.75.0"),
    (
        "protoc-gen-go",
        "google.golang.org/protobuf/cmd/protoc-gen-go",
        "v1.36.12",
    ),
    (
        "protoc-gen-go-grpc",
        "google.golang.org/grpc/cmd/protoc-gen-go-grpc",
        "v1.6.2",
    ),
];
/// Go programs that judge manifests.
const KUBERNETES_TOOLS: [(&str, &str, &str); 2] = [
    (
        "kubeconform",
        "github.com/yannh/kubeconform/cmd/kubeconform",
        "v0.8.0",
    ),
    ("helm", "helm.sh/helm/v3/cmd/helm", "v3.22.0"),
];
/// Whose definition of the `ServiceMonitor` the API server is taught.
const PROMETHEUS_OPERATOR: (&str, &str) = (
    "github.com/prometheus-operator/prometheus-operator",
    "v0.85.0",
);
/// Rust programs: binary and version.
pub(crate) const CARGO_DENY: (&str, &str) = ("cargo-deny", "0.20.2");
pub(crate) const CARGO_MACHETE: (&str, &str) = ("cargo-machete", "0.9.2");

const GO_HINT: &str = "Go 1.25 or newer is not on this machine, so the tests with grpcurl, buf \
                       and the Go client are skipped; get it from https://go.dev/dl and run again";
const PYTHON_HINT: &str = "Python 3.10 or newer with venv is not on this machine, so the tests \
                           with Python are skipped; get it from your system (Debian: apt-get \
                           install python3 python3-venv) and run again";

/// What could not be had.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    /// One sentence for each family of tools that is missing: which, and how to get it.
    pub(crate) missing: Vec<String>,
}

impl Tools {
    /// Nobody wants them.
    pub(crate) fn left_out() -> Self {
        Self {
            missing: vec!["the strangers, left out by --no-strangers".to_owned()],
        }
    }
}

/// The folder of tools.
pub(crate) fn folder() -> PathBuf {
    root().join(".tools")
}

/// Installs what is not there yet. What cannot be had is named, and its tests are skipped.
pub(crate) fn install() -> Tools {
    let mut tools = Tools::default();
    let mut family =
        |name: &str, present: bool, hint: &str, install: fn() -> Result<(), Failure>| {
            if !present {
                tools.missing.push(hint.to_owned());
            } else if let Err(failure) = install() {
                tools.missing.push(format!("{name}: {failure}"));
            }
        };
    family("Go", answers("go", "version"), GO_HINT, install_go);
    let python = answers("python3", "--version");
    family("Python", python, PYTHON_HINT, install_python);
    for missing in &tools.missing {
        println!("SKIPPED {missing}");
    }
    tools
}

fn install_go() -> Result<(), Failure> {
    install_programs(&GO_TOOLS)?;
    generate_go()?;
    let client = root().join("clients/go");
    let mut build = go(&client);
    let binary = folder().join("bin/go-roundtrip");
    build.arg("build").arg("-o").arg(binary);
    step("build the Go client", build.arg("./examples/roundtrip"))
}

fn install_programs(programs: &[(&str, &str, &str)]) -> Result<(), Failure> {
    for (name, package, version) in programs {
        once(name, version, || {
            let mut install = go(&root());
            install.args(["install", &format!("{package}@{version}")]);
            step(&format!("install {name} {version}"), &mut install)
        })?;
    }
    Ok(())
}

/// The API server and its client, built from their module, and what goes with them.
pub(crate) fn install_kubernetes() -> Result<(), Failure> {
    if !answers("go", "version") {
        return Err(Failure::new(GO_HINT));
    }
    let folder_of_server = root().join("tests/kubernetes");
    let modules = std::fs::read_to_string(folder_of_server.join("go.mod"))?;
    for program in ["kube-apiserver", "kubectl"] {
        once(program, &fingerprint(&modules), || {
            let mut build = go(&folder_of_server);
            build
                .args(["build", "-ldflags", "-s -w", "-o"])
                .arg(folder().join("bin").join(program))
                .arg(format!("k8s.io/kubernetes/cmd/{program}"));
            step(&format!("build {program}"), &mut build)
        })?;
    }
    install_programs(&KUBERNETES_TOOLS)?;
    let (module, version) = PROMETHEUS_OPERATOR;
    once("prometheus-operator", version, || {
        let mut download = go(&root());
        download.args(["mod", "download", "-json", &format!("{module}@{version}")]);
        let output = download.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let found = text.split_once(r#""Dir": ""#);
        let source = found.and_then(|(_, rest)| rest.split('"').next());
        let source = source.ok_or_else(|| Failure::new(format!("{module}: {text}")))?;
        let definitions = Path::new(source).join("example/prometheus-operator-crd");
        let kept = folder().join("kubernetes");
        std::fs::create_dir_all(&kept)?;
        std::fs::copy(
            definitions.join("monitoring.coreos.com_servicemonitors.yaml"),
            kept.join("servicemonitors.yaml"),
        )?;
        Ok(())
    })
}

/// A go command that finds the tools and puts new ones beside them.
fn go(directory: &Path) -> Command {
    let mut go = command("go");
    go.current_dir(directory).env("GOBIN", folder().join("bin"));
    go
}

/// Generates the Go client's stubs, which are not kept in the repository.
fn generate_go() -> Result<(), Failure> {
    let bin = folder().join("bin");
    let mut path = bin.clone().into_os_string();
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    let mut generate = command(bin.join("buf"));
    generate
        .args(["generate", "proto", "--output", "clients/go"])
        .args(["--template", "clients/go/buf.gen.yaml"])
        .env("PATH", path);
    for package in ["monitorable", "bridge", "monitor"] {
        generate.args(["--path", &format!("proto/{package}")]);
    }
    step("generate the Go stubs", &mut generate)
}

fn install_python() -> Result<(), Failure> {
    let python = folder().join("venv/bin/python");
    let requirements = "tests/strangers/requirements.txt";
    let pinned = std::fs::read_to_string(root().join(requirements))?;
    once("python-packages", &fingerprint(&pinned), || {
        let mut venv = command("python3");
        venv.args(["-m", "venv", "--clear"])
            .arg(folder().join("venv"));
        step("make a Python environment", &mut venv)?;
        let mut install = pip(&python);
        install.args(["--requirement", requirements]);
        step("install the Python packages", &mut install)
    })?;
    let mut client = pip(&python);
    client
        .args(["--no-build-isolation", "--no-deps", "--force-reinstall"])
        .arg("clients/python");
    step("build the Python client", &mut client)
}

fn pip(python: &Path) -> Command {
    let mut pip = command(python);
    pip.args(["-m", "pip", "install", "--quiet"]);
    pip.arg("--disable-pip-version-check");
    pip
}

/// A short name for a text: its FNV-1a hash.
fn fingerprint(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// A cargo tool, installed where it is not there yet; without optimization, as building it takes
/// longer than it ever runs.
pub(crate) fn cargo_tool((name, version): (&str, &str)) -> Result<PathBuf, Failure> {
    once(name, version, || {
        let mut install = cargo("install --quiet --locked --debug --force");
        install.arg(format!("{name}@{version}")).args([
            "--root",
            ".tools",
            "--target-dir",
            ".tools/build",
        ]);
        step(&format!("install {name} {version}"), &mut install)
    })?;
    Ok(folder().join("bin").join(name))
}

/// Does something once for each version; a stamp remembers it.
fn once(
    name: &str,
    version: &str,
    install: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let stamps = folder().join("stamps");
    let stamp = stamps.join(name);
    if std::fs::read_to_string(&stamp).is_ok_and(|stamped| stamped == version) {
        return Ok(());
    }
    install()?;
    std::fs::create_dir_all(stamps)?;
    std::fs::write(stamp, version)?;
    Ok(())
}
