//! Certificates made for one test: an authority, and what it signs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use drill::reader::Tls;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType, date_time_ymd,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, PEM.
    pub pem: String,
}

/// A certificate and its key, PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A server's, for 127.0.0.1 and localhost.
    #[must_use]
    pub fn server(&self) -> Issued {
        self.sign(&Self::server_params())
    }

    /// The same, ended years ago.
    #[must_use]
    pub fn expired_server(&self) -> Issued {
        self.sign(&expired(Self::server_params()))
    }

    /// A client's, whose name is a URI.
    #[must_use]
    pub fn client(&self, name: &str) -> Issued {
        self.sign(&Self::client_params(name))
    }

    /// The same, ended years ago.
    #[must_use]
    pub fn expired_client(&self, name: &str) -> Issued {
        self.sign(&expired(Self::client_params(name)))
    }

    fn server_params() -> CertificateParams {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params
    }

    fn client_params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        let name = name.try_into().unwrap();
        params.subject_alt_names = vec![SanType::URI(name)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params
    }

    fn sign(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client of a WebSocket that trusts this authority.
    #[must_use]
    pub fn trusted(&self, shows: Option<&Issued>) -> Tls {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some(shown) => {
                let chain = CertificateDer::from_pem_slice(shown.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
                let chain = vec![chain.unwrap()];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        Tls {
            config: Arc::new(config),
            name: ServerName::try_from("localhost").unwrap(),
        }
    }

    /// A gRPC channel to an address that trusts this authority, connected at the first call.
    #[must_use]
    pub fn channel(&self, address: std::net::SocketAddr, shows: Option<&Issued>) -> Channel {
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.pem));
        let config = match shows {
            None => config,
            Some(shown) => config.identity(Identity::from_pem(&shown.certificate, &shown.key)),
        };
        Endpoint::from_shared(format!("https://localhost:{}", address.port()))
            .and_then(|endpoint| endpoint.tls_config(config))
            .unwrap()
            .connect_timeout(std::time::Duration::from_secs(5))
            .connect_lazy()
    }
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}

impl Issued {
    /// Writes both files, the key first: whoever reads between finds two that do not fit.
    #[must_use]
    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let certificate = directory.join(format!("{name}.pem"));
        let key = directory.join(format!("{name}.key"));
        std::fs::write(&key, &self.key).unwrap();
        std::fs::write(&certificate, &self.certificate).unwrap();
        (certificate, key)
    }
}
