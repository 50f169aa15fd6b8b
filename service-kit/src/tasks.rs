//! Supervised tasks: one that ends or panics is an event with a name, never a silence.

use std::any::Any;
use std::future::Future;

use tokio::task::JoinSet;

/// How a supervised task ended.
#[derive(Debug)]
pub struct Ended {
    /// The task's name.
    pub name: &'static str,
    /// Why it ended: `None` where it returned, the panic's text otherwise.
    pub panic: Option<String>,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.panic {
            None => write!(f, "task {} ended", self.name),
            Some(text) => write!(f, "task {} panicked: {text}", self.name),
        }
    }
}

/// The tasks that a process must not lose. Dropping it aborts them all.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<()>,
    names: std::collections::HashMap<tokio::task::Id, &'static str>,
}

impl Tasks {
    /// No task yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task under a name.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.set.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// The next task that ends; never returns while none is there.
    pub async fn next_ended(&mut self) -> Ended {
        let Some(ended) = self.set.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let (id, panic) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(panic_text(error))),
        };
        let name = self.names.remove(&id).unwrap_or("unnamed");
        Ended { name, panic }
    }

    /// Waits until every task has ended.
    pub async fn all_ended(&mut self) {
        while !self.set.is_empty() {
            let ended = self.next_ended().await;
            if ended.panic.is_some() {
                tracing::error!(%ended, "while draining");
            }
        }
    }
}

/// What a task that failed to join has to say.
#[must_use]
pub fn panic_text(error: tokio::task::JoinError) -> String {
    if error.is_cancelled() {
        return "cancelled".to_owned();
    }
    payload_text(&*error.into_panic())
}

/// What a panic says.
#[must_use]
pub fn payload_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| {
            payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
        })
        .unwrap_or_else(|| "a panic without text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_event_with_a_name() {
        let mut tasks = Tasks::new();
        tasks.spawn("steady", std::future::pending());
        tasks.spawn("brittle", async { panic!("out of paper") });
        let ended = tasks.next_ended().await;
        assert_eq!(ended.to_string(), "task brittle panicked: out of paper");
    }

    #[tokio::test]
    async fn a_return_is_an_event_too() {
        let mut tasks = Tasks::new();
        tasks.spawn("short", async {});
        assert_eq!(tasks.next_ended().await.to_string(), "task short ended");
    }
}
