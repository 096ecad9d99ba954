//! Names from outside as Kubo prints them.

/// As it is, unless it holds a backslash or something that cannot be printed: then those are escaped as in a Go string.
pub(super) fn name(text: &str) -> String {
    if !text.chars().any(|c| c == '\\' || !is_print(c)) {
        return text.to_owned();
    }
    text.chars().map(escape).collect()
}

fn escape(c: char) -> String {
    match c {
        '\\' => r"\\".to_owned(),
        '\u{7}' => r"\a".to_owned(),
        '\u{8}' => r"\b".to_owned(),
        '\u{c}' => r"\f".to_owned(),
        '\n' => r"\n".to_owned(),
        '\r' => r"\r".to_owned(),
        '\t' => r"\t".to_owned(),
        '\u{b}' => r"\v".to_owned(),
        c if is_print(c) => c.to_string(),
        c => match u32::from(c) {
            code @ (..0x20 | 0x7f) => format!(r"\x{code:02x}"),
            code @ ..0x1_0000 => format!(r"\u{code:04x}"),
            code => format!(r"\U{code:08x}"),
        },
    }
}

/// Letters, marks, numbers, punctuation, symbols and the plain space: what Go calls printable.
fn is_print(c: char) -> bool {
    if c.is_ascii() || c.is_whitespace() {
        return c == ' ' || c.is_ascii_graphic();
    }
    // Behind another letter, so that a combining mark counts as what it is.
    let mut shown = "a".to_owned();
    shown.push(c);
    shown.escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn only_what_needs_it_is_escaped() {
        for plain in ["a b", "ü", "日本語", "e\u{301}", "\"quoted\"", "🦀"] {
            assert_eq!(name(plain), plain);
        }
        assert_eq!(name(r"\"), r"\\");
        assert_eq!(name("a\nb\u{1b}[2J"), r"a\nb\x1b[2J");
        assert_eq!(
            name("\u{a0}\u{200b}\u{e000}\u{10ffff}"),
            r"\u00a0\u200b\ue000\U0010ffff"
        );
    }
}
