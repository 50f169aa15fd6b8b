//! The arguments of `replay`.

use std::path::PathBuf;

use clap::Args;
use tonic::transport::Endpoint;

use crate::edge::ingest::validate::check_identifier;
use crate::edge::targets::{Trust, endpoint};
use crate::replay::pace::Speed;

/// Longest thread prefix and replay id, so that every id made of them fits into 128 bytes.
const MAX_PREFIX_BYTES: usize = 40;
const MAX_REPLAY_ID_BYTES: usize = 16;

/// Publishes recorded conversations.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Replay {
    /// Recorded conversations: a JSON array of OpenAI chat messages, or JSON lines of
    /// {"conversation_id": TEXT, "messages": [...]}
    pub(crate) file: PathBuf,
    /// The bridge's gRPC port
    #[arg(long, value_name = "URI", default_value = "http://127.0.0.1:50051",
        value_parser = |text: &str| endpoint("--target", text))]
    pub(crate) target: Endpoint,
    /// How many times faster than a person reads, or max: as fast as the bridge takes it
    #[arg(
        long,
        value_name = "N|max",
        default_value = "1",
        allow_negative_numbers = true
    )]
    pub(crate) speed: Speed,
    /// Also report what was accepted to this monitor, as a producer; best effort, never in the way
    #[arg(long, value_name = "URI", value_parser = |text: &str| endpoint("--report-to", text))]
    pub(crate) report_to: Option<Endpoint>,
    /// The component that reports are about
    #[arg(long, value_name = "ID", default_value = "bridge-service",
        value_parser = |text: &str| identifier("--component-id", text, 128))]
    pub(crate) component_id: String,
    /// Put before each conversation's id to make its thread's
    #[arg(long, value_name = "TEXT", default_value = "",
        value_parser = |text: &str| prefix("--thread-prefix", text))]
    pub(crate) thread_prefix: String,
    /// Part of every event's and run's id; new for each replay unless given. With the same one a
    /// replay is answered with duplicates
    #[arg(long, value_name = "ID",
        value_parser = |text: &str| identifier("--replay-id", text, MAX_REPLAY_ID_BYTES))]
    pub(crate) replay_id: Option<String>,
    /// Events in one batch, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 64,
        value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) batch: u16,
    /// Publish streams open at once, 1 to 64; the events of one thread stay on one stream
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) streams: u16,
    /// File with the token to show the bridge and the monitor
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: Trust,
}

fn identifier(argument: &str, text: &str, max_bytes: usize) -> Result<String, String> {
    if text.len() > max_bytes {
        let length = text.len();
        return Err(format!(
            "{argument}: {length} bytes are not allowed; allowed are 1 to {max_bytes}"
        ));
    }
    check_identifier(argument, text).map(|()| text.to_owned())
}

fn prefix(argument: &str, text: &str) -> Result<String, String> {
    match text {
        "" => Ok(String::new()),
        text => identifier(argument, text, MAX_PREFIX_BYTES),
    }
}

const HELP: &str = "\
Each conversation becomes a thread, each turn of the user a run:
  user's message          agent_started
  text beside tool calls  agent_thinking
  tool call               tool_executing
  tool's message          tool_completed
  closing text            agent_message, then agent_completed
  a turn without one      agent_error
System and developer messages are left out.

Pace: at --speed 1 an event comes once its text could have been typed or read, at 25 characters a
second, never sooner than 200 ms and never later than 5 s after the one before; events of tools come
after 200 ms. All conversations play at once.

A stream that fails is opened again up to 5 times in a row, and what was not answered is sent again
with the same event ids; the bridge answers those that it has with duplicates, so none counts twice.

Examples:
  bridge-service replay conversations.jsonl
  bridge-service replay conversations.jsonl --speed max --report-to http://127.0.0.1:50061
  bridge-service replay chat.json --target https://bridge.example:443 --thread-prefix demo-

Exit codes: 0 everything was accepted, 1 bad arguments or a bad file, 2 cannot connect, 3 a call
failed, 4 some events were rejected.";
