//! Numbers that are kept in sled.

use super::{error::StoreError, guard::Guard};

/// A number of this name, if one is kept.
pub(super) fn number(guard: &Guard, tree: &sled::Tree, key: &str) -> Result<Option<u64>, StoreError> {
    let kept = guard.run(|| tree.get(key))?;
    Ok(kept.and_then(|number| decode_u64(&number)))
}

/// Keeps a number.
pub(super) fn set_number(guard: &Guard, tree: &sled::Tree, key: &str, number: u64) -> Result<(), StoreError> {
    guard.run(|| tree.insert(key, &number.to_le_bytes()))?;
    Ok(())
}

/// A little-endian number, if the bytes are one.
pub(super) fn decode_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}
