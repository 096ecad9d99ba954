//! Tokens that say who somebody is, and what that somebody may do here.
//!
//! A token names datasets, by patterns, and verbs, and may expire ([`Rights`]). It is random and long, so its plain SHA-256
//! is kept and not the token: a stolen file opens nothing. The file is read again for every token that is shown, so one that
//! was added or deleted counts at once, in every process.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use multibase::Base;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use odf_dataset::catalog::like;
use odf_dataset::{DatasetName, MAX_NAME_BYTES};
use odf_disk::{Access, DirLock, Disk, DiskError, read_small_text};
use odf_metadata::Timestamp;

/// What every token begins with, so that people and secret scanners know one when they see it.
const TOKEN_PREFIX: &str = "odfs_";
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// The longest label of a token, in characters.
pub const MAX_LABEL_CHARS: usize = 100;
/// The most tokens that a server knows.
pub const MAX_TOKENS: usize = 1000;
/// The most patterns of one token.
pub const MAX_PATTERNS: usize = 100;
/// The longest file of tokens that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The longest text that is looked at as a token.
const MAX_TOKEN_CHARS: usize = 4096;

/// Why tokens could not be read or changed. They are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is not what it must be.
    #[error("{} is damaged: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The label is in use.
    #[error("there is a token labelled {0:?} already")]
    LabelTaken(String),
    /// The label is empty, too long, or has characters that do not print.
    #[error("{0:?} is no label: 1 to {MAX_LABEL_CHARS} printable characters are wanted")]
    BadLabel(String),
    /// No token has this label.
    #[error("there is no token labelled {0:?}")]
    Unknown(String),
    /// Not a verb.
    #[error("{0:?} is no verb of tokens: pull, push, create and rewrite are")]
    NoVerb(String),
    /// Not a pattern of names.
    #[error("{0:?} is no name of a dataset, with or without % for any text")]
    BadPattern(String),
    /// A token that allows nothing.
    #[error("a token is for one dataset and one verb at least")]
    NoRights,
    /// There are more than [`MAX_PATTERNS`].
    #[error("a token is for {MAX_PATTERNS} patterns of names at most")]
    TooManyPatterns,
    /// There are [`MAX_TOKENS`].
    #[error("there are {MAX_TOKENS} tokens already")]
    TooMany,
    /// With what they are for, the tokens would make a file that is not read any more.
    #[error("the tokens would take up more than {MAX_FILE_BYTES} bytes")]
    TooLong,
}

impl From<DiskError> for TokenError {
    fn from(error: DiskError) -> Self {
        TokenError::Io {
            operation: error.operation,
            path: error.path,
            source: error.source,
        }
    }
}

/// What the holder of a token may do to a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// Read it, also if it is not shared. Every token reads the datasets that it is for: nobody can add to a chain, or
    /// tell whether that worked, without.
    Pull,
    /// Add to it.
    Push,
    /// Bring it here when it is new.
    Create,
    /// Replace its history, as `push --force` does.
    Rewrite,
}

impl Verb {
    /// All of them.
    pub const ALL: [Verb; 4] = [Verb::Pull, Verb::Push, Verb::Create, Verb::Rewrite];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Verb::Pull => "pull",
            Verb::Push => "push",
            Verb::Create => "create",
            Verb::Rewrite => "rewrite",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Verb {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let found = Verb::ALL.into_iter().find(|verb| verb.word() == text);
        found.ok_or_else(|| TokenError::NoVerb(text.chars().take(MAX_LABEL_CHARS).collect()))
    }
}

/// What the holder of a token may do, to which datasets, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Names of datasets, or patterns with `%` for any text.
    pub datasets: Vec<String>,
    /// What may be done to them.
    pub verbs: Vec<Verb>,
    /// From when on nothing may be done any more.
    pub expires: Option<Timestamp>,
}

impl Rights {
    /// Those of a token of the first version, which had no bounds: everything but to rewrite history, for which nobody
    /// asked when it was made.
    fn unbounded() -> Self {
        Self {
            datasets: vec!["%".to_owned()],
            verbs: vec![Verb::Pull, Verb::Push, Verb::Create],
            expires: None,
        }
    }

    /// Whether this may be done to a dataset of this name. When is not looked at.
    pub fn allow(&self, verb: Verb, name: &DatasetName) -> bool {
        let said = verb == Verb::Pull || self.verbs.contains(&verb);
        said && self.datasets.iter().any(|pattern| like(pattern, name.as_str()))
    }

