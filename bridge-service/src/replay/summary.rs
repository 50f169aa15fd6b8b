//! What a replay came to, for a person and as an exit code.

use std::collections::HashSet;
use std::fmt::{Display, Formatter, Result};
use std::process::ExitCode;
use std::time::Duration;

use super::publish::{self, Counts, Failure};
use super::report::Reports;
use super::story::Scene;

const EXIT_CANNOT_CONNECT: u8 = 2;
const EXIT_CALL_FAILED: u8 = 3;
const EXIT_REJECTED: u8 = 4;

/// What a replay came to.
#[derive(Debug)]
pub(super) struct Summary {
    replay_id: String,
    conversations: usize,
    runs: usize,
    events: u64,
    counts: Counts,
    failures: Vec<Failure>,
    pub(super) took: Duration,
    /// `None`: nobody was to be reported to.
    pub(super) reports: Option<Reports>,
}

impl Summary {
    /// Before anything is published.
    pub(super) fn new(stories: &[Vec<Scene>], replay_id: &str) -> Self {
        let runs: HashSet<&str> = stories
            .iter()
            .flatten()
            .map(|scene| scene.event.run_id.as_str())
            .collect();
        Self {
            replay_id: replay_id.to_owned(),
            conversations: stories.len(),
            runs: runs.len(),
            events: stories.iter().map(|scenes| scenes.len() as u64).sum(),
            counts: Counts::default(),
            failures: Vec::new(),
            took: Duration::ZERO,
            reports: None,
        }
    }

    /// Adds what came of one stream.
    pub(super) fn add(&mut self, result: publish::Result) {
        let publish::Result { counts, failure } = result;
        self.counts.accepted += counts.accepted;
        self.counts.duplicate += counts.duplicate;
        self.counts.rejected += counts.rejected;
        self.counts.rejections.extend(counts.rejections);
        // Streams that fail together fail alike; once is enough to show.
        self.failures
            .extend(failure.filter(|failure| !self.failures.contains(failure)));
    }

    /// A stream's task that panicked published nothing that is known of.
    pub(super) fn add_panic(&mut self, text: &str) {
        self.failures
            .push(Failure::Call(format!("a stream panicked: {text}")));
    }

    fn answered(&self) -> u64 {
        self.counts.accepted + self.counts.duplicate + self.counts.rejected
    }

    /// The worst of what happened.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        let connect = |failure: &Failure| matches!(failure, Failure::Connect(_));
        if !self.failures.is_empty() {
            let nobody_there = self.answered() == 0 && self.failures.iter().all(connect);
            return if nobody_there {
                EXIT_CANNOT_CONNECT
            } else {
                EXIT_CALL_FAILED
            };
        }
        if self.counts.rejected > 0 {
            EXIT_REJECTED
        } else {
            0
        }
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Counts {
            accepted,
            duplicate,
            rejected,
            rejections,
        } = &self.counts;
        let seconds = self.took.as_secs_f64();
        let rate = self.answered() as f64 / seconds.max(f64::EPSILON);
        writeln!(f, "replay         {}", self.replay_id)?;
        writeln!(f, "conversations  {}", self.conversations)?;
        writeln!(f, "runs           {}", self.runs)?;
        writeln!(
            f,
            "events         {} in {seconds:.2} s, {rate:.0} events/s",
            self.events
        )?;
        writeln!(f, "accepted       {accepted}")?;
        writeln!(f, "duplicate      {duplicate}")?;
        writeln!(f, "rejected       {rejected}")?;
        let unanswered = self.events.saturating_sub(self.answered());
        if unanswered > 0 {
            writeln!(f, "not answered   {unanswered}")?;
        }
        if let Some(Reports { reported, dropped }) = self.reports {
            writeln!(f, "reported       {reported}")?;
            writeln!(f, "not reported   {dropped}")?;
        }
        for rejection in rejections {
            writeln!(f, "rejected: {rejection}")?;
        }
        for Failure::Connect(text) | Failure::Call(text) in &self.failures {
            writeln!(f, "failed: {text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(accepted: u64, rejected: u64, failure: Option<Failure>) -> Summary {
        let mut summary = Summary::new(&[], "id");
        let counts = Counts {
            accepted,
            rejected,
            ..Counts::default()
        };
        summary.add(publish::Result { counts, failure });
        summary
    }

    #[test]
    fn each_ending_has_its_exit_code() {
        let connect = || Some(Failure::Connect("refused".to_owned()));
        let call = || Some(Failure::Call("gone".to_owned()));
        assert_eq!(with(1, 0, None).code(), 0);
        assert_eq!(with(0, 0, connect()).code(), EXIT_CANNOT_CONNECT);
        assert_eq!(with(1, 0, connect()).code(), EXIT_CALL_FAILED);
        assert_eq!(with(1, 1, call()).code(), EXIT_CALL_FAILED);
        assert_eq!(with(1, 1, None).code(), EXIT_REJECTED);
    }
}
