//! Which rows a snapshot retracts, by their keys: the first few, for a person who is asked.

use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use odf_metadata::{MergeStrategy, OperationType};

use crate::merge::Operations;
use crate::shape::Shape;
use crate::source::shorten;

/// How many rows that go are told of.
const MAX_ROWS_TOLD: usize = 3;

/// The keys of the first rows that are retracted.
pub(crate) struct Gone {
    /// Names of the key's columns, and where they are in a row.
    key: Vec<(String, usize)>,
    told: Vec<String>,
}

impl Gone {
    /// None yet. Nothing is told of rows of another strategy than snapshot, nor of those whose key is not a column of data.
    pub(crate) fn of(strategy: &MergeStrategy, shape: &Shape) -> Gone {
        let names: &[String] = match strategy {
            MergeStrategy::Snapshot { primary_key, .. } => primary_key,
            _ => &[],
        };
        let at = |name: &String| Some((name.clone(), shape.position(name)?));
        Gone {
            key: names.iter().map(at).collect::<Option<_>>().unwrap_or_default(),
            told: Vec::new(),
        }
    }

    /// Looks for retracted rows among those that are written.
    pub(crate) fn look(&mut self, batch: &RecordBatch, operations: Operations<'_>) {
        const RETRACT: i32 = OperationType::Retract as i32;
        for row in 0..batch.num_rows() {
            if self.key.is_empty() || self.told.len() == MAX_ROWS_TOLD {
                return;
            }
            let is_retracted = match operations {
                Operations::All(operation) => operation as i32 == RETRACT,
                Operations::Each(each) => each.get(row) == Some(&RETRACT),
            };
            if is_retracted {
                let value = |(name, at): &(String, usize)| {
                    let value = batch
                        .columns()
                        .get(*at)
                        .map(|column| array_value_to_string(column, row));
                    format!("{name} {}", shorten(&value.and_then(Result::ok).unwrap_or_default()))
                };
                let values: Vec<String> = self.key.iter().map(value).collect();
                self.told.push(values.join(", "));
            }
        }
    }

    /// A text for each row, such as `id 7`.
    pub(crate) fn into_told(self) -> Vec<String> {
        self.told
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn the_first_rows_that_go_are_told_up_to_the_limit() {
        let most = i64::try_from(MAX_ROWS_TOLD).unwrap();
        let ids: Int64Array = (0..most + 2).collect();
        let names: StringArray = ids
            .values()
            .iter()
            .map(|id| Some("x".repeat(100 * *id as usize)))
            .collect();
        let batch =
            RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef), ("name", Arc::new(names) as ArrayRef)])
                .unwrap();
        let mut operations = vec![OperationType::Retract as i32; batch.num_rows()];
        operations[0] = OperationType::Append as i32;
        let mut gone = Gone {
            key: vec![("id".to_owned(), 0), ("name".to_owned(), 1)],
            told: Vec::new(),
        };
        gone.look(&batch, Operations::Each(&operations));
        let told = gone.into_told();
        assert_eq!(told.len(), MAX_ROWS_TOLD);
        assert!(
            told[0].starts_with("id 1, name xxx") && told[0].ends_with('…'),
            "{told:?}"
        );
    }
}
