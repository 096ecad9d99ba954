//! Which rows differ between what a chain has and what came of a replay.
//!
//! Both are gone through side by side, as rows without their offsets, whatever the order: what stands at the same place on both
//! sides is forgotten at once, and of what does not, a hash is kept until the other side has it too. So memory holds what
//! differs, and what is out of place for as long as it is. The first rows that are left are read again, to be shown.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use arrow::array::{AsArray as _, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use odf_ingest::source::{Problem, SourceError};

use crate::transform::error::TransformError;

/// The most rows of either side that are shown.
pub const MAX_SHOWN_ROWS: usize = 10;

/// The most rows that are out of place at once; about 48 bytes each.
#[cfg(not(test))]
pub(super) const MAX_APART_ROWS: usize = 1 << 22;
#[cfg(test)]
pub(super) const MAX_APART_ROWS: usize = 100;

/// What the rows of a block and those that came of it do not have in common.
#[derive(Debug, Clone)]
pub struct RowDifference {
    /// Rows that the chain has.
    pub recorded: u64,
    /// Rows that came of the transform.
    pub computed: u64,
    /// Rows that only the chain has.
    pub only_recorded: u64,
    /// Rows that only the transform gives.
    pub only_computed: u64,
    /// Whether a row stands at another place than on the other side.
    pub is_moved: bool,
    /// Whether all rows were compared; too many stood elsewhere if not.
    pub is_whole: bool,
    /// The first rows that only the chain has, [`MAX_SHOWN_ROWS`] at most.
    pub recorded_rows: RecordBatch,
    /// The first rows that only the transform gives, as many at most.
    pub computed_rows: RecordBatch,
}

impl RowDifference {
    /// The offset of the first row that one of the sides lacks.
    pub fn first(&self) -> Option<i64> {
        let offset = |rows: &RecordBatch| {
            let offsets = rows.columns().first()?.as_primitive_opt::<Int64Type>()?;
            offsets.values().first().copied()
        };
        let offsets = [offset(&self.recorded_rows), offset(&self.computed_rows)];
        offsets.into_iter().flatten().min()
    }
}

impl fmt::Display for RowDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (recorded, computed) = (self.recorded, self.computed);
        match (self.only_recorded, self.only_computed) {
            _ if !self.is_whole => write!(
                f,
                "more than {MAX_APART_ROWS} of its {recorded} row(s) are not what the transform gives, or not where it gives them; \
                 it gives {computed}"
            ),
            (0, 0) if self.is_moved => f.write_str("its rows are those that the transform gives, in another order"),
            (0, 0) => f.write_str("its rows are those that the transform gives, and their hash and offsets are not"),
            (only_recorded, only_computed) => {
                write!(
                    f,
                    "{only_recorded} of its {recorded} row(s) did not come of the transform, and {only_computed} of {computed} \
                     row(s) that did are missing"
                )?;
                self.first()
                    .map_or(Ok(()), |offset| write!(f, "; the first is at offset {offset}"))
            }
        }
    }
}

/// Gives batches, none at the end.
pub(super) type Side<'a> = Box<dyn FnMut() -> Result<Option<RecordBatch>, TransformError> + 'a>;

/// Opens one side from its first row.
pub(super) type Open<'a> = dyn Fn() -> Result<Side<'a>, TransformError> + 'a;

