//! The new chain file while it does not yet count: written beside the old one, and settled after a crash.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use odf_disk::{Access, Disk};
use odf_metadata::Multihash;

use super::blocks::Blocks;
use super::journal::{BlockPlace, Journal};
use super::{DatasetError, read_head, recompute};

/// The new chain while it does not yet count.
pub(super) const NEXT: &str = "chain.next";

/// Writes the first `kept` bytes of the chain file at `old` and then the blocks into `next`, and syncs it.
pub(super) fn write_chain(
    disk: &Disk,
    old: &Path,
    next: &Path,
    kept: u64,
    blocks: &dyn Blocks,
) -> Result<Vec<BlockPlace>, DatasetError> {
    let fail = |e| DatasetError::io("write", next, e);
    let mut file = io::BufWriter::new(disk.create(next, Access::Readable)?);
    if kept > 0 {
        let mut from = File::open(old)
            .map_err(|e| DatasetError::io("open", old, e))?
            .take(kept);
        let copied = io::copy(&mut from, &mut file).map_err(fail)?;
        if copied < kept {
            return Err(DatasetError::Damaged {
                path: old.to_owned(),
                reason: format!("it ends at {copied}, its head is behind that"),
            });
        }
    }
    let mut places = Vec::new();
    let mut position = kept;
    for at in 0..blocks.count() {
        let Some(block) = blocks.bytes_at(at)? else { break };
        let place = BlockPlace::behind(position, &block);
        file.write_all(&place.len.to_le_bytes()).map_err(fail)?;
        file.write_all(&block).map_err(fail)?;
        position = place.end();
        places.push(place);
    }
    let file = file.into_inner().map_err(|e| fail(e.into_error()))?;
    file.sync()?;
    Ok(places)
}

/// Whether there is one, so that the chain may have to be [settled](settle).
pub(super) fn is_there(dir: &Path) -> bool {
    dir.join(NEXT).exists()
}

/// Finishes or takes back what a crash left of a [`Dataset::replace`](super::Dataset::replace): the new chain takes its
/// place if it holds the head, else it is removed. Waits for a replacement that is under way.
pub(super) fn settle(dir: &Path, disk: &Disk) -> Result<(), DatasetError> {
    let next = dir.join(NEXT);
    if !is_there(dir) {
        return Ok(());
    }
    let journal = Journal::new(dir, disk);
    let _lock = journal.wait_for_lock()?;
    if !next.exists() {
        return Ok(());
    }
    let head = read_head(dir)?;
    if holds(&Journal::at(&next, disk), &head)? {
        disk.rename(&next, journal.path())?;
    } else if holds(&journal, &head)? {
        disk.remove_file(&next)?;
    } else {
        return Err(DatasetError::Damaged {
            path: journal.path().to_owned(),
            reason: format!("neither it nor {NEXT} beside it holds the head {head}"),
        });
    }
    Ok(disk.sync_dir(dir)?)
}

/// Whether a chain is in order up to this head.
fn holds(journal: &Journal, head: &Multihash) -> Result<bool, DatasetError> {
    match recompute(journal, head) {
        Ok(_) => Ok(true),
        Err(error @ DatasetError::Io { .. }) => Err(error),
        Err(_) => Ok(false),
    }
}
