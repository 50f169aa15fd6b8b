//! nats-server: subscribers over its WebSocket, the publisher over its own protocol.

use std::process::Command;

use super::{Running, is_installed, not_installed};
use crate::dialect::Dialect;
use crate::failure::Failure;
use crate::frames;
use crate::machine::said;
use crate::process::{Server, free_address};
use crate::publisher::{Plain, Wire};
use crate::readers::Manner;

const PROGRAM: &str = "nats-server";
const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";

pub(super) fn version() -> Result<String, Failure> {
    if !is_installed(PROGRAM) {
        return Err(not_installed(PROGRAM, PROGRAM));
    }
    Ok(said(PROGRAM, &["-v"]))
}

pub(super) fn start() -> Result<Running, Failure> {
    let (plain, websocket) = (free_address()?, free_address()?);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("nats.conf");
    // No limit of its own may end a reader; its pings would need an answer inside the protocol.
    let configuration = format!(
        "listen: \"{plain}\"\nping_interval: \"1h\"\nwrite_deadline: \"60s\"\n\
         max_connections: 100000\nmax_pending: 268435456\n\
         websocket {{ listen: \"{websocket}\", no_tls: true, compression: false }}\n"
    );
    std::fs::write(&file, configuration)?;
    let mut command = Command::new(PROGRAM);
    command
        .arg("-c")
        .arg(&file)
        .stderr(std::process::Stdio::null());
    let server = Server::silent(&mut command, crate::machine::SERVER_CORE, websocket)?;
    let manner = Manner {
        address: websocket,
        dialect: Dialect::Nats,
        subscribe: Some(subscribe),
        acknowledge_every: None,
    };
    Ok(Running {
        server,
        manner,
        path: |_| "/".to_owned(),
        publisher: Box::new(move |topics| {
            let hello = CONNECT.as_bytes();
            Ok(Box::new(Plain::open(Wire::Nats, plain, 1, topics, hello)?))
        }),
        _folder: Some(folder),
    })
}

fn subscribe(topic: &str) -> Vec<u8> {
    let lines = format!("{CONNECT}SUB {topic} 1\r\nPING\r\n");
    let mut frame = Vec::new();
    frames::append(&mut frame, frames::BINARY, &[lines.as_bytes()]);
    frame
}
