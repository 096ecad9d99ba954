//! Objects as kamu's reader of NDJSON takes them: one behind the other with or without line breaks, commas as many as there
//! are, control characters in text, zeros before numbers. They come out as JSON, with every value as it was.

use super::MAX_DEPTH;

/// The object that `text` begins with, as JSON, and its length in `text`; none if it begins with something else. What the
/// values are is for the parser of JSON to say.
pub(super) fn object(text: &str) -> Option<(String, usize)> {
    let mut scan = Scan {
        text,
        at: 0,
        out: String::new(),
    };
    scan.skip(false);
    if scan.peek()? != b'{' {
        return None;
    }
    scan.value(0)?;
    Some((scan.out, scan.at))
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
    out: String,
}

impl<'t> Scan<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes over blanks, and commas if they may be there.
    fn skip(&mut self, commas: bool) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n' | b',') = self.peek() {
            if self.peek() == Some(b',') && !commas {
                return;
            }
            self.at += 1;
        }
    }

    /// The text up to where `is_in` ends.
    fn run(&mut self, is_in: impl Fn(u8) -> bool) -> Option<&'t str> {
        let rest = self.text.get(self.at..)?;
        let length = rest.bytes().take_while(|byte| is_in(*byte)).count();
        self.at += length;
        rest.get(..length)
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        self.skip(false);
        match self.peek()? {
            b'{' | b'[' if depth > MAX_DEPTH => None,
            b'{' => self.members(b'}', depth),
            b'[' => self.members(b']', depth),
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => {
                let number = self.run(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))?;
                let digits = number.strip_prefix('-').unwrap_or(number).as_bytes();
                // As text, so that a column of text has it as it was.
                let quote = match digits {
                    [b'0', b'0'..=b'9', ..] => "\"",
                    _ => "",
                };
                self.out.extend([quote, number, quote]);
                Some(())
            }
            b'a'..=b'z' => {
                let word = self.run(|byte| byte.is_ascii_lowercase())?;
                self.out.push_str(word);
                Some(())
            }
            _ => None,
        }
    }

    /// The members of an object, or the items of an array, which `end` ends.
    fn members(&mut self, end: u8, depth: usize) -> Option<()> {
        let is_object = end == b'}';
        self.out.push(if is_object { '{' } else { '[' });
        self.at += 1;
        let mut is_first = true;
        loop {
            self.skip(true);
            if self.peek()? == end {
                self.at += 1;
                self.out.push(char::from(end));
                return Some(());
            }
            if !is_first {
                self.out.push(',');
            }
            is_first = false;
            if is_object {
                if self.peek()? != b'"' {
                    return None;
                }
                self.string()?;
                self.skip(false);
                if self.peek()? != b':' {
                    return None;
                }
                self.at += 1;
                self.out.push(':');
            }
            self.value(depth + 1)?;
        }
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        self.out.push('"');
        loop {
            let plain = self.run(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20))?;
            self.out.push_str(plain);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    self.out.push('"');
                    return Some(());
                }
                b'\\' => {
                    let escaped = self.text.get(self.at + 1..)?.chars().next()?;
                    self.out.push('\\');
                    self.out.push(escaped);
                    self.at += 1 + escaped.len_utf8();
                }
                control => {
                    self.out.push_str(&format!("\\u{control:04x}"));
                    self.at += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_out_as_json() {
        for (text, wanted, rest) in [
            ("{\"a\":1}", "{\"a\":1}", ""),
            (" {\"a\":1} {\"b\":2}", "{\"a\":1}", " {\"b\":2}"),
            ("{\"a\":1,}\n", "{\"a\":1}", "\n"),
            (
                "{,\"a\" : [1,,2 3],\n\"b\":{\"c\":null}}x",
                "{\"a\":[1,2,3],\"b\":{\"c\":null}}",
                "x",
            ),
            (
                "{\"a\":007,\"b\":-01.5,\"c\":0.5}",
                "{\"a\":\"007\",\"b\":\"-01.5\",\"c\":0.5}",
                "",
            ),
            ("{\"a\":\"x\ty\\\"}\"}", "{\"a\":\"x\\u0009y\\\"}\"}", ""),
        ] {
            let (json, length) = object(text).unwrap();
            assert_eq!((json.as_str(), &text[length..]), (wanted, rest), "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
        }
        let deep = |depth| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(object(&deep(MAX_DEPTH)).is_some());
        assert!(object(&deep(MAX_DEPTH + 1)).is_none());
        for text in [
            "",
            "[1]",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\" 1}",
            "{a:1}",
            "{\"a\":'x'}",
            "{\"a\":\"x",
            "{\"a\":}",
            "// x",
        ] {
            assert!(object(text).is_none(), "{text}");
        }
    }
}
