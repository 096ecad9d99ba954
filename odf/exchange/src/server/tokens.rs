//! Tokens that let their holders push to this server.
//!
//! A token is random and long, so its plain SHA-256 is kept and not the token: a stolen file opens nothing. The file is
//! read again for every token that is shown, so one that was added or deleted counts at once, in every process.

use std::io;
use std::path::{Path, PathBuf};

use multibase::Base;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

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
    /// There are [`MAX_TOKENS`].
    #[error("there are {MAX_TOKENS} tokens already")]
    TooMany,
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

/// A token as it is listed: all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What its holder is called here.
    pub label: String,
    /// When it was made.
    pub added: Timestamp,
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
    /// [`TokenError::LabelTaken`], [`TokenError::BadLabel`], [`TokenError::TooMany`], or the file cannot be changed.
    pub fn add(&self, label: &str, now: Timestamp) -> Result<String, TokenError> {
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

    /// The label of a token, if it is one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn holder(&self, token: &str) -> Result<Option<String>, TokenError> {
        if token.len() > MAX_TOKEN_CHARS {
            return Ok(None);
        }
        // What the time of this comparison tells is about hashes, which nobody can aim.
        let hash = hash(token);
        let found = self.list()?.into_iter().find(|entry| entry.hash == hash);
        Ok(found.map(|entry| entry.label))
    }

    /// Waits for a turn at changing the file, so that no two changes, of whatever process, undo each other.
    fn turn(&self) -> Result<DirLock, TokenError> {
        Ok(self.disk.lock_dir(self.path.parent().unwrap_or(Path::new(".")))?)
    }

    /// Replaces the file, which only its owner may read; survives power loss when this returns.
    fn write(&self, entries: &[Entry]) -> Result<(), TokenError> {
        let text = serde_json::to_string_pretty(entries).map_err(|error| self.damaged(error.to_string()))?;
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

    #[test]
    fn a_token_is_known_until_it_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path(), &Disk::new());
        assert_eq!(tokens.list().unwrap(), []);
        assert_eq!(tokens.holder("odfs_x").unwrap(), None);
        let first = tokens.add("ci", now()).unwrap();
        let second = tokens.add("Ann's laptop", now()).unwrap();
        assert_ne!(first, second);
        assert!(first.starts_with(TOKEN_PREFIX) && first.len() > 40, "{first}");
        assert_eq!(tokens.holder(&first).unwrap().as_deref(), Some("ci"));
        assert_eq!(tokens.holder(&first[..first.len() - 1]).unwrap(), None);
        let labels: Vec<_> = tokens.list().unwrap().into_iter().map(|entry| entry.label).collect();
        assert_eq!(labels, ["ci", "Ann's laptop"]);
        tokens.delete("ci").unwrap();
        assert_eq!(tokens.holder(&first).unwrap(), None);
        assert_eq!(tokens.holder(&second).unwrap().as_deref(), Some("Ann's laptop"));
        assert!(matches!(tokens.delete("ci"), Err(TokenError::Unknown(_))));
    }

    #[test]
    fn the_file_holds_no_token_and_is_the_owners() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path(), &Disk::new());
        let token = tokens.add("ci", now()).unwrap();
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
                        tokens.add(&format!("{thread}-{n}"), now()).unwrap();
                        tokens.add(&format!("gone-{thread}-{n}"), now()).unwrap();
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
        tokens.add(&longest, now()).unwrap();
        assert!(matches!(tokens.add(&longest, now()), Err(TokenError::LabelTaken(_))));
        for bad in [String::new(), "a\nb".to_owned(), "x".repeat(MAX_LABEL_CHARS + 1)] {
            assert!(matches!(tokens.add(&bad, now()), Err(TokenError::BadLabel(_))), "{bad}");
        }
    }

    /// What is kept of a token.
    fn entry(label: &str, token: &str) -> Entry {
        Entry {
            label: label.to_owned(),
            added: now(),
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
        tokens.add("last", now()).unwrap();
        assert_eq!(tokens.list().unwrap().len(), MAX_TOKENS);
        assert!(matches!(tokens.add("one more", now()), Err(TokenError::TooMany)));
        tokens.delete("last").unwrap();
        tokens.add("one more", now()).unwrap();
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
        assert_eq!(tokens.holder(&longest).unwrap().as_deref(), Some("longest"));
        assert_eq!(tokens.holder(&longer).unwrap(), None);
    }

    #[test]
    fn a_damaged_file_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::of(dir.path(), &Disk::new());
        let token = tokens.add("ci", now()).unwrap();
        fs::write(dir.path().join("tokens.json"), "[{").unwrap();
        assert!(matches!(tokens.holder(&token), Err(TokenError::Damaged { .. })));
        fs::write(dir.path().join("tokens.json"), vec![b' '; MAX_FILE_BYTES as usize + 1]).unwrap();
        assert!(matches!(tokens.list(), Err(TokenError::Damaged { .. })));
    }
}
