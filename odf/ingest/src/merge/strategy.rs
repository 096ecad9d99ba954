//! What a merge strategy asks of a table and of earlier rows.

use arrow::datatypes::{DataType, Field};
use odf_metadata::{MergeStrategy, Vocabulary};

use crate::shape::Shape;

/// Whether a table may, or must, have a column with the operation of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperationColumn {
    /// The name is not free: the strategy says what rows do.
    Reserved,
    /// Rows that do not say are appended.
    Optional,
    /// Every row says it.
    Required,
}

impl OperationColumn {
    pub(crate) fn of(strategy: &MergeStrategy) -> OperationColumn {
        match strategy {
            MergeStrategy::Append | MergeStrategy::Ledger { .. } | MergeStrategy::Snapshot { .. } => Self::Reserved,
            MergeStrategy::UpsertStream { .. } => Self::Optional,
            MergeStrategy::ChangelogStream { .. } => Self::Required,
        }
    }

    /// Whether only ODF writes the column of this name.
    pub(crate) fn reserves(self, name: &str, vocabulary: &Vocabulary) -> bool {
        name == vocabulary.offset_column
            || name == vocabulary.system_time_column
            || (name == vocabulary.operation_type_column && self == Self::Reserved)
    }
}

/// The columns by whose ranges a strategy passes over earlier slices: the offset, and those of the key.
pub(crate) fn ranged(strategy: &MergeStrategy, shape: &Shape, vocabulary: &Vocabulary) -> Vec<Field> {
    let column = |name: &String| Some(shape.schema().field(shape.position(name)?).clone());
    let key = strategy.primary_key().iter().filter_map(column);
    let offset = Field::new(&vocabulary.offset_column, DataType::Int64, false);
    std::iter::once(offset).chain(key).collect()
}

/// Whether a strategy looks at earlier rows.
pub(crate) fn needs_history(strategy: &MergeStrategy) -> bool {
    !matches!(strategy, MergeStrategy::Append | MergeStrategy::ChangelogStream { .. })
}
