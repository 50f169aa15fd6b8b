//! TLS options of a component to watch.

use monitorable::monitor::v1 as wire;

use super::target::MASK;
use super::{Invalid, shown};
use crate::fleet::api::TlsTarget;

/// Largest PEM file, in bytes.
const MAX_PEM_BYTES: usize = 64 * 1024;
/// Longest server name, in bytes; DNS allows no more.
const MAX_SERVER_NAME_BYTES: usize = 253;

/// Checks TLS options; whether the certificates are usable is found where a channel is made.
///
/// # Errors
/// The first field that is not valid.
pub(super) fn tls(
    field: &str,
    options: wire::TlsOptions,
    endpoint: &str,
) -> Result<TlsTarget, Invalid> {
    if !endpoint.starts_with("https://") {
        let why = format!("is set, but the endpoint {endpoint:?} is not https");
        return Err(Invalid::new(field, why));
    }
    let certificate = "CERTIFICATE-----";
    let files = [
        ("ca_pem", &options.ca_pem, certificate),
        (
            "client_certificate_pem",
            &options.client_certificate_pem,
            certificate,
        ),
        (
            "client_key_pem",
            &options.client_key_pem,
            "PRIVATE KEY-----",
        ),
    ];
    for (name, pem, holds) in files {
        check_pem(&format!("{field}.{name}"), pem, holds)?;
    }
    if options.client_certificate_pem.is_empty() != options.client_key_pem.is_empty() {
        let why = "client_certificate_pem and client_key_pem must both be set, or neither";
        return Err(Invalid::new(field, why));
    }
    let name = &options.server_name;
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':');
    if name.len() > MAX_SERVER_NAME_BYTES || !name.bytes().all(letter) {
        let why = format!("{} is no host name or address", shown(name));
        return Err(Invalid::new(&format!("{field}.server_name"), why));
    }
    Ok(TlsTarget {
        ca_pem: options.ca_pem.to_vec(),
        client_certificate_pem: options.client_certificate_pem.to_vec(),
        client_key_pem: options.client_key_pem.to_vec(),
        server_name: options.server_name,
    })
}

/// `holds` ends the line that begins what has to be in the file.
fn check_pem(field: &str, pem: &[u8], holds: &str) -> Result<(), Invalid> {
    if pem.is_empty() {
        return Ok(());
    }
    if pem == MASK.as_bytes() {
        let why = "\"***\" is what secrets read back as; send the file itself";
        return Err(Invalid::new(field, why));
    }
    if pem.len() > MAX_PEM_BYTES {
        let why = format!(
            "{} bytes are too many; allowed are {MAX_PEM_BYTES}",
            pem.len()
        );
        return Err(Invalid::new(field, why));
    }
    let text = String::from_utf8_lossy(pem);
    let begins = |line: &str| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(holds);
    if !text.lines().any(begins) {
        let why = format!("is no PEM: no line begins with \"-----BEGIN \" and ends with {holds:?}");
        return Err(Invalid::new(field, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::target::target;
    use super::*;
    use crate::probe::settings::ProbeSettings;

    fn refusal(change: impl FnOnce(&mut wire::Component)) -> String {
        let mut component = wire::Component {
            component_id: "bridge".to_owned(),
            endpoint: "http://127.0.0.1:50051".to_owned(),
            ..Default::default()
        };
        change(&mut component);
        let refused = target(component, "component.", &ProbeSettings::default());
        refused.unwrap_err().0
    }

    #[test]
    fn tls_is_checked_whole() {
        let tls = |change: fn(&mut wire::TlsOptions)| {
            let mut options = wire::TlsOptions::default();
            change(&mut options);
            refusal(|c| {
                c.endpoint = "https://127.0.0.1:1".to_owned();
                c.tls = Some(options);
            })
        };
        let error = tls(|t| t.ca_pem = "nonsense".into());
        assert!(error.contains("tls.ca_pem: is no PEM"), "{error}");
        let error = tls(|t| t.client_key_pem = "-----BEGIN PRIVATE KEY-----".into());
        assert!(error.contains("both be set"), "{error}");
        let error = tls(|t| t.server_name = "a/b".to_owned());
        assert!(error.contains("tls.server_name"), "{error}");
        let error = tls(|t| t.client_key_pem = "***".into());
        assert!(error.contains("send the file itself"), "{error}");
        let error = refusal(|c| c.tls = Some(wire::TlsOptions::default()));
        assert!(error.contains("not https"), "{error}");
    }

    #[test]
    fn a_certificate_that_only_looks_like_one_is_refused() {
        let error = refusal(|c| {
            c.endpoint = "https://127.0.0.1:1".to_owned();
            c.tls = Some(wire::TlsOptions {
                ca_pem: "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n".into(),
                ..Default::default()
            });
        });
        assert!(error.starts_with("component.tls: "), "{error}");
    }

    #[test]
    fn a_key_is_no_certificate() {
        let error = refusal(|c| {
            c.endpoint = "https://127.0.0.1:1".to_owned();
            c.tls = Some(wire::TlsOptions {
                ca_pem: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".into(),
                ..Default::default()
            });
        });
        assert!(
            error.starts_with("component.tls.ca_pem: is no PEM"),
            "{error}"
        );
    }
}
