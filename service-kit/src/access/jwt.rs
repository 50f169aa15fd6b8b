//! JSON Web Tokens: who signed them, for whom, until when, and what they grant.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;

use super::Refusal;
use super::grants::{Credential, Grants, Identity};
use super::keys::Keys;

/// What a token must say to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRules {
    /// Must be among its `aud`.
    pub audience: String,
    /// Must be its `iss`. Empty: anybody may have issued it.
    pub issuer: String,
    /// How far the clocks of issuer and service may be apart.
    pub leeway: Duration,
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: Option<String>,
    iss: Option<String>,
    aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
    #[serde(default)]
    monitorable: Grants,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn has(&self, wanted: &str) -> bool {
        match self {
            Self::One(audience) => audience == wanted,
            Self::Several(audiences) => audiences.iter().any(|audience| audience == wanted),
        }
    }
}

/// Whether a text has the form of a token: three parts.
pub(super) fn looks_like_one(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Who the token says that its owner is.
///
/// # Errors
/// Why it is not taken; the token is not shown.
pub(super) fn identify(
    token: &str,
    keys: &Keys,
    rules: &JwtRules,
    now: SystemTime,
) -> Result<Identity, Refusal> {
    let header = decode_header(token).map_err(|_| Refusal::Malformed)?;
    let fitting = keys.fitting(header.kid.as_deref(), header.alg);
    if fitting.clone().next().is_none() {
        return Err(Refusal::UnknownKey);
    }
    let validation = signature_only(header.alg);
    let claims = fitting
        .map(|key| decode::<Claims>(token, key, &validation))
        .find_map(Result::ok)
        .ok_or(Refusal::BadSignature)?
        .claims;
    claims.check(rules, now)
}

/// The times and names are held against the rules below, where the clock is an argument.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
}

impl Claims {
    fn check(self, rules: &JwtRules, now: SystemTime) -> Result<Identity, Refusal> {
        if !self
            .aud
            .is_some_and(|audience| audience.has(&rules.audience))
        {
            return Err(Refusal::WrongAudience);
        }
        if !rules.issuer.is_empty() && self.iss.as_deref() != Some(&rules.issuer) {
            return Err(Refusal::WrongIssuer);
        }
        let expires = moment(self.exp.ok_or(Refusal::NoExpiry)?)? + rules.leeway;
        if expires <= now {
            return Err(Refusal::Expired);
        }
        if let Some(begin) = self.nbf
            && moment(begin)? > now + rules.leeway
        {
            return Err(Refusal::NotYetValid);
        }
        Ok(Identity {
            name: self
                .sub
                .unwrap_or_else(|| "a token without sub".to_owned())
                .into(),
            credential: Credential::Jwt,
            grants: self.monitorable,
            expires: Some(expires),
        })
    }
}

/// Seconds since 1970. The bound keeps sums with it inside what a clock can say.
fn moment(seconds: f64) -> Result<SystemTime, Refusal> {
    const YEAR_9999: f64 = 253_402_300_799.0;
    if (0.0..=YEAR_9999).contains(&seconds) {
        Ok(UNIX_EPOCH + Duration::from_secs_f64(seconds))
    } else {
        Err(Refusal::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(claims: &str, now: u64) -> Result<Identity, Refusal> {
        let rules = JwtRules {
            audience: "bridge".to_owned(),
            issuer: "https://id.example".to_owned(),
            leeway: Duration::from_secs(30),
        };
        let claims: Claims = serde_json::from_str(claims).unwrap();
        claims.check(&rules, UNIX_EPOCH + Duration::from_secs(now))
    }

    const GOOD: &str = r#"{"sub":"u","iss":"https://id.example","aud":["x","bridge"],"exp":1000,"nbf":500,
        "monitorable":{"roles":["reader"],"read":["chat-1"]}}"#;

    #[test]
    fn a_token_holds_from_nbf_to_exp_with_leeway() {
        for (now, answer) in [
            (469, Err(Refusal::NotYetValid)),
            (470, Ok(())),
            (1_029, Ok(())),
            (1_030, Err(Refusal::Expired)),
        ] {
            assert_eq!(check(GOOD, now).map(|_| ()), answer, "{now}");
        }
        let identity = check(GOOD, 700).unwrap();
        assert_eq!(
            identity.expires,
            Some(UNIX_EPOCH + Duration::from_secs(1_030))
        );
        assert_eq!(&*identity.name, "u");
        assert!(identity.may(super::super::Action::Read("chat-1")).is_ok());
    }

    #[test]
    fn names_must_be_the_ones_that_are_set() {
        for (from, to, refusal) in [
            (r#"["x","bridge"]"#, r#""other""#, Refusal::WrongAudience),
            (r#""aud":["x","bridge"],"#, "", Refusal::WrongAudience),
            ("id.example", "evil.example", Refusal::WrongIssuer),
            (r#""exp":1000,"#, "", Refusal::NoExpiry),
            ("1000", "1e300", Refusal::Malformed),
            ("1000", "-5", Refusal::Malformed),
        ] {
            let claims = GOOD.replace(from, to);
            assert_eq!(check(&claims, 700), Err(refusal), "{claims}");
        }
        assert!(check(&GOOD.replace(r#"["x","bridge"]"#, r#""bridge""#), 700).is_ok());
        let times_as_texts = GOOD.replace("500", r#""500""#);
        assert!(serde_json::from_str::<Claims>(&times_as_texts).is_err());
    }
}
