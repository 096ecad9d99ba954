//! Errors of history that is written again: reset and compaction.

use odf::CollectError;
use odf::compact::CompactError;
use odf::dataset::{AmendError, MirrorError, PointError};
use odf::layout::LayoutError;
use odf::repair::RepairError;
use odf::rewrite::RewriteError;

use odf_node::store::StoreError;

use super::damaged;
use crate::failure::{Failure, Kind, chain};

impl From<RewriteError> for Failure {
    fn from(error: RewriteError) -> Self {
        match error {
            RewriteError::Dataset(error) => error.into(),
            RewriteError::Mirror(error) => error.into(),
            RewriteError::Catalog(error) => error.into(),
            RewriteError::Left { id, source } => Failure::from(*source)
                .about(format!(
                    "the dataset {id} is deleted, but what is left of it cannot be removed yet"
                ))
                .next("it is removed when odfs is started again"),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<AmendError> for Failure {
    fn from(error: AmendError) -> Self {
        match error {
            AmendError::State(error) => error.into(),
            AmendError::Column(_) => Failure::new(Kind::Schema, &error)
                .next("`odfs export DATASET FILE.csv --as-of BLOCK` writes the rows as they were"),
            error => Failure::new(Kind::Refused, chain(&error)),
        }
    }
}

impl From<PointError> for Failure {
    fn from(error: PointError) -> Self {
        match error {
            PointError::Malformed { ref dataset, .. } => {
                Failure::usage(&error).next(format!("`odfs log {dataset}` shows its blocks and their times"))
            }
            PointError::Ambiguous { .. } => Failure::usage(&error).next("use more of the hash"),
            PointError::Unknown { ref dataset, .. } | PointError::Earlier { ref dataset, .. } => {
                Failure::new(Kind::NotFound, &error).next(format!("`odfs log {dataset}` shows those it has"))
            }
            PointError::Dataset(error) => error.into(),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<MirrorError> for Failure {
    fn from(error: MirrorError) -> Self {
        match error.take::<LayoutError>() {
            Ok(error) => error.into(),
            Err(error) => match error.take::<StoreError>() {
                Ok(error) => error.into(),
                Err(error) => Failure::new(Kind::General, chain(&error)),
            },
        }
    }
}

impl From<RepairError> for Failure {
    fn from(error: RepairError) -> Self {
        match error {
            RepairError::Dataset(error) => error.into(),
            RepairError::Catalog(error) => error.into(),
            RepairError::Mirror(error) => error.into(),
            RepairError::Receive(error) => error.into(),
            RepairError::Stopped => Failure::interrupted(),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<CollectError> for Failure {
    fn from(error: CollectError) -> Self {
        match error {
            CollectError::Catalog(error) => error.into(),
            CollectError::Store(error) => error.into(),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<CompactError> for Failure {
    fn from(error: CompactError) -> Self {
        match error {
            CompactError::Derivative(_) => {
                Failure::new(Kind::Refused, &error).next("pass --keep-metadata-only to drop its data")
            }
            CompactError::TimeBeforeHead { .. } => {
                Failure::new(Kind::Refused, &error).next("check the clock, or --system-time")
            }
            CompactError::Rows { .. } => damaged(&error),
            CompactError::Dataset(error) => error.into(),
            CompactError::Slice(error) => error.into(),
            CompactError::Chain(error) => error.into(),
            CompactError::Rewrite(error) => error.into(),
            CompactError::Stopped => Failure::interrupted(),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}
