//! The settings of who may do what, the same for both services.

use std::path::PathBuf;
use std::time::Duration;

use super::{Access, AccessFile, JwksUrl, JwtRules, Keys};
use crate::config::{SecretUrl, Source, duration};

/// Where identities come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessSettings {
    file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    jwks_file: Option<PathBuf>,
    jwks_url: Option<JwksUrl>,
    rules: Option<JwtRules>,
}

impl AccessSettings {
    /// Takes the settings. The files are read by [`AccessSettings::load`].
    pub fn take(source: &mut Source) -> Self {
        let mut file =
            |path| Some(source.take::<PathBuf>(path)).filter(|path| !path.as_os_str().is_empty());
        let (access, key_file, jwks_file) = (
            file("auth.access_file"),
            file("auth.jwt_key_file"),
            file("auth.jwks_file"),
        );
        let url = source.take::<SecretUrl>("auth.jwks_url");
        let day = Duration::from_secs(86_400);
        let interval = duration(source, "auth.jwks_interval", Duration::from_secs(1)..=day);
        let jwks_url = url.is_set().then_some(JwksUrl { url, interval });
        let rules = JwtRules {
            audience: source.take("auth.jwt_audience"),
            issuer: source.take("auth.jwt_issuer"),
            leeway: duration(
                source,
                "auth.jwt_leeway",
                Duration::ZERO..=Duration::from_secs(600),
            ),
        };
        if let Some(JwksUrl { url, .. }) = &jwks_url
            && !super::jwks_url::is_safe(url)
        {
            source.reject(format!(
                "auth.jwks_url: {url} is not allowed; allowed is https://HOST…, or http://… to this machine itself"
            ));
        }
        let jwt = key_file.is_some() || jwks_file.is_some() || jwks_url.is_some();
        if jwt && rules.audience.is_empty() {
            source.reject("auth.jwt_audience: it is not set, and keys for JWTs are; without it a token for any other service would be taken".to_owned());
        }
        let named = !rules.audience.is_empty() || !rules.issuer.is_empty();
        if named && !jwt {
            source.reject("auth.jwt_audience, auth.jwt_issuer: set without keys; JWTs need auth.jwt_key_file, auth.jwks_file or auth.jwks_url".to_owned());
        }
        for path in [&access, &key_file, &jwks_file].into_iter().flatten() {
            source.follow(path);
        }
        Self {
            file: access,
            key_file,
            jwks_file,
            jwks_url,
            rules: jwt.then_some(rules),
        }
    }

    /// Whether anybody has to show who they are.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.file.is_some() || self.rules.is_some()
    }

    /// Where keys are fetched from. `None`: from files alone.
    #[must_use]
    pub fn jwks_url(&self) -> Option<&JwksUrl> {
        self.jwks_url.as_ref()
    }

    /// Reads every file.
    ///
    /// # Errors
    /// Every mistake in them; no secret is shown.
    pub fn load(&self) -> Result<Access, Vec<String>> {
        type Parse = fn(&[u8]) -> Result<Keys, String>;
        let mut errors = Vec::new();
        let mut keys = Keys::default();
        let sources: [(_, _, Parse); 2] = [
            ("auth.jwt_key_file", &self.key_file, Keys::from_file),
            ("auth.jwks_file", &self.jwks_file, Keys::from_jwks),
        ];
        for (setting, path, parse) in sources {
            let Some(path) = path else { continue };
            let bytes = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"));
            match bytes.and_then(|bytes| parse(&bytes)) {
                Ok(more) => keys = keys.and(more),
                Err(why) => errors.push(format!("{setting}: {} {why}", path.display())),
            }
        }
        let file = self.file.as_deref().map(AccessFile::read).transpose();
        let file = file.unwrap_or_else(|more| {
            errors.extend(more);
            None
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        let access = self
            .rules
            .clone()
            .map_or_else(Access::default, |rules| Access::with_jwt(keys, rules));
        Ok(Access {
            file: file.unwrap_or_default(),
            ..access
        })
    }
}