/// Compares two sides whose first column is the offset, with so many rows each.
///
/// # Errors
/// Those of the sides; rows of such columns cannot be compared.
pub(super) fn difference(
    schema: &SchemaRef,
    recorded: &Open<'_>,
    computed: &Open<'_>,
    (recorded_count, computed_count): (u64, u64),
) -> Result<RowDifference, TransformError> {
    let keys = Keys::new(schema)?;
    let (mut left, mut right) = (Hashes::new(recorded()?, &keys), Hashes::new(computed()?, &keys));
    // How often the chain has a row more than the transform gives it.
    let mut surplus: HashMap<u128, i64> = HashMap::new();
    let (mut is_moved, mut is_whole) = (false, true);
    loop {
        let rows = (left.next_hash()?, right.next_hash()?);
        match rows {
            (None, None) => break,
            (Some(left), Some(right)) if left == right => continue,
            _ => is_moved = true,
        }
        for (hash, more) in [(rows.0, 1), (rows.1, -1)] {
            let Some(hash) = hash else { continue };
            let count = surplus.entry(hash).or_default();
            *count += more;
            if *count == 0 {
                surplus.remove(&hash);
            }
        }
        if surplus.len() > MAX_APART_ROWS {
            is_whole = false;
            break;
        }
    }
    drop((left, right));
    let sum = |sign: i64| -> u64 {
        let counts = surplus.values().map(|count| count * sign).filter(|count| *count > 0);
        counts.map(i64::unsigned_abs).sum()
    };
    let (only_recorded, only_computed) = (sum(1), sum(-1));
    let shown = |open: &Open<'_>, wanted: u64, sign: i64| first(open, &keys, schema, &surplus, wanted, sign);
    Ok(RowDifference {
        recorded: recorded_count,
        computed: computed_count,
        only_recorded,
        only_computed,
        is_moved,
        is_whole,
        recorded_rows: shown(recorded, only_recorded, 1)?,
        computed_rows: shown(computed, only_computed, -1)?,
    })
}

/// The first rows of one side that the other lacks.
fn first(
    open: &Open<'_>,
    keys: &Keys,
    schema: &SchemaRef,
    surplus: &HashMap<u128, i64>,
    wanted: u64,
    sign: i64,
) -> Result<RecordBatch, TransformError> {
    let mut wanted = usize::try_from(wanted).unwrap_or(usize::MAX).min(MAX_SHOWN_ROWS);
    let (mut found, mut taken) = (Vec::new(), HashMap::<u128, i64>::new());
    if wanted > 0 {
        let mut side = open()?;
        while let Some(batch) = side()? {
            let mut rows: Vec<u32> = Vec::new();
            for (row, hash) in (0..).zip(keys.of(&batch)?) {
                let more = surplus.get(&hash).copied().unwrap_or(0) * sign;
                let taken = taken.entry(hash).or_default();
                if *taken < more && rows.len() < wanted {
                    *taken += 1;
                    rows.push(row);
                }
            }
            taken.retain(|hash, _| surplus.contains_key(hash));
            wanted -= rows.len();
            if !rows.is_empty() {
                found.push(take_record_batch(&batch, &UInt32Array::from(rows)).map_err(incomparable)?);
            }
            if wanted == 0 {
                break;
            }
        }
    }
    concat_batches(schema, &found).map_err(incomparable)
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed by name")]
fn incomparable(error: ArrowError) -> TransformError {
    TransformError::Source(SourceError {
        name: "rows side by side".to_owned(),
        place: None,
        column: None,
        problem: Problem::Syntax(error.to_string()),
    })
}

/// Makes rows comparable.
struct Keys {
    converter: RowConverter,
    hashers: [RandomState; 2],
}

impl Keys {
    fn new(schema: &SchemaRef) -> Result<Keys, TransformError> {
        let fields = schema.fields().iter().skip(1);
        let fields = fields.map(|field| SortField::new(field.data_type().clone()));
        Ok(Keys {
            converter: RowConverter::new(fields.collect()).map_err(incomparable)?,
            hashers: [RandomState::new(), RandomState::new()],
        })
    }

    /// A hash of each row without its offset, with keys that nobody can know beforehand.
    fn of(&self, batch: &RecordBatch) -> Result<Vec<u128>, TransformError> {
        let columns = batch.columns().get(1..).unwrap_or_default();
        let rows = self.converter.convert_columns(columns).map_err(incomparable)?;
        let hash = |row: &[u8]| {
            let [high, low] = &self.hashers;
            u128::from(high.hash_one(row)) << 64 | u128::from(low.hash_one(row))
        };
        Ok(rows.iter().map(|row| hash(row.as_ref())).collect())
    }
}

/// One side, row by row.
struct Hashes<'a> {
    side: Side<'a>,
    keys: &'a Keys,
    hashes: std::vec::IntoIter<u128>,
}

impl<'a> Hashes<'a> {
    fn new(side: Side<'a>, keys: &'a Keys) -> Self {
        Self {
            side,
            keys,
            hashes: Vec::new().into_iter(),
        }
    }

