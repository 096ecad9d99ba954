//! As what the reader gives columns where that is not what the file declares: INT96 in a unit that reaches as far as they do,
//! text and bytes as views into the pages of the file, so that a value of a dictionary is not written out for every row.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, GenericByteViewArray};
use arrow::datatypes::{ByteViewType, DataType, FieldRef, Schema, TimeUnit};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

/// A column with its leaves that are INT96 in this unit. `leaf` counts those before it.
pub(super) fn in_unit(
    field: &FieldRef,
    unit: TimeUnit,
    is_int96: &dyn Fn(usize) -> bool,
    leaf: &mut usize,
) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::List(item) => DataType::List(in_unit(item, unit, is_int96, leaf)),
        DataType::LargeList(item) => DataType::LargeList(in_unit(item, unit, is_int96, leaf)),
        DataType::ListView(item) => DataType::ListView(in_unit(item, unit, is_int96, leaf)),
        DataType::LargeListView(item) => DataType::LargeListView(in_unit(item, unit, is_int96, leaf)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(in_unit(item, unit, is_int96, leaf), *length),
        DataType::Map(entries, sorted) => DataType::Map(in_unit(entries, unit, is_int96, leaf), *sorted),
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|field| in_unit(field, unit, is_int96, leaf))
                .collect(),
        ),
        plain => {
            *leaf += 1;
            match plain {
                DataType::Timestamp(_, zone) if is_int96(*leaf - 1) => DataType::Timestamp(unit, zone.clone()),
                plain => plain.clone(),
            }
        }
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// A file with the columns at these positions, which are text or bytes, read as views. As it is if there are none, or if the
/// reader does not know that way.
pub(super) fn as_views(metadata: ArrowReaderMetadata, columns: &[usize]) -> ArrowReaderMetadata {
    if columns.is_empty() {
        return metadata;
    }
    let schema = metadata.schema();
    let fields = schema.fields().iter().enumerate();
    let fields: Vec<FieldRef> = fields
        .map(|(at, field)| match (columns.contains(&at), field.data_type()) {
            (true, DataType::Utf8) => of_type(field, DataType::Utf8View),
            (true, DataType::Binary) => of_type(field, DataType::BinaryView),
            _ => field.clone(),
        })
        .collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
    let options = ArrowReaderOptions::new().with_schema(schema);
    ArrowReaderMetadata::try_new(metadata.metadata().clone(), options).unwrap_or(metadata)
}

fn of_type(field: &FieldRef, data_type: DataType) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// The same values. Pages of which they take up little are let go of.
pub(super) fn compact(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View if is_loose(array.as_string_view()) => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView if is_loose(array.as_binary_view()) => Arc::new(array.as_binary_view().gc()),
        _ => array,
    }
}

/// Whether the pages behind views are larger than the views themselves and twice the values in them.
fn is_loose<T: ByteViewType>(views: &GenericByteViewArray<T>) -> bool {
    let held: usize = views.data_buffers().iter().map(|buffer| buffer.len()).sum();
    held > views.len() * size_of::<u128>() && held > 2 * views.total_buffer_bytes_used()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringViewArray;

    #[test]
    fn pages_of_which_little_is_used_are_let_go_of() {
        let text = |row: usize| format!("a value that is not within its view, {row}");
        let all = StringViewArray::from_iter_values((0..1000).map(text));
        let held = |array: &ArrayRef| -> usize { array.as_string_view().data_buffers().iter().map(|b| b.len()).sum() };
        let whole: ArrayRef = Arc::new(all.clone());
        assert_eq!(held(&compact(whole.clone())), held(&whole));
        let part: ArrayRef = Arc::new(all.slice(10, 20));
        let small = compact(part.clone());
        assert!(held(&small) * 40 < held(&part), "{} of {}", held(&small), held(&part));
        assert_eq!(small.as_string_view(), part.as_string_view());
    }
}
