//! The bearer tokens that readers may show.

use service_kit::config::Setting;

/// Allowed lengths of a token, in bytes.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=512;

/// The accepted tokens. Never shown, not even by `Debug`.
#[derive(Clone, Default)]
pub(crate) struct Tokens(Vec<String>);

impl Tokens {
    /// Whether a reader needs a token at all.
    pub(crate) fn needed(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether the token is one of the accepted. Every token is compared to its end, so that the
    /// time taken says nothing about how near a guess came.
    pub(crate) fn accept(&self, shown: &str) -> bool {
        self.0
            .iter()
            .fold(false, |found, token| found | same(token, shown))
    }
}

fn same(left: &str, right: &str) -> bool {
    let pairs = left.bytes().zip(right.bytes());
    let difference = pairs.fold(0, |difference, (l, r)| difference | (l ^ r));
    left.len() == right.len() && std::hint::black_box(difference) == 0
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

impl Setting for Tokens {
    fn parse(written: &toml::Value) -> Result<Self, String> {
        let text = String::parse(written).map_err(|_| {
            "not a text; write the tokens in quotes, separated by commas".to_owned()
        })?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let tokens: Vec<String> = text
            .split(',')
            .map(|token| token.trim().to_owned())
            .collect();
        for (index, token) in tokens.iter().enumerate() {
            let printable = token.bytes().all(|byte| byte.is_ascii_graphic());
            if !printable || !TOKEN_BYTES.contains(&token.len()) {
                return Err(format!(
                    "token {} has {} bytes and cannot be shown here; allowed are {} to {} bytes of printable ASCII without spaces and commas",
                    index + 1,
                    token.len(),
                    TOKEN_BYTES.start(),
                    TOKEN_BYTES.end()
                ));
            }
        }
        Ok(Self(tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn tokens(text: &str) -> Tokens {
        Tokens::parse(&toml::Value::String(text.to_owned())).unwrap()
    }

    #[test]
    fn only_whole_tokens_are_accepted() {
        let tokens = tokens("first-of-the-tokens, second-of-the-tokens");
        assert!(tokens.needed());
        assert!(tokens.accept("first-of-the-tokens"));
        assert!(tokens.accept("second-of-the-tokens"));
        for wrong in [
            "",
            "first-of-the-token",
            "first-of-the-tokens2",
            "First-of-the-tokens",
        ] {
            assert!(!tokens.accept(wrong), "{wrong}");
        }
    }
}
