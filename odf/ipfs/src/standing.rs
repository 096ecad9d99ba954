//! What is remembered of the roots of a dataset beside its layout: since when they stand, and that a name is to be moved.
//!
//! It is in the index of the store and goes with it. Whoever reads it takes a root of which nothing is known for one that is
//! to be kept.

use odf_metadata::{DatasetId, Timestamp};
use odf_node::block::Cid;
use odf_node::store::{Store, StoreError};
use serde::{Deserialize, Serialize};

/// Table of what stands of each dataset.
const STANDING: &str = "odf.standing";
/// Table of the datasets whose names are to be moved to their heads.
const DUE: &str = "odf.due";

/// The roots of a dataset that stand for it, and how far its older ones were thinned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// The newest root and those that names stand for, each with since when, in milliseconds since 1970.
    pub(crate) roots: Vec<(Cid, u64)>,
    /// By which rules they were thinned last, and the time of the head then.
    pub(crate) thinned: Option<(String, i64)>,
    /// The last root that stood for long enough to be kept for good.
    #[serde(default)]
    pub(crate) kept: Option<Cid>,
}

impl Standing {
    /// What is known; nothing if that is lost or cannot be read.
    pub(crate) fn of(store: &Store, id: &DatasetId) -> Self {
        let saved = store.table(STANDING).and_then(|table| table.get(&id.to_bytes()));
        let saved = saved.unwrap_or_else(|error| {
            tracing::debug!(dataset = %id, %error, "since when roots stand is not known");
            None
        });
        saved
            .and_then(|bytes| serde_ipld_dagcbor::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Remembers it. What cannot be written costs no more than roots that are kept longer, so that is only logged.
    pub(crate) fn save(&self, store: &Store, id: &DatasetId) {
        let Ok(bytes) = serde_ipld_dagcbor::to_vec(self) else {
            return;
        };
        let saved = store
            .table(STANDING)
            .and_then(|table| table.insert(&id.to_bytes(), &bytes));
        if let Err(error) = saved {
            tracing::debug!(dataset = %id, %error, "since when roots stand is not remembered");
        }
    }

    /// The roots that are known here, and the newest one.
    pub(crate) fn staying(&self, newest: Cid) -> Vec<Cid> {
        let roots = self.roots.iter().map(|(root, _)| *root);
        roots.chain(self.kept).chain([newest]).collect()
    }

    /// When the dataset was thinned by `rules` last.
    pub(crate) fn thinned_by(&self, rules: &str) -> Option<Timestamp> {
        let (last, at) = self.thinned.as_ref()?;
        Timestamp::from_millis(*at).filter(|_| last == rules)
    }
}

/// Forgets all about a dataset. What cannot be removed, as on a full disk, says nothing of a dataset that is not there.
pub(crate) fn forget(store: &Store, id: &DatasetId) {
    for name in [STANDING, DUE] {
        let removed = store.table(name).and_then(|table| table.remove(&id.to_bytes()));
        if let Err(error) = removed {
            tracing::debug!(dataset = %id, name, %error, "what is remembered of the roots of a dataset stays");
        }
    }
}

/// Notes that the name of a dataset is to be moved to its head. Durable when this returns.
///
/// # Errors
/// The index cannot be written.
pub(crate) fn set_due(store: &Store, id: &DatasetId) -> Result<(), StoreError> {
    let table = store.table(DUE)?;
    if table.get(&id.to_bytes())?.is_some() {
        return Ok(());
    }
    table.insert(&id.to_bytes(), &[])?;
    store.flush()
}

/// Notes that the name of a dataset was moved. If that is lost, or cannot be written, it is moved again, to where it stands.
pub(crate) fn clear_due(store: &Store, id: &DatasetId) {
    let cleared = store.table(DUE).and_then(|table| match table.get(&id.to_bytes())? {
        Some(_) => table.remove(&id.to_bytes()),
        None => Ok(()),
    });
    if let Err(error) = cleared {
        tracing::debug!(dataset = %id, %error, "a name that was moved is to be moved again");
    }
}

/// The datasets whose names are to be moved.
///
/// # Errors
/// The index cannot be read.
pub(crate) fn all_due(store: &Store) -> Result<Vec<DatasetId>, StoreError> {
    let mut due = Vec::new();
    for entry in store.table(DUE)?.scan_prefix(&[]) {
        due.extend(DatasetId::from_bytes(&entry?.0).ok());
    }
    Ok(due)
}
