//! `ws` on Node.

use std::path::Path;
use std::process::Command;

use super::{Running, is_installed, not_installed, peers};
use crate::dialect::Dialect;
use crate::failure::Failure;
use crate::machine::{SERVER_CORE, said};
use crate::process::{Server, free_address};
use crate::publisher::{Plain, Wire};
use crate::readers::Manner;

const PROGRAM: &str = "node";
/// Where Debian puts the module.
const MODULE: &str = "/usr/share/nodejs/ws";

pub(super) fn version() -> Result<String, Failure> {
    if !is_installed(PROGRAM) || !Path::new(MODULE).is_dir() {
        return Err(not_installed("Node with ws", "nodejs node-ws"));
    }
    let asked = format!("require('{MODULE}/package.json').version");
    Ok(format!(
        "{}, Node {}",
        said(PROGRAM, &["-p", &asked]),
        said(PROGRAM, &["-v"])
    ))
}

pub(super) fn start() -> Result<Running, Failure> {
    let address = free_address()?;
    let mut command = Command::new(PROGRAM);
    command.arg(peers().join("ws/server.js"));
    command.arg(address.port().to_string()).arg(MODULE);
    let server = Server::silent(&mut command, SERVER_CORE, address)?;
    let manner = Manner {
        address,
        dialect: Dialect::Plain,
        subscribe: None,
        acknowledge_every: None,
    };
    Ok(Running {
        server,
        manner,
        path: |topic| format!("/sub/{topic}"),
        publisher: Box::new(move |topics| {
            Ok(Box::new(Plain::open(
                Wire::WebSocket,
                address,
                1,
                topics,
                b"",
            )?))
        }),
        _folder: None,
    })
}
