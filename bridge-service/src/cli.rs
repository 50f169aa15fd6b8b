//! The command line: subcommands, their help, and what they need to know.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};
use service_kit::config::{EXIT_CONFIG, with_flags};

use crate::config::table::{PREFIX, SPECS};
use crate::config::{Settings, effective};
use crate::healthcheck::Healthcheck;
use crate::replay::options::Replay;

/// Exit code of the client subcommands for arguments that are not valid.
pub(crate) const EXIT_BAD_ARGUMENTS: u8 = 1;
/// A failure inside this process (`EX_SOFTWARE` of sysexits.h).
pub(crate) const EXIT_SOFTWARE: u8 = 70;

/// What to do.
pub(crate) enum Task {
    /// With the flags that the settings came from, to read them again.
    Serve(Box<Settings>, Box<ArgMatches>),
    Replay(Box<Replay>),
    Healthcheck(Box<Healthcheck>),
}

/// Something to show instead of doing anything.
pub(crate) struct Stop {
    text: String,
    code: u8,
}

impl Stop {
    pub(crate) fn new(text: impl Into<String>, code: u8) -> Self {
        Self {
            text: text.into(),
            code,
        }
    }

    /// Shows it: on standard output where nothing is wrong.
    pub(crate) fn show(&self) -> ExitCode {
        if self.code == 0 {
            say(&self.text);
        } else {
            eprintln!("{}", self.text.trim_end());
        }
        ExitCode::from(self.code)
    }
}

/// Says on standard error why the process cannot go on.
pub(crate) fn failed(text: &str) -> ExitCode {
    Stop::new(text, EXIT_SOFTWARE).show()
}

/// Writes a line to standard output; a reader that has gone away is no reason to fail.
pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
}

/// Parses the command line, and for `serve` the whole configuration.
///
/// # Errors
/// What to show instead, be it help or every mistake.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Task, Stop> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let client = arguments
        .get(1)
        .is_some_and(|name| name == "replay" || name == "healthcheck");
    let code = if client {
        EXIT_BAD_ARGUMENTS
    } else {
        EXIT_CONFIG
    };
    let matches = command()
        .try_get_matches_from(arguments)
        .map_err(|error| shown(&error, code))?;
    match matches.subcommand() {
        Some(("replay", flags)) => Replay::from_arg_matches(flags)
            .map(|options| Task::Replay(Box::new(options)))
            .map_err(|error| shown(&error, code)),
        Some(("healthcheck", flags)) => {
            Healthcheck::from_flags(flags).map(|options| Task::Healthcheck(Box::new(options)))
        }
        Some((_, flags)) => serve(flags),
        None => serve(&matches),
    }
}

fn serve(flags: &ArgMatches) -> Result<Task, Stop> {
    if flags.get_flag("print-config") {
        return Err(Stop::new(effective(flags), 0));
    }
    Settings::load(flags)
        .map(|settings| Task::Serve(Box::new(settings), Box::new(flags.clone())))
        .map_err(|errors| Stop::new(errors.to_string(), EXIT_CONFIG))
}

fn shown(error: &clap::Error, code: u8) -> Stop {
    let code = if error.use_stderr() { code } else { 0 };
    Stop::new(error.render().to_string(), code)
}

fn command() -> Command {
    let root = Command::new("bridge-service")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Delivers agents' events to chat users over WebSocket and SSE, and accounts for every one")
        .after_help(SERVE_EXAMPLES)
        .args_conflicts_with_subcommands(true);
    let serve = Command::new("serve")
        .about("Serve until SIGTERM; the default")
        .after_help(SERVE_EXAMPLES);
    with_serve_flags(root)
        .subcommand(with_serve_flags(serve))
        .subcommand(Replay::augment_args(
            Command::new("replay").about("Publish recorded conversations as agents' events"),
        ))
        .subcommand(Healthcheck::command())
}

fn with_serve_flags(command: Command) -> Command {
    let print = clap::Arg::new("print-config")
        .long("print-config")
        .action(clap::ArgAction::SetTrue)
        .help("Print the settings as they stand, as TOML with tokens masked, and exit");
    with_flags(command, PREFIX, SPECS).arg(print)
}

const SERVE_EXAMPLES: &str = "\
Settings come from the file, then the environment, then flags; the later wins.

Examples:
  bridge-service
  bridge-service --grpc-listen 0.0.0.0:50051 --http-listen 0.0.0.0:8080 --auth-access-file access.toml
  bridge-service serve --config bridge.toml --log-format json
  bridge-service --print-config > bridge.toml
  bridge-service --grpc-listen 127.0.0.1:0 --http-listen 127.0.0.1:0

At SIGHUP, and when one of their files changed, the settings are read again.

The bound addresses are printed, one a line: 'grpc listening on ADDRESS' and 'http listening on ADDRESS'.

Exit codes: 0 drained after SIGTERM or SIGINT, 64 the configuration is not valid, 69 a port cannot
be bound, 70 a task of the service ended.";

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(arguments: &[&str]) -> Stop {
        let arguments = ["bridge-service"]
            .iter()
            .chain(arguments)
            .map(OsString::from);
        parse(arguments).err().expect("it must stop")
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn each_kind_of_mistake_has_its_exit_code() {
        assert_eq!(stop(&["--no-such-flag"]).code, EXIT_CONFIG);
        assert_eq!(stop(&["--hub-threads", "0"]).code, EXIT_CONFIG);
        assert_eq!(stop(&["serve", "--grpc-listen", "here"]).code, EXIT_CONFIG);
        assert_eq!(stop(&["replay"]).code, EXIT_BAD_ARGUMENTS);
        assert_eq!(
            stop(&["replay", "x", "--speed", "-1"]).code,
            EXIT_BAD_ARGUMENTS
        );
        assert_eq!(
            stop(&["healthcheck", "--target", "nowhere"]).code,
            EXIT_BAD_ARGUMENTS
        );
        assert_eq!(stop(&["--help"]).code, 0);
    }

    #[test]
    fn printed_settings_hide_tokens() {
        let printed = stop(&["--auth-tokens", "a-secret-of-some-length", "--print-config"]);
        assert_eq!(printed.code, 0);
        assert!(!printed.text.contains("a-secret"), "{}", printed.text);
    }
}