    fn next_hash(&mut self) -> Result<Option<u128>, TransformError> {
        loop {
            if let Some(hash) = self.hashes.next() {
                return Ok(Some(hash));
            }
            match (self.side)()? {
                Some(batch) => self.hashes = self.keys.of(&batch)?.into_iter(),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn schema() -> SchemaRef {
        let field = |name: &str| Field::new(name, DataType::Int64, true);
        Arc::new(Schema::new(vec![field("offset"), field("x")]))
    }

    /// Rows with these values at offsets from `first`, so many in a batch.
    fn batches(values: &[i64], first: i64, size: usize) -> Vec<RecordBatch> {
        let numbers = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
        let batch = |(at, values): (usize, &[i64])| {
            let first = first + i64::try_from(at * size).unwrap();
            let end = first + i64::try_from(values.len()).unwrap();
            RecordBatch::try_new(
                schema(),
                vec![numbers((first..end).collect()), numbers(values.to_vec())],
            )
        };
        values.chunks(size).enumerate().map(batch).map(Result::unwrap).collect()
    }

    fn compared(recorded: &[i64], computed: &[i64]) -> RowDifference {
        fn opened<'a>(values: &'a [i64], size: usize) -> impl Fn() -> Result<Side<'a>, TransformError> + 'a {
            move || {
                let mut batches = batches(values, 5, size).into_iter();
                Ok(Box::new(move || Ok(batches.next())))
            }
        }
        let counts = (recorded.len() as u64, computed.len() as u64);
        difference(&schema(), &opened(recorded, 3), &opened(computed, 2), counts).unwrap()
    }

    fn shown(batch: &RecordBatch) -> Vec<(i64, i64)> {
        let column = |at: usize| batch.column(at).as_primitive::<Int64Type>().values().to_vec();
        column(0).into_iter().zip(column(1)).collect()
    }

    #[test]
    fn rows_that_one_side_lacks_are_told_with_their_offsets() {
        let found = compared(&[1, 2, 2, 4, 5], &[1, 2, 3, 4]);
        assert_eq!((found.only_recorded, found.only_computed), (2, 1));
        // Of equal rows those of which there are too many are told, the first of them.
        assert_eq!(shown(&found.recorded_rows), [(6, 2), (9, 5)]);
        assert_eq!(shown(&found.computed_rows), [(7, 3)]);
        let words = found.to_string();
        assert!(
            words.starts_with("2 of its 5 row(s) did not come") && words.contains("1 of 4"),
            "{words}"
        );
        assert_eq!(found.first(), Some(6));
        let none = compared(&[], &[7]);
        assert_eq!((none.only_recorded, none.only_computed), (0, 1));
        assert_eq!(shown(&none.computed_rows), [(5, 7)]);
    }

    #[test]
    fn a_row_that_is_missing_does_not_make_those_behind_it_differ() {
        let all: Vec<i64> = (0..1000).collect();
        let found = compared(&all[1..], &all);
        assert_eq!((found.only_recorded, found.only_computed), (0, 1));
        assert_eq!(shown(&found.computed_rows), [(5, 0)]);
    }

    #[test]
    fn another_order_is_told_as_such() {
        let found = compared(&[1, 3, 2], &[1, 2, 3]);
        assert!(found.is_moved && found.recorded_rows.num_rows() == 0);
        assert!(found.to_string().contains("another order"));
        assert!(!compared(&[1, 2], &[1, 2]).is_moved);
    }

    #[test]
    fn what_differs_is_counted_up_to_a_limit_and_shown_up_to_another() {
        let all: Vec<i64> = (0..i64::try_from(MAX_APART_ROWS).unwrap() + 1).collect();
        let whole = compared(&all[1..], &[]);
        assert!(whole.is_whole);
        assert_eq!(whole.only_recorded, MAX_APART_ROWS as u64);
        assert_eq!(whole.recorded_rows.num_rows(), MAX_SHOWN_ROWS);
        let one_over = compared(&all, &[]);
        assert!(!one_over.is_whole);
        assert!(one_over.to_string().contains("more than"), "{one_over}");
    }
}
