//! The logical schema of a dataset's data.

use super::ExtraAttributes;
use super::declare::{scalar_enum, table, union};
use crate::codec::DecodeError;
use crate::codec::field::{Builder, Field};
use crate::codec::reader::Table;

table! {
    /// Columns of the data, system columns included, in their order.
    #[derive(Default)]
    pub struct DataSchema {
        /// The columns.
        pub fields: Vec<DataField>,
        /// Attributes of the dataset as a whole.
        pub extra: Option<ExtraAttributes>,
    }
}

table! {
    /// A column, or a member of a struct. Required unless its type is [`DataType::Option`].
    pub struct DataField {
        /// Name of the column.
        pub name: String,
        /// Its type.
        #[serde(rename = "type")]
        pub data_type: DataType,
        /// Attributes of the column: encodings, semantic types.
        pub extra: Option<ExtraAttributes>,
    }
}

impl DataField {
    /// A required field without extra attributes.
    pub fn new(name: impl Into<String>, data_type: DataType) -> Self {
        Self {
            name: name.into(),
            data_type,
            extra: None,
        }
    }
}

impl DataType {
    /// This type or null.
    pub fn optional(self) -> Self {
        Self::Option { inner: Box::new(self) }
    }
}

union! {
    /// Type of a column.
    pub enum DataType(short) {
        /// Bytes.
        Binary {
            /// Length of every value, if it is fixed.
            fixed_length: Option<u64>,
        } = 1,
        /// True or false.
        Bool = 2,
        /// A calendar date.
        Date = 3,
        /// A decimal number.
        Decimal {
            /// Decimal digits in all.
            precision: u32,
            /// Digits after the point.
            scale: i32,
        } = 4,
        /// A span of time.
        Duration {
            /// Resolution; absent means milliseconds.
            unit: Option<TimeUnit>,
        } = 5,
        /// Half-precision number.
        Float16 = 6,
        /// Single-precision number.
        Float32 = 7,
        /// Double-precision number.
        Float64 = 8,
        /// Signed, 8 bits.
        Int8 = 9,
        /// Signed, 16 bits.
        Int16 = 10,
        /// Signed, 32 bits.
        Int32 = 11,
        /// Signed, 64 bits.
        Int64 = 12,
        /// Unsigned, 8 bits.
        UInt8 = 13,
        /// Unsigned, 16 bits.
        UInt16 = 14,
        /// Unsigned, 32 bits.
        UInt32 = 15,
        /// Unsigned, 64 bits.
        UInt64 = 16,
        /// Values of one type in order.
        List {
            /// Type of the values.
            item_type: Box<DataType>,
            /// How many, if that is fixed.
            fixed_length: Option<u64>,
        } = 17,
        /// Values by key.
        Map {
            /// Type of the keys.
            key_type: Box<DataType>,
            /// Type of the values.
            value_type: Box<DataType>,
            /// Whether the keys are sorted; absent means no.
            keys_sorted: Option<bool>,
        } = 18,
        /// Always null.
        Null = 19,
        /// The inner type, or null.
        Option {
            /// The type when not null.
            inner: Box<DataType>,
        } = 20,
        /// Named members.
        Struct {
            /// The members.
            fields: Vec<DataField>,
        } = 21,
        /// Time of day.
        Time {
            /// Resolution; absent means milliseconds.
            unit: Option<TimeUnit>,
        } = 22,
        /// An instant.
        Timestamp {
            /// Resolution; absent means milliseconds.
            unit: Option<TimeUnit>,
            /// Time zone; absent means UTC.
            timezone: Option<String>,
        } = 23,
        /// Text.
        String = 24,
    }
}

scalar_enum! {
    /// Resolution of a time.
    pub enum TimeUnit: i16 {
        /// Seconds.
        Second = 0,
        /// Thousandths.
        Millisecond = 1,
        /// Millionths.
        Microsecond = 2,
        /// Billionths.
        Nanosecond = 3,
    }
}

/// A type inside a type: laid out as if there were no box.
impl Field for Box<DataType> {
    const SLOTS: u16 = DataType::SLOTS;
    type Prepared = <DataType as Field>::Prepared;

    fn prepare(&self, builder: &mut Builder) -> Self::Prepared {
        DataType::prepare(self, builder)
    }

    fn push(prepared: Self::Prepared, builder: &mut Builder, slot: u16) {
        DataType::push(prepared, builder, slot);
    }

    fn read(table: &Table<'_>, slot: u16, name: &'static str) -> Result<Self, DecodeError> {
        DataType::read(table, slot, name).map(Box::new)
    }
}
