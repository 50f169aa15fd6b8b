//! TLS for the ports: certificates from files, exchanged while connections go on.

mod files;
mod peer;
#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

pub use files::{ClientCertificates, TlsFiles};
pub use peer::ClientCertificate;

/// What a port speaks, as the first thing that TLS agrees on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `h2`: gRPC.
    Http2,
    /// `http/1.1`: WebSocket, server-sent events, pages.
    Http1,
}

impl Protocol {
    fn name(self) -> Vec<u8> {
        match self {
            Self::Http2 => b"h2".to_vec(),
            Self::Http1 => b"http/1.1".to_vec(),
        }
    }
}

/// The TLS side of one port.
#[derive(Debug)]
pub struct ServerTls {
    files: TlsFiles,
    /// Taken once for each connection, changed by a reload: held for a copy of the pointer only.
    config: RwLock<Arc<ServerConfig>>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// A sentence with the setting, the file and what is wrong with it.
    pub fn load(files: TlsFiles, protocol: Protocol) -> Result<Self, String> {
        let config = RwLock::new(files.read(protocol)?);
        Ok(Self { files, config })
    }

    /// From now on this port speaks with what another reading of the files gave. Connections that
    /// are open stay as they are; the next ones get the new certificate. Nothing of an earlier
    /// session is resumed, so that a client which is trusted no longer has to show itself again.
    pub fn adopt(&self, other: &Self) {
        let config = other.config();
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn config(&self) -> Arc<ServerConfig> {
        self.config
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The files that it was read from.
    #[must_use]
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config())
    }
}
