//! Real signatures of each algorithm, and identities that lapse.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};

use super::*;
use crate::clock::Clock;
use crate::config::SecretUrl;

const RSA_PRIVATE: &[u8] = include_bytes!("tests/rsa.pk8");
const RSA_PUBLIC: &[u8] = include_bytes!("tests/rsa.pem");
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const CLAIMS: &str = r#"{"sub":"user-7","aud":"bridge","exp":1000,"monitorable":{"roles":["reader"],"read":["chat-7"]}}"#;

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signed(header: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!(
        "{}.{}",
        base64(header.as_bytes()),
        base64(claims.as_bytes())
    );
    let signature = sign(message.as_bytes());
    format!("{message}.{}", base64(&signature))
}

fn hmac(message: &[u8], secret: &[u8]) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    ring::hmac::sign(&key, message).as_ref().to_vec()
}

fn known(keys: Keys) -> Access {
    let rules = JwtRules {
        audience: "bridge".to_owned(),
        issuer: String::new(),
        leeway: Duration::ZERO,
    };
    Access::with_jwt(keys, rules)
}

fn identify(access: &Access, token: &str) -> Result<Arc<Identity>, Refusal> {
    access.identify(Some(token), None, UNIX_EPOCH + Duration::from_secs(500))
}

#[test]
fn each_algorithm_is_verified_with_its_own_key() {
    let random = SystemRandom::new();
    let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let ec =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random).unwrap();
    let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let ed = Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap();
    let rsa = RsaKeyPair::from_pkcs8(RSA_PRIVATE).unwrap();
    let components: PublicKeyComponents<Vec<u8>> = rsa.public().into();
    let point = ec.public_key().as_ref();
    let jwks = serde_json::json!({ "keys": [
        { "kid": "e", "kty": "EC", "crv": "P-256", "alg": "ES256", "x": base64(&point[1..33]), "y": base64(&point[33..]) },
        { "kid": "d", "kty": "OKP", "crv": "Ed25519", "x": base64(ed.public_key().as_ref()) },
        { "kid": "h", "kty": "oct", "k": base64(SECRET) },
        { "kid": "r", "kty": "RSA", "use": "sig",
          "n": base64(&components.n), "e": base64(&components.e) },
        { "kid": "unknown", "kty": "of another kind" },
    ] });
    let access = known(Keys::from_jwks(jwks.to_string().as_bytes()).unwrap());
    let by_ec = |message: &[u8]| ec.sign(&random, message).unwrap().as_ref().to_vec();
    let by_ed = |message: &[u8]| ed.sign(message).as_ref().to_vec();
    let by_rsa = |message: &[u8]| {
        let mut signature = vec![0; rsa.public().modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
            .unwrap();
        signature
    };
    for token in [
        signed(r#"{"alg":"ES256","kid":"e"}"#, CLAIMS, by_ec),
        signed(r#"{"alg":"EdDSA","kid":"d"}"#, CLAIMS, by_ed),
        signed(r#"{"alg":"HS256","kid":"h"}"#, CLAIMS, |message| {
            hmac(message, SECRET)
        }),
        signed(r#"{"alg":"RS256","kid":"r"}"#, CLAIMS, by_rsa),
        signed(r#"{"alg":"RS256"}"#, CLAIMS, by_rsa),
    ] {
        let identity = identify(&access, &token).unwrap();
        assert_eq!(&*identity.name, "user-7");
        assert!(identity.may(Action::Read("chat-7")).is_ok());
        let (head, _) = token.rsplit_once('.').unwrap();
        let forged = format!("{head}.{}", base64(&[1; 64]));
        assert_eq!(identify(&access, &forged), Err(Refusal::BadSignature));
    }
    let pem = known(Keys::from_file(RSA_PUBLIC).unwrap());
    assert!(identify(&pem, &signed(r#"{"alg":"RS256"}"#, CLAIMS, by_rsa)).is_ok());
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let access = known(Keys::from_file(RSA_PUBLIC).unwrap());
    let confused = signed(r#"{"alg":"HS256"}"#, CLAIMS, |message| {
        hmac(message, RSA_PUBLIC)
    });
    assert_eq!(identify(&access, &confused), Err(Refusal::UnknownKey));
    let unsigned = signed(r#"{"alg":"none"}"#, CLAIMS, |_| Vec::new());
    assert_eq!(identify(&access, &unsigned), Err(Refusal::Malformed));
    let other = signed(r#"{"alg":"HS512"}"#, CLAIMS, |message| {
        hmac(message, SECRET)
    });
    assert_eq!(identify(&access, &other), Err(Refusal::UnknownKey));
}

#[test]
fn keys_that_cannot_be_used_are_refused_without_being_shown() {
    let short = Keys::from_file(b"hush-hush\n").unwrap_err();
    assert!(
        short.contains("9 bytes") && !short.contains("hush"),
        "{short}"
    );
    for document in [
        &b"hush"[..],
        b"{}",
        br#"{"keys":[]}"#,
        br#"{"keys":[{"kty":"oct","k":"aHVzaA"}]}"#,
    ] {
        let error = Keys::from_jwks(document).unwrap_err();
        assert!(
            !error.contains("hush") && !error.contains("aHVzaA"),
            "{error}"
        );
    }
    let pem = b"-----BEGIN PUBLIC KEY-----\naHVzaA==\n-----END PUBLIC KEY-----\n";
    assert!(Keys::from_file(pem).unwrap_err().contains("no public key"));
}

fn by_certificate(names: &[&str], expires: u64) -> ClientCertificate {
    ClientCertificate {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        expires: UNIX_EPOCH + Duration::from_secs(expires),
    }
}

fn from_file(text: &str) -> Access {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Access {
        file: AccessFile::read(file.path()).unwrap(),
        jwt: None,
    }
}

#[test]
fn a_certificate_stands_for_its_names_until_it_ends() {
    let access =
        from_file("[[certificates]]\nname = 'agent.example'\nroles = ['agent']\nwrite = ['*']");
    let now = UNIX_EPOCH + Duration::from_secs(500);
    let shown = |certificate: &ClientCertificate| access.identify(None, Some(certificate), now);
    let right = by_certificate(&["spiffe://x", "agent.example"], 501);
    assert_eq!(shown(&right).unwrap().expires, Some(right.expires));
    assert_eq!(
        shown(&by_certificate(&["other"], 501)),
        Err(Refusal::UnknownCertificate)
    );
    assert_eq!(
        shown(&by_certificate(&["agent.example"], 500)),
        Err(Refusal::Expired)
    );
    assert_eq!(
        access.identify(Some("wrong"), Some(&right), now),
        Err(Refusal::UnknownToken)
    );
    assert_eq!(access.identify(None, None, now), Err(Refusal::Nothing));
}

#[tokio::test(start_paused = true)]
async fn an_identity_lapses_when_it_expires() {
    let clock = Clock::simulated();
    let (control, fetching) = AccessControl::start(known(Keys::from_file(SECRET).unwrap()), None);
    assert!(fetching.is_none());
    let guard = control.guard(true, clock);
    let end = clock.now().wall + Duration::from_secs(3_600);
    let seconds = end.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let claims = CLAIMS.replace("1000", &seconds.to_string());
    let token = signed(r#"{"alg":"HS256"}"#, &claims, |message| {
        hmac(message, SECRET)
    });
    let identity = guard.identify(Some(&token), None).unwrap().unwrap();
    assert_eq!(guard.lapse(identity).await, Lapse::Expired);
    let late = clock.now().wall.duration_since(end).unwrap();
    assert!(late < Duration::from_secs(1), "{late:?}");
    assert_eq!(guard.identify(Some(&token), None), Err(Refusal::Expired));
}

#[tokio::test(start_paused = true)]
async fn who_is_withdrawn_lapses_and_who_stays_does_not() {
    let entry = |name: &str, role: &str| {
        format!("[[tokens]]\nname = '{name}'\ntoken = 'the-token-of-{name}'\nroles = ['{role}']\n")
    };
    let both = from_file(&(entry("stays", "monitor") + &entry("leaves", "monitor")));
    let (control, _) = AccessControl::start(both, None);
    let guard = control.guard(true, Clock::simulated());
    let lapse = |name: &str| {
        let identity = guard
            .identify(Some(&format!("the-token-of-{name}")), None)
            .unwrap();
        tokio::spawn(guard.lapse(identity.unwrap()))
    };
    let (stays, leaves) = (lapse("stays"), lapse("leaves"));
    control.replace(from_file(&entry("stays", "monitor")));
    assert_eq!(leaves.await.unwrap(), Lapse::Withdrawn);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(!stays.is_finished());
    control.replace(from_file(&entry("stays", "reader")));
    assert_eq!(
        stays.await.unwrap(),
        Lapse::Withdrawn,
        "it may do something else now"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_replaced_loses_what_it_holds_open() {
    let file = |token: &str| {
        let entry = format!("[[tokens]]\nname = 'agent'\ntoken = '{token}'\nroles = ['monitor']");
        from_file(&entry)
    };
    let setting = |tokens: &[&str]| {
        let secrets = tokens.iter().map(|token| Secret::from((*token).to_owned()));
        Access::default().with_readers(secrets.collect())
    };
    for (before, after) in [
        (file("the-leaked-token"), file("the-one-after-it")),
        (
            setting(&["the-leaked-token", "one-that-stays"]),
            setting(&["one-that-stays", "the-one-after-it"]),
        ),
    ] {
        let (control, _) = AccessControl::start(before, None);
        let guard = control.guard(true, Clock::simulated());
        let lapse = |token: &str| {
            let identity = guard.identify(Some(token), None).ok().flatten();
            identity.map(|identity| tokio::spawn(guard.lapse(identity)))
        };
        let (leaked, stays) = (lapse("the-leaked-token"), lapse("one-that-stays"));
        control.replace(after);
        let lapsed = tokio::time::timeout(Duration::from_secs(3_600), leaked.unwrap()).await;
        assert_eq!(lapsed.unwrap().unwrap(), Lapse::Withdrawn);
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert!(stays.is_none_or(|stays| !stays.is_finished()));
    }
}

#[tokio::test]
async fn keys_of_a_url_are_followed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = JwksUrl {
        url: SecretUrl::read(&format!("http://{}/jwks", listener.local_addr().unwrap())).unwrap(),
        interval: Duration::from_secs(300),
    };
    let document = serde_json::json!({ "keys": [{ "kty": "oct", "k": base64(SECRET) }] });
    let document = document.to_string();
    let answer = axum::routing::get(move || std::future::ready(document));
    let router = axum::Router::new().route("/jwks", answer);
    let never = tokio_util::sync::CancellationToken::new();
    let limits = crate::http::HttpLimits::default();
    tokio::spawn(crate::http::serve(listener.into(), router, limits, never));
    let (control, fetching) = AccessControl::start(known(Keys::default()), Some(&url));
    let clock = Clock::system();
    let guard = control.guard(true, clock);
    let end = clock
        .now()
        .wall
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 600;
    let claims = CLAIMS.replace("1000", &end.to_string());
    let token = signed(r#"{"alg":"HS256"}"#, &claims, |message| {
        hmac(message, SECRET)
    });
    assert_eq!(guard.identify(Some(&token), None), Err(Refusal::UnknownKey));
    tokio::spawn(fetching.unwrap());
    let fetched = async {
        while guard.identify(Some(&token), None).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), fetched)
        .await
        .unwrap();
    // A reading of the files does not forget what was fetched.
    control.replace(known(Keys::default()));
    let kept = async {
        while guard.identify(Some(&token), None).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), kept)
        .await
        .unwrap();
}

#[test]
fn a_door_that_is_open_asks_nobody() {
    let guard = Guard::open(Clock::system());
    assert_eq!(guard.identify(None, None), Ok(None));
    assert_eq!(guard.identify(Some("anything"), None), Ok(None));
}
