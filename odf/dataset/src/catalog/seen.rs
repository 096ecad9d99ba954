//! What a listing found of each dataset, remembered for as long as its files look from outside as they did.
//!
//! Five files are looked at and none is read. The memory is a file beside the mark, with a check of its own; what it says of a
//! dataset counts only with the check of how those files looked, so it may be lost, older or of something else. What is damaged
//! is not remembered: that is read each time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use odf_disk::{Access, read_small};
use odf_metadata::DatasetId;
use rustix::fs::{AtFlags, Mode, OFlags, open, statat};
use serde::{Deserialize, Serialize};

use super::listing::Listed;
use super::{Catalog, Entry};
use crate::dataset::{DatasetName, RemoteAliases, Summary, check};

/// The file, beside the mark.
const FILE: &str = "datasets.seen";
/// Version of its form; another one is not read.
const FORM: u64 = 1;
/// The longest file that is read: that of some half a million datasets.
pub(super) const MAX_FILE_BYTES: u64 = 256 << 20;
/// Digits of the check in its first line.
const CHECK_DIGITS: usize = 16;
/// Two changes that are farther apart than this are known by their times, on every file system.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// As soon as more than this part of the datasets had to be read, and some, the file is written anew.
const SLACK_PART: usize = 64;
const SLACK: usize = 8;

/// What is remembered of a dataset.
#[derive(Serialize, Deserialize)]
struct Record {
    look: u64,
    name: String,
    summary: Summary,
    aliases: RemoteAliases,
}

/// What was seen the last time.
#[derive(Default)]
pub(super) struct Seen {
    /// The directory of datasets, from which the way to their files is short: most of the time goes into that.
    datasets: Option<OwnedFd>,
    text: Vec<u8>,
    /// Where the record of each dataset lies in it.
    records: BTreeMap<DatasetId, Range<usize>>,
}

impl Seen {
    fn read(text: Vec<u8>) -> Option<Self> {
        let (first, rest) = text.split_at_checked(CHECK_DIGITS)?;
        let wanted = u64::from_str_radix(std::str::from_utf8(first).ok()?, 16).ok()?;
        if sum(rest) != wanted {
            return None;
        }
        let mut records = BTreeMap::new();
        let mut begin = CHECK_DIGITS + 1;
        for line in rest.strip_prefix(b"\n")?.split_inclusive(|byte| *byte == b'\n') {
            let id = line.split(|byte| *byte == b' ').next()?;
            let at = begin + id.len() + 1..begin + line.len();
            begin += line.len();
            records.insert(DatasetId::from_multibase(std::str::from_utf8(id).ok()?).ok()?, at);
        }
        Some(Self {
            datasets: None,
            text,
            records,
        })
    }

    fn text_of(&self, id: &DatasetId) -> Option<&[u8]> {
        self.text.get(self.records.get(id)?.clone())
    }

    /// What is remembered of a dataset whose files look so.
    fn of(&self, id: &DatasetId, look: u64) -> Option<Record> {
        let record: Record = serde_json::from_slice(self.text_of(id)?).ok()?;
        (record.look == look).then_some(record)
    }
}

/// The check of the file.
fn sum(bytes: &[u8]) -> u64 {
    check(&DatasetId::from_public_key([0; 32]), FORM, bytes)
}

/// How the files of a dataset look from outside.
pub(super) struct Look {
    check: u64,
    /// When any of them was changed last.
    changed: Option<SystemTime>,
}

impl Look {
    fn of(id: &DatasetId, datasets: &OwnedFd) -> Option<Self> {
        // In the directory itself is what notes damage, and a chain that is about to take the place of the other.
        let files = ["", "/refs/head", "/chain", "/info/alias", "/info/config"];
        let dir = id.to_multibase();
        let mut numbers = Vec::new();
        let mut changed = Some(SystemTime::UNIX_EPOCH);
        for file in files {
            let Ok(found) = statat(datasets, format!("{dir}{file}"), AtFlags::empty()) else {
                // Nothing is pulled or pushed without one.
                if file == "/info/config" {
                    continue;
                }
                return None;
            };
            for number in [
                i128::from(found.st_dev),
                i128::from(found.st_ino),
                i128::from(found.st_size),
                i128::from(found.st_mtime),
                i128::from(found.st_mtime_nsec),
                i128::from(found.st_ctime),
                i128::from(found.st_ctime_nsec),
            ] {
                numbers.extend_from_slice(&number.to_le_bytes());
            }
            let at = u64::try_from(found.st_ctime).ok();
            let at = at.and_then(|at| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(at)));
            changed = changed.zip(at).map(|(changed, at)| changed.max(at));
        }
        Some(Self {
            check: check(id, FORM, &numbers),
            changed,
        })
    }

    /// Whether nothing can be changed any more without looking otherwise.
    fn is_settled(&self, now: SystemTime) -> bool {
        self.changed
            .and_then(|changed| now.duration_since(changed).ok())
            .is_some_and(|age| age >= SETTLED_AFTER)
    }
}

