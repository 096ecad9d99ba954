//! `--ignore` as Kubo reads it: patterns of .gitignore, compared with the last part of a path at every depth.

/// Rules of what to leave out, the last that matches wins.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    pattern: Vec<Part>,
    keep: bool,
}

/// A part of a pattern.
#[derive(Debug, PartialEq)]
enum Part {
    /// This character.
    One(char),
    /// `?`: any character.
    Any,
    /// `*`: any text.
    Text,
    /// `[a-z]`, `[!a-z]`: a character that is in one of the ranges, or in none.
    Among { ranges: Vec<(char, char)>, inside: bool },
}

impl Part {
    fn takes(&self, name: char) -> bool {
        match self {
            Part::One(c) => *c == name,
            Part::Any => true,
            Part::Text => false,
            Part::Among { ranges, inside } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&name)) == *inside
            }
        }
    }
}

impl Ignore {
    /// Adds one line. Comments and blank lines are no rules. A leading `/` or `**/` changes nothing, and a pattern with
    /// another slash never matches, because it is compared with names alone (ipfs-facts: kamu relies on `/config`).
    ///
    /// # Errors
    /// Why the pattern can match nothing; it is no rule then.
    pub(super) fn add(&mut self, line: &str) -> Result<(), &'static str> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let (keep, pattern) = line.strip_prefix('!').map_or((false, line), |pattern| (true, pattern));
        let pattern = pattern
            .strip_prefix("**/")
            .or_else(|| pattern.strip_prefix('/'))
            .unwrap_or(pattern);
        if pattern.contains('/') {
            return Err("it is compared with names alone, and those have no slash; give the name without one");
        }
        let pattern = parse(&pattern.chars().collect::<Vec<_>>())?;
        self.rules.push(Rule { pattern, keep });
        Ok(())
    }

    /// Whether an entry of this name is left out.
    pub(super) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let last = self.rules.iter().rev().find(|rule| glob(&rule.pattern, &name));
        last.is_some_and(|rule| !rule.keep)
    }
}

fn parse(pattern: &[char]) -> Result<Vec<Part>, &'static str> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let [first, behind @ ..] = rest {
        rest = behind;
        parts.push(match first {
            '?' => Part::Any,
            '*' => Part::Text,
            '[' => {
                let (part, behind) = among(rest)?;
                rest = behind;
                part
            }
            '\\' => {
                let [escaped, behind @ ..] = rest else {
                    return Err("it ends with a backslash; write two for a name that does");
                };
                rest = behind;
                Part::One(*escaped)
            }
            c => Part::One(*c),
        });
    }
    if parts.is_empty() {
        return Err("there is no name in it");
    }
    Ok(parts)
}

/// The characters between brackets, of which the first is passed already, and what stands behind the last.
fn among(pattern: &[char]) -> Result<(Part, &[char]), &'static str> {
    let (inside, mut rest) = match pattern {
        ['!' | '^', rest @ ..] => (false, rest),
        rest => (true, rest),
    };
    let mut ranges = Vec::new();
    let mut is_first = true;
    loop {
        let (first, behind) = match rest {
            [] => return Err("its `[` is not closed; write `\\[` for a name with one"),
            // One that stands first stands for itself.
            [']', rest @ ..] if !is_first => {
                if inside && ranges.iter().all(|(first, last)| first > last) {
                    return Err("its `[…]` stands for no character; ranges go from the lower to the higher one");
                }
                return Ok((Part::Among { ranges, inside }, rest));
            }
            ['[', ':', named @ ..] => match class(named) {
                Some((class, behind)) => {
                    ranges.extend(class);
                    (rest, is_first) = (behind, false);
                    continue;
                }
                None => ('[', &rest[1..]),
            },
            ['\\', escaped, behind @ ..] => (*escaped, behind),
            [first, behind @ ..] => (*first, behind),
        };
        is_first = false;
        let (last, behind) = match behind {
            ['-', '\\', last, behind @ ..] => (*last, behind),
            ['-', last, behind @ ..] if *last != ']' => (*last, behind),
            behind => (first, behind),
        };
        ranges.push((first, last));
        rest = behind;
    }
}

/// Ranges of characters, both ends belonging to them.
type Ranges = &'static [(char, char)];

