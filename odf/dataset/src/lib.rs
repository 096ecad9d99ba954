//! Open Data Fabric datasets on disk.
//!
//! A [`Dataset`] is a directory with a chain, slices and checkpoints, and commits that survive a crash; [`catalog`] finds the
//! datasets of a directory by name and id; [`Datasets`] are those together with the [`Mirror`] that must hear of their
//! changes. [`receive`] brings datasets here, [`verify`] checks every hash and rule, [`compact`] and [`rewrite`] write history again, [`snapshot`] makes
//! datasets of manifests, [`lineage`] tells which is computed from which.

pub mod catalog;
pub mod compact;
mod dataset;
mod error_of;
pub mod lineage;
#[cfg(test)]
mod made_up;
mod medium;
mod mirror;
pub mod receive;
pub mod repair;
pub mod rewrite;
pub mod search;
mod settled;
pub mod snapshot;
mod swap;
pub mod verify;

pub use dataset::{
    AmendError, Approval, BlockPlace, Blocks, Change, Changed, Changes, Current, Damage, Dataset, DatasetError,
    DatasetName, Grant, INCOMING_PREFIX, Incoming, MAX_APPROVALS, MAX_NAME_BYTES, MIN_HASH_DIGITS, NameError,
    NewBlocks, NewDataset, Newest, Object, ObjectKind, PointError, RebaseError, Rebased, RemoteAliases, Sharing,
    StateError, StoredBlock, Summary,
};
pub use error_of::ErrorOf;
pub use medium::{Cache, MAX_REMEMBERED, Medium, MemoryCache};
pub use mirror::{Arriving, ArrivingObject, Held, Mirror, MirrorError, NoMirror, Served, TakePlace, WrongPart};
pub use rewrite::Datasets;
pub use settled::Mark;
