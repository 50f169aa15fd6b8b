//! The access file: tokens and certificates, and what whoever has one may do.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::grants::{Credential, Grants, Identity};
use super::secret::Secret;
use crate::config::mistake;

/// Allowed lengths of a token, in bytes.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=512;

/// A token and who has it.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) token: Secret,
    pub(super) identity: Arc<Identity>,
}

/// What the file holds.
#[derive(Clone, Debug, Default)]
pub(super) struct AccessFile {
    pub(super) tokens: Vec<Token>,
    /// By a name of the certificate, which is the identity's too.
    pub(super) certificates: Vec<Identity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    tokens: Vec<TokenEntry>,
    #[serde(default)]
    certificates: Vec<CertificateEntry>,
}

#[derive(Deserialize)]
struct TokenEntry {
    name: String,
    token: Secret,
    #[serde(flatten)]
    grants: Grants,
}

#[derive(Deserialize)]
struct CertificateEntry {
    name: String,
    #[serde(flatten)]
    grants: Grants,
}

impl AccessFile {
    /// Reads the file.
    ///
    /// # Errors
    /// Every mistake, each with the file and the entry. No token is shown.
    pub(super) fn read(path: &Path) -> Result<Self, Vec<String>> {
        let shown = path.display();
        let one = |why: String| vec![format!("auth.access_file: {shown}: {why}")];
        let text = std::fs::read_to_string(path)
            .map_err(|error| one(format!("cannot be read: {error}")))?;
        Self::parse(&text).map_err(|errors| errors.into_iter().flat_map(one).collect())
    }

    fn parse(text: &str) -> Result<Self, Vec<String>> {
        let written: Written = toml::from_str(text).map_err(|error| vec![mistake(text, &error)])?;
        let mut errors = Vec::new();
        let mut file = Self::default();
        for (index, entry) in written.tokens.into_iter().enumerate() {
            let place = format!("tokens[{index}]");
            check(&place, &entry.name, &entry.grants, &mut errors);
            if let Err(error) = check_token(entry.token.expose()) {
                errors.push(format!("{place}.token: {error}"));
            }
            if file.tokens.iter().any(|other| other.token == entry.token) {
                errors.push(format!("{place}.token: another entry has the same"));
            }
            let credential = Credential::Token(entry.token.digest());
            let identity = Arc::new(identity(entry.name, credential, entry.grants));
            file.tokens.push(Token {
                token: entry.token,
                identity,
            });
        }
        for (index, entry) in written.certificates.into_iter().enumerate() {
            let place = format!("certificates[{index}]");
            check(&place, &entry.name, &entry.grants, &mut errors);
            if file
                .certificates
                .iter()
                .any(|other| *other.name == entry.name)
            {
                errors.push(format!("{place}.name: {:?} is there twice", entry.name));
            }
            file.certificates
                .push(identity(entry.name, Credential::Certificate, entry.grants));
        }
        if file.tokens.is_empty() && file.certificates.is_empty() {
            errors.push("it names nobody; it takes [[tokens]] or [[certificates]]".to_owned());
        }
        if errors.is_empty() {
            Ok(file)
        } else {
            Err(errors)
        }
    }
}

fn identity(name: String, credential: Credential, grants: Grants) -> Identity {
    Identity {
        name: name.into(),
        credential,
        grants,
        expires: None,
    }
}

/// A token's form.
///
/// # Errors
/// What is allowed; the token is not shown.
pub fn check_token(token: &str) -> Result<(), String> {
    let printable = token.bytes().all(|byte| byte.is_ascii_graphic());
    if printable && TOKEN_BYTES.contains(&token.len()) {
        return Ok(());
    }
    Err(format!(
        "it has {} bytes and cannot be shown here; allowed are {} to {} bytes of printable ASCII without spaces",
        token.len(),
        TOKEN_BYTES.start(),
        TOKEN_BYTES.end()
    ))
}

fn check(place: &str, name: &str, grants: &Grants, errors: &mut Vec<String>) {
    if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
        errors.push(format!(
            "{place}.name: allowed are 1 to 256 bytes without control characters"
        ));
    }
    if grants.roles.is_empty() {
        errors.push(format!(
            "{place}.roles: it is empty; allowed are agent, reader, monitor and admin"
        ));
    }
    for (list, threads) in [("read", &grants.read), ("write", &grants.write)] {
        if let Some(pattern) = threads.unusable() {
            errors.push(format!(
                "{place}.{list}: {pattern:?} is not allowed; allowed are thread names, and beginnings that end with *"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::grants::Action;
    use super::*;

    #[test]
    fn tokens_and_certificates_have_their_grants() {
        let file = AccessFile::parse(
            "[[tokens]]\nname = 'agents'\ntoken = 'correct-horse-battery'\nroles = ['agent']\nwrite = ['chat-*']\n\
             [[certificates]]\nname = 'spiffe://cluster/monitor'\nroles = ['monitor']\n",
        )
        .unwrap();
        assert!(file.tokens[0].token.is("correct-horse-battery"));
        assert!(file.tokens[0].identity.may(Action::Write("chat-1")).is_ok());
        assert_eq!(&*file.certificates[0].name, "spiffe://cluster/monitor");
    }

    #[test]
    fn every_mistake_is_named_and_no_token_is_shown() {
        let errors = AccessFile::parse(
            "[[tokens]]\nname = ''\ntoken = 'hush'\nroles = []\nread = ['a*b']\n\
             [[tokens]]\nname = 'x'\ntoken = 'hush'\nroles = ['reader']\n\
             [[certificates]]\nname = 'y'\nroles = ['admin']\n\
             [[certificates]]\nname = 'y'\nroles = ['admin']\n",
        )
        .unwrap_err()
        .join("\n");
        for part in [
            "tokens[0].name",
            "tokens[0].token: it has 4 bytes",
            "tokens[0].roles: it is empty",
            "tokens[0].read: \"a*b\"",
            "tokens[1].token: another entry has the same",
            "certificates[1].name: \"y\" is there twice",
        ] {
            assert!(errors.contains(part), "{part} is missing from {errors}");
        }
        assert!(!errors.contains("hush"), "{errors}");
    }

    #[test]
    fn what_is_no_toml_is_placed_without_being_shown() {
        for bad in [
            "[[tokens]]\nname = 'x'\ntoken = hush-hush-hush-hush\n",
            "[[tokens]]\nname = 'x'\ntoken = 'hush-hush-hush-hush'\nroles = ['king']\n",
            "[[tokens]]\nname = 'x'\ntokn = 'hush-hush-hush-hush'\nroles = ['agent']\n",
            "[[toknes]]\ntoken = 'hush-hush-hush-hush'\n",
            "tokens = 'hush-hush-hush-hush'\n",
            "[[tokens]]\nname = 'x'\ntoken = ['hush-hush-hush-hush']\nroles = ['agent']\n",
            "[[tokens]]\nname = 'x'\nroles = 'hush-hush-hush-hush'\ntoken = 'x'\n",
        ] {
            let errors = AccessFile::parse(bad).unwrap_err().join("\n");
            assert!(errors.starts_with("line "), "{errors}");
            assert!(!errors.contains("hush"), "{errors}");
        }
        assert!(AccessFile::parse("").unwrap_err()[0].contains("names nobody"));
    }
}
