//! Marks along a file: where its hash stood after each chunk, and what the file system said of it then. Kept in a file
//! beside the dataset, so that the next look at the file need not begin at its beginning.
//!
//! The file is one line of JSON and one line with the sha2-256 multihash of the line above it. It can be lost, torn or of
//! another table: then it is as if it were not there, and it is made again by reading the table.

use std::fmt;
use std::path::Path;

use odf_disk::{Access, Disk, DiskError, read_small};
use odf_metadata::Multihash;
use serde::{Deserialize, Serialize};
use sha2::digest::common::hazmat::SerializableState as _;
use sha2::{Digest as _, Sha256};

use crate::source::Fingerprint;

/// Multicodec of sha2-256.
pub(super) const SHA2_256: u64 = 0x12;

/// Bytes between two marks. A whole number of blocks of the hash.
pub(super) const CHUNK_BYTES: u64 = 16 << 20;

/// The longest file of marks; it is enough for tables of 4 TB.
pub(super) const MAX_MARKS_BYTES: u64 = 32 << 20;

pub(super) const VERSION: u32 = 1;
/// Bytes that the hash takes at a time.
const BLOCK_BYTES: u64 = 64;
/// Where the state ends in a hasher that is written out, and where the number of blocks ends that follows it.
const STATE_END: usize = 32;
const COUNT_END: usize = 40;

/// The end of a chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// State of SHA-256 over everything from the first byte of the file to here.
    state: [u32; 8],
    /// Line breaks before it, but for a carriage return right before it.
    pub(super) lines: u64,
    /// The byte before it.
    pub(super) last: u8,
}

impl Mark {
    /// The mark of a hasher that has taken whole blocks.
    pub(super) fn of(hasher: &Sha256, lines: u64, last: u8) -> Mark {
        let written = hasher.serialize();
        let mut state = [0; 8];
        for (word, bytes) in state.iter_mut().zip(written.chunks_exact(4)) {
            *word = u32::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        Mark { state, lines, last }
    }

    /// A hasher that has taken the `length` bytes up to here.
    pub(super) fn hasher(&self, length: u64) -> Option<Sha256> {
        let mut written = Sha256::new().serialize();
        for (word, bytes) in self.state.iter().zip(written.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        written[STATE_END..COUNT_END].copy_from_slice(&(length / BLOCK_BYTES).to_le_bytes());
        Sha256::deserialize(&written).ok()
    }

    /// Whether the same bytes lie before both.
    pub(super) fn agrees(&self, other: &Mark) -> bool {
        self.state == other.state
    }
}

/// What is remembered of a file that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    pub(super) version: u32,
    /// Bytes between two marks.
    pub(super) chunk: u64,
    /// The file when it was opened.
    pub(super) file: Fingerprint,
    /// Whether it had been left alone for a while by then.
    pub(super) rested: bool,
    /// Whether every byte of it was read then, or earlier and it was not touched since; not if it is only believed to have
    /// grown.
    pub(super) read: bool,
    /// The state of the source in the chain that was made then.
    pub(super) taken: String,
    /// One for each whole chunk that was taken.
    pub(super) marks: Vec<Mark>,
}

impl Marks {
    /// Those in the file at `path`; none if it is not there, or not what [`Self::write`] wrote.
    pub(super) fn read(path: &Path) -> Option<Marks> {
        let bytes = match read_small(path, MAX_MARKS_BYTES) {
            Ok(bytes) => bytes?,
            Err(error) => {
                tracing::debug!(%error, "the marks of a file cannot be read; it is read whole");
                return None;
            }
        };
        let marks = Self::decode(&bytes);
        if marks.is_none() {
            tracing::debug!(path = %path.display(), "the marks of a file are damaged; it is read whole");
        }
        marks
    }

    fn decode(bytes: &[u8]) -> Option<Marks> {
        let bytes = bytes.strip_suffix(b"\n")?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n')?;
        let (json, check) = (&bytes[..end], &bytes[end + 1..]);
        if check != checksum(json)?.as_bytes() {
            return None;
        }
        let marks: Marks = serde_json::from_slice(json).ok()?;
        (marks.version == VERSION).then_some(marks)
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self).ok()?;
        let check = checksum(&bytes)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(check.as_bytes());
        bytes.push(b'\n');
        Some(bytes)
    }

