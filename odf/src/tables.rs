//! The datasets of a workspace as tables of queries, and others that are not here.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use odf_dataset::catalog::CatalogError;
use odf_ipfs::pull::OnDemand;
use odf_metadata::DataSlice;
use odf_query::select::{Files, SliceSource, Table, TableError, Tables};

use crate::workspace::Workspace;

/// The datasets that are here, by name or id; copies by theirs; and some that are elsewhere, by what a query calls them.
#[derive(Clone)]
pub struct WorkspaceTables {
    /// Where those are that are here.
    pub workspace: Workspace,
    /// Others, by address as the query writes it.
    pub elsewhere: HashMap<String, OnDemand>,
    /// Whether slices of those are read as blocks also where they are files here.
    pub by_blocks: bool,
}

/// A point of a dataset that is not here, of which only the head is known.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not here, and is read as it is now; its earlier states can be asked for once it is pulled")]
pub struct NotHere(String);

impl Tables for WorkspaceTables {
    fn find(&self, name: &str, point: Option<&str>) -> Result<Option<Table>, TableError> {
        if let Some(far) = self.elsewhere.get(name) {
            return match point {
                Some(_) => Err(TableError::new(NotHere(name.to_owned()))),
                None => self.far(name, far).map(Some),
            };
        }
        let found = match self.workspace.catalog().find(name) {
            Err(CatalogError::Unknown { .. }) => self.workspace.copies().find(name).map_err(TableError::new)?,
            found => Some(found.map_err(TableError::new)?),
        };
        let Some(dataset) = found else {
            return Ok(None);
        };
        let dataset = match point {
            None => dataset,
            Some(point) => {
                let block = dataset.point(point).map_err(TableError::new)?.block;
                let there = dataset.as_of(block.block().sequence_number);
                there.map_err(TableError::new)?
            }
        };
        Table::of(name, &dataset).map(Some)
    }

    fn names(&self) -> Result<Vec<String>, TableError> {
        let entries = self.workspace.catalog().entries().map_err(TableError::new)?;
        let names = entries.into_iter().filter_map(|entry| entry.name);
        Ok(names.map(|name| name.to_string()).collect())
    }
}

impl WorkspaceTables {
    /// A dataset that is elsewhere. Slices of it that are here are read here.
    fn far(&self, name: &str, far: &OnDemand) -> Result<Table, TableError> {
        let chain = far.chain();
        let here = match self.by_blocks {
            true => None,
            false => {
                let catalog = self.workspace.catalog();
                catalog.by_id(&chain.state.dataset_id).map_err(TableError::new)?
            }
        };
        let source = Far {
            far: far.clone(),
            here: here.map(|dataset| Files(dataset.data_dir())),
        };
        Table::new(name, &chain.state, chain.slices.clone(), Arc::new(source)).map_err(TableError::new)
    }
}

/// Slices of a dataset that is elsewhere.
struct Far {
    far: OnDemand,
    here: Option<Files>,
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.far.fmt(f)
    }
}

#[async_trait::async_trait]
impl SliceSource for Far {
    async fn read(&self, slice: &DataSlice, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, TableError> {
        if let Some(here) = self.here.as_ref().filter(|here| here.has(slice)) {
            return here.read(slice, ranges).await;
        }
        self.far.read(slice, ranges).await.map_err(TableError::new)
    }

    fn is_far(&self) -> bool {
        true
    }
}