impl Catalog {
    /// What was seen the last time; nothing without a mark, beside which it would be.
    pub(super) fn seen(&self) -> Seen {
        let Some(mark) = &self.medium.mark else {
            return Seen::default();
        };
        let text = read_small(&mark.beside(FILE), MAX_FILE_BYTES).ok().flatten();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Seen {
            datasets: open(&self.dir, flags, Mode::empty()).ok(),
            ..text.and_then(Seen::read).unwrap_or_default()
        }
    }

    /// A dataset of a listing, read only if its files look otherwise than they did.
    pub(super) fn seen_entry(&self, id: DatasetId, seen: &Seen) -> Option<Entry> {
        match self.remembered(&id, seen).1 {
            Some(listed) => Some(listed.entry),
            None => self.entry(id),
        }
    }

    /// How a dataset looks, and what is remembered of it if it looked so then.
    fn remembered(&self, id: &DatasetId, seen: &Seen) -> (Option<Look>, Option<Listed>) {
        let look = seen.datasets.as_ref().and_then(|datasets| Look::of(id, datasets));
        let record = look.as_ref().and_then(|look| seen.of(id, look.check));
        let listed = record.and_then(|record| {
            let entry = Entry {
                id: *id,
                name: Some(record.name.parse::<DatasetName>().ok()?),
                dir: self.dataset_dir(id),
                head: Some(record.summary.head),
                damaged: None,
            };
            Some(Listed {
                entry,
                summary: Ok(record.summary),
                aliases: Ok(record.aliases),
            })
        });
        (look, listed)
    }

    /// As [`Self::seen_entry`] with all that a listing tells. Also gives the record of one that was read.
    pub(super) fn seen_listed(
        &self,
        id: DatasetId,
        seen: &Seen,
        read: &(dyn Fn(DatasetId) -> Option<Listed> + Sync),
    ) -> Option<(Listed, Option<Vec<u8>>)> {
        let (look, listed) = self.remembered(&id, seen);
        if let Some(listed) = listed {
            return Some((listed, None));
        }
        let listed = read(id)?;
        let now = SystemTime::now();
        let record = look
            .filter(|look| look.is_settled(now))
            .and_then(|look| record(&listed, &look));
        Some((listed, record))
    }

    /// Remembers what was seen, if it is enough that is new: `read` are the records of datasets that were read, and `kept` those
    /// of which nothing changed.
    pub(super) fn remember_seen(&self, seen: &Seen, kept: &[DatasetId], read: &[(DatasetId, Vec<u8>)]) {
        let all = kept.len() + read.len();
        let Some(mark) = self.medium.mark.as_ref().filter(|_| {
            let is_much = |number: usize| number > SLACK + all / SLACK_PART;
            is_much(read.len()) || (seen.records.is_empty() && !read.is_empty())
        }) else {
            return;
        };
        let mut text =
            Vec::with_capacity(seen.text.len() + read.iter().map(|(_, record)| record.len() + 80).sum::<usize>());
        text.push(b'\n');
        let kept = kept.iter().filter_map(|id| Some((id, seen.text_of(id)?)));
        for (id, record) in kept.chain(read.iter().map(|(id, record)| (id, &record[..]))) {
            text.extend_from_slice(id.to_multibase().as_bytes());
            text.push(b' ');
            text.extend_from_slice(record.trim_ascii_end());
            text.push(b'\n');
        }
        let text = [format!("{:0CHECK_DIGITS$x}", sum(&text)).as_bytes(), &text].concat();
        let written = self
            .medium
            .disk
            .replace_unsynced(&mark.beside(FILE), &text, Access::Owner);
        if let Err(error) = written {
            tracing::debug!(%error, "what was seen of datasets is not remembered");
        }
    }
}

/// The record of a dataset with which nothing is wrong.
fn record(listed: &Listed, look: &Look) -> Option<Vec<u8>> {
    let entry = &listed.entry;
    let record = Record {
        look: look.check,
        name: entry.name.as_ref()?.as_str().to_owned(),
        summary: listed.summary.as_ref().ok()?.clone(),
        aliases: listed.aliases.as_ref().ok()?.clone(),
    };
    let is_well = entry.damaged.is_none() && entry.head == Some(record.summary.head);
    is_well.then(|| serde_json::to_vec(&record).ok())?
}
