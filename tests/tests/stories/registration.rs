//! Components come to the monitor by gRPC, by the command line and by the settings file.

use std::collections::HashMap;
use std::io::Write;

use monitorable::monitor::v1::{CanaryOptions, Component, Verdict};
use monitorable_tests::calls::{self, Auditor};
use monitorable_tests::command;
use monitorable_tests::fake::Fake;
use monitorable_tests::process::Service;
use monitorable_tests::proxy::{Fault, Proxy};
use tonic::Code;

use crate::pair::{BRIDGE, FOUND_WITHIN, NO_CANARY, Pair, SOON};

#[tokio::test]
async fn chat_event_monitor_component_registration() {
    let pair = Pair::unregistered(&[], NO_CANARY).await;
    let auditor = &pair.auditor;
    assert!(auditor.components().await.is_empty());
    let not_there = auditor.audit(BRIDGE).await;
    assert_eq!(calls::verdict(&not_there), Verdict::NotMonitored);

    let first = auditor.register(BRIDGE, &pair.bridge.uri()).await;
    assert!(!first.replaced);
    auditor
        .until_standing(BRIDGE, Verdict::Unverified, SOON)
        .await;
    let again = auditor.register(BRIDGE, &pair.bridge.uri()).await;
    assert!(again.replaced);
    assert_eq!(auditor.components().await.len(), 1);

    auditor.remove(BRIDGE).await.unwrap();
    assert!(auditor.components().await.is_empty());
    let gone = auditor.remove(BRIDGE).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    assert!(gone.message().contains(BRIDGE), "{}", gone.message());
    let forgotten = auditor.audits(BRIDGE, 0).await.unwrap_err();
    assert_eq!(forgotten.code(), Code::NotFound);
}

#[tokio::test]
async fn an_unreachable_component_is_registered_and_down() {
    let monitor = Service::monitor(&[]).await;
    let auditor = Auditor::at(&monitor.uri());
    // Bound and not listening: nobody else can take the port while the test runs.
    let socket = socket_without_a_listener();
    let endpoint = format!("http://{}", socket.0);
    auditor.register("ghost", &endpoint).await;
    auditor
        .until_standing("ghost", Verdict::Down, FOUND_WITHIN)
        .await;
    let audit = auditor.audit("ghost").await;
    assert_eq!(calls::verdict(&audit), Verdict::Down);
    let internal = audit.internal_health.unwrap();
    assert!(
        internal.health.is_none() && !internal.error.is_empty(),
        "{internal:?}"
    );
}

fn socket_without_a_listener() -> (std::net::SocketAddr, socket2::Socket) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (address, socket)
}

#[tokio::test]
async fn secrets_of_a_registration_are_never_shown() {
    let monitor = Service::monitor(&["--log-level", "debug"]).await;
    let auditor = Auditor::at(&monitor.uri());
    let target = Fake::start("keeper").await;
    let secret = "sesame-open-4711";
    let component = Component {
        component_id: "keeper".to_owned(),
        endpoint: target.uri(),
        labels: HashMap::from([("team".to_owned(), "blue".to_owned())]),
        metadata: HashMap::from([("authorization".to_owned(), secret.to_owned())]),
        tls: None,
        canary: Some(CanaryOptions {
            token: secret.to_owned(),
            ..CanaryOptions::default()
        }),
    };
    let registered = auditor.try_register(component).await.unwrap();
    let listed = auditor.components().await;
    let uri = monitor.uri();
    let shown = [
        format!("{registered:?}"),
        format!("{listed:?}"),
        command::monitor(&["list", "--monitor", &uri, "--output", "json"])
            .await
            .both(),
        monitor.log().join("\n"),
    ];
    assert!(
        shown[1].contains("***") && shown[1].contains("blue"),
        "{}",
        shown[1]
    );
    for text in shown {
        assert!(!text.contains(secret), "{text}");
    }
    auditor
        .until_standing("keeper", Verdict::Unverified, SOON)
        .await;
}

#[tokio::test]
async fn the_command_line_registers_lists_and_removes() {
    let monitor = Service::monitor(&[]).await;
    let target = Fake::start("clerk").await;
    let uri = monitor.uri();
    let run = |words: Vec<&'static str>, rest: Vec<String>| {
        let uri = uri.clone();
        async move {
            let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            words.extend(rest);
            words.extend([
                "--monitor".to_owned(),
                uri,
                "--output".to_owned(),
                "json".to_owned(),
            ]);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            command::monitor(&words).await
        }
    };
    let registered = run(vec!["register", "clerk"], vec![target.uri()]).await;
    let _ = registered.expect(0);
    Auditor::at(&uri)
        .until_standing("clerk", Verdict::Unverified, SOON)
        .await;
    let listed = run(vec!["list"], vec![]).await.expect_json(0);
    assert!(listed.to_string().contains("clerk"), "{listed}");
    let _ = run(vec!["remove", "clerk"], vec![]).await.expect(0);
    let listed = run(vec!["list"], vec![]).await.expect_json(0);
    assert!(!listed.to_string().contains("clerk"), "{listed}");
    let gone = run(vec!["remove", "clerk"], vec![]).await;
    assert_ne!(gone.code, Some(0), "{gone}");
    assert!(gone.stderr.contains("clerk"), "{gone}");
}

#[tokio::test]
async fn the_settings_file_registers() {
    let target = Fake::start("filed").await;
    let network = Proxy::start(target.address).await;
    let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    let uri = network.uri();
    writeln!(
        file,
        "[[components]]\ncomponent_id = \"filed\"\nendpoint = \"{uri}\""
    )
    .unwrap();
    let path = file.path().to_str().unwrap();
    let monitor = Service::monitor(&["--config", path]).await;
    let auditor = Auditor::at(&monitor.uri());
    auditor
        .until_standing("filed", Verdict::Unverified, SOON)
        .await;
    assert!(auditor.standing("filed").await.unwrap().watching);
    network.set(Fault::Reset);
    auditor
        .until_standing("filed", Verdict::Down, FOUND_WITHIN)
        .await;
}
