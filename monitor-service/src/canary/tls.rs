//! TLS towards readers' ports, with the same trust as the component's gRPC port.

use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt as _;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::fleet::api::TlsTarget;

/// The options of a target as rustls takes them. `None`: the system's roots, no certificate.
///
/// # Errors
/// Which of the options cannot be used, or that the system has no roots.
pub(super) fn config(target: Option<&TlsTarget>) -> Result<Arc<ClientConfig>, String> {
    let said = |what: &'static str| move |error: &dyn std::fmt::Display| format!("{what}: {error}");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| said("tls")(&error))?;
    let builder = match target.filter(|target| !target.ca_pem.is_empty()) {
        None => builder
            .with_native_roots()
            .map_err(|error| said("the system's roots")(&error))?,
        Some(target) => builder.with_root_certificates(roots(&target.ca_pem)?),
    };
    let config = match target.filter(|target| !target.client_certificate_pem.is_empty()) {
        None => builder.with_no_client_auth(),
        Some(target) => {
            let chain = chain("tls.client_certificate_pem", &target.client_certificate_pem)?;
            let key = PrivateKeyDer::from_pem_slice(&target.client_key_pem);
            let key = key.map_err(|error| said("tls.client_key_pem")(&error))?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|error| said("tls.client_key_pem")(&error))?
        }
    };
    Ok(Arc::new(config))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in chain("tls.ca_pem", pem)? {
        roots
            .add(certificate)
            .map_err(|error| format!("tls.ca_pem: {error}"))?;
    }
    Ok(roots)
}

fn chain(field: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates.map_err(|error| format!("{field}: {error}"))
}
