//! The least and greatest values of some columns in each earlier slice, kept beside the dataset, so that a slice that cannot
//! hold a wanted row need not be opened, and that most need not even be asked about.
//!
//! ```text
//! header    magic, length and text of the columns with their types, check
//! groups    one for each GROUP positions of the history, from the first on:
//!             length of the rest, length of the summary
//!             summary: mark of the history behind its last position, a range for each column over all its slices, check
//!             of each position whether there is a slice, and then a range for each column; check
//! entries   one a slice behind the last group, oldest first: length of the rest, name of the file, a range for each
//!           column, check
//! ```
//!
//! It is a copy of what the footers say, made of those that were opened anyway; who has none opens all. An entry counts only
//! for the file whose name it has, which is the hash of the content: it is true whenever it is whole, whatever history the
//! slice is part of. A group counts only for the history that has its mark, which no other has; the check of its summary goes
//! on from that of the group before, so that groups of two histories never count together. So nothing is ever synced: what
//! did not reach the medium fails its check, and with it goes what is behind. From the first entry on that is not that of the
//! slice in its place the file is written again.
//!
//! Of a long history the summaries are read, the groups that can hold a wanted row, and the entries at the end.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use arrow::datatypes::Field;
use odf_disk::{Access, Disk, DiskError};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use super::prune::{self, Bound, Condition};
use crate::ground::{HistoryError, Slices};

const MAGIC: [u8; 16] = *b"odfs key ranges2";
/// The longest file that is read; with more slices than fit the rest is opened each time.
pub(in crate::merge) const MAX_FILE_BYTES: u64 = 1 << 30;
/// The longest text that is kept. A longer one is no part of a useful range.
pub(in crate::merge) const MAX_TEXT_BYTES: usize = 256;
/// How many positions are one group.
pub(in crate::merge) const GROUP: usize = if cfg!(test) { 8 } else { 256 };
/// The most bytes of entries behind the last group that are read; there is less than a group of them.
const TAIL_BYTES: u64 = 8 << 20;
/// How much of a group is read to know its summary, if that is not longer.
const SUMMARY_BYTES: usize = 512;
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

    /// The file.
    pub(in crate::merge) fn path(&self) -> &Path {
        &self.path
    }

    /// What it is written through.
    pub(in crate::merge) fn disk(&self) -> &Disk {
        &self.disk
    }

    fn header(&self) -> Vec<u8> {
        let column = |field: &Field| format!("{:?} {}\n", field.name(), field.data_type());
        let columns: String = self.fields.iter().map(column).collect();
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(columns.len() as u64).to_le_bytes());
        bytes.extend_from_slice(columns.as_bytes());
        let check = check(FIRST, &bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        bytes
    }

    /// What is kept of the slices at the beginning of a history.
    ///
    /// # Errors
    /// The history cannot be read.
    pub(super) fn known<'a>(&'a self, slices: &'a dyn Slices) -> Result<Known<'a>, HistoryError> {
        let mut known = Known {
            ranges: self,
            slices,
            file: None,
            groups: Vec::new(),
            end: 0,
            tail: Vec::new(),
            paths: Vec::new(),
            unknown: 0,
            len: 0,
            new: Mutex::default(),
            is_wrong: AtomicBool::new(false),
        };
        let header = self.header();
        let is_short = fs::metadata(&self.path).is_ok_and(|found| found.len() <= MAX_FILE_BYTES);
        let file = File::open(&self.path).ok().filter(|_| is_short);
        let file = file.filter(|file| {
            let mut found = vec![0; header.len()];
            file.read_exact_at(&mut found, 0).is_ok() && found == header
        });
        known.end = header.len() as u64;
        if let Some(file) = file {
            known.read_groups(&file)?;
            known.file = Some(file);
        }
        known.read_tail()?;
        Ok(known)
    }
}

/// A group of positions.
struct Group {
    summary: Entry,
    /// That of its summary: the next one goes on from it.
    check: u64,
    /// Where what it says of each position begins and ends in the file.
    entries: Range<u64>,
}

/// What is kept of the first slices of a history, and what was found out of others since.
pub(super) struct Known<'a> {
    ranges: &'a Ranges,
    slices: &'a dyn Slices,
    /// The file, if it is of these columns.
    file: Option<File>,
    groups: Vec<Group>,
    /// Where the groups end in the file, or the header.
    end: u64,
    /// What is known of the slices behind the groups, the first ones of them.
    tail: Vec<Entry>,
    /// Their files, and those of the slices of which nothing is known, by position.
    paths: Vec<Option<PathBuf>>,
    /// The first position of a slice of which nothing is known, or one before it.
    unknown: usize,
    /// How much of the file counts; 0 if there is none.
    len: u64,
    /// By position in the history.
    new: Mutex<Vec<(usize, Entry)>>,
    /// A group whose summary is whole is not.
    is_wrong: AtomicBool,
}

