//! The files of one port, and what rustls makes of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::Protocol;
use crate::config::{Setting, Source};

/// Whether a client must show a certificate, where a CA file says which ones are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// A client may show one; one that is not trusted ends the handshake.
    Optional,
    /// Without a trusted one there is no connection.
    Required,
}

impl Setting for ClientCertificates {
    fn parse(written: &toml::Value) -> Result<Self, String> {
        match String::parse(written)?.as_str() {
            "optional" => Ok(Self::Optional),
            "required" => Ok(Self::Required),
            other => Err(format!(
                "{other:?} is not allowed; allowed are optional and required"
            )),
        }
    }
}

/// The PEM files of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// What the settings of this port begin with, such as `grpc`.
    pub port: &'static str,
    /// The server's certificate, then the ones between it and its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The roots of clients' certificates. `None`: no client is asked for one.
    pub client_ca: Option<PathBuf>,
    /// Whether a client must have one.
    pub client_certificates: ClientCertificates,
}

impl TlsFiles {
    /// Takes the settings of a port: its certificate, key, client CA, and whether clients must
    /// show certificates. `None`: the port is served without TLS.
    pub fn take(source: &mut Source, port: &'static str, paths: [&'static str; 4]) -> Option<Self> {
        let [certificate, key, client_ca, demand] = paths;
        let client_certificates = source.take(demand);
        let mut file =
            |path| Some(source.take::<PathBuf>(path)).filter(|p| !p.as_os_str().is_empty());
        let found = (file(certificate), file(key), file(client_ca));
        match found {
            (Some(certificate), Some(key), client_ca) => Some(Self::followed(
                source,
                Self {
                    port,
                    certificate,
                    key,
                    client_ca,
                    client_certificates,
                },
            )),
            (None, None, None) => None,
            (None, None, Some(_)) => {
                source.reject(format!(
                    "{client_ca}: it is set, and {certificate} is not; client certificates need TLS"
                ));
                None
            }
            (given, _, _) => {
                let (set, missing) = if given.is_some() {
                    (certificate, key)
                } else {
                    (key, certificate)
                };
                source.reject(format!(
                    "{missing}: it is not set, and {set} is; TLS needs both"
                ));
                None
            }
        }
    }

    fn followed(source: &mut Source, files: Self) -> Self {
        files.paths().for_each(|path| source.follow(path));
        files
    }

    /// Whether nobody gets in without a trusted certificate.
    #[must_use]
    pub fn demands_certificates(&self) -> bool {
        self.client_ca.is_some() && self.client_certificates == ClientCertificates::Required
    }

    /// Every file.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let client_ca = self.client_ca.as_deref();
        [self.certificate.as_path(), &self.key]
            .into_iter()
            .chain(client_ca)
    }

    pub(super) fn read(&self, protocol: Protocol) -> Result<Arc<ServerConfig>, String> {
        let port = self.port;
        let certificates =
            certificates(&format!("{port}.tls_certificate_file"), &self.certificate)?;
        let key_setting = format!("{port}.tls_key_file");
        let key =
            PrivateKeyDer::from_pem_slice(&read(&key_setting, &self.key)?).map_err(|error| {
                unusable(
                    &key_setting,
                    &self.key,
                    &format!("holds no private key in PEM: {error}"),
                )
            })?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("{port}: TLS cannot be set up: {error}"))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => builder.with_client_cert_verifier(self.verifier(path, provider)?),
        };
        let mut config = builder
            .with_single_cert(certificates, key)
            .map_err(|error| {
                unusable(
                    &key_setting,
                    &self.key,
                    &format!(
                        "does not fit the certificate in {}: {error}",
                        self.certificate.display()
                    ),
                )
            })?;
        config.alpn_protocols = vec![protocol.name()];
        Ok(Arc::new(config))
    }

    fn verifier(
        &self,
        path: &Path,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn tokio_rustls::rustls::server::danger::ClientCertVerifier>, String> {
        let setting = format!("{}.tls_client_ca_file", self.port);
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&setting, path)? {
            roots.add(certificate).map_err(|error| {
                unusable(&setting, path, &format!("holds what is no root: {error}"))
            })?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match self.client_certificates {
            ClientCertificates::Required => builder,
            ClientCertificates::Optional => builder.allow_unauthenticated(),
        };
        builder
            .build()
            .map_err(|error| unusable(&setting, path, &error.to_string()))
    }
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(setting, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(unusable(setting, path, "holds no certificate in PEM"))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(setting, path, &format!("is not PEM: {error}"))),
    }
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path)
        .map_err(|error| unusable(setting, path, &format!("cannot be read: {error}")))
}

fn unusable(setting: &str, path: &Path, why: &str) -> String {
    format!("{setting}: {} {why}", path.display())
}
