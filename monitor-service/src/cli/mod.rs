//! The command line: `serve`, and the commands that talk to a running monitor or to a component.
//!
//! Exit codes of the latter: 0 all is well, 1 the arguments are not valid, 2 nothing could be
//! connected to, 3 a call failed or timed out; `check` and `audit` also: 4 the component says that
//! it is not well, 5 its claims do not hold; `healthcheck` also: 4 the monitor does not serve; `drill`
//! also: 5 a fault was missed or invented.

mod args;
mod check;
mod client;
mod commands;
#[cfg(feature = "drill")]
mod drill;
mod healthcheck;
mod show;
mod verdict;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, Subcommand};
use service_kit::config::{EXIT_CONFIG, with_flags};

use self::args::Client;
use crate::config::table::{PREFIX, SPECS};

/// The flag that shows the settings instead of serving.
pub(crate) const PRINT_CONFIG: &str = "print-config";

/// How a client command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    BadArguments = 1,
    CannotConnect = 2,
    CallFailed = 3,
    Unhealthy = 4,
    ClaimsDoNotHold = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a client command ends early: said on standard error.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) exit: Exit,
    pub(crate) why: String,
}

impl Failed {
    pub(crate) fn new(exit: Exit, why: impl Into<String>) -> Self {
        Self {
            exit,
            why: why.into(),
        }
    }
}

/// What was asked for.
pub(crate) enum Invocation {
    Serve(ArgMatches),
    Client(Box<Client>),
}

fn command() -> Command {
    let print_config = Arg::new(PRINT_CONFIG)
        .long(PRINT_CONFIG)
        .action(ArgAction::SetTrue)
        .help("Check the settings, show them as TOML and exit");
    let about = "Audits Monitorable endpoints: what they claim beside what witnesses saw";
    let serve = Command::new("serve").about("Run the service (the default)");
    let serve = with_flags(serve, PREFIX, SPECS).arg(print_config.clone());
    let top = Command::new("monitor-service")
        .version(env!("CARGO_PKG_VERSION"))
        .about(about)
        .args_conflicts_with_subcommands(true);
    let top = with_flags(top, PREFIX, SPECS).arg(print_config);
    // Deriving has brought a text of its own.
    Client::augment_subcommands(top.subcommand(serve)).about(about)
}

/// Reads the command line.
///
/// # Errors
/// The exit code, where it is not valid (said on standard error) or only asked for help.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Invocation, ExitCode> {
    read(arguments).map_err(|(error, exit)| {
        // Whoever closed the output does not want to know.
        let _ = error.print();
        ExitCode::from(exit)
    })
}

fn read(arguments: Vec<OsString>) -> Result<Invocation, (clap::Error, u8)> {
    let usage = if names_a_client(&arguments) {
        Exit::BadArguments as u8
    } else {
        EXIT_CONFIG
    };
    let refuse = |error: clap::Error| {
        let exit = if error.use_stderr() { usage } else { 0 };
        (error, exit)
    };
    let matches = command().try_get_matches_from(arguments).map_err(refuse)?;
    match matches.subcommand() {
        None => Ok(Invocation::Serve(matches)),
        Some(("serve", flags)) => Ok(Invocation::Serve(flags.clone())),
        Some(_) => Client::from_arg_matches(&matches)
            .map(|client| Invocation::Client(Box::new(client)))
            .map_err(refuse),
    }
}

/// Whether the first argument is a client command: its mistakes have exit code 1.
fn names_a_client(arguments: &[OsString]) -> bool {
    let command = Client::augment_subcommands(Command::new("client"));
    arguments
        .get(1)
        .and_then(|first| first.to_str())
        .is_some_and(|first| command.find_subcommand(first).is_some())
}

/// Runs a client command to its end.
pub(crate) fn run(client: Client) -> ExitCode {
    let mut builder = match &client {
        // It plays several worlds at once, each on the clock.
        #[cfg(feature = "drill")]
        Client::Drill(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(client)),
        Err(error) => Err(Failed::new(
            Exit::CallFailed,
            format!("the runtime does not start: {error}"),
        )),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(failed) => {
            eprintln!("monitor-service: {}", show::printable(&failed.why));
            failed.exit.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, (clap::Error, u8)> {
        read(line.split(' ').map(OsString::from).collect())
    }

    fn code(line: &str) -> Option<u8> {
        parsed(line).err().map(|(_, exit)| exit)
    }

    #[test]
    fn the_command_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn serving_is_the_default() {
        for line in [
            "monitor-service",
            "monitor-service serve",
            "monitor-service --grpc-listen 127.0.0.1:0",
            "monitor-service serve --print-config",
        ] {
            assert!(matches!(parsed(line), Ok(Invocation::Serve(_))), "{line}");
        }
    }

    #[test]
    fn a_clients_mistakes_exit_with_1() {
        for line in [
            "monitor-service check",
            "monitor-service check http://127.0.0.1:1 --nonsense",
            "monitor-service check http://127.0.0.1:1 --window soon",
            "monitor-service list --output yaml",
            "monitor-service register only-an-id",
            "monitor-service findings --open --resolved",
            "monitor-service findings --limit 1001",
            "monitor-service maintenance",
            "monitor-service maintenance start bridge",
            "monitor-service maintenance start bridge --for 8d",
            #[cfg(feature = "drill")]
            "monitor-service drill --patience soon",
            #[cfg(feature = "drill")]
            "monitor-service drill --jobs 0",
        ] {
            assert_eq!(code(line), Some(1), "{line}");
        }
    }

    #[test]
    fn the_services_mistakes_exit_with_64() {
        for line in [
            "monitor-service --nonsense",
            "monitor-service serve --nonsense",
            "monitor-service nonsense",
        ] {
            assert_eq!(code(line), Some(64), "{line}");
        }
    }

    #[test]
    fn help_and_version_exit_with_0() {
        for line in [
            "monitor-service --help",
            "monitor-service --version",
            "monitor-service check --help",
        ] {
            assert_eq!(code(line), Some(0), "{line}");
        }
    }
}