/// A slice that can hold a wanted row, with its position in the history.
pub(super) type Wanted = (usize, PathBuf);

impl Known<'_> {
    fn read_groups(&mut self, file: &File) -> Result<(), HistoryError> {
        let (mut marks, mut ends, mut at) = (Vec::new(), vec![self.end], self.end);
        let mut before = FIRST;
        while (self.groups.len() + 1) * GROUP <= self.slices.positions() {
            let Some((group, mark)) = read_group(file, at, before, self.ranges.fields.len()) else {
                break;
            };
            (at, before) = (group.entries.end, group.check);
            ends.push(at);
            marks.push(mark);
            self.groups.push(group);
        }
        // What is marked is all of the history up to there.
        while let Some(mark) = marks.pop() {
            if self.slices.mark(self.groups.len() * GROUP - 1)? == mark {
                break;
            }
            self.groups.pop();
        }
        self.end = ends[self.groups.len()];
        Ok(())
    }

    fn read_tail(&mut self) -> Result<(), HistoryError> {
        self.unknown = self.first_behind();
        self.paths = self.slices.files(self.unknown..self.slices.positions())?;
        let Some(file) = &self.file else {
            return Ok(());
        };
        let len = file.metadata().map_or(0, |found| found.len());
        let mut bytes = vec![0; usize::try_from(len.saturating_sub(self.end).min(TAIL_BYTES)).unwrap_or(0)];
        if file.read_exact_at(&mut bytes, self.end).is_err() {
            bytes.clear();
        }
        let mut rest = &bytes[..];
        for (at, path) in (self.unknown..).zip(&self.paths) {
            let Some(path) = path else { continue };
            let Some((entry, behind)) = decode(rest, &name_of(path), self.ranges.fields.len()) else {
                break;
            };
            self.tail.push(entry);
            rest = behind;
            self.unknown = at + 1;
        }
        self.len = self.end + (bytes.len() - rest.len()) as u64;
        Ok(())
    }

    /// The first position behind the groups.
    fn first_behind(&self) -> usize {
        self.groups.len() * GROUP
    }

    /// The slices that can hold a row for which all conditions hold, as far as is known, oldest first.
    ///
    /// # Errors
    /// The history cannot be read.
    pub(super) fn wanted(&self, conditions: &[Condition<'_>]) -> Result<Vec<Wanted>, HistoryError> {
        let mut wanted = Vec::new();
        for (number, group) in self.groups.iter().enumerate() {
            if !self.can_hold(&group.summary, conditions) {
                continue;
            }
            let positions = number * GROUP..(number + 1) * GROUP;
            let entries = self
                .file
                .as_ref()
                .and_then(|file| read_entries(file, group, self.ranges.fields.len()));
            if entries.is_none() {
                self.is_wrong.store(true, Ordering::Relaxed);
            }
            let files = self.slices.files(positions.clone())?;
            for ((at, file), place) in positions.zip(files).zip(0..) {
                let entry = entries.as_ref().and_then(|entries| entries.get(place)?.as_ref());
                if entry.is_none_or(|entry| self.can_hold(entry, conditions)) {
                    wanted.extend(file.map(|file| (at, file)));
                }
            }
        }
        let mut tail = self.tail.iter();
        for (at, file) in (self.first_behind()..).zip(&self.paths) {
            if let Some(file) = file
                && tail.next().is_none_or(|entry| self.can_hold(entry, conditions))
            {
                wanted.push((at, file.clone()));
            }
        }
        Ok(wanted)
    }

    fn can_hold(&self, entry: &Entry, conditions: &[Condition<'_>]) -> bool {
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
    pub(super) fn learn(&self, at: usize, metadata: &ArrowReaderMetadata) {
        if at < self.unknown {
            return;
        }
        let entry = prune::ranges(metadata, &self.ranges.fields);
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.push((at, entry));
    }

    /// Keeps what was learned of the slices that follow those that were known. It costs opening them again if that fails.
    pub(super) fn keep(self) {
        let Ranges { path, disk, .. } = self.ranges;
        let written = match self.is_wrong.load(Ordering::Relaxed) {
            true => disk.remove_file_if_there(path),
            false => self.write(),
        };
        if let Err(error) = written {
            tracing::debug!(path = %path.display(), %error, "the ranges of slices are found out again");
        }
    }

    fn write(self) -> Result<(), DiskError> {
        let first = self.first_behind();
        let Self {
            ranges,
            slices,
            groups,
            end,
            tail,
            paths,
            len,
            new,
            ..
        } = self;
        let mut new = new.into_inner().unwrap_or_else(PoisonError::into_inner);
        new.sort_unstable_by_key(|(at, _)| *at);
        let (kept, mut new) = (tail.len(), new.into_iter().peekable());
        let mut tail = tail.into_iter();
        // What is known without a gap, by position.
        let mut entries: Vec<Option<(&Path, Entry)>> = Vec::new();
        for (at, file) in (first..).zip(&paths) {
            let Some(file) = file else {
                entries.push(None);
                continue;
            };
            let learned = || new.next_if(|(position, _)| *position == at).map(|(_, entry)| entry);
            let Some(entry) = tail.next().or_else(learned) else {
                break;
            };
            entries.push(Some((file.as_path(), entry)));
        }
        let mut bytes = Vec::new();
        let mut check = groups.last().map_or(FIRST, |group| group.check);
        let (whole, rest) = entries.split_at(entries.len() - entries.len() % GROUP);
        for (last, group) in (first + GROUP - 1..).step_by(GROUP).zip(whole.chunks(GROUP)) {
            let Ok(mark) = slices.mark(last) else {
                return Ok(());
            };
            check = put_group(&mut bytes, &mark, group, ranges.fields.len(), check);
        }
        // Without a new group the entries go on where they are.
        let (at, skipped) = match whole {
            [] if len > 0 => (len, kept),
            _ => (end, 0),
        };
        for (file, entry) in rest.iter().flatten().skip(skipped) {
            bytes.extend(encode(&name_of(file), entry));
        }
        if bytes.is_empty() || at.saturating_add(bytes.len() as u64) > MAX_FILE_BYTES {
            return Ok(());
        }
        let Ranges { path, disk, .. } = ranges;
        if len == 0 {
            let file = disk.create(path, Access::Readable)?;
            return file.write_at(&[ranges.header(), bytes].concat(), 0);
        }
        let file = disk.open(path)?;
        if file.len()? != at {
            file.set_len(at)?;
        }
        file.write_at(&bytes, at)
    }
}

/// Writes what is known of a group of positions, with the check that the next one goes on from.
fn put_group(bytes: &mut Vec<u8>, mark: &[u8], group: &[Option<(&Path, Entry)>], columns: usize, before: u64) -> u64 {
    let entries = || group.iter().flatten().map(|(_, entry)| entry);
    let over_all = |column: usize| {
        let ranges = entries().map(|entry| entry.get(column)?.as_ref());
        let ranges: Vec<&(Bound, Bound)> = ranges.collect::<Option<_>>()?;
        let least = ranges.iter().map(|(least, _)| least).min()?;
        let greatest = ranges.iter().map(|(_, greatest)| greatest).max()?;
        Some((least.clone(), greatest.clone()))
    };
    let summary: Entry = (0..columns).map(over_all).collect();
    let mut head = Vec::new();
    put_text(&mut head, mark);
    put_ranges(&mut head, &summary);
    let next = check(before, &head);
    head.extend_from_slice(&next.to_le_bytes());
    let mut body = Vec::new();
    for entry in group {
        body.push(u8::from(entry.is_some()));
        if let Some((_, entry)) = entry {
            put_ranges(&mut body, entry);
        }
    }
    let sum = check(next, &body);
    body.extend_from_slice(&sum.to_le_bytes());
    let lengths = [(LENGTH_BYTES + head.len() + body.len()) as u32, head.len() as u32];
    lengths
        .iter()
        .for_each(|len| bytes.extend_from_slice(&len.to_le_bytes()));
    bytes.extend(head);
    bytes.extend(body);
    next
}

/// The group that begins at a byte of the file, and its mark; nothing if its summary is not whole.
fn read_group(file: &File, at: u64, before: u64, columns: usize) -> Option<(Group, Vec<u8>)> {
    let len = file.metadata().ok()?.len();
    let mut bytes = vec![0; SUMMARY_BYTES.min(usize::try_from(len.checked_sub(at)?).ok()?)];
    file.read_exact_at(&mut bytes, at).ok()?;
    let mut rest = &bytes[..];
    let [whole, head] = [take(&mut rest)?, take(&mut rest)?].map(u32::from_le_bytes);
    let end = at.checked_add(LENGTH_BYTES as u64)?.checked_add(u64::from(whole))?;
    let begin = at + 2 * LENGTH_BYTES as u64;
    let entries = begin.checked_add(u64::from(head))?..end;
    if entries.is_empty() || end > len {
        return None;
    }
    let head = usize::try_from(head).ok()?;
    if rest.len() < head {
        bytes = vec![0; head];
        file.read_exact_at(&mut bytes, begin).ok()?;
        rest = &bytes;
    }
    let (mut body, found) = rest.get(..head)?.split_at_checked(head.checked_sub(CHECK_BYTES)?)?;
    let check = check(before, body);
    if found != check.to_le_bytes() {
        return None;
    }
    let mark = take_text(&mut body)?.to_vec();
    let summary = take_ranges(&mut body, columns)?;
    Some((
        Group {
            summary,
            check,
            entries,
        },
        mark,
    ))
}

/// What a group says of each of its positions; nothing if that is not whole.
fn read_entries(file: &File, group: &Group, columns: usize) -> Option<Vec<Option<Entry>>> {
    let mut bytes = vec![0; usize::try_from(group.entries.end - group.entries.start).ok()?];
    file.read_exact_at(&mut bytes, group.entries.start).ok()?;
    let (mut body, found) = bytes.split_at_checked(bytes.len().checked_sub(CHECK_BYTES)?)?;
    if found != check(group.check, body).to_le_bytes() {
        return None;
    }
    let entry = |_| match take::<1>(&mut body)? {
        [0] => Some(None),
        _ => Some(Some(take_ranges(&mut body, columns)?)),
    };
    (0..GROUP).map(entry).collect()
}

/// What stands for a slice: the name of its file.
fn name_of(slice: &Path) -> Vec<u8> {
    slice.file_name().unwrap_or_default().as_encoded_bytes().to_vec()
}

fn encode(name: &[u8], entry: &Entry) -> Vec<u8> {
    let mut bytes = vec![0; LENGTH_BYTES];
    put_text(&mut bytes, name);
    put_ranges(&mut bytes, entry);
    let len = (bytes.len() - LENGTH_BYTES + CHECK_BYTES) as u32;
    bytes[..LENGTH_BYTES].copy_from_slice(&len.to_le_bytes());
    let check = check(FIRST, &bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    bytes
}

fn put_ranges(bytes: &mut Vec<u8>, entry: &Entry) {
    for range in entry {
        match range {
            Some((Bound::Number(least), Bound::Number(greatest))) => {
                bytes.push(NUMBERS);
                bytes.extend_from_slice(&least.to_le_bytes());
                bytes.extend_from_slice(&greatest.to_le_bytes());
            }
            Some((Bound::Text(least), Bound::Text(greatest))) if least.len().max(greatest.len()) <= MAX_TEXT_BYTES => {
                bytes.push(TEXTS);
                put_text(bytes, least.as_bytes());
                put_text(bytes, greatest.as_bytes());
            }
            _ => bytes.push(UNKNOWN),
        }
    }
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
    if found != check(FIRST, body).to_le_bytes() {
        return None;
    }
    let mut rest = body.get(LENGTH_BYTES..)?;
    if take_text(&mut rest)? != name {
        return None;
    }
    let entry = take_ranges(&mut rest, columns)?;
    Some((entry, behind))
}

fn take_ranges(rest: &mut &[u8], columns: usize) -> Option<Entry> {
    let mut entry = Vec::with_capacity(columns);
    for _ in 0..columns {
        let [mark] = take::<1>(rest)?;
        entry.push(match mark {
            NUMBERS => {
                let (least, greatest) = (take(rest)?, take(rest)?);
                let number = |bytes| Bound::Number(i128::from_le_bytes(bytes));
                Some((number(least), number(greatest)))
            }
            TEXTS => {
                let (least, greatest) = (take_text(rest)?, take_text(rest)?);
                let text = |bytes: &[u8]| Some(Bound::Text(std::str::from_utf8(bytes).ok()?.to_owned()));
                Some((text(least)?, text(greatest)?))
            }
            _ => None,
        });
    }
    Some(entry)
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

/// What a check goes on from that follows no other.
const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;

/// Tells bytes that were written, behind those with the check `before`, from those that were not. Nobody but this program
/// writes them, so it is no hash.
pub(in crate::merge) fn check(before: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut sum = bytes.len() as u64 ^ before;
    let mut mix = |word: u64| {
        sum = (sum ^ word).wrapping_mul(FIRST);
        sum ^= sum >> 29;
    };
    words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
    rest.iter().for_each(|byte| mix(u64::from(*byte)));
    sum
}
