//! The keys that tokens are verified with: a JWKS document, or one key in a file.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::ring_provider;

/// Shortest secret of HS256, in bytes (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// Keys, each for one algorithm: what a token says of itself cannot change how it is verified.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.algorithm, self.id)
    }
}

impl Keys {
    /// The keys of a JWKS document. Those for encryption, and of kinds that are not used here, are
    /// left aside.
    ///
    /// # Errors
    /// Where it is no JWKS, or has no key that can be used.
    pub fn from_jwks(document: &[u8]) -> Result<Self, String> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        // The parser's own words would show the text, and a key may be a secret.
        let set: Set = serde_json::from_slice(document)
            .map_err(|_| "is no JWKS: allowed is {\"keys\":[…]}")?;
        // A key that cannot be read is of a kind that is not used here.
        let readable = set
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys: Result<Vec<Key>, String> = readable
            .filter_map(|jwk| Key::from_jwk(&jwk).transpose())
            .collect();
        Self::some(keys?)
    }

    /// One key: a public key in PEM (RSA, EC on P-256 or Ed25519), or else the secret of HS256 as
    /// it stands, without the line's end.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn from_file(bytes: &[u8]) -> Result<Self, String> {
        ring_provider::install();
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let (algorithm, key) = if text.contains("-----BEGIN") {
            public_key(bytes).ok_or(
                "holds no public key in PEM that is used here: RSA, EC on P-256 or Ed25519",
            )?
        } else {
            (Algorithm::HS256, secret(bytes.trim_ascii_end())?)
        };
        Self::some(vec![Key {
            id: None,
            algorithm,
            key,
        }])
    }

    fn some(keys: Vec<Key>) -> Result<Self, String> {
        ring_provider::install();
        if keys.is_empty() {
            return Err(
                "has no key that can be used: RSA, EC on P-256, Ed25519 or a secret".to_owned(),
            );
        }
        Ok(Self(keys))
    }

    /// These keys and those.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The keys that a token may be signed with that names this key and this algorithm.
    pub(super) fn fitting<'a>(
        &'a self,
        id: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a DecodingKey> + Clone {
        let fits = move |key: &&Key| {
            key.algorithm == algorithm
                && (id.is_none() || key.id.is_none() || key.id.as_deref() == id)
        };
        self.0.iter().filter(fits).map(|key| &key.key)
    }
}

fn public_key(pem: &[u8]) -> Option<(Algorithm, DecodingKey)> {
    let rsa = DecodingKey::from_rsa_pem(pem).map(|key| (Algorithm::RS256, key));
    let elliptic = || DecodingKey::from_ec_pem(pem).map(|key| (Algorithm::ES256, key));
    let edwards = || DecodingKey::from_ed_pem(pem).map(|key| (Algorithm::EdDSA, key));
    rsa.or_else(|_| elliptic()).or_else(|_| edwards()).ok()
}

fn secret(bytes: &[u8]) -> Result<DecodingKey, String> {
    if bytes.len() < MIN_SECRET_BYTES {
        return Err(format!(
            "holds a secret of {} bytes; allowed are {MIN_SECRET_BYTES} or more",
            bytes.len()
        ));
    }
    DecodingKey::from_secret(bytes).map_err(|error| error.to_string())
}

impl Key {
    /// `None`: a key that is not used here.
    fn from_jwk(jwk: &Jwk) -> Result<Option<Self>, String> {
        let named = |name: KeyAlgorithm| {
            jwk.common
                .key_algorithm
                .is_none_or(|algorithm| algorithm == name)
        };
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) if named(KeyAlgorithm::RS256) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(curve)
                if curve.curve == EllipticCurve::P256 && named(KeyAlgorithm::ES256) =>
            {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKeyPair(pair)
                if pair.curve == EllipticCurve::Ed25519 && named(KeyAlgorithm::EdDSA) =>
            {
                Algorithm::EdDSA
            }
            AlgorithmParameters::OctetKey(_) if named(KeyAlgorithm::HS256) => Algorithm::HS256,
            _ => return Ok(None),
        };
        if jwk.common.public_key_use == Some(PublicKeyUse::Encryption) {
            return Ok(None);
        }
        let id = jwk.common.key_id.clone();
        let shown = id.as_deref().unwrap_or("without kid");
        let key = DecodingKey::from_jwk(jwk)
            .map_err(|error| format!("has a key {shown:?} that cannot be used: {error}"))?;
        if algorithm == Algorithm::HS256 {
            secret(key.try_get_as_bytes().unwrap_or_default())
                .map_err(|why| format!("has a key {shown:?} that {why}"))?;
        }
        Ok(Some(Self { id, algorithm, key }))
    }
}
