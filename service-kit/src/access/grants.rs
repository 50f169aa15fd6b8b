//! Who may do what: pure, so that every answer can be tried without a port.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;

use super::secret::Digest;

/// What somebody is here for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Hands events in, to the threads of its `write` list, and reports them as a producer.
    Agent,
    /// Reads the threads of its `read` list, and reports what came as a consumer.
    Reader,
    /// Audits: reads health, metrics and verdicts, and sends synthetic runs.
    Monitor,
    /// May do everything, registering components among it.
    Admin,
}

impl Role {
    /// The side that it sees, its name, and the list of its threads.
    const fn side(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Agent => ("producer", "agent", "write"),
            Self::Reader | Self::Monitor | Self::Admin => ("consumer", "reader", "read"),
        }
    }
}

/// Which threads: whole names, or beginnings that end with `*`. Empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Threads(Vec<String>);

impl Threads {
    fn contain(&self, thread_id: &str) -> bool {
        self.0
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => thread_id.starts_with(beginning),
                None => pattern == thread_id,
            })
    }

    /// Every thread.
    #[must_use]
    pub fn all() -> Self {
        Self(vec!["*".to_owned()])
    }

    /// The first pattern that can match nothing.
    #[must_use]
    pub fn unusable(&self) -> Option<&str> {
        let unusable = |pattern: &&String| {
            let name = pattern.strip_suffix('*').unwrap_or(pattern);
            name.contains('*') || pattern.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic())
        };
        self.0.iter().find(unusable).map(String::as_str)
    }
}

/// What somebody may do, as a file or a token says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Grants {
    /// What they are here for. Empty: nothing.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// The threads that a reader may read.
    #[serde(default)]
    pub read: Threads,
    /// The threads that an agent may write to.
    #[serde(default)]
    pub write: Threads,
}

/// What somebody has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The token of this digest, which the access file or a setting has.
    Token(Digest),
    /// A client certificate.
    Certificate,
    /// A signed token.
    Jwt,
}

/// Somebody who has shown who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name in logs: of a token in the access file, `sub` of a JWT, or of a certificate.
    pub name: Arc<str>,
    /// What they have shown.
    pub credential: Credential,
    /// What they may do.
    pub grants: Grants,
    /// When they have to show it again. `None`: never.
    pub expires: Option<SystemTime>,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Hand events in to this thread.
    Write(&'a str),
    /// Read this thread.
    Read(&'a str),
    /// Report what was seen of this thread: as an agent what it sent, as a reader what came.
    Witness(Role, &'a str),
    /// Report so, of no thread.
    ReportAs(Role),
    /// Send events in, to threads that are looked at one by one.
    Publish,
    /// Report what was seen, of threads that are looked at one by one.
    Report,
    /// Send a synthetic run, or read it back.
    Probe,
    /// Look at health, metrics, verdicts.
    Inspect,
    /// Change what is watched, or announce maintenance.
    Administer,
    /// What everybody may who is known.
    Know,
}

/// Characters of a thread's name that a refusal shows; it comes before the name was checked.
const SHOWN_CHARACTERS: usize = 128;

impl Action<'_> {
    fn shortened(self) -> Self {
        let short = |thread: &'_ str| {
            thread
                .char_indices()
                .nth(SHOWN_CHARACTERS)
                .map_or(thread.len(), |(at, _)| at)
        };
        match self {
            Self::Write(thread) => Self::Write(&thread[..short(thread)]),
            Self::Read(thread) => Self::Read(&thread[..short(thread)]),
            Self::Witness(role, thread) => Self::Witness(role, &thread[..short(thread)]),
            other => other,
        }
    }

    /// In words, after "may not".
    fn words(self) -> String {
        match self.shortened() {
            Self::Write(thread) => format!(
                "write to thread {thread:?}: that takes the role agent and a pattern in its write list"
            ),
            Self::Read(thread) => format!(
                "read thread {thread:?}: that takes the role reader and a pattern in its read list"
            ),
            Self::Witness(role, thread) => {
                let (side, role, list) = role.side();
                format!(
                    "report thread {thread:?} as a {side}: that takes the role {role} and a pattern in its {list} list"
                )
            }
            Self::ReportAs(role) => {
                let (side, role, _) = role.side();
                format!("report as a {side}: that takes the role {role}")
            }
            Self::Publish => "hand events in: that takes the role agent".to_owned(),
            Self::Report => "report events: that takes the role agent or reader".to_owned(),
            Self::Probe => "use synthetic threads: that takes the role monitor".to_owned(),
            Self::Inspect => "look at health and metrics: that takes the role monitor".to_owned(),
            Self::Administer => "change what is watched: that takes the role admin".to_owned(),
            Self::Know => "be here".to_owned(),
        }
    }
}

