//! `watch`: findings as they come, until interrupted; a monitor that goes away is waited for.

use std::collections::HashMap;
use std::time::Duration;

use monitorable::monitor::v1 as wire;
use tonic::Streaming;

use super::args::{Output, Watch};
use super::client::{answer, failure, monitor};
use super::show;
use super::{Exit, Failed};
use crate::json;
use crate::probe::backoff::Backoff;

/// First and longest pause before the monitor is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Findings whose last word is remembered, so that a reconnect does not say it again.
const REMEMBERED_MAX: usize = 10_000;

/// Follows findings. The first connection has to succeed; later ones are tried for ever.
///
/// # Errors
/// Where the arguments are not valid, or the first connection fails.
pub(crate) async fn run(arguments: Watch) -> Result<Exit, Failed> {
    let mut stream = open(&arguments).await?;
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    let mut printer = Printer::new(arguments.common.format.output);
    loop {
        let why = match follow(&mut stream, &mut printer, &mut backoff).await {
            Some(why) => why,
            // Nobody reads the output any more.
            None => return Ok(Exit::Ok),
        };
        complain(&why);
        stream = loop {
            let pause = backoff.next_pause();
            complain(&format!("trying again in {pause:.1?}"));
            tokio::time::sleep(pause).await;
            match open(&arguments).await {
                Ok(stream) => break stream,
                Err(failed) if failed.exit == Exit::BadArguments => return Err(failed),
                Err(failed) => complain(&failed.why),
            }
        };
        complain("connected again");
    }
}

fn complain(why: &str) {
    eprintln!("monitor-service: {}", show::printable(why));
}

async fn open(arguments: &Watch) -> Result<Streaming<wire::WatchFindingsResponse>, Failed> {
    let mut client = monitor(&arguments.common).await?;
    let request = wire::WatchFindingsRequest {
        component_id: arguments.component.clone(),
    };
    answer(client.watch_findings(request)).await
}

/// Prints until the stream ends, and says why it did; `None` where the output is closed.
async fn follow(
    stream: &mut Streaming<wire::WatchFindingsResponse>,
    printer: &mut Printer,
    backoff: &mut Backoff,
) -> Option<String> {
    loop {
        match stream.message().await {
            Ok(Some(message)) => {
                backoff.reset();
                if let Some(finding) = message.finding
                    && !printer.print(&finding)
                {
                    return None;
                }
            }
            Ok(None) => return Some("the monitor ended the stream".to_owned()),
            Err(status) => return Some(format!("the stream broke: {}", failure(&status).why)),
        }
    }
}

/// Prints what is new.
struct Printer {
    output: Output,
    said: HashMap<String, (i32, String)>,
}

impl Printer {
    fn new(output: Output) -> Self {
        Self {
            output,
            said: HashMap::new(),
        }
    }

    /// `false`: nobody reads the output any more.
    fn print(&mut self, finding: &wire::Finding) -> bool {
        if !self.is_new(finding) {
            return true;
        }
        match self.output {
            Output::Json => show::say(&format!("{}\n", json::write(finding))),
            Output::Table => show::say(&format!("{}\n", line(finding))),
        }
    }

    fn is_new(&mut self, finding: &wire::Finding) -> bool {
        let word = (finding.state, finding.message.clone());
        if self.said.get(&finding.finding_id) == Some(&word) {
            return false;
        }
        if self.said.len() >= REMEMBERED_MAX {
            self.said.clear();
        }
        self.said.insert(finding.finding_id.clone(), word);
        true
    }
}

fn line(finding: &wire::Finding) -> String {
    let resolved = finding.state() == wire::finding::State::Resolved;
    let (time, state) = if resolved {
        (finding.resolve_time.as_ref(), "resolved")
    } else if finding.reopened > 0 {
        (finding.open_time.as_ref(), "reopened")
    } else {
        (finding.open_time.as_ref(), "open    ")
    };
    let severity = show::words(finding.severity().as_str_name(), "SEVERITY_");
    let subject = match finding.subject.as_str() {
        "" => String::new(),
        subject => format!(" {subject}"),
    };
    show::printable(&format!(
        "{} {state} {severity:8} {} {}{subject}: {}",
        show::time(time),
        finding.component_id,
        finding.rule_id,
        finding.message
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_said_again_only_when_it_changed() {
        let mut printer = Printer::new(Output::Table);
        let mut finding = wire::Finding {
            finding_id: "f1".to_owned(),
            state: wire::finding::State::Open.into(),
            ..Default::default()
        };
        assert!(printer.is_new(&finding));
        assert!(!printer.is_new(&finding));
        finding.state = wire::finding::State::Resolved.into();
        assert!(printer.is_new(&finding));
    }
}
