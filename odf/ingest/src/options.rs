//! What is asked for beside the table itself.

use odf_metadata::{MergeStrategy, MetadataEvent, SourceState, Timestamp};
use odf_tables::ddl::ColumnType;
use odf_tables::slice::SliceOptions;

use crate::effect::Retracting;
use crate::taken::Check;

/// What to do with a file of an append dataset that is not the one taken before, or not with more behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Changed {
    /// Refuse, and say the ways out.
    #[default]
    Refuse,
    /// Append all of its rows.
    TakeAll,
}

/// How a table is taken into a dataset.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The merge strategy; absent: what the dataset has, for a new one append.
    pub merge: Option<MergeStrategy>,
    /// The primary key, where `merge` is absent: of the strategy that the dataset has; for a new dataset, and one that has
    /// append, of ledger. Empty: what the strategy has.
    pub primary_key: Vec<String>,
    /// The event time column; absent: what the dataset has, for a new one `event_time`.
    pub event_time: Option<String>,
    /// Types that columns get whatever their values suggest, where the dataset has no schema yet; where it has one they
    /// must agree with it. The unit of integers in a time column holds for this reading, and for those after the first.
    pub types: Vec<ColumnType>,
    /// Event time of rows that have none; absent: the system time.
    pub default_event_time: Option<Timestamp>,
    /// What to do with a file that changed otherwise than by growing.
    pub changed: Changed,
    /// The file is finished: its last line is taken though nothing ends it.
    pub finished: bool,
    /// Columns that the dataset does not have become optional columns of it.
    pub add_columns: bool,
    /// How many rows a snapshot may retract.
    pub retracting: Retracting,
    /// How the part of the file is looked at that was taken earlier.
    pub check: Check,
    /// How far a file had been taken when the rows were changed otherwise. What is just as far is an old state, and is
    /// [refused](crate::IngestError::Superseded) if it would change rows.
    pub superseded: Option<SourceState>,
    /// For a new dataset: events written behind the source, such as SetInfo, SetLicense, SetAttachments.
    pub events: Vec<MetadataEvent>,
    /// How slices are written.
    pub slice: SliceOptions,
}

impl Options {
    /// The merge strategy that is asked for, for a dataset that has this one; none if none is.
    pub(super) fn strategy(&self, recorded: Option<&MergeStrategy>) -> Option<MergeStrategy> {
        if self.merge.is_some() || self.primary_key.is_empty() {
            return self.merge.clone();
        }
        let primary_key = self.primary_key.clone();
        Some(match recorded {
            Some(MergeStrategy::Snapshot { compare_columns, .. }) => MergeStrategy::Snapshot {
                primary_key,
                compare_columns: compare_columns.clone(),
            },
            Some(MergeStrategy::ChangelogStream { .. }) => MergeStrategy::ChangelogStream { primary_key },
            Some(MergeStrategy::UpsertStream { .. }) => MergeStrategy::UpsertStream { primary_key },
            Some(MergeStrategy::Append | MergeStrategy::Ledger { .. }) | None => MergeStrategy::Ledger { primary_key },
        })
    }
}