/// A class of characters by its name, such as `alpha:]`, and what stands behind it.
fn class(named: &[char]) -> Option<(Ranges, &[char])> {
    const CLASSES: [(&str, Ranges); 10] = [
        ("alpha", &[('a', 'z'), ('A', 'Z')]),
        ("digit", &[('0', '9')]),
        ("alnum", &[('a', 'z'), ('A', 'Z'), ('0', '9')]),
        ("lower", &[('a', 'z')]),
        ("upper", &[('A', 'Z')]),
        ("xdigit", &[('0', '9'), ('a', 'f'), ('A', 'F')]),
        ("space", &[(' ', ' '), ('\t', '\r')]),
        ("blank", &[(' ', ' '), ('\t', '\t')]),
        ("punct", &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')]),
        ("print", &[(' ', '~')]),
    ];
    CLASSES.iter().find_map(|(name, ranges)| {
        let wanted: Vec<char> = name.chars().chain([':', ']']).collect();
        Some((*ranges, named.strip_prefix(&wanted[..])?))
    })
}

/// Goes back only to the last star, so the time is at most the product of lengths.
fn glob(pattern: &[Part], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = name.get(n) {
        match pattern.get(p) {
            Some(Part::Text) => {
                star = Some((p, n));
                p += 1;
            }
            Some(part) if part.takes(*c) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|part| *part == Part::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignore(lines: &[&str]) -> Ignore {
        let mut ignore = Ignore::default();
        lines.iter().for_each(|line| ignore.add(line).unwrap());
        ignore
    }

    #[track_caller]
    fn check(pattern: &str, left_out: &[&str], kept: &[&str]) {
        let ignore = ignore(&[pattern]);
        for name in left_out {
            assert!(ignore.matches(name), "{pattern} should leave out {name}");
        }
        for name in kept {
            assert!(!ignore.matches(name), "{pattern} should keep {name}");
        }
    }

    #[test]
    fn names_alone_are_compared() {
        for rule in ["config", "/config", "**/config"] {
            check(rule, &["config"], &["config.json", "xconfig"]);
        }
    }

    #[test]
    fn stars_and_exceptions() {
        let ignore = ignore(&["# comment", "", "*.tmp", "!keep.tmp", "a?c"]);
        assert!(ignore.matches("x.tmp") && ignore.matches("abc"));
        assert!(!ignore.matches("keep.tmp") && !ignore.matches("ac"));
        check("a*b*c", &["axxbyybc", "abc"], &["axxbyyb"]);
        check("a**", &["a", "ab"], &["ba"]);
    }

    #[test]
    fn characters_are_taken_from_brackets() {
        check(
            "[a-z]*.key",
            &["a.key", "server.key", "z9.key"],
            &["A.key", "9.key", ".key"],
        );
        check("*.py[co]", &["x.pyc", "x.pyo"], &["x.py", "x.pyd"]);
        for not in ["[!a-c]x", "[^a-c]x"] {
            check(not, &["dx", "!x", "^x"], &["ax", "cx", "x"]);
        }
        check("[]x]", &["]", "x"], &["[]", "]x"]);
        check("[!]]", &["x"], &["]"]);
        check("[-a]", &["-", "a"], &["b"]);
        check("[a-]", &["-", "a"], &["b"]);
        check("[\\]a]", &["]", "a"], &["\\"]);
        check("[[:digit:]_][[:upper:]]", &["1A", "_Z"], &["aA", "1a"]);
        check("[é-ü]", &["ê"], &["e"]);
        check("[[x]", &["[", "x"], &["]"]);
    }

    #[test]
    fn a_backslash_makes_signs_plain() {
        check("\\*.key", &["*.key"], &["a.key"]);
        check("\\[a]", &["[a]"], &["a"]);
        check("\\#x", &["#x"], &["x"]);
        check("\\!x", &["!x"], &["x"]);
        check("a\\\\b", &["a\\b"], &["ab"]);
    }

    #[test]
    fn a_pattern_that_can_match_nothing_is_told() {
        for (pattern, reason) in [
            ("a/b", "no slash"),
            ("build/", "no slash"),
            ("**/a/b", "no slash"),
            ("[a-z", "not closed"),
            ("[]", "not closed"),
            ("x\\", "backslash"),
            ("[z-a]", "no character"),
            ("!", "no name"),
            ("/", "no name"),
        ] {
            let mut ignore = Ignore::default();
            let told = ignore.add(pattern).unwrap_err();
            assert!(told.contains(reason), "{pattern}: {told}");
            assert!(ignore.rules.is_empty());
        }
    }
}
