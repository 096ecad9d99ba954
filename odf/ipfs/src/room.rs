//! A store with a limit holds to it: what nobody needs goes first, used least lately; then older roots of datasets.

use std::time::SystemTime;

use odf_dataset::catalog::Entry;
use odf_node::store::StoreError;

use crate::Local;
use crate::layout::LayoutError;
use crate::local::CollectError;
use crate::retention::{self, GivenUp, Retention, Spare};

/// Older roots are given up by halves of what is left of them, but so many at once at least: after each part it is looked how
/// much that gave.
const ROOTS_AT_ONCE: usize = 16;

/// What was done for room.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Room {
    /// Bytes of the blocks that went.
    pub removed_bytes: u64,
    /// Bytes of disk that came back.
    pub freed_bytes: u64,
    /// Older roots of datasets that went.
    pub given_up: GivenUp,
    /// Whether that was enough: less is held than makes the store look for room.
    pub is_enough: bool,
}

/// Why there is no room, or not as much as is wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoomError {
    /// Garbage was not collected.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// The block store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl RoomError {
    /// Whether somebody else is at work, so that it is to be tried again later.
    pub fn is_busy(&self) -> bool {
        matches!(
            self,
            Self::Collect(CollectError::Store(StoreError::Busy)) | Self::Store(StoreError::Busy)
        )
    }
}

/// Makes room in a store that is near its limit: blocks that no pin reaches go, then older roots of datasets, the oldest first,
/// that `retention` keeps for no other reason than that they were announced. What heads, pins and names stand for stays.
/// Nothing, if there is room.
///
/// # Errors
/// Nothing went if a publish or a pull is under way ([`RoomError::is_busy`]). On others, what went is what nobody needs.
pub fn make_room(
    local: &Local,
    retention: &dyn Fn(&Entry) -> Retention,
    now: SystemTime,
) -> Result<Option<Room>, RoomError> {
    let store = local.store();
    let wanted = store.room_wanted()?;
    if wanted == 0 {
        return Ok(None);
    }
    let mut room = Room::default();
    let collect = |wanted, room: &mut Room| {
        let report = local.collect(Some(wanted))?;
        room.removed_bytes += report.removed_bytes;
        room.freed_bytes += report.freed_bytes;
        Ok::<_, RoomError>(store.room_wanted()?)
    };
    let mut wanted = collect(wanted, &mut room)?;
    if wanted > 0 {
        let mut spare: Vec<Spare> = Vec::new();
        for entry in local.catalog().entries().map_err(CollectError::from)? {
            spare.extend(retention::spare(local, entry.id, &retention(&entry), now)?);
        }
        spare.sort_unstable();
        let mut left = &spare[..];
        while wanted > 0 && !left.is_empty() {
            let count = left.len().div_ceil(2).max(ROOTS_AT_ONCE).min(left.len());
            let (oldest, others) = left.split_at(count);
            left = others;
            room.given_up = std::mem::take(&mut room.given_up).and(retention::give_up(local, oldest)?);
            wanted = collect(wanted, &mut room)?;
        }
    }
    room.is_enough = wanted == 0;
    Ok(Some(room))
}
