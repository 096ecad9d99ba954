//! Event times, whatever the type of their column.

use std::borrow::Cow;

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{Date32Type, TimestampMillisecondType};
use arrow::error::ArrowError;

use crate::error::MergeError;

/// Milliseconds of a day.
pub(super) const DAY_MILLIS: i64 = 86_400_000;

/// An event time column, whatever its type, as milliseconds.
pub(crate) enum Times<'a> {
    Millis(&'a arrow::array::TimestampMillisecondArray),
    Days(&'a arrow::array::Date32Array),
}

impl<'a> Times<'a> {
    pub(crate) fn new(array: &'a ArrayRef) -> Result<Times<'a>, MergeError> {
        if let Some(millis) = array.as_primitive_opt::<TimestampMillisecondType>() {
            Ok(Times::Millis(millis))
        } else if let Some(days) = array.as_primitive_opt::<Date32Type>() {
            Ok(Times::Days(days))
        } else {
            let message = format!("the event time column has the type {}", array.data_type());
            Err(MergeError::Arrow(ArrowError::SchemaError(message)))
        }
    }

    /// A time as such a column can hold it.
    pub(super) fn precisely(&self, millis: i64) -> i64 {
        match self {
            Times::Millis(_) => millis,
            Times::Days(_) => millis.div_euclid(DAY_MILLIS) * DAY_MILLIS,
        }
    }

    /// All of them, `missing` for those that are.
    pub(super) fn all(&self, missing: i64) -> Cow<'a, [i64]> {
        match self {
            Times::Millis(array) if array.null_count() == 0 => Cow::Borrowed(array.values()),
            Times::Millis(array) => array.iter().map(|time| time.unwrap_or(missing)).collect(),
            Times::Days(array) => {
                let millis = |day: Option<i32>| day.map_or(missing, |day| i64::from(day) * DAY_MILLIS);
                array.iter().map(millis).collect()
            }
        }
    }

    pub(crate) fn get(&self, row: usize) -> Option<i64> {
        match self {
            Times::Millis(array) => array.is_valid(row).then(|| array.value(row)),
            Times::Days(array) => array.is_valid(row).then(|| i64::from(array.value(row)) * DAY_MILLIS),
        }
    }
}