    /// Whether nothing may be done any more.
    pub fn have_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn check(&self) -> Result<(), TokenError> {
        if self.verbs.is_empty() || self.datasets.is_empty() {
            return Err(TokenError::NoRights);
        }
        if self.datasets.len() > MAX_PATTERNS {
            return Err(TokenError::TooManyPatterns);
        }
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '%');
        let bad = self
            .datasets
            .iter()
            .find(|pattern| pattern.is_empty() || pattern.len() > MAX_NAME_BYTES || !pattern.chars().all(valid));
        match bad {
            Some(pattern) => Err(TokenError::BadPattern(pattern.chars().take(MAX_LABEL_CHARS).collect())),
            None => Ok(()),
        }
    }
}

/// A token as it is listed: all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What its holder is called here.
    pub label: String,
    /// When it was made.
    pub added: Timestamp,
    /// What its holder may do.
    #[serde(default = "Rights::unbounded")]
    pub rights: Rights,
    /// SHA-256 of the token, in hexadecimal.
    hash: String,
}

/// The tokens of one workspace.
#[derive(Debug, Clone)]
pub struct Tokens {
    disk: Disk,
    path: PathBuf,
}

impl Tokens {
    /// The tokens kept in the workspace directory `root`. Nothing is read yet; without a file there are none.
    pub fn of(root: &Path, disk: &Disk) -> Self {
        Self {
            disk: disk.clone(),
            path: root.join("tokens.json"),
        }
    }

    /// All tokens, oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list(&self) -> Result<Vec<Entry>, TokenError> {
        let text = match read_small_text(&self.path, MAX_FILE_BYTES) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Vec::new()),
            Err(error) if error.source.kind() == io::ErrorKind::InvalidData => {
                return Err(self.damaged(error.source.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        serde_json::from_str(&text).map_err(|error| self.damaged(error.to_string()))
    }

    /// Makes a token and gives it: it cannot be had again.
    ///
    /// # Errors
    /// [`TokenError::LabelTaken`], [`TokenError::BadLabel`], [`TokenError::TooMany`], [`TokenError::TooLong`], rights that
    /// are none, or the file cannot be changed.
    pub fn add(&self, label: &str, rights: Rights, now: Timestamp) -> Result<String, TokenError> {
        rights.check()?;
        let shown = || label.chars().take(MAX_LABEL_CHARS).collect();
        if label.is_empty() || label.chars().count() > MAX_LABEL_CHARS || label.chars().any(char::is_control) {
            return Err(TokenError::BadLabel(shown()));
        }
        let _turn = self.turn()?;
        let mut entries = self.list()?;
        if entries.iter().any(|entry| entry.label == label) {
            return Err(TokenError::LabelTaken(shown()));
        }
        if entries.len() >= MAX_TOKENS {
            return Err(TokenError::TooMany);
        }
        let bytes: [u8; TOKEN_BYTES] = rand::random();
        let token = format!("{TOKEN_PREFIX}{}", Base::Base64Url.encode(bytes));
        entries.push(Entry {
            label: label.to_owned(),
            added: now,
            rights,
            hash: hash(&token),
        });
        self.write(&entries)?;
        Ok(token)
    }

    /// Forgets a token. Whoever holds it is refused from now on.
    ///
    /// # Errors
    /// [`TokenError::Unknown`], or the file cannot be changed.
    pub fn delete(&self, label: &str) -> Result<(), TokenError> {
        let _turn = self.turn()?;
        let mut entries = self.list()?;
        let before = entries.len();
        entries.retain(|entry| entry.label != label);
        if entries.len() == before {
            return Err(TokenError::Unknown(label.chars().take(MAX_LABEL_CHARS).collect()));
        }
        self.write(&entries)
    }

    /// What is known of a token, if it is one. It may have expired.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn holder(&self, token: &str) -> Result<Option<Entry>, TokenError> {
        if token.len() > MAX_TOKEN_CHARS {
            return Ok(None);
        }
        // What the time of this comparison tells is about hashes, which nobody can aim.
        let hash = hash(token);
        Ok(self.list()?.into_iter().find(|entry| entry.hash == hash))
    }

    /// Whether a token that was shown before still counts.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn still_counts(&self, entry: &Entry, now: Timestamp) -> Result<bool, TokenError> {
        Ok(!entry.rights.have_expired(now) && self.list()?.contains(entry))
    }

    /// Waits for a turn at changing the file, so that no two changes, of whatever process, undo each other.
    fn turn(&self) -> Result<DirLock, TokenError> {
        Ok(self.disk.lock_dir(self.path.parent().unwrap_or(Path::new(".")))?)
    }

    /// Replaces the file, which only its owner may read; survives power loss when this returns.
    fn write(&self, entries: &[Entry]) -> Result<(), TokenError> {
        let text = serde_json::to_string_pretty(entries).map_err(|error| self.damaged(error.to_string()))?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(TokenError::TooLong);
        }
        Ok(self.disk.replace(&self.path, text.as_bytes(), Access::Owner)?)
    }

    fn damaged(&self, reason: String) -> TokenError {
        TokenError::Damaged {
            path: self.path.clone(),
            reason,
        }
    }
}

