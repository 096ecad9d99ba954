//! The second form of a dataset: on IPFS, its DAG. It must hear of every change; what it is made of is its own matter.

mod error;

use std::fmt;
use std::path::{Path, PathBuf};

use odf_metadata::{DatasetId, Multihash};

pub use error::{MirrorError, TakePlace};

use crate::{Dataset, Object};

/// Keeps the collection of garbage away until it is dropped.
pub trait Held: Send + Sync {}

impl<T: Send + Sync> Held for T {}

/// Hears of the objects that arrive in one dataset, so that they need not be read again when it is at its new head. What it
/// remembers goes with it.
pub trait Arriving: Send + Sync {
    /// What takes the bytes of this object as they come; nothing if they are not wanted.
    fn object(&self, object: &Object) -> Option<Box<dyn ArrivingObject>>;
}

impl Arriving for () {
    fn object(&self, _: &Object) -> Option<Box<dyn ArrivingObject>> {
        None
    }
}

/// Takes the bytes of one object that arrives.
pub trait ArrivingObject: Send {
    /// The next bytes.
    fn bytes(&mut self, bytes: &[u8]);

    /// These were all, they have the object's length and hash, and are in the file that is to get its name.
    fn complete(self: Box<Self>);
}

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
            Some(end) => write!(f, "the first wrong byte is in bytes {start} to {end}, block {block}"),
            None => write!(f, "the first wrong byte is in block {block}, the whole file"),
        }
    }
}

/// What there is of the second form of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// Whether it was made at the head, and is kept.
    pub is_at_head: bool,
    /// Blocks that are here and what they should be.
    pub blocks: u64,
    /// Blocks that are named by those and are missing or damaged. What they would name is not known.
    pub lacking: u64,
    /// The first of them.
    pub first_lacking: Option<String>,
}

impl Served {
    /// Whether every block is here.
    pub fn is_whole(&self) -> bool {
        self.is_at_head && self.lacking == 0
    }

    /// What is wrong with it, for people.
    pub fn fault(&self) -> String {
        match &self.first_lacking {
            Some(first) => format!("block {first} is missing or damaged, {} in all at least", self.lacking),
            None => "it is not that of the head".to_owned(),
        }
    }
}

/// What keeps a second form of every dataset. All calls are made by whoever may change the dataset.
pub trait Mirror: Send + Sync {
    /// Keeps the collection of garbage away from files that no chain names yet.
    fn hold(&self) -> Box<dyn Held>;

    /// Objects of a dataset are about to arrive. There is one such arrival of a dataset at a time.
    fn arriving(&self, _: &DatasetId) -> Box<dyn Arriving> {
        Box::new(())
    }

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

    /// The dataset is about to be removed, with its files in `dir`. It may be damaged, and may stay after all. When this
    /// returns what others need of its files is kept elsewhere.
    ///
    /// # Errors
    /// It could not be kept: the dataset must stay.
    fn removing(&self, id: &DatasetId, dir: &Path) -> Result<(), MirrorError>;

    /// The dataset is gone, its files, which were in `dir`, are no longer there or about to go. When this returns nothing
    /// of it is left here. It may have been called before.
    ///
    /// # Errors
    /// Something is left; the next call goes on.
    fn removed(&self, id: &DatasetId, dir: &Path) -> Result<(), MirrorError>;

    /// Files of the dataset were put in place again, durably, by somebody else. When this returns the second form refers to
    /// them.
    ///
    /// # Errors
    /// It does not; the next [`Self::moved`] makes it good.
    fn mended(&self, dataset: &Dataset, files: &[PathBuf]) -> Result<(), MirrorError>;

    /// Looks at every block of the second form at the head, as whoever is served it would. `on_bytes` hears of each.
    ///
    /// # Errors
    /// It could not be looked at. That something is missing is no error.
    fn check(&self, dataset: &Dataset, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<Served, MirrorError>;

    /// The head that the second form was made at last, if that is known.
    fn last_head(&self, id: &DatasetId) -> Option<Multihash>;

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

    fn removing(&self, _: &DatasetId, _: &Path) -> Result<(), MirrorError> {
        Ok(())
    }

    fn removed(&self, _: &DatasetId, _: &Path) -> Result<(), MirrorError> {
        Ok(())
    }

    fn mended(&self, _: &Dataset, _: &[PathBuf]) -> Result<(), MirrorError> {
        Ok(())
    }

    fn check(&self, _: &Dataset, _: &(dyn Fn(u64) + Sync)) -> Result<Served, MirrorError> {
        Ok(Served {
            is_at_head: true,
            ..Served::default()
        })
    }

    fn last_head(&self, _: &DatasetId) -> Option<Multihash> {
        None
    }

    fn wrong_part(&self, _: &Dataset, _: &Path, _: &Multihash) -> Option<WrongPart> {
        None
    }
}
