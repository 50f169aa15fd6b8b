//! Files as they are found, and certificates as they are shown.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

use super::*;

struct Made {
    certificate: String,
    der: Vec<u8>,
    key: String,
}

fn made(params: &CertificateParams) -> Made {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Made {
        certificate: certificate.pem(),
        der: certificate.der().to_vec(),
        key: key.serialize_pem(),
    }
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn files_that_do_not_fit_are_named_with_their_setting() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (
        made(&CertificateParams::default()),
        made(&CertificateParams::default()),
    );
    let write = |name, text: &str| write(directory.path(), name, text);
    let certificate = write("one.pem", &one.certificate);
    let key = write("one.key", &one.key);
    let other_key = write("other.key", &other.key);
    let garbage = write("garbage.pem", "hush");
    let load = |certificate: &Path, key: &Path, client_ca: Option<&Path>| {
        let files = TlsFiles {
            port: "grpc",
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            client_ca: client_ca.map(Path::to_owned),
            client_certificates: ClientCertificates::Required,
        };
        ServerTls::load(files, Protocol::Http2)
    };
    assert!(load(&certificate, &key, Some(&certificate)).is_ok());
    let missing = directory.path().join("missing.pem");
    for (loaded, part) in [
        (load(&certificate, &other_key, None), "grpc.tls_key_file: "),
        (load(&garbage, &key, None), "grpc.tls_certificate_file: "),
        (load(&certificate, &garbage, None), "holds no private key"),
        (load(&missing, &key, None), "cannot be read"),
        (
            load(&certificate, &key, Some(&garbage)),
            "grpc.tls_client_ca_file: ",
        ),
    ] {
        let error = loaded.unwrap_err();
        assert!(error.contains(part) && !error.contains("hush"), "{error}");
    }
}

#[test]
fn a_certificate_has_the_names_of_its_subject() {
    let mut params = CertificateParams::new(["agent.example".to_owned()]).unwrap();
    let uri = SanType::URI("spiffe://cluster/agent".try_into().unwrap());
    params.subject_alt_names.push(uri);
    params
        .distinguished_name
        .push(DnType::CommonName, "The agent");
    params.not_after = date_time_ymd(2040, 1, 1);
    let shown = ClientCertificate::read(&made(&params).der).unwrap();
    for name in ["agent.example", "spiffe://cluster/agent", "The agent"] {
        assert!(
            shown.names.iter().any(|shown| shown == name),
            "{name}: {shown:?}"
        );
    }
    let ends = std::time::UNIX_EPOCH + std::time::Duration::from_secs(2_208_988_800);
    assert_eq!(shown.expires, ends);
    assert_eq!(ClientCertificate::read(b"no certificate"), None);
}
