//! The setting `auth.tokens`: tokens that every reader may show.

use service_kit::access::{Secret, check_token};
use service_kit::config::Setting;

/// The tokens. Never shown, not even by `Debug`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens(pub(crate) Vec<Secret>);

impl Setting for Tokens {
    fn parse(written: &toml::Value) -> Result<Self, String> {
        let text = String::parse(written).map_err(|_| {
            "not a text; write the tokens in quotes, separated by commas".to_owned()
        })?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let tokens = text.split(',').map(str::trim).enumerate();
        let tokens = tokens.map(|(index, token)| match check_token(token) {
            Ok(()) => Ok(Secret::from(token.to_owned())),
            Err(why) => Err(format!("token {}: {why}", index + 1)),
        });
        tokens.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_separated_by_commas() {
        let parse = |text: &str| Tokens::parse(&toml::Value::String(text.to_owned()));
        let tokens = parse("first-of-the-tokens, second-of-the-tokens").unwrap();
        assert!(tokens.0[0].is("first-of-the-tokens") && tokens.0[1].is("second-of-the-tokens"));
        assert!(parse(" ").unwrap().0.is_empty());
        let refused = parse("first-of-the-tokens, short").unwrap_err();
        assert!(refused.starts_with("token 2: it has 5 bytes"), "{refused}");
    }
}
