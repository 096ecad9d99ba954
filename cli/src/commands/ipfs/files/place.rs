//! Paths within the tree of `ipfs files`: absolute, segments between slashes.

use std::fmt;

use crate::failure::Failure;

/// A cleaned path: without `.`, `..` and empty segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The names on the way from the root, which has none.
    pub(super) names: Vec<String>,
    /// It ends with a slash, so that it can only mean a directory.
    pub(super) is_directory: bool,
}

impl Place {
    /// Reads what was typed.
    ///
    /// # Errors
    /// It is empty, or not absolute.
    pub(in crate::commands::ipfs) fn parse(typed: &str) -> Result<Self, Failure> {
        if typed.is_empty() {
            return Err(Failure::usage("paths must not be empty"));
        }
        if !typed.starts_with('/') {
            return Err(Failure::usage("paths must start with a leading slash")
                .next(format!("type /{typed} in place of {typed}")));
        }
        let mut names = Vec::new();
        for name in typed.split('/') {
            match name {
                "" | "." => {}
                ".." => drop(names.pop()),
                name => names.push(name.to_owned()),
            }
        }
        let is_directory = typed.ends_with('/') && !names.is_empty();
        Ok(Self { names, is_directory })
    }

    /// The directory it is in, and its name there; none for the root.
    pub(super) fn split(&self) -> Option<(&[String], &str)> {
        let (name, dir) = self.names.split_last()?;
        Some((dir, name))
    }

    /// The names on the way from the root, which has none.
    pub(in crate::commands::ipfs) fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether this can only mean a directory: the root, or what was typed with a slash behind it.
    pub(in crate::commands::ipfs) fn is_directory(&self) -> bool {
        self.is_directory || self.names.is_empty()
    }

    /// The entry `name` of what this is.
    pub(in crate::commands::ipfs) fn child(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self.is_directory = false;
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(&self.names))?;
        f.write_str(if self.is_directory { "/" } else { "" })
    }
}

/// These names as a path.
pub(super) fn written(names: &[String]) -> String {
    format!("/{}", names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (typed, cleaned) in [
            ("/", "/"),
            ("//", "/"),
            ("/a", "/a"),
            ("/a/", "/a/"),
            ("/a//b/./c", "/a/b/c"),
            ("/a/../b", "/b"),
            ("/..", "/"),
            ("/a/..", "/"),
        ] {
            assert_eq!(Place::parse(typed).unwrap().to_string(), cleaned, "{typed}");
        }
        assert!(Place::parse("").is_err());
        assert!(Place::parse("a").is_err());
    }
}