fn hash(token: &str) -> String {
    Base::Base16Lower.encode(Sha256::digest(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn rights(datasets: &[&str], verbs: &[Verb]) -> Rights {
        Rights {
            datasets: datasets.iter().map(|pattern| (*pattern).to_owned()).collect(),
            verbs: verbs.to_vec(),
            expires: None,
        }
    }

    fn all() -> Rights {
        rights(&["%"], &Verb::ALL)
    }

    #[test]
    fn rights_are_of_names_and_verbs() {
        let may = |rights: &Rights, name: &str| -> Vec<&str> {
            let name = name.parse().unwrap();
            let allowed = Verb::ALL.into_iter().filter(|verb| rights.allow(*verb, &name));
            allowed.map(Verb::word).collect()
        };
        assert_eq!(may(&all(), "x"), ["pull", "push", "create", "rewrite"]);
        let sensors = rights(&["sensors.%", "log"], &[Verb::Push]);
        assert_eq!(may(&sensors, "Sensors.roof"), ["pull", "push"]);
        assert_eq!(may(&sensors, "log"), ["pull", "push"]);
        for other in ["sensors", "my-sensors.roof", "log2"] {
            assert!(may(&sensors, other).is_empty(), "{other}");
        }
        assert_eq!(may(&rights(&["%"], &[Verb::Rewrite]), "x"), ["pull", "rewrite"]);
    }

    #[test]
    fn tokens_expire() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path(), &Disk::new());
        let until = Rights {
            expires: Some("2026-01-03T00:00:00Z".parse().unwrap()),
            ..all()
        };
        let token = tokens.add("ci", until, now()).unwrap();
        let entry = tokens.holder(&token).unwrap().unwrap();
        assert!(tokens.still_counts(&entry, now()).unwrap());
        let then = "2026-01-03T00:00:00Z".parse().unwrap();
        assert!(entry.rights.have_expired(then) && !tokens.still_counts(&entry, then).unwrap());
        // One that was deleted counts no more, also if another has its label.
        tokens.delete("ci").unwrap();
        tokens.add("ci", all(), now()).unwrap();
        assert!(!tokens.still_counts(&entry, now()).unwrap());
    }

    #[test]
    fn tokens_of_the_first_version_may_do_what_they_could_but_not_rewrite() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path(), &Disk::new());
        let hash = hash("odfs_old");
        let old = format!(r#"[{{"label": "old", "added": "2026-01-02T03:04:05Z", "hash": "{hash}"}}]"#);
        fs::write(dir.path().join("tokens.json"), old).unwrap();
        let entry = tokens.holder("odfs_old").unwrap().unwrap();
        assert_eq!(entry.rights, rights(&["%"], &[Verb::Pull, Verb::Push, Verb::Create]));
        // It is written in the new form with the next change.
        tokens.add("new", all(), now()).unwrap();
        assert_eq!(tokens.list().unwrap()[0], entry);
    }

    #[test]
    fn rights_that_are_none_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path(), &Disk::new());
        let add = |rights| tokens.add("x", rights, now());
        for bad in ["", "a/b", "a b", "*", &"x".repeat(MAX_NAME_BYTES + 1)] {
            assert!(
                matches!(add(rights(&[bad], &Verb::ALL)), Err(TokenError::BadPattern(_))),
                "{bad}"
            );
        }
        assert!(matches!(add(rights(&[], &Verb::ALL)), Err(TokenError::NoRights)));
        assert!(matches!(add(rights(&["%"], &[])), Err(TokenError::NoRights)));
        let many = vec!["a"; MAX_PATTERNS + 1];
        assert!(matches!(
            add(rights(&many, &Verb::ALL)),
            Err(TokenError::TooManyPatterns)
        ));
        add(rights(&many[1..], &Verb::ALL)).unwrap();
        assert!(matches!("read".parse::<Verb>(), Err(TokenError::NoVerb(_))));
        assert_eq!("rewrite".parse::<Verb>().unwrap(), Verb::Rewrite);
    }

    #[test]
    fn a_token_is_known_until_it_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path(), &Disk::new());
        assert_eq!(tokens.list().unwrap(), []);
        assert_eq!(tokens.holder("odfs_x").unwrap(), None);
        let first = tokens.add("ci", all(), now()).unwrap();
        let second = tokens.add("Ann's laptop", all(), now()).unwrap();
        assert_ne!(first, second);
        assert!(first.starts_with(TOKEN_PREFIX) && first.len() > 40, "{first}");
        assert_eq!(tokens.holder(&first).unwrap().unwrap().label, "ci");
        assert_eq!(tokens.holder(&first[..first.len() - 1]).unwrap(), None);
        let labels: Vec<_> = tokens.list().unwrap().into_iter().map(|entry| entry.label).collect();
        assert_eq!(labels, ["ci", "Ann's laptop"]);
        tokens.delete("ci").unwrap();
        assert_eq!(tokens.holder(&first).unwrap(), None);
        assert_eq!(tokens.holder(&second).unwrap().unwrap().label, "Ann's laptop");
        assert!(matches!(tokens.delete("ci"), Err(TokenError::Unknown(_))));
    }

    #[test]
    fn the_file_holds_no_token_and_is_the_owners() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path(), &Disk::new());
        let token = tokens.add("ci", all(), now()).unwrap();
        let path = dir.path().join("tokens.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(token.trim_start_matches(TOKEN_PREFIX)), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn changes_made_at_once_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let dir = dir.path();
                scope.spawn(move || {
                    let tokens = Tokens::of(dir, &Disk::new());
                    for n in 0..10 {
                        tokens.add(&format!("{thread}-{n}"), all(), now()).unwrap();
                        tokens.add(&format!("gone-{thread}-{n}"), all(), now()).unwrap();
                        tokens.delete(&format!("gone-{thread}-{n}")).unwrap();
                    }
                });
            }
        });
        assert_eq!(Tokens::of(dir.path(), &Disk::new()).list().unwrap().len(), 40);
    }

    #[test]
    fn labels_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path(), &Disk::new());
        let longest = "x".repeat(MAX_LABEL_CHARS);
        tokens.add(&longest, all(), now()).unwrap();
        assert!(matches!(
            tokens.add(&longest, all(), now()),
            Err(TokenError::LabelTaken(_))
        ));
        for bad in [String::new(), "a\nb".to_owned(), "x".repeat(MAX_LABEL_CHARS + 1)] {
            assert!(
                matches!(tokens.add(&bad, all(), now()), Err(TokenError::BadLabel(_))),
                "{bad}"
            );
        }
    }

    /// What is kept of a token.
    fn entry(label: &str, token: &str) -> Entry {
        Entry {
            label: label.to_owned(),
            added: now(),
            rights: all(),
            hash: hash(token),
        }
    }

    #[test]
    fn one_token_too_many_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path(), &Disk::new());
        // The longest labels there are: the file of so many tokens can still be read.
        let rest = "\u{1f600}".repeat(MAX_LABEL_CHARS - 4);
        let all_but_one: Vec<Entry> = (1..MAX_TOKENS)
            .map(|number| entry(&format!("{number:04}{rest}"), &number.to_string()))
            .collect();
        tokens.write(&all_but_one).unwrap();
        tokens.add("last", all(), now()).unwrap();
        assert_eq!(tokens.list().unwrap().len(), MAX_TOKENS);
        assert!(matches!(tokens.add("one more", all(), now()), Err(TokenError::TooMany)));
        tokens.delete("last").unwrap();
        tokens.add("one more", all(), now()).unwrap();
    }

    #[test]
    fn tokens_that_would_not_be_read_again_are_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path(), &Disk::new());
        let pattern = "x".repeat(MAX_NAME_BYTES);
        let long = rights(&[&*pattern; MAX_PATTERNS], &Verb::ALL);
        let add = |number: usize| tokens.add(&number.to_string(), long.clone(), now());
        let refused = (0..MAX_TOKENS).find_map(|number| add(number).err());
        assert!(matches!(refused, Some(TokenError::TooLong)), "{refused:?}");
        assert!(tokens.list().unwrap().len() > 10);
        tokens.delete("0").unwrap();
        add(0).unwrap();
    }

    #[test]
    fn longer_texts_than_the_limit_are_no_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path(), &Disk::new());
        let longest = "x".repeat(MAX_TOKEN_CHARS);
        let longer = format!("{longest}x");
        tokens
            .write(&[entry("longest", &longest), entry("longer", &longer)])
            .unwrap();
        assert_eq!(tokens.holder(&longest).unwrap().unwrap().label, "longest");
        assert_eq!(tokens.holder(&longer).unwrap(), None);
    }

    #[test]
    fn a_damaged_file_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path(), &Disk::new());
        let token = tokens.add("ci", all(), now()).unwrap();
        fs::write(dir.path().join("tokens.json"), "[{").unwrap();
        assert!(matches!(tokens.holder(&token), Err(TokenError::Damaged { .. })));
        fs::write(dir.path().join("tokens.json"), vec![b' '; MAX_FILE_BYTES as usize + 1]).unwrap();
        assert!(matches!(tokens.list(), Err(TokenError::Damaged { .. })));
    }
}
