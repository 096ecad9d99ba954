//! What of a column goes into its logical hash: the bytes that `arrow-digest` feeds to the hash of the column.
//!
//! Only columns without columns in them are here, which are nearly all; lists and structs are left to that crate.

use std::ops::Range;

use arrow::array::{Array, ArrayData, AsArray, GenericByteArray, GenericByteViewArray};
use arrow::datatypes::{
    ArrowNativeType as _, BinaryType, BinaryViewType, ByteArrayType, ByteViewType, DataType, LargeBinaryType,
    LargeUtf8Type, StringViewType, TimeUnit, Utf8Type,
};

/// In place of a value that is null.
const NULL: u8 = 0;

/// What begins the stream of a column of this type; `None` if its values are not plain bytes.
pub(super) fn prefix(data_type: &DataType) -> Option<Vec<u8>> {
    const INT: u16 = 1;
    const FLOAT: u16 = 2;
    const BINARY: u16 = 3;
    const UTF8: u16 = 4;
    const BOOL: u16 = 5;
    const DECIMAL: u16 = 6;
    const DATE: u16 = 7;
    const TIME: u16 = 8;
    const TIMESTAMP: u16 = 9;

    let tag = |tag: u16| tag.to_le_bytes().to_vec();
    let sized = |tag: u16, bits: u64| [tag.to_le_bytes().as_slice(), &bits.to_le_bytes()].concat();
    let int = |signed: u8, bits: u64| [INT.to_le_bytes().as_slice(), &[signed], &bits.to_le_bytes()].concat();
    let with_unit = |mut prefix: Vec<u8>, unit: u16| {
        prefix.extend(unit.to_le_bytes());
        prefix
    };
    let decimal = |bits: u64, precision: u8, scale: i8| {
        let mut prefix = sized(DECIMAL, bits);
        prefix.extend(u64::from(precision).to_le_bytes());
        prefix.extend(i64::from(scale).to_le_bytes());
        prefix
    };
    Some(match data_type {
        DataType::Boolean => tag(BOOL),
        DataType::Int8 => int(1, 8),
        DataType::Int16 => int(1, 16),
        DataType::Int32 => int(1, 32),
        DataType::Int64 => int(1, 64),
        DataType::UInt8 => int(0, 8),
        DataType::UInt16 => int(0, 16),
        DataType::UInt32 => int(0, 32),
        DataType::UInt64 => int(0, 64),
        DataType::Float16 => sized(FLOAT, 16),
        DataType::Float32 => sized(FLOAT, 32),
        DataType::Float64 => sized(FLOAT, 64),
        DataType::Timestamp(of, zone) => {
            let mut prefix = with_unit(tag(TIMESTAMP), unit(*of));
            match zone {
                None => prefix.push(0),
                Some(zone) => {
                    prefix.extend((zone.len() as u64).to_le_bytes());
                    prefix.extend(zone.as_bytes());
                }
            }
            prefix
        }
        DataType::Date32 => with_unit(sized(DATE, 32), 0),
        DataType::Date64 => with_unit(sized(DATE, 64), 1),
        DataType::Time32(of) => with_unit(sized(TIME, 32), unit(*of)),
        DataType::Time64(of) => with_unit(sized(TIME, 64), unit(*of)),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => tag(BINARY),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => tag(UTF8),
        DataType::Decimal32(precision, scale) => decimal(32, *precision, *scale),
        DataType::Decimal64(precision, scale) => decimal(64, *precision, *scale),
        DataType::Decimal128(precision, scale) => decimal(128, *precision, *scale),
        DataType::Decimal256(precision, scale) => decimal(256, *precision, *scale),
        _ => return None,
    })
}

fn unit(unit: TimeUnit) -> u16 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    }
}

/// A column of a type that has a [`prefix`].
pub(super) struct Column<'a> {
    array: &'a dyn Array,
    data: ArrayData,
    has_nulls: bool,
}

impl<'a> Column<'a> {
    pub(super) fn new(array: &'a dyn Array) -> Column<'a> {
        Column {
            array,
            data: array.to_data(),
            has_nulls: array.null_count() > 0,
        }
    }

    /// Puts what these rows are to the hash behind what is there.
    pub(super) fn append(&self, rows: Range<usize>, to: &mut Vec<u8>) {
        match self.array.data_type() {
            DataType::Boolean => {
                let values = self.array.as_boolean();
                self.each(rows, to, |row, to| to.push(u8::from(values.value(row)) + 1));
            }
            DataType::Utf8 => self.byte_arrays(self.array.as_bytes::<Utf8Type>(), rows, to),
            DataType::LargeUtf8 => self.byte_arrays(self.array.as_bytes::<LargeUtf8Type>(), rows, to),
            DataType::Binary => self.byte_arrays(self.array.as_bytes::<BinaryType>(), rows, to),
            DataType::LargeBinary => self.byte_arrays(self.array.as_bytes::<LargeBinaryType>(), rows, to),
            DataType::Utf8View => self.byte_views(self.array.as_byte_view::<StringViewType>(), rows, to),
            DataType::BinaryView => self.byte_views(self.array.as_byte_view::<BinaryViewType>(), rows, to),
            DataType::FixedSizeBinary(_) => {
                let values = self.array.as_fixed_size_binary();
                self.each(rows, to, |row, to| with_length(values.value(row), to));
            }
            plain => {
                let width = plain.primitive_width().unwrap_or(0);
                let from = self.data.offset() * width;
                let values = &self.data.buffers()[0].as_slice()[from..];
                if self.has_nulls {
                    self.each(rows, to, |row, to| {
                        to.extend_from_slice(&values[row * width..][..width])
                    });
                } else {
                    to.extend_from_slice(&values[rows.start * width..rows.end * width]);
                }
            }
        }
    }

    /// Each value by `value`, each null by its mark.
    fn each(&self, rows: Range<usize>, to: &mut Vec<u8>, mut value: impl FnMut(usize, &mut Vec<u8>)) {
        for row in rows {
            if self.has_nulls && self.array.is_null(row) {
                to.push(NULL);
            } else {
                value(row, to);
            }
        }
    }

    fn byte_arrays<T: ByteArrayType>(&self, array: &GenericByteArray<T>, rows: Range<usize>, to: &mut Vec<u8>) {
        let (offsets, values) = (array.value_offsets(), array.value_data());
        let at = |row: usize| offsets[row].as_usize();
        to.reserve(at(rows.end) - at(rows.start) + rows.len() * size_of::<u64>());
        self.each(rows, to, |row, to| with_length(&values[at(row)..at(row + 1)], to));
    }

    fn byte_views<T: ByteViewType>(&self, array: &GenericByteViewArray<T>, rows: Range<usize>, to: &mut Vec<u8>) {
        self.each(rows, to, |row, to| with_length(array.value(row).as_ref(), to));
    }
}

fn with_length(value: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(&(value.len() as u64).to_le_bytes());
    to.extend_from_slice(value);
}
