//! Why a mirror failed, and the one call to it that a dataset makes while it changes.

use std::path::Path;

use crate::ErrorOf;

/// Tells the errors of a [`Mirror`](crate::Mirror) from others. It has no values.
#[derive(Debug)]
pub enum OfMirror {}

/// Why a mirror failed.
pub type MirrorError = ErrorOf<OfMirror>;

/// Puts the file at the first path in the place of that at the second, durably, for a mirror that refers to the latter.
/// False if the mirror has nothing to do with it, and nothing was done.
pub type TakePlace<'a> = dyn FnMut(&Path, &Path) -> Result<bool, MirrorError> + 'a;
