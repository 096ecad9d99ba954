//! Arrays of a Parquet file on their way into columns: every value comes out equal, or its row is named.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;

use crate::columns::with_zone;

/// Why an array does not fit into a column.
#[derive(Debug)]
pub(super) enum Unfit {
    /// A value that the column cannot hold, and in which row of the array it is.
    Value { row: usize, value: String },
    /// The two have nothing in common.
    Types(ArrowError),
}

impl From<ArrowError> for Unfit {
    fn from(error: ArrowError) -> Unfit {
        Unfit::Types(error)
    }
}

/// Whether [`convert`] knows a way; the values decide.
pub(super) fn can_convert(has: &DataType, wants: &DataType) -> bool {
    match wants {
        DataType::Timestamp(unit, Some(_)) => can_cast_types(has, &DataType::Timestamp(*unit, None)),
        _ => can_cast_types(has, wants),
    }
}

/// Brings an array to the type of a column, lists and structs with all that is in them.
///
/// # Errors
/// See [`Unfit`].
pub(super) fn convert(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, Unfit> {
    use DataType::{Dictionary, FixedSizeList, LargeList, LargeListView, List, ListView, RunEndEncoded, Struct};
    if array.data_type() == wanted {
        return Ok(array.clone());
    }
    match (array.data_type(), wanted) {
        (Dictionary(_, plain), _) => convert(&cast(array, plain)?, wanted),
        (RunEndEncoded(_, plain), _) => convert(&cast(array, plain.data_type())?, wanted),
        (LargeList(item) | ListView(item) | LargeListView(item), List(_)) => {
            convert(&cast(array, &List(item.clone()))?, wanted)
        }
        (List(_), List(item)) => {
            let list = array.as_list::<i32>();
            let offsets = list.offsets();
            // What lies before and behind the lists is not part of them.
            let (start, end) = (offsets[0], offsets[list.len()]);
            let from = start.unsigned_abs() as usize;
            let items = list.values().slice(from, (end - start).unsigned_abs() as usize);
            let items = convert(&items, item.data_type()).map_err(|unfit| {
                in_row(unfit, |at| {
                    let before = |offset: &&i32| (**offset - start).unsigned_abs() as usize <= at;
                    offsets.iter().take_while(before).count().saturating_sub(1)
                })
            })?;
            let offsets = OffsetBuffer::new(offsets.iter().map(|offset| offset - start).collect());
            Ok(Arc::new(ListArray::try_new(
                item.clone(),
                offsets,
                items,
                list.nulls().cloned(),
            )?))
        }
        (FixedSizeList(_, has), FixedSizeList(item, length)) if has == length && *length > 0 => {
            let list = array.as_fixed_size_list();
            let length_in_items = length.unsigned_abs() as usize;
            let items = convert(list.values(), item.data_type());
            let items = items.map_err(|unfit| in_row(unfit, |at| at / length_in_items))?;
            Ok(Arc::new(FixedSizeListArray::try_new(
                item.clone(),
                *length,
                items,
                list.nulls().cloned(),
            )?))
        }
        (Struct(has), Struct(fields))
            if has.len() == fields.len() && has.iter().zip(fields).all(|(a, b)| a.name() == b.name()) =>
        {
            let object = array.as_struct();
            let members = object.columns().iter().zip(fields);
            let members = members
                .map(|(member, field)| convert(member, field.data_type()))
                .collect::<Result<Vec<_>, _>>()?;
            let array =
                StructArray::try_new_with_length(fields.clone(), members, object.nulls().cloned(), object.len());
            Ok(Arc::new(array?))
        }
        _ => plain(array, wanted),
    }
}

fn in_row(unfit: Unfit, row: impl Fn(usize) -> usize) -> Unfit {
    match unfit {
        Unfit::Value { row: at, value } => Unfit::Value { row: row(at), value },
        other => other,
    }
}

/// As [`convert`], for values that have no others in them.
fn plain(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, Unfit> {
    let converted = match wanted {
        // Times without a zone are in UTC; the cast itself would ask for a time zone database.
        DataType::Timestamp(unit, zone) => {
            let zoneless = match array.data_type() {
                DataType::Timestamp(_, Some(_)) => with_zone(array, None)?,
                _ => array.clone(),
            };
            with_zone(&cast(&zoneless, &DataType::Timestamp(*unit, None))?, zone.clone())?
        }
        _ => cast(array, wanted)?,
    };
    // What cannot be converted has become null.
    let (was, is) = (array.logical_nulls(), converted.logical_nulls());
    let is_lost = |row: &usize| {
        let (was, is) = (was.as_ref(), is.as_ref());
        is.is_some_and(|is| is.is_null(*row)) && was.is_none_or(|was| was.is_valid(*row))
    };
    let mut lost = match &is {
        Some(is) if is.null_count() > 0 => (0..array.len()).find(is_lost),
        _ => None,
    };
    if lost.is_none() && may_change(array.data_type(), wanted) {
        let back = cast(&converted, array.data_type())?;
        let changed = distinct(&back, array)?;
        lost = (0..array.len()).find(|row| changed.value(*row));
    }
    match lost {
        None => Ok(converted),
        Some(row) => Err(Unfit::Value {
            row,
            value: array_value_to_string(array, row)?,
        }),
    }
}

/// Whether a cast makes another value of one without a word: fractions are cut off for integers, integers are rounded for
/// floats, and dates lose a time of day that should not be there. Times, decimals and floats are brought to the unit,
/// scale and width that the column has.
fn may_change(has: &DataType, wants: &DataType) -> bool {
    let fractions = has.is_floating() || has.is_decimal();
    fractions && wants.is_integer()
        || has.is_integer() && wants.is_floating()
        || matches!((has, wants), (DataType::Date64, DataType::Date32))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Date64Array, DictionaryArray, Float64Array, Int32Array, Int64Array, LargeListArray, NullArray, StringArray,
    };
    use arrow::buffer::NullBuffer;
    use arrow::datatypes::{Field, Fields, Int32Type};

    use super::*;

    #[track_caller]
    fn refused(array: ArrayRef, wanted: &DataType) -> (usize, String) {
        match convert(&array, wanted) {
            Err(Unfit::Value { row, value }) => (row, value),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_that_would_change_are_named_with_their_row() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(1.5)]));
        assert_eq!(refused(floats, &DataType::Int32), (2, "1.5".to_owned()));
        let long: ArrayRef = Arc::new(Int64Array::from(vec![1 << 53, (1 << 53) + 1]));
        assert_eq!(
            refused(long.clone(), &DataType::Float64),
            (1, "9007199254740993".to_owned())
        );
        assert_eq!(refused(long, &DataType::Int32).0, 0);
        let times: ArrayRef = Arc::new(Date64Array::from(vec![86_400_000, 86_400_001]));
        assert_eq!(refused(times, &DataType::Date32).0, 1);
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("5"), None, Some("x")]));
        assert_eq!(refused(text, &DataType::Int64), (2, "x".to_owned()));
    }

    #[test]
    fn lists_and_structs_are_converted_with_what_is_in_them() {
        let items = Arc::new(Int64Array::from(vec![9, 1, 2, 1 << 40, 9]));
        let item = Arc::new(Field::new("element", DataType::Int64, true));
        let offsets = OffsetBuffer::new(vec![1i64, 2, 2, 4].into());
        let nulls = NullBuffer::from(vec![true, false, true]);
        let lists: ArrayRef = Arc::new(LargeListArray::try_new(item, offsets, items, Some(nulls)).unwrap());
        let wanted = |item| DataType::List(Arc::new(Field::new("item", item, true)));
        let same = convert(&lists, &wanted(DataType::Int64)).unwrap();
        let shown: Vec<String> = (0..3).map(|row| array_value_to_string(&same, row).unwrap()).collect();
        assert_eq!(shown, ["[1]", "", "[2, 1099511627776]"]);
        assert_eq!(same.null_count(), 1);
        assert_eq!(
            refused(lists, &wanted(DataType::Int32)),
            (2, "1099511627776".to_owned())
        );

        let members = |data_type: DataType| Fields::from(vec![Field::new("x", data_type, true)]);
        let object = StructArray::new(
            members(DataType::Int64),
            vec![Arc::new(Int64Array::from(vec![1, 1 << 40]))],
            None,
        );
        let object: ArrayRef = Arc::new(object);
        assert_eq!(
            refused(object.clone(), &DataType::Struct(members(DataType::Int32))).0,
            1
        );
        assert!(convert(&object, &DataType::Struct(members(DataType::Utf8))).is_ok());
    }

    #[test]
    fn nulls_stay_nulls_however_they_are_written() {
        let nothing: ArrayRef = Arc::new(NullArray::new(2));
        for wanted in [DataType::Utf8, DataType::Int64, DataType::Date32] {
            assert_eq!(convert(&nothing, &wanted).unwrap().null_count(), 2);
        }
        // The null is a value of the dictionary.
        let values = Arc::new(StringArray::from(vec![Some("a"), None]));
        let keys = Int32Array::from(vec![Some(0), Some(1), None]);
        let words: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, values));
        let plain = convert(&words, &DataType::Utf8).unwrap();
        assert_eq!((plain.null_count(), plain.is_valid(0)), (2, true));
    }
}
