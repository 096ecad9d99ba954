//! The second form of a dataset: on IPFS, its DAG. It must hear of every change; what it is made of is its own matter.

use std::fmt;
use std::path::Path;

use odf_metadata::Multihash;

use crate::{Dataset, ErrorOf};

/// Why a mirror failed.
pub type MirrorError = ErrorOf<dyn Mirror>;

/// Keeps the collection of garbage away until it is dropped.
pub trait Held: Send + Sync {}

impl<T: Send + Sync> Held for T {}

/// Puts the file at the first path in the place of that at the second, for a mirror that refers to the latter. False if
/// the mirror has nothing to do with it, and nothing was done.
pub type TakePlace<'a> = dyn FnMut(&Path, &Path) -> Result<bool, MirrorError> + 'a;

/// A part of a file that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongPart {
    /// The IPLD block that the part was when the dataset was laid out.
    pub block: String,
    /// Where the part begins in the file.
    pub start: u64,
    /// Where it ends as the mirror has it; `None` for the only part of a file.
    pub end: Option<u64>,
}

impl fmt::Display for WrongPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block, start, .. } = self;
        match self.end {
            Some(end) => write!(
                f,
                "the first wrong byte is in bytes {start} to {end}, IPLD block {block}"
            ),
            None => write!(f, "the first wrong byte is in IPLD block {block}, the whole file"),
        }
    }
}

/// What keeps a second form of every dataset. All calls are made by whoever may change the dataset.
pub trait Mirror: Send + Sync {
    /// Keeps the collection of garbage away from files that no chain names yet.
    fn hold(&self) -> Box<dyn Held>;

    /// The dataset has a new head, or is new. When this returns its second form is whole, durable and pinned.
    ///
    /// # Errors
    /// It is not; the dataset itself is. The next call, or the next opening of the workspace, makes it good.
    fn moved(&self, dataset: &Dataset) -> Result<(), MirrorError>;

    /// Metadata blocks from sequence number `from` on are about to leave the chain. What earlier forms need of them is kept
    /// elsewhere when this returns. Gives what puts the new chain file in its place.
    ///
    /// # Errors
    /// It could not be kept: the chain must stay as it is.
    fn replacing(&self, dataset: &Dataset, from: u64) -> Result<Box<TakePlace<'_>>, MirrorError>;

    /// The dataset is about to be removed, with its files.
    ///
    /// # Errors
    /// What others need of it could not be kept: it must stay.
    fn removing(&self, dataset: &Dataset) -> Result<(), MirrorError>;

    /// The first part of a slice or checkpoint that is not what it was when the second form was made, if that is known.
    fn wrong_part(&self, dataset: &Dataset, path: &Path, physical_hash: &Multihash) -> Option<WrongPart>;
}

/// No second form.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMirror;

impl Mirror for NoMirror {
    fn hold(&self) -> Box<dyn Held> {
        Box::new(())
    }

    fn moved(&self, _: &Dataset) -> Result<(), MirrorError> {
        Ok(())
    }

    fn replacing(&self, _: &Dataset, _: u64) -> Result<Box<TakePlace<'_>>, MirrorError> {
        Ok(Box::new(|_, _| Ok(false)))
    }

    fn removing(&self, _: &Dataset) -> Result<(), MirrorError> {
        Ok(())
    }

    fn wrong_part(&self, _: &Dataset, _: &Path, _: &Multihash) -> Option<WrongPart> {
        None
    }
}
