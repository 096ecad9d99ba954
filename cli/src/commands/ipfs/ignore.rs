//! `--ignore` as Kubo reads it: patterns of .gitignore, compared with the last part of a path at every depth.

/// Rules of what to leave out, the last that matches wins.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    pattern: Vec<char>,
    keep: bool,
}

impl Ignore {
    /// Adds one line. Comments and blank lines are no rules. A leading `/` or `**/` changes nothing, and a pattern with
    /// another slash never matches, because it is compared with names alone (ipfs-facts: kamu relies on `/config`).
    pub(super) fn add(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        let (keep, pattern) = line.strip_prefix('!').map_or((false, line), |pattern| (true, pattern));
        let pattern = pattern
            .strip_prefix("**/")
            .or_else(|| pattern.strip_prefix('/'))
            .unwrap_or(pattern);
        if !pattern.contains('/') {
            self.rules.push(Rule {
                pattern: pattern.chars().collect(),
                keep,
            });
        }
    }

    /// Whether an entry of this name is left out.
    pub(super) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let last = self.rules.iter().rev().find(|rule| glob(&rule.pattern, &name));
        last.is_some_and(|rule| !rule.keep)
    }
}

/// `*` for any text, `?` for any letter. Goes back only to the last star, so the time is at most the product of lengths.
fn glob(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || name.get(n) == Some(c) => {
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
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignore(lines: &[&str]) -> Ignore {
        let mut ignore = Ignore::default();
        lines.iter().for_each(|line| ignore.add(line));
        ignore
    }

    #[test]
    fn names_alone_are_compared() {
        for rule in ["config", "/config", "**/config"] {
            let ignore = ignore(&[rule]);
            assert!(ignore.matches("config"), "{rule}");
            assert!(!ignore.matches("config.json") && !ignore.matches("xconfig"), "{rule}");
        }
        assert!(!ignore(&["a/b", "b/"]).matches("b"));
    }

    #[test]
    fn stars_and_exceptions() {
        let ignore = ignore(&["# comment", "", "*.tmp", "!keep.tmp", "a?c"]);
        assert!(ignore.matches("x.tmp") && ignore.matches("abc"));
        assert!(!ignore.matches("keep.tmp") && !ignore.matches("ac"));
        assert!(glob(
            &"a*b*c".chars().collect::<Vec<_>>(),
            &"axxbyybc".chars().collect::<Vec<_>>()
        ));
        assert!(!glob(
            &"a*b*c".chars().collect::<Vec<_>>(),
            &"axxbyyb".chars().collect::<Vec<_>>()
        ));
    }
}
