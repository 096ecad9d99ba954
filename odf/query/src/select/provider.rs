//! A dataset as a table of the engine: which slices can hold rows that a query wants, and how many rows there are.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, UInt64Array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, Result, ScalarValue, Statistics, ToDFSchema as _};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use odf_metadata::DataSlice;

use super::read::Read;
use super::reader::{Footers, Slices, Stores};
use super::table::Table;

/// A [`Table`] that the engine reads.
pub(super) struct Provider {
    table: Table,
    footers: Arc<Footers>,
    read: Arc<Read>,
}

impl Provider {
    pub(super) fn new(table: Table, footers: Arc<Footers>, read: Arc<Read>) -> Provider {
        Provider { table, footers, read }
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// The slices that can hold rows for which all of the filters are true.
    fn candidates(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<&DataSlice>> {
        let all = self.table.slices.iter();
        let Some(filter) = conjunction(filters.iter().cloned()) else {
            return Ok(all.collect());
        };
        let schema = self.table.schema.clone().to_dfschema()?;
        let filter = state.create_physical_expr(filter, &schema)?;
        // What cannot be decided by what the chain says is decided by footers and rows.
        let Ok(predicate) = PruningPredicateBuilder::new()
            .with_file_schema(self.table.schema.clone())
            .try_build(filter)
        else {
            return Ok(all.collect());
        };
        let offsets = Offsets {
            column: &self.table.vocabulary.offset_column,
            slices: &self.table.slices,
        };
        let kept = predicate.prune(&offsets)?;
        Ok(all
            .zip(kept)
            .filter_map(|(slice, kept)| kept.then_some(slice))
            .collect())
    }

    /// What is known of these slices without reading any of them.
    fn statistics_of(&self, slices: &[&DataSlice]) -> Statistics {
        let offset = &self.table.vocabulary.offset_column;
        let mut statistics = Statistics::new_unknown(&self.table.schema);
        let rows = slices.iter().map(|slice| rows(slice)).fold(0u64, u64::saturating_add);
        let bytes = slices.iter().map(|slice| slice.size).fold(0u64, u64::saturating_add);
        statistics.num_rows = Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX));
        statistics.total_byte_size = Precision::Inexact(usize::try_from(bytes).unwrap_or(usize::MAX));
        let least = slices.iter().map(|slice| slice.offset_interval.start).min();
        let most = slices.iter().map(|slice| slice.offset_interval.end).max();
        let bound = |bound: Option<u64>| match bound.and_then(|bound| i64::try_from(bound).ok()) {
            Some(bound) => Precision::Exact(ScalarValue::Int64(Some(bound))),
            None => Precision::Absent,
        };
        for (field, column) in self.table.schema.fields().iter().zip(&mut statistics.column_statistics) {
            if field.name() == offset && *field.data_type() == DataType::Int64 {
                *column = ColumnStatistics {
                    null_count: Precision::Exact(0),
                    min_value: bound(least),
                    max_value: bound(most),
                    ..ColumnStatistics::new_unknown()
                };
            }
        }
        statistics
    }
}

/// How many rows a slice has, by the chain.
fn rows(slice: &DataSlice) -> u64 {
    let offsets = slice.offset_interval;
    offsets.end.saturating_sub(offsets.start).saturating_add(1)
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.table.name)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for Provider {
    fn schema(&self) -> SchemaRef {
        self.table.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters spare slices and row groups; whether a row fits is looked at behind the scan.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.statistics_of(&self.table.slices.iter().collect::<Vec<_>>()))
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let slices = self.candidates(state, filters)?;
        if slices.is_empty() {
            let schema: Schema = match projection {
                Some(columns) => self.table.schema.project(columns)?,
                None => self.table.schema.as_ref().clone(),
            };
            return Ok(Arc::new(EmptyExec::new(Arc::new(schema))));
        }
        let bytes = slices.iter().map(|slice| slice.size).fold(0u64, u64::saturating_add);
        self.read.want(bytes);
        let parquet = state.default_table_options().parquet;
        let source = ParquetSource::new(self.table.schema.clone())
            .with_table_parquet_options(parquet)
            // Looking at the columns of filters first spares bytes, and takes longer where they cost nothing.
            .with_pushdown_filters(self.table.source.is_far())
            .with_parquet_file_reader_factory(Arc::new(Slices {
                source: self.table.source.clone(),
                footers: self.footers.clone(),
                read: self.read.clone(),
            }));
        let groups = grouped(&slices, bytes, state.config().target_partitions(), |slice| {
            PartitionedFile::new(slice.physical_hash.to_string(), slice.size)
                .with_statistics(Arc::new(self.statistics_of(&[slice])))
                .with_extension(slice.clone())
        });
        let config = FileScanConfigBuilder::new(Stores::url(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(self.statistics_of(&slices))
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// Slices in as many runs as there are partitions, of about as many bytes each.
fn grouped(
    slices: &[&DataSlice],
    bytes: u64,
    partitions: usize,
    file: impl Fn(&DataSlice) -> PartitionedFile,
) -> Vec<FileGroup> {
    let share = (bytes / partitions.max(1) as u64).max(1);
    let mut groups: Vec<Vec<PartitionedFile>> = Vec::new();
    let mut before = 0u64;
    for slice in slices {
        let at = usize::try_from(before / share)
            .unwrap_or(usize::MAX)
            .min(partitions.max(1) - 1);
        if groups.len() <= at {
            groups.push(Vec::new());
        }
        if let Some(group) = groups.last_mut() {
            group.push(file(slice));
        }
        before = before.saturating_add(slice.size);
    }
    groups.into_iter().map(FileGroup::new).collect()
}

/// What the chain says of slices: which offsets they have.
struct Offsets<'a> {
    column: &'a str,
    slices: &'a [DataSlice],
}

impl Offsets<'_> {
    fn bounds(&self, column: &Column, bound: impl Fn(&DataSlice) -> u64) -> Option<ArrayRef> {
        let bounds = self.slices.iter().map(|slice| i64::try_from(bound(slice)).ok());
        (column.name == self.column).then(|| Arc::new(bounds.collect::<Int64Array>()) as ArrayRef)
    }
}

impl PruningStatistics for Offsets<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |slice| slice.offset_interval.start)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |slice| slice.offset_interval.end)
    }

    fn num_containers(&self) -> usize {
        self.slices.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let none = UInt64Array::from_value(0, self.slices.len());
        (column.name == self.column).then(|| Arc::new(none) as ArrayRef)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(
            self.slices
                .iter()
                .map(|slice| Some(rows(slice)))
                .collect::<UInt64Array>(),
        ))
    }

    fn contained(&self, _: &Column, _: &std::collections::HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