/// Somebody known who wanted what they may not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} may not {what}")]
pub struct Denied {
    name: Arc<str>,
    what: String,
}

impl Identity {
    /// Whether this identity may do this.
    ///
    /// # Errors
    /// Who may not do what, and what it would take.
    pub fn may(&self, action: Action<'_>) -> Result<(), Denied> {
        let Grants { roles, read, write } = &self.grants;
        let is = |role| roles.contains(&role);
        let allowed = is(Role::Admin)
            || match action {
                Action::Write(thread) => is(Role::Agent) && write.contain(thread),
                Action::Read(thread) => is(Role::Reader) && read.contain(thread),
                Action::Witness(Role::Agent, thread) => is(Role::Agent) && write.contain(thread),
                Action::Witness(role, thread) => is(role) && read.contain(thread),
                Action::ReportAs(role) => is(role),
                // A monitor publishes too, to its own threads.
                Action::Publish => is(Role::Agent) || is(Role::Monitor),
                Action::Report => is(Role::Agent) || is(Role::Reader),
                Action::Probe | Action::Inspect => is(Role::Monitor),
                Action::Administer => false,
                Action::Know => true,
            };
        if allowed {
            return Ok(());
        }
        Err(Denied {
            name: self.name.clone(),
            what: action.words(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(grants: &str) -> Identity {
        Identity {
            name: "somebody".into(),
            credential: Credential::Certificate,
            grants: toml::from_str(grants).unwrap(),
            expires: None,
        }
    }

    #[test]
    fn each_role_does_its_own_and_no_more() {
        let agent = identity("roles = ['agent']\nwrite = ['chat-*', 'one']");
        let reader = identity("roles = ['reader']\nread = ['chat-7']");
        let monitor = identity("roles = ['monitor']");
        let admin = identity("roles = ['admin']");
        let nobody = identity("read = ['*']\nwrite = ['*']");
        for (action, allowed) in [
            (Action::Write("chat-7"), [true, false, false]),
            (Action::Write("one"), [true, false, false]),
            (Action::Write("one-more"), [false, false, false]),
            (Action::Read("chat-7"), [false, true, false]),
            (Action::Read("chat-77"), [false, false, false]),
            (Action::Witness(Role::Agent, "chat-7"), [true, false, false]),
            (Action::Witness(Role::Agent, "two"), [false, false, false]),
            (
                Action::Witness(Role::Reader, "chat-7"),
                [false, true, false],
            ),
            (
                Action::Witness(Role::Reader, "chat-8"),
                [false, false, false],
            ),
            (Action::ReportAs(Role::Agent), [true, false, false]),
            (Action::ReportAs(Role::Reader), [false, true, false]),
            (Action::Publish, [true, false, true]),
            (Action::Report, [true, true, false]),
            (Action::Probe, [false, false, true]),
            (Action::Inspect, [false, false, true]),
            (Action::Administer, [false, false, false]),
            (Action::Know, [true, true, true]),
        ] {
            let answers = [&agent, &reader, &monitor].map(|who| who.may(action).is_ok());
            assert_eq!(answers, allowed, "{action:?}");
            assert!(admin.may(action).is_ok(), "{action:?}");
            assert!(
                nobody.may(action).is_err() || action == Action::Know,
                "{action:?}"
            );
        }
    }

    #[test]
    fn a_refusal_says_who_what_and_what_it_takes() {
        let agent = identity("roles = ['agent']\nwrite = ['mine']");
        let denied = agent.may(Action::Write("yours")).unwrap_err().to_string();
        assert_eq!(
            denied,
            "\"somebody\" may not write to thread \"yours\": that takes the role agent and a pattern in its write list"
        );
    }

    #[test]
    fn patterns_that_can_match_nothing_are_found() {
        let threads = |pattern: &str| Threads(vec![pattern.to_owned()]);
        for good in ["*", "a*", "$canary/*", "a"] {
            assert_eq!(threads(good).unusable(), None, "{good}");
        }
        for bad in ["", "a*b", "**", "a b", "ä"] {
            assert_eq!(threads(bad).unusable(), Some(bad));
        }
    }
}
