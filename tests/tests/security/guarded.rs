//! A bridge behind closed doors, and everybody who may come in.

use std::path::PathBuf;

use monitorable::bridge::v1::agent_events_client::AgentEventsClient;
use monitorable::bridge::v1::{PublishRequest, PublishResponse};
use monitorable_tests::process::Service;
use monitorable_tests::publisher::Run;
use monitorable_tests::reader::{Options, Reader};
use tempfile::TempDir;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::SOON;

/// The secret that JWTs are signed with here.
pub(crate) const JWT_SECRET: &str = "a-secret-of-at-least-thirty-two-bytes";
/// The tokens of the access file.
pub(crate) const AGENT: &str = "token-of-the-agent";
pub(crate) const READER: &str = "token-of-the-reader";
pub(crate) const MONITOR: &str = "token-of-the-monitor";
pub(crate) const ADMIN: &str = "token-of-the-admin";

/// Everybody but the reader.
pub(crate) const OTHERS: &str = "
[[tokens]]
name = 'agent'
token = 'token-of-the-agent'
roles = ['agent']
write = ['chat-*']

[[tokens]]
name = 'monitor'
token = 'token-of-the-monitor'
roles = ['monitor']

[[tokens]]
name = 'admin'
token = 'token-of-the-admin'
roles = ['admin']

[[certificates]]
name = 'spiffe://test/agent'
roles = ['agent']
write = ['chat-*']
";

/// The reader of one thread.
pub(crate) const THE_READER: &str = "
[[tokens]]
name = 'reader'
token = 'token-of-the-reader'
roles = ['reader']
read = ['chat-1']
";

/// Files for one test.
pub(crate) struct Files {
    pub(crate) directory: TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        let files = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        files.write("access.toml", &format!("{OTHERS}{THE_READER}"));
        files.write("jwt.key", JWT_SECRET);
        files
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        // Renamed over the old one, so that nobody reads a half.
        let (new, path) = (self.path("new"), self.path(name));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Flags that close every door.
    pub(crate) fn flags(&self) -> Vec<String> {
        [
            "--auth-access-file",
            &self.shown("access.toml"),
            "--auth-jwt-key-file",
            &self.shown("jwt.key"),
            "--auth-jwt-audience",
            "test",
            "--auth-jwt-leeway",
            "0s",
            "--auth-frame-timeout",
            "1s",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// A bridge with these flags, and more.
    pub(crate) async fn bridge(&self, more: &[&str]) -> Service {
        let flags = self.flags();
        let flags: Vec<&str> = flags
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        Service::bridge(&flags).await
    }
}

/// A request with a token; an empty one stands for none.
pub(crate) fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        let value: MetadataValue<_> = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

/// Hands in a whole run.
pub(crate) async fn publish(
    channel: Channel,
    token: &str,
    thread_id: &str,
    run_id: &str,
) -> Result<Response<PublishResponse>, Status> {
    let events = Run::whole(thread_id, run_id, 0);
    let request = with_token(PublishRequest { events }, token);
    AgentEventsClient::new(channel).publish(request).await
}

/// Reads with a token in the header.
pub(crate) fn reads(thread_id: &str, token: &str) -> Options {
    Options {
        bearer: Some(token.to_owned()).filter(|token| !token.is_empty()),
        ..Options::thread(thread_id)
    }
}

/// Waits for the close and returns its code and the reason, which the goodbye before it said too.
pub(crate) async fn closed(reader: &mut Reader) -> (u16, String) {
    let record = reader.until(SOON, "the close", |record| record.over).await;
    let (code, reason) = record.closed.clone().unwrap_or_default();
    let goodbye = record.frames.iter().find(|frame| frame.kind() == "goodbye");
    let goodbye = &goodbye.unwrap().value;
    assert_eq!(goodbye["code"], code, "{record:?}");
    assert_eq!(goodbye["reason"], reason, "{record:?}");
    (code, reason)
}

/// Waits until one of a service's log lines has all these words.
pub(crate) async fn logged(service: &Service, words: &[&str]) {
    let found = async {
        while !service
            .log()
            .iter()
            .any(|line| words.iter().all(|word| line.contains(word)))
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(SOON, found).await;
    assert!(
        found.is_ok(),
        "no log line has {words:?}:\n{}",
        service.log().join("\n")
    );
}

/// No log line has any of the secrets.
pub(crate) fn nothing_secret_in(service: &Service, more: &[&str]) {
    let log = service.log().join("\n");
    let secrets = [JWT_SECRET, AGENT, READER, MONITOR, ADMIN];
    for secret in secrets.iter().chain(more) {
        assert!(!log.contains(secret), "{secret} was logged:\n{log}");
    }
}
