//! The least and greatest values of some columns in each earlier slice, kept beside the dataset, so that a slice that cannot
//! hold a wanted row need not be opened.
//!
//! ```text
//! header    magic, length and text of the columns with their types, check
//! entries   one a slice, oldest first: length of the rest, name of the file, a range for each column, check
//! ```
//!
//! It is a copy of what the footers say, made of those that were opened anyway; who has none opens all. An entry counts only
//! for the file whose name it has, which is the hash of the content: it is true whenever it is whole, whatever history the
//! slice is part of. So it is never synced: an entry that did not reach the medium fails its check, and with it go those
//! behind it. From the first entry on that is not that of the slice in its place the file is written again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use arrow::datatypes::Field;
use odf_disk::{Access, Disk, DiskError};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use super::prune::{self, Bound, Condition};

const MAGIC: [u8; 16] = *b"odfs key ranges1";
/// The longest file that is read; with more slices than fit the rest is opened each time.
pub(in crate::merge) const MAX_FILE_BYTES: u64 = 64 << 20;
/// The longest text that is kept. A longer one is no part of a useful range.
pub(in crate::merge) const MAX_TEXT_BYTES: usize = 256;
const LENGTH_BYTES: usize = 4;
const CHECK_BYTES: usize = 8;

/// Marks of a column in an entry.
const UNKNOWN: u8 = 0;
const NUMBERS: u8 = 1;
const TEXTS: u8 = 2;

/// The least and greatest value of each column; nothing where the footer does not say.
type Entry = Vec<Option<(Bound, Bound)>>;

/// Where the ranges are kept, and of what.
#[derive(Debug)]
pub(crate) struct Ranges {
    path: PathBuf,
    disk: Disk,
    fields: Vec<Field>,
}

impl Ranges {
    /// Those of these columns, in the file `path`.
    pub(crate) fn new(path: &Path, disk: &Disk, fields: &[Field]) -> Self {
        Self {
            path: path.to_owned(),
            disk: disk.clone(),
            fields: fields.iter().map(prune::plain).collect(),
        }
    }

    fn header(&self) -> Vec<u8> {
        let column = |field: &Field| format!("{:?} {}\n", field.name(), field.data_type());
        let columns: String = self.fields.iter().map(column).collect();
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(columns.len() as u64).to_le_bytes());
        bytes.extend_from_slice(columns.as_bytes());
        let check = check(&bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        bytes
    }

    /// What is kept of the slices at the beginning of `slices`.
    pub(super) fn known<'a>(&'a self, slices: &[PathBuf]) -> Known<'a> {
        let mut known = Known {
            ranges: self,
            entries: Vec::new(),
            len: 0,
            new: Mutex::default(),
        };
        let header = self.header();
        let is_short = fs::metadata(&self.path).is_ok_and(|found| found.len() <= MAX_FILE_BYTES);
        let bytes = if is_short { fs::read(&self.path) } else { return known };
        let bytes = bytes.unwrap_or_default();
        let Some(mut rest) = bytes.strip_prefix(&header[..]) else {
            return known;
        };
        for slice in slices {
            let Some((entry, behind)) = decode(rest, &name_of(slice), self.fields.len()) else {
                break;
            };
            known.entries.push(entry);
            rest = behind;
        }
        known.len = (bytes.len() - rest.len()) as u64;
        known
    }
}

/// What is kept of the first slices of a history, and what was found out of others since.
pub(super) struct Known<'a> {
    ranges: &'a Ranges,
    entries: Vec<Entry>,
    /// How much of the file counts.
    len: u64,
    /// By position in the history.
    new: Mutex<Vec<(usize, Vec<u8>)>>,
}

