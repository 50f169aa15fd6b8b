//! Who a client says it is with its certificate.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What a verified client certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The names that it stands for: URIs, host names and mail addresses of its subject
    /// alternative name, then the common name of its subject.
    pub names: Vec<String>,
    /// When it ends.
    pub expires: SystemTime,
}

impl ClientCertificate {
    /// Reads a certificate that has been verified. `None`: it cannot be read.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let alternative = certificate.subject_alternative_name().ok()?;
        let alternative = alternative
            .into_iter()
            .flat_map(|names| &names.value.general_names);
        let alternative = alternative.filter_map(|name| match name {
            GeneralName::URI(name) | GeneralName::DNSName(name) | GeneralName::RFC822Name(name) => {
                Some(*name)
            }
            _ => None,
        });
        let common = certificate.subject().iter_common_name();
        let common = common.filter_map(|name| name.as_str().ok());
        let seconds = certificate.validity().not_after.timestamp();
        Some(Self {
            names: alternative.chain(common).map(str::to_owned).collect(),
            expires: UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        })
    }
}
