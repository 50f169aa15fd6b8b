//! The crowd of components, from outside.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use super::components;
use crate::failure::Failure;
use crate::machine::LOAD_CORE;
use crate::process::Server;

/// Components in a process of their own, on the load's core.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) size: usize,
    pub(crate) server: Server,
    port: u16,
    orders: TcpStream,
}

impl Crowd {
    /// Starts it.
    ///
    /// # Errors
    /// Where this program cannot be started once more.
    pub(crate) fn start(size: usize) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve-components", &size.to_string()]);
        let names = [components::COMPONENTS, components::ORDERS];
        let (server, addresses) = Server::announced(&mut command, LOAD_CORE, &names)?;
        let [components, orders] = addresses[..] else {
            return Err(Failure::new("the components did not say where they listen"));
        };
        let orders = TcpStream::connect(orders)?;
        orders.set_nodelay(true)?;
        Ok(Self {
            size,
            server,
            port: components.port(),
            orders,
        })
    }

    /// Where one component listens.
    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        components::address(index, self.port)
    }

    /// Lets one component `lie` or `die`; one of the first [`components::MORTALS`].
    ///
    /// # Errors
    /// Where the crowd is gone.
    pub(crate) fn order(&mut self, deed: &str, index: usize) -> Result<(), Failure> {
        Ok(self
            .orders
            .write_all(format!("{deed} {index}\n").as_bytes())?)
    }
}
