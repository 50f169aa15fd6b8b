//! Two columns in a terminal: what the chat user sees, and what the monitor says.

use std::io::IsTerminal;

use monitorable::monitor::v1::{Finding, finding};
use monitorable_tests::reader::Frame;
use service_kit::clock::{Clock, Now};

/// Width of the chat user's column, in characters.
const LEFT: usize = 66;

/// Events that come at once and are still shown one by one; of more, only the first.
const LONGEST_BURST: usize = 8;
const SHOWN_OF_A_BURST: usize = 4;

/// The terminal.
pub(crate) struct Screen {
    began: Now,
    colours: bool,
    last_standing: String,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            began: Clock::system().now(),
            colours,
            last_standing: String::new(),
        }
    }

    /// A new act.
    pub(crate) fn title(&self, text: &str) {
        println!("\n{}", self.bold(&format!("── {text} ──")));
    }

    /// A line that matters.
    pub(crate) fn heading(&self, text: &str) {
        println!("\n{}", self.bold(text));
    }

    /// A plain line.
    pub(crate) fn line(&self, text: &str) {
        println!("{text}");
    }

    /// The columns' names.
    pub(crate) fn columns(&self) {
        println!(
            "{:>6}  {:LEFT$}  the monitor says",
            "s", "the chat user sees"
        );
    }

    /// New events on the left; on the right the standing, where there is anything new.
    pub(crate) fn side_by_side(&mut self, frames: &[Frame], standing: &str) {
        let changed = standing != self.last_standing;
        if frames.is_empty() && changed {
            self.row("", standing);
        }
        let rows = if frames.len() > LONGEST_BURST {
            &frames[..SHOWN_OF_A_BURST]
        } else {
            frames
        };
        for frame in rows {
            self.row(&shown(frame), standing);
        }
        if rows.len() < frames.len() {
            let more = frames.len() - rows.len();
            self.row(
                &format!("… and {more} more that had been held back"),
                standing,
            );
        }
        if changed {
            standing.clone_into(&mut self.last_standing);
        }
    }

    fn row(&self, left: &str, standing: &str) {
        let seconds = Clock::system()
            .now()
            .since(self.began.monotonic)
            .as_secs_f64();
        println!("{seconds:6.1}  {left:LEFT$}  {}", self.coloured(standing));
    }

    /// A finding with its evidence.
    pub(crate) fn finding(&self, finding: &Finding) {
        let state = match finding.state() {
            finding::State::Resolved => "resolved",
            _ => "open",
        };
        println!(
            "  {} ({state}): {}",
            self.bold(&finding.rule_id),
            finding.message
        );
        for evidence in &finding.evidence {
            let claimed = match evidence.claimed.as_str() {
                "" => String::new(),
                claimed => format!("claimed {claimed}; "),
            };
            println!(
                "      {}: {claimed}observed {}",
                evidence.source, evidence.observed
            );
        }
    }

    fn bold(&self, text: &str) -> String {
        if self.colours {
            format!("\u{1b}[1m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn coloured(&self, standing: &str) -> String {
        let colour = match standing {
            text if text.starts_with("HEALTHY") => 32,
            text if text.starts_with("SILENT_FAILURE") || text.starts_with("DOWN") => 31,
            _ => 33,
        };
        if self.colours {
            format!("\u{1b}[{colour}m{standing}\u{1b}[0m")
        } else {
            standing.to_owned()
        }
    }
}

/// One event in one line.
fn shown(frame: &Frame) -> String {
    let data = &frame.value["data"];
    let text = ["text", "content", "arguments", "message"]
        .iter()
        .find_map(|member| data.get(member))
        .unwrap_or(data);
    let text = match text.as_str() {
        Some(text) => text.to_owned(),
        None if text.is_null() => String::new(),
        None => text.to_string(),
    };
    let event = frame.text("event");
    let line = match frame.text("tool_name") {
        "" => format!("{event}  {text}"),
        tool => format!("{event}  {tool} {text}"),
    };
    cut(&format!("{}  {line}", frame.text("thread_id")))
}

fn cut(line: &str) -> String {
    let line: String = line
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.chars().count() <= LEFT {
        return line;
    }
    let kept: String = line.chars().take(LEFT - 1).collect();
    format!("{kept}…")
}
