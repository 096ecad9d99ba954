//! Merge strategies by the words of a command line.

use odf_metadata::MergeStrategy;

use crate::error::MergeOptionError;

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
