//! nginx with nchan: one worker, subscribers over WebSocket, POSTs to publish.

use std::path::Path;
use std::process::Command;

use super::{Running, is_installed, not_installed};
use crate::dialect::Dialect;
use crate::failure::Failure;
use crate::machine::{SERVER_CORE, said};
use crate::process::{Server, free_address};
use crate::publisher::{Plain, Wire};
use crate::readers::Manner;

const PROGRAM: &str = "nginx";
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
/// Kept alive, requests pipelined. A thread's messages all go through the same one.
const PUBLISHERS: usize = 32;

pub(super) fn version() -> Result<String, Failure> {
    if !is_installed(PROGRAM) || !Path::new(MODULE).is_file() {
        return Err(not_installed(
            "nginx with nchan",
            "nginx libnginx-mod-nchan",
        ));
    }
    let nchan = said("dpkg-query", &["-W", "-f=${Version}", "libnginx-mod-nchan"]);
    let nginx = said(PROGRAM, &["-v"]);
    Ok(format!(
        "{}, nchan {nchan}",
        nginx.replace("nginx version: ", "")
    ))
}

pub(super) fn start() -> Result<Running, Failure> {
    let address = free_address()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("nginx.conf");
    let path = folder.path().display();
    let configuration = include_str!("../../peers/nchan/nginx.conf")
        .replace("@MODULE@", MODULE)
        .replace("@FOLDER@", &path.to_string())
        .replace("@ADDRESS@", &address.to_string());
    std::fs::write(&file, configuration)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-c").arg(&file).arg("-p").arg(folder.path());
    command.stderr(std::process::Stdio::null());
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
            let connections = PUBLISHERS.min(topics.len());
            Ok(Box::new(Plain::open(
                Wire::Http,
                address,
                connections,
                topics,
                b"",
            )?))
        }),
        _folder: Some(folder),
    })
}