impl Known<'_> {
    /// Whether the slice at a position can hold a row for which all conditions hold, as far as is known.
    pub(super) fn can_hold(&self, at: usize, conditions: &[Condition<'_>]) -> bool {
        let Some(entry) = self.entries.get(at) else {
            return true;
        };
        conditions.iter().all(|condition| {
            let is_it = |field: &Field| {
                field.name() == condition.field.name() && field.data_type() == condition.field.data_type()
            };
            let column = self.ranges.fields.iter().position(is_it);
            match column.and_then(|column| entry.get(column)?.as_ref()) {
                Some((least, greatest)) => (condition.can_hold)(least, greatest),
                None => true,
            }
        })
    }

    /// Takes what the footer of the slice at a position says, if it is not kept yet.
    pub(super) fn learn(&self, at: usize, path: &Path, metadata: &ArrowReaderMetadata) {
        if at < self.entries.len() {
            return;
        }
        let entry = encode(&name_of(path), &prune::ranges(metadata, &self.ranges.fields));
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.push((at, entry));
    }

    /// Keeps what was learned of the slices that follow those that were known. It costs opening them again if that fails.
    pub(super) fn keep(self) {
        let mut new = self.new.into_inner().unwrap_or_else(PoisonError::into_inner);
        new.sort_unstable_by_key(|(at, _)| *at);
        let next = self.entries.len()..;
        let following = new.iter().zip(next).take_while(|((at, _), next)| at == next);
        let entries: Vec<u8> = following.flat_map(|((_, entry), _)| entry.iter().copied()).collect();
        if entries.is_empty() || self.len.saturating_add(entries.len() as u64) > MAX_FILE_BYTES {
            return;
        }
        let Ranges { path, disk, .. } = self.ranges;
        let write = || -> Result<(), DiskError> {
            if self.len == 0 {
                let file = disk.create(path, Access::Readable)?;
                return file.write_at(&[self.ranges.header(), entries].concat(), 0);
            }
            let file = disk.open(path)?;
            if file.len()? != self.len {
                file.set_len(self.len)?;
            }
            file.write_at(&entries, self.len)
        };
        if let Err(error) = write() {
            tracing::debug!(path = %path.display(), %error, "the ranges of slices are found out again");
        }
    }
}

/// What stands for a slice: the name of its file.
fn name_of(slice: &Path) -> Vec<u8> {
    slice.file_name().unwrap_or_default().as_encoded_bytes().to_vec()
}

fn encode(name: &[u8], entry: &[Option<(Bound, Bound)>]) -> Vec<u8> {
    let mut bytes = vec![0; LENGTH_BYTES];
    put_text(&mut bytes, name);
    for range in entry {
        match range {
            Some((Bound::Number(least), Bound::Number(greatest))) => {
                bytes.push(NUMBERS);
                bytes.extend_from_slice(&least.to_le_bytes());
                bytes.extend_from_slice(&greatest.to_le_bytes());
            }
            Some((Bound::Text(least), Bound::Text(greatest))) if least.len().max(greatest.len()) <= MAX_TEXT_BYTES => {
                bytes.push(TEXTS);
                put_text(&mut bytes, least.as_bytes());
                put_text(&mut bytes, greatest.as_bytes());
            }
            _ => bytes.push(UNKNOWN),
        }
    }
    let len = (bytes.len() - LENGTH_BYTES + CHECK_BYTES) as u32;
    bytes[..LENGTH_BYTES].copy_from_slice(&len.to_le_bytes());
    let check = check(&bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    bytes
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
    bytes.extend_from_slice(text);
}

/// The entry at the beginning of some bytes, and what is behind it; nothing if that is not the whole entry of this slice.
fn decode<'b>(bytes: &'b [u8], name: &[u8], columns: usize) -> Option<(Entry, &'b [u8])> {
    let len = u32::from_le_bytes(*bytes.first_chunk::<LENGTH_BYTES>()?);
    let len = LENGTH_BYTES.checked_add(usize::try_from(len).ok()?)?;
    let (whole, behind) = bytes.split_at_checked(len)?;
    let (body, found) = whole.split_at_checked(len.checked_sub(CHECK_BYTES)?)?;
    if found != check(body).to_le_bytes() {
        return None;
    }
    let mut rest = body.get(LENGTH_BYTES..)?;
    if take_text(&mut rest)? != name {
        return None;
    }
    let mut entry = Vec::with_capacity(columns);
    for _ in 0..columns {
        let [mark] = take::<1>(&mut rest)?;
        entry.push(match mark {
            NUMBERS => {
                let (least, greatest) = (take(&mut rest)?, take(&mut rest)?);
                let number = |bytes| Bound::Number(i128::from_le_bytes(bytes));
                Some((number(least), number(greatest)))
            }
            TEXTS => {
                let (least, greatest) = (take_text(&mut rest)?, take_text(&mut rest)?);
                let text = |bytes: &[u8]| Some(Bound::Text(std::str::from_utf8(bytes).ok()?.to_owned()));
                Some((text(least)?, text(greatest)?))
            }
            _ => None,
        });
    }
    Some((entry, behind))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*taken)
}

fn take_text<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let len = usize::try_from(u32::from_le_bytes(take(rest)?)).ok()?;
    let (text, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(text)
}

/// Tells bytes that were written from those that were not. Nobody but this program writes them, so it is no hash.
fn check(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut sum = bytes.len() as u64 ^ FACTOR;
    let mut mix = |word: u64| {
        sum = (sum ^ word).wrapping_mul(FACTOR);
        sum ^= sum >> 29;
    };
    words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
    rest.iter().for_each(|byte| mix(u64::from(*byte)));
    sum
}
