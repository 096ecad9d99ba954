//! How the columns of a table differ from those that are wanted.

use std::fmt;

use super::excerpt::shorten;

/// How many names of a kind are told.
const MAX_NAMES_TOLD: usize = 10;

/// How the columns of a table differ from those that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Columns that are wanted and not there.
    pub missing: Vec<String>,
    /// Columns that are there and not wanted.
    pub extra: Vec<String>,
    /// Of those, the pairs that differ in case only: what is there, and what is wanted.
    pub case: Vec<(String, String)>,
}

impl Difference {
    /// Compares names, whatever their order.
    pub fn between(given: &[impl AsRef<str>], wanted: &[impl AsRef<str>]) -> Difference {
        let lacks = |names: &[&str], name: &str| !names.contains(&name);
        let given: Vec<&str> = given.iter().map(AsRef::as_ref).collect();
        let wanted: Vec<&str> = wanted.iter().map(AsRef::as_ref).collect();
        let mut missing: Vec<&str> = wanted.iter().copied().filter(|name| lacks(&given, name)).collect();
        let mut extra = Vec::new();
        let mut case = Vec::new();
        for name in given.into_iter().filter(|name| lacks(&wanted, name)) {
            let lower = name.to_lowercase();
            match missing.iter().position(|wanted| wanted.to_lowercase() == lower) {
                Some(at) => case.push((name.to_owned(), missing.remove(at).to_owned())),
                None => extra.push(name.to_owned()),
            }
        }
        Difference {
            missing: missing.into_iter().map(str::to_owned).collect(),
            extra,
            case,
        }
    }

    /// Whether the columns are those that are wanted.
    pub fn is_none(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.case.is_empty()
    }

    /// Whether the table has all that is wanted, and more.
    pub fn only_adds(&self) -> bool {
        self.missing.is_empty() && self.case.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            parts.push(format!(
                "lacks {}",
                listed(self.missing.iter().map(|name| quoted(name)))
            ));
        }
        if !self.case.is_empty() {
            let pairs = self
                .case
                .iter()
                .map(|(given, wanted)| format!("{} for {}", quoted(given), quoted(wanted)));
            parts.push(format!("has {} (upper and lower case count)", listed(pairs)));
        }
        if !self.extra.is_empty() {
            let names = listed(self.extra.iter().map(|name| quoted(name)));
            parts.push(format!("has {names}, which nothing here takes"));
        }
        f.write_str(&parts.join("; it "))
    }
}

fn quoted(name: &str) -> String {
    format!("`{}`", shorten(name))
}

fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(MAX_NAMES_TOLD);
    let told: Vec<String> = names.take(MAX_NAMES_TOLD).collect();
    match more {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_that_differs_is_named() {
        let difference = Difference::between(&["ID", "b", "x"], &["id", "a", "b"]);
        assert_eq!(
            difference.to_string(),
            "lacks `a`; it has `ID` for `id` (upper and lower case count); it has `x`, which nothing here takes"
        );
        assert!(Difference::between(&["b", "a"], &["a", "b"]).is_none());
        assert!(Difference::between(&["b", "a", "c"], &["a", "b"]).only_adds());
        let many: Vec<String> = (0..MAX_NAMES_TOLD + 2).map(|n| format!("c{n}")).collect();
        assert!(
            Difference::between(&[] as &[&str], &many)
                .to_string()
                .ends_with("`c9` and 2 more")
        );
    }
}
