//! A query over whole datasets: each is a table by its name.

use std::path::Path;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use odf_dataset::{Dataset, DatasetError};
use odf_ingest::QueryError;
use odf_ingest::source::{Batches as _, SourceError};
use odf_metadata::{SqlQueryStep, Timestamp, Transform, TransformSql};
use odf_tables::types::{NoCounterpart, to_arrow};

use crate::slices::{Slices, unknown};
use crate::sql::{ENGINE, Query};

/// Why a query gave no rows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// The query cannot be understood.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Rows cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A chain cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A column of a dataset has a type that has no counterpart.
    #[error(transparent)]
    Type(#[from] NoCounterpart),
}

/// The rows that `sql` gives over `datasets`, which are tables by these names; those without a schema are none. The whole
/// result is held in memory. Temporary files go below `scratch`; `now` is the time that `now()` gives.
///
/// # Errors
/// See [`SelectError`].
pub fn select(
    datasets: &[(String, Dataset)],
    sql: &str,
    scratch: &Path,
    now: Timestamp,
) -> Result<Vec<RecordBatch>, SelectError> {
    let mut tables = Vec::new();
    for (name, dataset) in datasets {
        let Some(schema) = dataset.state().schema.as_ref().and_then(|event| event.schema.as_ref()) else {
            continue;
        };
        let files = dataset.slices()?.into_iter();
        tables.push(Slices {
            name: name.clone(),
            schema: Arc::new(to_arrow(schema)?),
            files: files
                .map(|slice| (dataset.slice_path(&slice.physical_hash), slice))
                .collect(),
        });
    }
    let transform = Transform::Sql(TransformSql {
        engine: ENGINE.to_owned(),
        version: None,
        query: None,
        queries: Some(vec![SqlQueryStep {
            alias: None,
            query: sql.to_owned(),
        }]),
        temporal_tables: None,
    });
    let inputs = tables.iter().map(|table| (table.name.clone(), table.schema.clone()));
    let query = Query::plan(&transform, inputs.collect(), now)?;
    let open = Box::new(|at: usize, _: Option<&[usize]>| tables.get(at).map(Slices::open).ok_or_else(|| unknown(at)));
    let mut answer = query.run("the query", scratch, open)?;
    let mut rows = Vec::new();
    while let Some(batch) = answer.next_batch()? {
        rows.push(batch);
    }
    Ok(rows)
}
