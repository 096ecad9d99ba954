//! Rust text as the few kinds of token that tell which names a file uses: words, `::`, other signs, and strings.

/// One token. Comments, lifetimes, numbers and characters are left out: none of them names anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An identifier or a keyword; a raw identifier without its `r#`.
    Word(&'a str),
    /// `::`
    Colons,
    /// Any other sign.
    Sign(char),
    /// What stands between the quotes of a string.
    Text(&'a str),
}

/// Splits `text`. What is not Rust gives tokens too, only not useful ones.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut rest = text;
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (token, after) = if rest.starts_with("//") {
            (None, after_line(rest))
        } else if rest.starts_with("/*") {
            (None, after_comment(rest))
        } else if let Some((text, after)) = string(rest) {
            (Some(Token::Text(text)), after)
        } else if first == '\'' {
            (None, after_quote(rest))
        } else if let Some(after) = rest.strip_prefix("::") {
            (Some(Token::Colons), after)
        } else if first.is_alphanumeric() || first == '_' {
            let raw = rest.strip_prefix("r#").unwrap_or(rest);
            let (word, after) = raw.split_at(raw.find(|c: char| !is_of_a_word(c)).unwrap_or(raw.len()));
            ((!first.is_ascii_digit()).then_some(Token::Word(word)), after)
        } else {
            let token = (!first.is_whitespace()).then_some(Token::Sign(first));
            (token, &rest[first.len_utf8()..])
        };
        tokens.extend(token);
        rest = after;
    }
    tokens
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn after_line(rest: &str) -> &str {
    rest.find('\n').map_or("", |end| &rest[end..])
}

/// Behind a block comment; they nest.
fn after_comment(mut rest: &str) -> &str {
    let mut depth = 0_usize;
    loop {
        if let Some(after) = rest.strip_prefix("/*") {
            depth += 1;
            rest = after;
        } else if let Some(after) = rest.strip_prefix("*/") {
            depth -= 1;
            rest = after;
            if depth == 0 {
                return rest;
            }
        } else {
            let Some(c) = rest.chars().next() else { return "" };
            rest = &rest[c.len_utf8()..];
        }
    }
}

/// A string at the front of `rest`, whatever its prefix, and what comes behind it.
fn string(rest: &str) -> Option<(&str, &str)> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        rest.strip_prefix(prefix)
            .is_some_and(|after| after.trim_start_matches('#').starts_with('"'))
    })?;
    let hashes_and_on = &rest[prefix.len()..];
    let from_quote = hashes_and_on.trim_start_matches('#');
    let hashes = hashes_and_on.len() - from_quote.len();
    let is_raw = prefix.ends_with('r');
    if hashes > 0 && !is_raw {
        return None;
    }
    let content = &from_quote[1..];
    let close = format!("\"{}", "#".repeat(hashes));
    let end = if is_raw {
        content.find(&close)
    } else {
        unescaped_quote(content)
    };
    let end = end.unwrap_or(content.len());
    Some((&content[..end], content.get(end + close.len()..).unwrap_or("")))
}

fn unescaped_quote(content: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in content.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// Behind a lifetime or a character, both of which begin with a single quote.
fn after_quote(rest: &str) -> &str {
    let inner = &rest[1..];
    let Some(first) = inner.chars().next() else { return "" };
    if first == '\\' {
        // `'\''`, `'\u{7f}'`: the character behind the backslash is no end.
        let escaped = inner[1..].chars().next().map_or(0, char::len_utf8);
        let after = &inner[1 + escaped..];
        return after.find('\'').map_or("", |end| &after[end + 1..]);
    }
    let after = &inner[first.len_utf8()..];
    after
        .strip_prefix('\'')
        .unwrap_or_else(|| inner.trim_start_matches(is_of_a_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let words = tokens(text).into_iter().filter_map(|token| match token {
            Token::Word(word) => Some(word),
            _ => None,
        });
        words.collect()
    }

    #[test]
    fn only_code_gives_words() {
        assert_eq!(words("a // b\nc /* d /* e */ f */ g"), ["a", "c", "g"]);
        assert_eq!(words(r##"a "b \" c" d r#"e " f"# g br"h" i"##), ["a", "d", "g", "i"]);
        assert_eq!(words(r"a 'b' '\'' '\u{7f}' &'static c '(' 'd: 7u8"), ["a", "c"]);
        assert_eq!(words("r#type rest brave crate"), ["type", "rest", "brave", "crate"]);
        assert_eq!(words("open \"never closed"), ["open"]);
        assert_eq!(words("open /* never closed"), ["open"]);
    }

    #[test]
    fn paths_and_strings_are_told_apart() {
        assert_eq!(
            tokens("a::b(\"c::d\")"),
            [
                Token::Word("a"),
                Token::Colons,
                Token::Word("b"),
                Token::Sign('('),
                Token::Text("c::d"),
                Token::Sign(')')
            ]
        );
    }
}
