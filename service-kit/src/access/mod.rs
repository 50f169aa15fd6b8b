//! Who is there, and what they may do: tokens, certificates and JWTs become identities.

mod control;
mod file;
mod grants;
mod grpc;
mod guard;
mod host;
mod http;
mod jwks_url;
mod jwt;
mod keys;
mod ring_provider;
mod secret;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

pub use control::{AccessControl, Lapse};
pub use file::check_token;
pub use grants::{Action, Credential, Denied, Grants, Identity, Role, Threads};
pub use grpc::{GrpcGuard, Rule, guard_grpc, identity_of};
pub use guard::Guard;
pub use http::{bearer, guard_http, unauthorized};
pub use jwks_url::JwksUrl;
pub use jwt::JwtRules;
pub use keys::Keys;
pub use secret::{Digest, Secret};
pub use settings::AccessSettings;

use crate::tls::ClientCertificate;
use file::{AccessFile, Token};

/// Why somebody is not known. None of these shows what was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing was shown.
    #[error("no token and no client certificate was shown; allowed is Authorization: Bearer TOKEN")]
    Nothing,
    /// The header names another scheme.
    #[error("Authorization: allowed is Bearer TOKEN")]
    NotBearer,
    /// No entry has this token.
    #[error("the token is not known")]
    UnknownToken,
    /// No entry has a name of this certificate.
    #[error("no name of the client certificate is known")]
    UnknownCertificate,
    /// It has the form of a JWT and cannot be read as one.
    #[error("the token cannot be read")]
    Malformed,
    /// No key fits what its head says.
    #[error("the token is signed with a key or an algorithm that is not known")]
    UnknownKey,
    /// The signature or the claims' form is wrong.
    #[error("the token's signature or form is wrong")]
    BadSignature,
    /// `aud`.
    #[error("the token is for another audience")]
    WrongAudience,
    /// `iss`.
    #[error("the token is of another issuer")]
    WrongIssuer,
    /// `exp`.
    #[error("the token has no expiry")]
    NoExpiry,
    /// `exp`.
    #[error("the token has expired")]
    Expired,
    /// `nbf`.
    #[error("the token is not valid yet")]
    NotYetValid,
}

/// Everybody who is known.
#[derive(Clone, Debug, Default)]
pub struct Access {
    file: AccessFile,
    jwt: Option<Jwt>,
}

#[derive(Clone, Debug)]
struct Jwt {
    keys: Keys,
    rules: JwtRules,
}

impl Access {
    /// Nobody is known yet, and tokens signed with these keys are taken.
    #[must_use]
    pub fn with_jwt(keys: Keys, rules: JwtRules) -> Self {
        Self {
            jwt: Some(Jwt { keys, rules }),
            ..Self::default()
        }
    }

    /// These tokens too are known: whoever shows one may read every thread.
    #[must_use]
    pub fn with_readers(mut self, tokens: Vec<Secret>) -> Self {
        let tokens = tokens.into_iter().map(|token| {
            let identity = Arc::new(Identity {
                name: "auth.tokens".into(),
                credential: Credential::Token(token.digest()),
                grants: Grants {
                    roles: vec![Role::Reader],
                    read: Threads::all(),
                    write: Threads::default(),
                },
                expires: None,
            });
            Token { token, identity }
        });
        self.file.tokens.extend(tokens);
        self
    }

    /// Whether somebody who was known would be known again, and as the same.
    fn still_knows(&self, identity: &Identity) -> bool {
        let same = |known: &Identity| {
            known.name == identity.name
                && known.credential == identity.credential
                && known.grants == identity.grants
        };
        match identity.credential {
            Credential::Token(_) => self.file.tokens.iter().any(|entry| same(&entry.identity)),
            Credential::Certificate => self.file.certificates.iter().any(same),
            Credential::Jwt => self.jwt.is_some(),
        }
    }

    /// The same with more keys.
    #[must_use]
    pub(crate) fn with_more_keys(&self, keys: Keys) -> Self {
        let mut access = self.clone();
        if let Some(jwt) = &mut access.jwt {
            jwt.keys = std::mem::take(&mut jwt.keys).and(keys);
        }
        access
    }

    /// Who shows this. A token goes before a certificate: whoever shows one wants to be that.
    ///
    /// # Errors
    /// Why they are not known.
    pub fn identify(
        &self,
        token: Option<&str>,
        certificate: Option<&ClientCertificate>,
        now: SystemTime,
    ) -> Result<Arc<Identity>, Refusal> {
        match (token, certificate) {
            (Some(token), _) => self.identify_token(token, now),
            (None, Some(certificate)) => self.identify_certificate(certificate, now),
            (None, None) => Err(Refusal::Nothing),
        }
    }

    fn identify_token(&self, token: &str, now: SystemTime) -> Result<Arc<Identity>, Refusal> {
        // Every entry is compared, so that the time taken says nothing about which one is near.
        let entries = self.file.tokens.iter();
        let known = entries.fold(None, |known, entry| match entry.token.is(token) {
            true => Some(entry.identity.clone()),
            false => known,
        });
        match (&self.jwt, known) {
            (_, Some(identity)) => Ok(identity),
            (Some(Jwt { keys, rules }), None) if jwt::looks_like_one(token) => {
                jwt::identify(token, keys, rules, now).map(Arc::new)
            }
            _ => Err(Refusal::UnknownToken),
        }
    }

    fn identify_certificate(
        &self,
        certificate: &ClientCertificate,
        now: SystemTime,
    ) -> Result<Arc<Identity>, Refusal> {
        if certificate.expires <= now {
            return Err(Refusal::Expired);
        }
        let names = |known: &&Identity| certificate.names.iter().any(|name| **name == *known.name);
        let known = self.file.certificates.iter().find(names);
        let known = known.ok_or(Refusal::UnknownCertificate)?;
        Ok(Arc::new(Identity {
            expires: Some(certificate.expires),
            ..known.clone()
        }))
    }
}
