//! The settings of a port, the same for both ports of both services.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::accept::{AcceptLimits, Port};
use crate::config::{Source, duration, number};
use crate::tls::{Protocol, ServerTls, TlsFiles};

/// Names of a port's settings.
#[derive(Debug)]
struct Names {
    port: &'static str,
    protocol: Protocol,
    listen: &'static str,
    /// Certificate, key, client CA, and whether clients must show certificates.
    tls: [&'static str; 4],
    max_connections: &'static str,
    max_per_address: &'static str,
    handshake_timeout: &'static str,
}

const GRPC: Names = Names {
    port: "grpc",
    protocol: Protocol::Http2,
    listen: "grpc.listen",
    tls: [
        "grpc.tls_certificate_file",
        "grpc.tls_key_file",
        "grpc.tls_client_ca_file",
        "grpc.tls_client_certificates",
    ],
    max_connections: "grpc.max_connections",
    max_per_address: "grpc.max_connections_per_address",
    handshake_timeout: "grpc.handshake_timeout",
};

const HTTP: Names = Names {
    port: "http",
    protocol: Protocol::Http1,
    listen: "http.listen",
    tls: [
        "http.tls_certificate_file",
        "http.tls_key_file",
        "http.tls_client_ca_file",
        "http.tls_client_certificates",
    ],
    max_connections: "http.max_connections",
    max_per_address: "http.max_connections_per_address",
    handshake_timeout: "http.handshake_timeout",
};

/// Where a port listens, what it speaks, and how much it takes on.
#[derive(Clone, Debug)]
pub struct PortSettings {
    /// The setting that says where it listens.
    pub setting: &'static str,
    /// Where it listens.
    pub listen: SocketAddr,
    /// `None`: without TLS.
    pub tls: Option<Arc<ServerTls>>,
    /// Limits of its connections.
    pub limits: AcceptLimits,
}

impl PortSettings {
    /// Takes the settings of the gRPC port, and reads its certificates.
    pub fn grpc(source: &mut Source) -> Self {
        Self::take(source, &GRPC)
    }

    /// Takes the settings of the HTTP port, and reads its certificates.
    pub fn http(source: &mut Source) -> Self {
        Self::take(source, &HTTP)
    }

    fn take(source: &mut Source, names: &Names) -> Self {
        let limits = AcceptLimits {
            max_connections: number(source, names.max_connections, 1..=1_000_000),
            max_per_address: number(source, names.max_per_address, 0..=1_000_000),
            handshake_timeout: duration(
                source,
                names.handshake_timeout,
                std::time::Duration::from_millis(100)..=std::time::Duration::from_secs(300),
            ),
        };
        let files = TlsFiles::take(source, names.port, names.tls);
        let tls = files.and_then(|files| match ServerTls::load(files, names.protocol) {
            Ok(tls) => Some(Arc::new(tls)),
            Err(error) => {
                source.reject(error);
                None
            }
        });
        Self {
            setting: names.listen,
            listen: source.take(names.listen),
            tls,
            limits,
        }
    }

    /// Whether nobody gets in without a certificate that is trusted.
    #[must_use]
    pub fn demands_certificates(&self) -> bool {
        self.tls
            .as_ref()
            .is_some_and(|tls| tls.files().demands_certificates())
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }

    /// Whether a page could come in by a name that its owner makes resolve to this machine. Through
    /// TLS it could not: the certificate is not of that name.
    #[must_use]
    pub fn can_be_taken_for_a_page(&self) -> bool {
        self.is_local() && self.tls.is_none()
    }

    /// The error of a port that other machines can reach, and where nobody has to show who they
    /// are. `closed` says whether tokens are asked for.
    #[must_use]
    pub fn stands_open(&self, closed: bool) -> Option<String> {
        let open = !closed && !self.is_local() && !self.demands_certificates();
        let Self {
            setting, listen, ..
        } = self;
        let port = setting.trim_end_matches(".listen");
        open.then(|| format!(
            "{setting}: {listen} can be reached from other machines, and nobody has to show who they are; set auth.access_file, auth.jwks_file, auth.jwks_url or auth.jwt_key_file (docs/ACCESS.md), or {port}.tls_client_ca_file with {port}.tls_client_certificates = \"required\", or listen on 127.0.0.1; --insecure is for networks that keep strangers out themselves"
        ))
    }

    /// Whether another reading's certificates can take the place of these.
    ///
    /// # Errors
    /// Where one has TLS and the other has not, or where nobody got in without a certificate and now
    /// would: that is settled at the start. The port may listen where that alone keeps strangers out,
    /// although the other reading's address is one where nothing has to.
    pub fn may_adopt(&self, other: &Self) -> Result<(), String> {
        let (setting, what) = if self.tls.is_some() != other.tls.is_some() {
            ("tls_certificate_file", "whether a port has TLS")
        } else if self.demands_certificates() && !other.demands_certificates() {
            (
                "tls_client_certificates",
                "that clients must show a certificate",
            )
        } else {
            return Ok(());
        };
        let port = self.setting.trim_end_matches(".listen");
        Err(format!(
            "{port}.{setting}: {what} is settled at the start; restart the service"
        ))
    }

    /// From now on its connections get the certificates that another reading gave, one that it
    /// [may adopt](Self::may_adopt).
    pub fn adopt(&self, other: &Self) {
        if let (Some(own), Some(other)) = (&self.tls, &other.tls) {
            own.adopt(other);
        }
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// A sentence with the setting, the address and why it cannot be bound.
    pub async fn bind(&self) -> Result<(Port, SocketAddr), String> {
        let Self {
            setting, listen, ..
        } = self;
        let refused = |error| format!("{setting}: {listen} cannot be bound: {error}");
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        Ok((Port::new(listener, self.tls.clone(), self.limits), bound))
    }
}
