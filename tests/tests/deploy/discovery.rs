//! Components behind a name, as of a headless service: they come and go with its addresses.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monitorable::monitor::v1::Verdict;
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::command;
use monitorable_tests::eventually::{eventually, holds};
use monitorable_tests::paths::binary;
use monitorable_tests::process::Service;
use monitorable_tests::skip::skip_optional;

const SOON: Duration = Duration::from_secs(30);
const NAME: &str = "bridges.test";

/// A monitor that finds names in a file of the test's own, which only it sees in the place of the
/// machine's hosts file.
fn with_hosts(folder: &Path) -> PathBuf {
    let script = folder.join("monitor-service");
    let (hosts, monitor) = (folder.join("hosts"), binary("monitor-service"));
    let text = format!(
        "#!/bin/sh\nmount --bind '{}' /etc/hosts && exec '{}' \"$@\"\n",
        hosts.display(),
        monitor.display()
    );
    std::fs::write(&script, text).unwrap();
    let all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&script, all).unwrap();
    let outer = folder.join("outer");
    let text = format!(
        "#!/bin/sh\nexec unshare --mount --propagation private '{}' \"$@\"\n",
        script.display()
    );
    std::fs::write(&outer, text).unwrap();
    let all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&outer, all).unwrap();
    outer
}

/// What the name stands for from now on. The file is written in place: it is the one mounted.
fn resolve(folder: &Path, addresses: &[&str]) {
    let lines = addresses
        .iter()
        .map(|address| format!("{address} {NAME}\n"));
    let text = format!("127.0.0.1 localhost\n{}", lines.collect::<String>());
    std::fs::write(folder.join("hosts"), text).unwrap();
}

async fn until_watched(auditor: &Auditor, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|id| (*id).to_owned()).collect();
    eventually(SOON, "they are watched", || async {
        let listed = auditor.components().await;
        let ids = listed.iter().filter_map(|status| status.component.as_ref());
        let ids: BTreeSet<String> = ids.map(|known| known.component_id.clone()).collect();
        holds(ids == expected, format!("{ids:?}, not {expected:?}"))
    })
    .await;
}

#[tokio::test]
async fn each_address_of_a_name_is_a_component_and_comes_and_goes_with_it() {
    let test = "each_address_of_a_name_is_a_component_and_comes_and_goes_with_it";
    let mounts = ["--mount", "true"];
    let unshare = command::program(Path::new("unshare"), &mounts).await;
    if unshare.code != Some(0) {
        return skip_optional(test, "a mount namespace of its own is for root alone");
    }
    let folder = tempfile::tempdir().unwrap();
    // Both at the same port of loopback addresses of their own.
    let one = bridge("127.0.0.2:0", "bridges-127.0.0.2").await;
    let port = one.grpc.port();
    let two = bridge(&format!("127.0.0.3:{port}"), "bridges-127.0.0.3").await;
    let config = folder.path().join("monitor.toml");
    let settings = format!(
        "[[discovery]]\nname = 'bridges'\ndns = 'http://{NAME}:{port}'\n\
         interval = '1s'\nkeep = '1s'\n"
    );
    std::fs::write(&config, settings).unwrap();
    resolve(folder.path(), &["127.0.0.2"]);
    let flags = ["--config", &config.display().to_string()];
    let path = with_hosts(folder.path());
    let monitor = drill::process::Service::start("monitor-service", &path, &flags).await;
    let auditor = Auditor::at(&monitor.uri());
    until_watched(&auditor, &["bridges-127.0.0.2"]).await;
    resolve(folder.path(), &["127.0.0.2", "127.0.0.3"]);
    until_watched(&auditor, &["bridges-127.0.0.2", "bridges-127.0.0.3"]).await;
    for bridge in ["bridges-127.0.0.2", "bridges-127.0.0.3"] {
        auditor.until_standing(bridge, Verdict::Healthy, SOON).await;
    }
    // In order: it says that it drains, and is gone from the name before its silence counts.
    resolve(folder.path(), &["127.0.0.3"]);
    assert!(one.stop().await.success());
    until_watched(&auditor, &["bridges-127.0.0.3"]).await;
    // A name that is not found says nothing of who is there.
    resolve(folder.path(), &[]);
    let log = || monitor.log().join("\n");
    eventually(SOON, "the monitor says that it finds nobody", || async {
        holds(log().contains("the name is not found"), log())
    })
    .await;
    until_watched(&auditor, &["bridges-127.0.0.3"]).await;
    let findings = auditor.findings("").await;
    assert!(findings.is_empty(), "{findings:?}");
    drop(two);
}

async fn bridge(listen: &str, id: &str) -> Service {
    let http = format!("{}:0", listen.rsplit_once(':').unwrap().0);
    let flags = [
        "--component-id",
        id,
        "--grpc-listen",
        listen,
        "--http-listen",
        &http,
    ];
    let bridge = Service::bridge(&flags).await;
    Target::at(&bridge.uri()).until_healthy(SOON).await;
    bridge
}