    /// Puts them into the file at `path`; if they are too many, there is none.
    ///
    /// # Errors
    /// It cannot be written; the old file stays.
    pub(super) fn write(&self, disk: &Disk, path: &Path) -> Result<(), DiskError> {
        match self.encode() {
            Some(bytes) if bytes.len() as u64 <= MAX_MARKS_BYTES => disk.replace_unsynced(path, &bytes, Access::Owner),
            _ => disk.remove_file_if_there(path),
        }
    }
}

fn checksum(bytes: &[u8]) -> Option<String> {
    let hash = Multihash::wrap(SHA2_256, &Sha256::digest(bytes));
    Some(hash.ok()?.to_string())
}

/// Where a file is other than what was taken of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Somewhere in what was taken.
    Somewhere,
    /// The first difference lies between these bytes, counted from 0.
    Between(u64, u64),
    /// It has only so many bytes.
    Shorter(u64),
}

/// What the file is, as the end of a sentence that begins with how many bytes were taken.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Somewhere => f.write_str("they changed"),
            Change::Between(from, to) => write!(
                f,
                "the first of them that changed lies between byte {from} and byte {to}"
            ),
            Change::Shorter(length) => write!(f, "it has {length} now"),
        }
    }
}

/// Marks to go on from without reading what lies before them.
pub(super) struct Believed<'a> {
    pub(super) marks: &'a [Mark],
    /// Every byte of the file was read, and it was not touched since.
    pub(super) is_read: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_goes_on_from_a_mark() {
        let text: Vec<u8> = (0..1_000_u32).flat_map(u32::to_le_bytes).collect();
        for chunk in [64, 128, 1_024] {
            for length in [chunk, chunk * 2, chunk * 3] {
                let (before, behind) = text.split_at(length);
                let mark = Mark::of(&Sha256::new().chain_update(before), 0, 0);
                let resumed = mark.hasher(length as u64).unwrap();
                assert_eq!(resumed.chain_update(behind).finalize(), Sha256::digest(&text));
            }
        }
        // FIPS 180-4: the state that a hash begins with.
        let begin = Mark::of(&Sha256::new(), 0, 0);
        assert_eq!((begin.state[0], begin.state[7]), (0x6a09_e667, 0x5be0_cd19));
    }

    fn marks(of: &Path) -> Marks {
        let file = Fingerprint::of(of).unwrap();
        let hasher = Sha256::new().chain_update([7; 64]);
        let marks = (0..3).map(|lines| Mark::of(&hasher, lines, b'\n')).collect();
        Marks {
            version: VERSION,
            chunk: CHUNK_BYTES,
            file,
            rested: true,
            read: true,
            taken: "csv 1 f1220".to_owned(),
            marks,
        }
    }

    #[test]
    fn damaged_marks_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let marks = marks(dir.path());
        let bytes = marks.encode().unwrap();
        assert_eq!(Marks::decode(&bytes), Some(marks.clone()));
        for at in 0..bytes.len() {
            assert_eq!(Marks::decode(&bytes[..at]), None, "torn at {at}");
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(Marks::decode(&other), None, "other at {at}");
            other[at..].fill(0);
            assert_eq!(Marks::decode(&other), None, "zeros from {at}");
        }
        let newer = Marks { version: 2, ..marks };
        assert_eq!(Marks::decode(&newer.encode().unwrap()), None);
    }

    #[test]
    fn no_more_is_read_or_written_than_the_limit_says() {
        let dir = tempfile::tempdir().unwrap();
        let (path, disk) = (dir.path().join("marks"), Disk::new());
        let marks = marks(dir.path());
        marks.write(&disk, &path).unwrap();
        assert_eq!(Marks::read(&path).as_ref(), Some(&marks));
        let padded = |length: u64| {
            let mut json = serde_json::to_vec(&marks).unwrap();
            let ends = checksum(&json).unwrap().len() + 2;
            json.resize(usize::try_from(length).unwrap() - ends, b' ');
            let check = checksum(&json).unwrap();
            [&json[..], b"\n", check.as_bytes(), b"\n"].concat()
        };
        std::fs::write(&path, padded(MAX_MARKS_BYTES)).unwrap();
        assert_eq!(Marks::read(&path).as_ref(), Some(&marks));
        std::fs::write(&path, padded(MAX_MARKS_BYTES + 1)).unwrap();
        assert_eq!(Marks::read(&path), None);

        let long = Marks {
            taken: "x".repeat(usize::try_from(MAX_MARKS_BYTES).unwrap()),
            ..marks
        };
        long.write(&disk, &path).unwrap();
        assert!(!path.exists(), "marks that nobody would read are not kept");
    }
}
