//! What is to be said of a reading that went well: which values did not come out as they went in, and which were passed
//! over. Where a source in the chain says how its rows are read, they are read as kamu reads them, and kamu cuts without a
//! word.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many columns are told by name; what else there is comes together.
pub(crate) const MAX_TOLD: usize = 100;

/// What became of some values of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alteration {
    /// Digits of times below the unit of their column were cut, rounded down.
    CutTimes,
    /// Times of day were cut from dates.
    CutDays,
    /// Digits behind the scale of a decimal were cut.
    CutDecimals,
    /// Numbers that no float of the column is became the nearest one.
    Rounded,
    /// Leap seconds became the second behind them.
    LeapSeconds,
    /// Members of rows that are no column, because the first rows did not have them.
    PassedOver,
    /// The header has the columns in another order than the source; each value is in the column of its name.
    ByName,
    /// The first line is taken for a header, and has none of the names of the source.
    Renamed,
    /// Operations that ODF gives no meaning.
    OddOperations,
    /// The merge strategy compares a column that is not there.
    NotCompared,
    /// Rows that were there, retracted because the new snapshot has none.
    Emptied,
    /// Columns are to be found out, and there is not even one.
    NoColumns,
}

impl Alteration {
    /// One word for programs; it stays what it is.
    pub fn name(self) -> &'static str {
        match self {
            Self::CutTimes => "cutTimes",
            Self::CutDays => "cutDays",
            Self::CutDecimals => "cutDecimals",
            Self::Rounded => "rounded",
            Self::LeapSeconds => "leapSeconds",
            Self::PassedOver => "passedOver",
            Self::ByName => "byName",
            Self::Renamed => "renamed",
            Self::OddOperations => "oddOperations",
            Self::NotCompared => "notCompared",
            Self::Emptied => "emptied",
            Self::NoColumns => "noColumns",
        }
    }
}

/// What became of how many values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Altered {
    /// What it was.
    pub change: Alteration,
    /// How many values; of what is not about values 0.
    pub values: u64,
}

impl fmt::Display for Altered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.values;
        match self.change {
            Alteration::CutTimes => write!(
                f,
                "{n} time(s) have digits below the unit of the column, which were cut as kamu cuts them; declare it as \
                 STRING to keep them"
            ),
            Alteration::CutDays => write!(
                f,
                "{n} date(s) have a time of day, which was cut as kamu cuts it; declare the column as TIMESTAMP to keep it"
            ),
            Alteration::CutDecimals => write!(
                f,
                "{n} decimal(s) have digits behind the scale of the column, which were cut as kamu cuts them; declare a \
                 larger scale to keep them"
            ),
            Alteration::Rounded => write!(
                f,
                "{n} number(s) have more digits than the floats of the column keep, and became the nearest one, as in kamu; \
                 declare a DECIMAL or STRING to keep them"
            ),
            Alteration::LeapSeconds => write!(f, "{n} time(s) are leap seconds and count as the second behind, as in kamu"),
            Alteration::PassedOver => write!(
                f,
                "no column, because the first rows do not have it; {n} row(s) have, and that is left out, as in kamu. \
                 Declare the columns in the source to keep it"
            ),
            Alteration::ByName => f.write_str(
                "the header has the columns in another order than the source; names decide which is which (kamu goes by \
                 place)",
            ),
            Alteration::Renamed => f.write_str(
                "this first line was taken for a header, as the source says that there is one, and is in no row, though it has \
                 none of the source's names: the values below went into the columns by their places, as in kamu. If it is a \
                 row, put a line with the names above it and ingest that line of names and the row; `header: false` in the \
                 source says that files have no header",
            ),
            Alteration::OddOperations => write!(
                f,
                "{n} row(s) have an operation other than 0 (append), 1 (retract), 2 (correct from) and 3 (correct to); a \
                 ChangelogStream stores it as it is, an UpsertStream takes it for 0, as in kamu"
            ),
            Alteration::NotCompared => f.write_str(
                "the merge strategy compares this column (compareColumns) and the data does not have it. The first rows are \
                 taken, as in kamu; later ones are refused until the source is set anew",
            ),
            Alteration::Emptied => write!(
                f,
                "the file has no rows, and a snapshot is the whole state: {n} row(s) that were there are retracted, as in kamu. \
                 --allow-empty says that this is meant; ingesting a snapshot with the rows takes them in again"
            ),
            Alteration::NoColumns => f.write_str(
                "the document is an empty array and the source declares no columns, so the dataset has none of its own yet, as \
                 in kamu; the first rows bring them",
            ),
        }
    }
}

/// What there is to be said so far, by column.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<BTreeMap<(String, Alteration), u64>>);

impl Told {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, Alteration), u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what an earlier reading of the same rows left.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// So many values of a column are to be told of.
    pub(crate) fn add(&self, column: &str, change: Alteration, values: u64) {
        let mut told = self.lock();
        let full = told.len() >= MAX_TOLD;
        let key = (column.to_owned(), change);
        let key = match full && !told.contains_key(&key) {
            true => ("others".to_owned(), change),
            false => key,
        };
        *told.entry(key).or_default() += values;
    }

    /// All of it.
    pub(crate) fn all(&self) -> Vec<(String, Altered)> {
        let told = self.lock();
        let all = told.iter().map(|((column, change), values)| {
            let changed = Altered {
                change: *change,
                values: *values,
            };
            (column.clone(), changed)
        });
        all.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_by_column_and_many_columns_come_together() {
        let told = Told::default();
        told.add("a", Alteration::CutTimes, 2);
        told.add("a", Alteration::CutTimes, 3);
        told.add("a", Alteration::LeapSeconds, 1);
        let shown: Vec<String> = told
            .all()
            .iter()
            .map(|(name, told)| format!("{name}: {told}"))
            .collect();
        assert!(shown[0].starts_with("a: 5 time(s) have digits below"), "{shown:?}");
        assert!(shown[1].starts_with("a: 1 time(s) are leap seconds"), "{shown:?}");
        for column in 0..2 * MAX_TOLD {
            told.add(&format!("c{column:04}"), Alteration::PassedOver, 1);
        }
        let all = told.all();
        assert_eq!(all.len(), MAX_TOLD + 1);
        let others = all.iter().find(|(name, _)| name == "others").unwrap();
        assert_eq!(others.1.values, 2 * MAX_TOLD as u64 - (MAX_TOLD as u64 - 2));
        told.clear();
        assert!(told.all().is_empty());
    }
}
