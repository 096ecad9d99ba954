//! What a merge strategy asks of a table and of earlier rows, and what it is called on a command line.

use arrow::datatypes::{DataType, Field};
use odf_metadata::{MergeStrategy, Vocabulary};

use crate::error::MergeOptionError;
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

/// The merge strategy that `--merge` and `--primary-key` stand for: none if neither is given, ledger if only the key is.
pub fn merge_option(merge: Option<&str>, primary_key: Vec<String>) -> Result<Option<MergeStrategy>, MergeOptionError> {
    let keyed = !primary_key.is_empty();
    match merge.map(str::to_ascii_lowercase).as_deref() {
        None if !keyed => Ok(None),
        None | Some("ledger") if keyed => Ok(Some(MergeStrategy::Ledger { primary_key })),
        Some("snapshot") if keyed => Ok(Some(MergeStrategy::Snapshot {
            primary_key,
            compare_columns: None,
        })),
        Some("changelog") if keyed => Ok(Some(MergeStrategy::ChangelogStream { primary_key })),
        Some("upsert") if keyed => Ok(Some(MergeStrategy::UpsertStream { primary_key })),
        Some("append") if keyed => Err(MergeOptionError::KeyUnused),
        Some("append") => Ok(Some(MergeStrategy::Append)),
        Some("ledger") | None => Err(MergeOptionError::KeyMissing("ledger")),
        Some("snapshot") => Err(MergeOptionError::KeyMissing("snapshot")),
        Some("changelog") => Err(MergeOptionError::KeyMissing("changelog")),
        Some("upsert") => Err(MergeOptionError::KeyMissing("upsert")),
        Some(other) => Err(MergeOptionError::Unknown(other.to_owned())),
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
