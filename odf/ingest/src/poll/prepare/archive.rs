//! Unpacking gzip and zip, within bounds.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use zip::ZipArchive;
use zip::result::ZipError;

use crate::archive::leads_out;
use odf_disk::SPARE_BYTES;

use super::super::spool::{CopyError, Spool, copy};
use super::super::{FetchPhase, FetchProgress, MAX_CONTENT_BYTES, PollError, Surroundings};

/// The most bytes that an archive may unpack to.
pub const MAX_UNPACKED_BYTES: u64 = MAX_CONTENT_BYTES;
/// How many times its own size an archive may unpack to, beyond [`UNPACK_FLOOR_BYTES`], unless a setting says otherwise.
/// Tables rarely reach 50; the most that deflate can do is 1,032.
pub const UNPACK_RATIO: u64 = 100;
/// Up to this many bytes the ratio does not matter.
pub const UNPACK_FLOOR_BYTES: u64 = 256 << 20;
/// How many names of an archive are told when the wanted one is not among them.
pub(in super::super) const MAX_NAMES_TOLD: usize = 10;

/// How much may come out of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    bytes: u64,
    /// What is free on the disk, if that is what sets the limit.
    free: Option<u64>,
}

impl Limit {
    /// For an archive of `packed` bytes that may unpack to `ratio` times as many, on a disk with `free` bytes.
    fn new(packed: u64, ratio: u64, free: Option<u64>) -> Self {
        let bytes = packed
            .saturating_mul(ratio)
            .clamp(UNPACK_FLOOR_BYTES, MAX_UNPACKED_BYTES);
        match free.map(|free| (free, free.saturating_sub(SPARE_BYTES))) {
            Some((free, room)) if room < bytes => Self {
                bytes: room,
                free: Some(free),
            },
            _ => Self { bytes, free: None },
        }
    }

    fn of(packed: u64, around: &Surroundings<'_>) -> Self {
        Self::new(packed, around.unpack_ratio, (around.free_bytes)(around.spool))
    }

    fn exceeded(self, name: &str) -> PollError {
        let name = format!("{name}, unpacked,");
        match self.free {
            Some(free) => PollError::NoRoom { name, free },
            None => PollError::TooLarge {
                name,
                limit: self.bytes,
                hint: "; an archive that unpacks to so many times its size was made to fill disks, unless \
                       source.unpackRatio is set for it",
            },
        }
    }
}

/// Unpacks all members of a gzip file.
pub(super) fn gunzip(packed: &Path, name: &str, around: &Surroundings<'_>) -> Result<Spool, PollError> {
    let file = open(packed)?;
    let length = length(&file, packed)?;
    save(
        &mut MultiGzDecoder::new(BufReader::new(file)),
        Limit::of(length, around),
        None,
        name,
        around,
    )
}

/// Unpacks one entry of a zip file: `sub_path`, else the first that is a file.
pub(super) fn unzip(
    packed: &Path,
    sub_path: Option<&str>,
    name: &str,
    around: &Surroundings<'_>,
) -> Result<Spool, PollError> {
    let bad = |reason: String| PollError::Archive {
        name: name.to_owned(),
        reason,
    };
    let file = open(packed)?;
    let length = length(&file, packed)?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| bad(in_words(&error)))?;
    let index = match sub_path {
        Some(path) => archive.index_for_name(path).ok_or_else(|| {
            let names: Vec<String> = archive
                .file_names()
                .flatten()
                .take(MAX_NAMES_TOLD)
                .map(|n| n.into())
                .collect();
            bad(format!("it holds no {path}; it holds {}", names.join(", ")))
        })?,
        None => {
            let is_file = |index: &usize| {
                let entry_name = archive.name_for_index(*index);
                !entry_name.is_some_and(|name| name.is_ok_and(|name| name.ends_with('/')))
            };
            (0..archive.len())
                .find(is_file)
                .ok_or_else(|| bad("there are no files in it".to_owned()))?
        }
    };
    let mut entry = archive.by_index(index).map_err(|error| bad(in_words(&error)))?;
    let entry_name = entry.name().map_err(|error| bad(in_words(&error)))?;
    if leads_out(&entry_name) {
        return Err(bad(format!(
            "the name of its entry `{entry_name}` leads out of the archive"
        )));
    }
    let total = entry.size();
    save(&mut entry, Limit::of(length, around), Some(total), name, around)
}

fn open(path: &Path) -> Result<File, PollError> {
    File::open(path).map_err(|error| PollError::io("read", path, error))
}

fn length(file: &File, path: &Path) -> Result<u64, PollError> {
    Ok(file
        .metadata()
        .map_err(|error| PollError::io("read", path, error))?
        .len())
}

fn save(
    from: &mut dyn Read,
    limit: Limit,
    total: Option<u64>,
    name: &str,
    around: &Surroundings<'_>,
) -> Result<Spool, PollError> {
    // What says beforehand that it is too much need not be written first.
    if total.is_some_and(|total| total > limit.bytes) {
        return Err(limit.exceeded(name));
    }
    let (spool, mut file) = Spool::create(around.spool)?;
    let copied = copy(from, &mut file, limit.bytes, |bytes| {
        (around.progress)(FetchProgress {
            phase: FetchPhase::Preparing,
            bytes,
            total,
        });
        !(around.stop)()
    });
    match copied {
        Ok(_) => Ok(spool),
        Err(CopyError::Stopped) => Err(PollError::Stopped),
        Err(CopyError::Write(error)) => Err(PollError::io("write", spool.path(), error)),
        Err(CopyError::TooLarge) => Err(limit.exceeded(name)),
        Err(CopyError::Read(error)) => Err(PollError::Archive {
            name: name.to_owned(),
            reason: match error.kind() {
                io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
                _ => error.to_string(),
            },
        }),
    }
}

fn in_words(error: &ZipError) -> String {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => "it is encrypted".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_archives_may_unpack_to_the_floor_and_none_beyond_the_limit_or_the_disk() {
        let bytes = |packed, free| Limit::new(packed, UNPACK_RATIO, free).bytes;
        assert_eq!(bytes(0, None), UNPACK_FLOOR_BYTES);
        assert_eq!(bytes(UNPACK_FLOOR_BYTES, None), UNPACK_FLOOR_BYTES * UNPACK_RATIO);
        assert_eq!(bytes(u64::MAX, None), MAX_UNPACKED_BYTES);
        assert_eq!(bytes(0, Some(SPARE_BYTES + 7)), 7);
        assert_eq!(bytes(0, Some(7)), 0);
        assert_eq!(bytes(0, Some(u64::MAX)), UNPACK_FLOOR_BYTES);
        assert_eq!(Limit::new(1 << 30, 3, None).bytes, 3 << 30);
    }
}
