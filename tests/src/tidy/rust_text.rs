//! Rust source reduced to its code: no comments, no literals, no unit tests.

/// The source with comments, and with text literals' contents, blanked; lines stay where they are.
#[must_use]
pub fn code(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut kept = String::with_capacity(source.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = skipped(source, at);
        if end > at {
            kept.extend(
                source[at..end]
                    .chars()
                    .map(|c| if c == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        } else {
            let next = source[at..].chars().next().expect("not at the end");
            kept.push(next);
            at += next.len_utf8();
        }
    }
    kept
}

/// The same without the unit tests at the end of the file.
#[must_use]
pub fn code_without_tests(source: &str) -> String {
    let code = code(source);
    match code.find("#[cfg(test)]\nmod ") {
        Some(tests) => code[..tests].to_owned(),
        None => code,
    }
}

/// Where a comment or a literal that begins at `at` ends; `at` itself where none begins.
fn skipped(source: &str, at: usize) -> usize {
    let rest = &source[at..];
    if rest.starts_with("//") {
        return at + rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return at + block_comment(rest);
    }
    let before = source[..at].chars().next_back();
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if !in_word && let Some(length) = raw_text(rest) {
        return at + length;
    }
    if rest.starts_with('"') {
        return at + quoted(rest, '"');
    }
    if rest.starts_with('\'') && is_char_literal(rest) {
        return at + quoted(rest, '\'');
    }
    at
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn raw_text(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r"]
        .into_iter()
        .find(|prefix| rest.starts_with(prefix))?;
    let after = &rest[prefix.len()..];
    let hashes = after.chars().take_while(|c| *c == '#').count();
    if !after[hashes..].starts_with('"') {
        return None;
    }
    let begin = prefix.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = rest[begin..].find(&end)?;
    Some(begin + length + end.len())
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// A literal such as `'a'`, and not a lifetime such as `'a`.
fn is_char_literal(rest: &str) -> bool {
    let mut characters = rest.chars().skip(1);
    match characters.next() {
        Some('\\') => true,
        Some(_) => characters.next() == Some('\''),
        None => false,
    }
}

/// Whether a path or word stands in the code on its own, not as a part of a longer word.
#[must_use]
pub fn mentions(code: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        let source = "let a = \"tokio // \\\" x\"; // tonic\n/* std::fs /* in */ */ let b = 'x';\n";
        let code = code(source);
        for word in ["tokio", "tonic", "fs", "x"] {
            assert!(!mentions(&code, word), "{word} is left in {code:?}");
        }
        assert!(mentions(&code, "let") && mentions(&code, "b"), "{code:?}");
        assert_eq!(code.lines().count(), source.lines().count());
    }

    #[test]
    fn raw_literals_and_lifetimes_are_told_apart() {
        let code = code("fn f<'a>(x: &'a str) { g(r#\"tokio \" here\"#); tokio() }");
        assert_eq!(code.matches("tokio").count(), 1, "{code:?}");
        assert!(code.contains("&'a str"), "{code:?}");
    }

    #[test]
    fn unit_tests_are_left_out() {
        let code = code_without_tests("use std::fmt;\n#[cfg(test)]\nmod tests { use tokio; }");
        assert!(mentions(&code, "std::fmt") && !mentions(&code, "tokio"));
    }

    #[test]
    fn a_part_of_a_word_is_no_mention() {
        assert!(!mentions("my_tokio_like", "tokio"));
        assert!(mentions("use tokio::net", "tokio"));
    }
}
