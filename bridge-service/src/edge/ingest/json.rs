//! Whether bytes are exactly one JSON value that any reader can parse.

use serde::de::IgnoredAny;

/// Deepest nesting of arrays and objects: readers' parsers recurse.
const MAX_DEPTH: usize = 128;

/// Checks without building the value.
///
/// # Errors
/// Why it is not one.
pub(super) fn check_json(data: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(data)
        .map_err(|error| format!("not UTF-8 from byte {}", error.valid_up_to()))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| error.to_string())?;
    let opened = data.iter().filter(|byte| matches!(byte, b'[' | b'{'));
    if opened.count() <= MAX_DEPTH {
        return Ok(());
    }
    let depth = depth(data);
    if depth > MAX_DEPTH {
        return Err(format!(
            "nested {depth} deep, and at most {MAX_DEPTH} is allowed"
        ));
    }
    Ok(())
}

/// The nesting of valid JSON. The parser skips without recursion and so has no limit of its own.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_value() {
        for good in [
            "null",
            " 1.5e3 ",
            r#""a\"[\\""#,
            r#"{"a":[1,{"b":[]}]}"#,
            "[]",
        ] {
            check_json(good.as_bytes()).unwrap();
        }
        for bad in [
            "",
            " ",
            "{} {}",
            "1 2",
            "{",
            "[1,]",
            "nul",
            "'a'",
            "\"\u{1}\"",
            "\u{feff}1",
        ] {
            assert!(check_json(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(check_json(b"\"\xc3\x28\"").unwrap_err().contains("byte 1"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        check_json(nested(MAX_DEPTH).as_bytes()).unwrap();
        let error = check_json(nested(MAX_DEPTH + 1).as_bytes()).unwrap_err();
        assert!(error.contains("129 deep"), "{error}");
        check_json(format!("{:?}", nested(1_000)).as_bytes()).unwrap();
        assert!(check_json(nested(1_000_000).as_bytes()).is_err());
    }
}
