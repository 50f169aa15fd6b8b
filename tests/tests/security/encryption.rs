//! Certificates: right, expired, of another authority, missing, and exchanged while serving.

use std::error::Error as _;
use std::path::Path;

use monitorable_tests::certificates::{Authority, Issued};
use monitorable_tests::process::Service;
use monitorable_tests::reader::{Options, Reader, Tls};
use tonic::Code;

use crate::SOON;
use crate::guarded::{AGENT, Files, READER, logged, nothing_secret_in, publish, reads};

const AGENT_NAME: &str = "spiffe://test/agent";

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A bridge with this certificate on both ports, that trusts clients of this authority.
async fn bridge(files: &Files, server: &Issued, clients: &Authority, demand: &str) -> Service {
    let (certificate, key) = server.write(files.directory.path(), "server");
    let (certificate, key) = (shown(&certificate), shown(&key));
    files.write("clients.pem", &clients.pem);
    let ca = files.shown("clients.pem");
    files
        .bridge(&[
            "--grpc-tls-certificate-file",
            &certificate,
            "--grpc-tls-key-file",
            &key,
            "--grpc-tls-client-ca-file",
            &ca,
            "--grpc-tls-client-certificates",
            demand,
            "--http-tls-certificate-file",
            &certificate,
            "--http-tls-key-file",
            &key,
        ])
        .await
}

fn encrypted(options: Options, tls: Tls) -> Options {
    Options {
        tls: Some(tls),
        ..options
    }
}

#[tokio::test]
async fn only_right_certificates_get_in() {
    let (servers, clients, strangers) = (
        Authority::new("servers"),
        Authority::new("clients"),
        Authority::new("strangers"),
    );
    let files = Files::new();
    let bridge = bridge(&files, &servers.server(), &clients, "required").await;
    let agent = clients.client(AGENT_NAME);
    let as_agent = servers.channel(bridge.grpc, Some(&agent));
    // Who the agent is, its certificate says: no token is shown.
    publish(as_agent.clone(), "", "chat-1", "run-1")
        .await
        .unwrap();
    let denied = publish(as_agent, "", "diary", "run-2").await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let unknown = servers.channel(bridge.grpc, Some(&clients.client("spiffe://test/nobody")));
    let refused = publish(unknown, "", "chat-1", "run-3").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    let expired = clients.expired_client(AGENT_NAME);
    let stranger = strangers.client(AGENT_NAME);
    for (what, channel) in [
        ("no certificate", servers.channel(bridge.grpc, None)),
        (
            "an expired one",
            servers.channel(bridge.grpc, Some(&expired)),
        ),
        (
            "a stranger's",
            servers.channel(bridge.grpc, Some(&stranger)),
        ),
        (
            "trusts others",
            strangers.channel(bridge.grpc, Some(&agent)),
        ),
        ("no TLS", bridge.channel()),
    ] {
        let refused = publish(channel, AGENT, "chat-1", "run-4")
            .await
            .unwrap_err();
        // The client itself found the way broken: no server has answered. Which code it gives
        // depends on when the alert arrives, for in TLS 1.3 the client finishes its handshake
        // before the server has judged its certificate.
        assert!(refused.source().is_some(), "{what}: {refused:?}");
    }
    logged(&bridge, &["TLS handshake failed"]).await;
    let options = encrypted(reads("chat-1", READER), servers.trusted(None));
    let mut reader = Reader::connect(bridge.http, options.clone()).await;
    reader.until_events(SOON, 4).await;
    let mistrusting = encrypted(reads("chat-1", READER), strangers.trusted(None));
    assert!(Reader::try_connect(bridge.http, mistrusting).await.is_err());
    nothing_secret_in(&bridge, &[&agent.key]);
}

#[tokio::test]
async fn an_expired_server_is_trusted_by_nobody() {
    let authority = Authority::new("servers");
    let files = Files::new();
    let bridge = bridge(&files, &authority.expired_server(), &authority, "optional").await;
    let channel = authority.channel(bridge.grpc, None);
    assert!(publish(channel, AGENT, "chat-1", "run-1").await.is_err());
    let options = encrypted(reads("chat-1", READER), authority.trusted(None));
    let refused = Reader::try_connect(bridge.http, options).await.unwrap_err();
    assert!(refused.body.contains("xpired"), "{refused:?}");
}

/// A reader that an exchange must not disturb, and how strangers see the port.
struct Watched {
    reader: Reader,
    events: usize,
}

impl Watched {
    async fn still_reads(&mut self, channel: tonic::transport::Channel, run_id: &str) {
        publish(channel, AGENT, "chat-1", run_id).await.unwrap();
        self.events += 4;
        self.reader.until_events(SOON, self.events).await;
        assert!(!self.reader.record().over);
    }
}

#[tokio::test]
async fn certificates_are_exchanged_without_dropping_a_connection() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::new();
    let bridge = bridge(&files, &old.server(), &old, "optional").await;
    let options =
        |authority: &Authority| encrypted(reads("chat-1", READER), authority.trusted(None));
    let channel = old.channel(bridge.grpc, None);
    let reader = Reader::connect(bridge.http, options(&old)).await;
    let mut watched = Watched { reader, events: 0 };
    watched.still_reads(channel.clone(), "run-1").await;

    // What does not fit together changes nothing, and is said.
    std::fs::write(files.path("server.key"), "no key").unwrap();
    bridge.hang_up();
    logged(&bridge, &["not valid", "server.key"]).await;
    watched.still_reads(channel.clone(), "run-2").await;
    assert!(
        Reader::try_connect(bridge.http, options(&old))
            .await
            .is_ok()
    );

    // Seen without a signal: the files are looked at.
    let _ = new.server().write(files.directory.path(), "server");
    let exchanged = async {
        while Reader::try_connect(bridge.http, options(&new))
            .await
            .is_err()
        {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, exchanged).await.unwrap();
    assert!(
        Reader::try_connect(bridge.http, options(&old))
            .await
            .is_err()
    );
    watched.still_reads(channel, "run-3").await;
    watched
        .still_reads(new.channel(bridge.grpc, None), "run-4")
        .await;
}

#[tokio::test]
async fn a_slow_reader_over_tls_gets_everything_in_order() {
    let authority = Authority::new("servers");
    let files = Files::new();
    let bridge = bridge(&files, &authority.server(), &authority, "optional").await;
    let options = encrypted(reads("chat-1", READER), authority.trusted(None));
    let mut reader = Reader::connect(bridge.http, options).await;
    let channel = authority.channel(bridge.grpc, None);
    for run in 0..200 {
        publish(channel.clone(), AGENT, "chat-1", &format!("run-{run}"))
            .await
            .unwrap();
    }
    let record = reader.until_events(SOON, 800).await;
    let sequences: Vec<u64> = record.events().map(|event| event.sequence()).collect();
    assert_eq!(sequences, (1..=800).collect::<Vec<u64>>());
    let record = reader.close().await;
    assert!(record.over);
}
