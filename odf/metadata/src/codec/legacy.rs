//! The schema form of old chains: an Arrow IPC `Schema` table instead of an ODF schema.

use super::DecodeError;
use super::field::{Field as _, missing};
use super::reader::{Source, Table};
use crate::{ArrowSchemaBytes, DataField, DataSchema, DataType, SetDataSchema, TimeUnit};

impl SetDataSchema {
    /// The schema that the event sets, whichever form it is in; `None` if the event holds none.
    ///
    /// # Errors
    /// As [`ArrowSchemaBytes::to_data_schema`].
    pub fn declared(&self) -> Result<Option<DataSchema>, DecodeError> {
        match (&self.schema, &self.raw_arrow_schema) {
            (Some(schema), _) => Ok(Some(schema.clone())),
            (None, Some(raw)) => raw.to_data_schema().map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Whether only the legacy form is there, which does not say for sure which fields are optional.
    pub fn is_legacy(&self) -> bool {
        self.schema.is_none()
    }
}

impl ArrowSchemaBytes {
    /// The schema in ODF's own terms. Attributes of the Arrow schema are left out.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not an Arrow schema, or one with types that ODF has no word for.
    pub fn to_data_schema(&self) -> Result<DataSchema, DecodeError> {
        let source = Source::new(&self.0);
        let schema = source.root("arrow Schema")?;
        Ok(DataSchema {
            fields: read_fields(&schema, 1)?,
            extra: None,
        })
    }
}

/// The vector of `Field` tables in a slot.
fn read_fields(table: &Table<'_>, slot: u16) -> Result<Vec<DataField>, DecodeError> {
    let Some(at) = table.slot(slot)? else {
        return Ok(Vec::new());
    };
    let (start, count) = table.vector(at)?;
    (0..count)
        .map(|index| read_field(&table.table(start + 4 * index, "arrow Field")?))
        .collect()
}

/// `table Field { name, nullable, type: Type, dictionary, children, custom_metadata }`
fn read_field(field: &Table<'_>) -> Result<DataField, DecodeError> {
    let name = String::read(field, 0, "name")?;
    let nullable = bool::read(field, 1, "nullable")?;
    let id = match field.slot(2)? {
        Some(at) => u8::from_le_bytes(field.inline(at)?),
        None => 0,
    };
    let at = field.slot(3)?.ok_or_else(|| missing(field, "type"))?;
    let data_type = read_type(id, &field.table(at, "arrow Type")?, field)?;
    Ok(DataField::new(
        name,
        if nullable { data_type.optional() } else { data_type },
    ))
}

/// Some 16-bit enumeration in a slot.
fn small(table: &Table<'_>, slot: u16, default: i16) -> Result<i16, DecodeError> {
    Ok(table
        .slot(slot)?
        .map(|at| table.inline(at))
        .transpose()?
        .map_or(default, i16::from_le_bytes))
}

fn unit(table: &Table<'_>, default: TimeUnit) -> Result<Option<TimeUnit>, DecodeError> {
    let number = small(table, 0, default as i16)?;
    let unit = TimeUnit::try_from(number);
    unit.map(Some).map_err(|value| DecodeError::UnknownValue {
        name: "TimeUnit",
        value: value.into(),
    })
}

fn unsupported(id: u8) -> DecodeError {
    DecodeError::UnknownMember {
        union: "arrow Type",
        id,
    }
}

/// A length that Arrow counts in signed and ODF in unsigned numbers.
fn length(table: &Table<'_>) -> Result<Option<u64>, DecodeError> {
    let length = i32::read(table, 0, "length")?;
    let unsigned = u64::try_from(length);
    unsigned.map(Some).map_err(|_| DecodeError::BadValue {
        table: table.name,
        reason: format!("length {length}"),
    })
}

fn read_type(id: u8, table: &Table<'_>, field: &Table<'_>) -> Result<DataType, DecodeError> {
    let item = |fixed_length| match read_fields(field, 5)?.pop() {
        Some(child) => Ok(DataType::List {
            item_type: Box::new(child.data_type),
            fixed_length,
        }),
        None => Err(missing(field, "children")),
    };
    Ok(match id {
        1 => DataType::Null,
        2 => match (i32::read(table, 0, "bitWidth")?, bool::read(table, 1, "is_signed")?) {
            (8, true) => DataType::Int8,
            (16, true) => DataType::Int16,
            (32, true) => DataType::Int32,
            (64, true) => DataType::Int64,
            (8, false) => DataType::UInt8,
            (16, false) => DataType::UInt16,
            (32, false) => DataType::UInt32,
            (64, false) => DataType::UInt64,
            _ => return Err(unsupported(id)),
        },
        3 => match small(table, 0, 0)? {
            0 => DataType::Float16,
            1 => DataType::Float32,
            2 => DataType::Float64,
            _ => return Err(unsupported(id)),
        },
        // Binary, LargeBinary, BinaryView.
        4 | 19 | 23 => DataType::Binary { fixed_length: None },
        // Utf8, LargeUtf8, Utf8View.
        5 | 20 | 24 => DataType::String,
        6 => DataType::Bool,
        7 => {
            let precision = i32::read(table, 0, "precision")?;
            let bad = |_| DecodeError::BadValue {
                table: table.name,
                reason: format!("precision {precision}"),
            };
            DataType::Decimal {
                precision: u32::try_from(precision).map_err(bad)?,
                scale: i32::read(table, 1, "scale")?,
            }
        }
        8 => DataType::Date,
        9 => DataType::Time {
            unit: unit(table, TimeUnit::Millisecond)?,
        },
        10 => DataType::Timestamp {
            unit: unit(table, TimeUnit::Second)?,
            timezone: Option::<String>::read(table, 1, "timezone")?,
        },
        // List, LargeList.
        12 | 21 => item(None)?,
        13 => DataType::Struct {
            fields: read_fields(field, 5)?,
        },
        15 => DataType::Binary {
            fixed_length: length(table)?,
        },
        16 => item(length(table)?)?,
        17 => {
            let Some(DataType::Struct { fields }) = read_fields(field, 5)?.pop().map(|entries| entries.data_type)
            else {
                return Err(missing(field, "entries"));
            };
            let Ok([key, value]) = <[DataField; 2]>::try_from(fields) else {
                return Err(missing(field, "key and value"));
            };
            DataType::Map {
                key_type: Box::new(key.data_type),
                value_type: Box::new(value.data_type),
                keys_sorted: Some(bool::read(table, 0, "keysSorted")?),
            }
        }
        18 => DataType::Duration {
            unit: unit(table, TimeUnit::Millisecond)?,
        },
        other => return Err(unsupported(other)),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::field::{Builder, OutOfLine as _, Written, voffset};

    /// What Arrow's writer makes of a type: its id, its table and the vector of its children, made in an order of
    /// its own for each type.
    type ArrowType = (u8, Written, Written);

    fn int(builder: &mut Builder, bits: i32) -> ArrowType {
        let children = builder.create_vector::<Written>(&[]).as_union_value();
        let table = builder.start_table();
        builder.push_slot::<bool>(voffset(1), true, false);
        builder.push_slot::<i32>(voffset(0), bits, 0);
        (2, builder.end_table(table).as_union_value(), children)
    }

    fn plain(builder: &mut Builder, id: u8, children: &[Written]) -> ArrowType {
        let table = builder.start_table();
        let table = builder.end_table(table).as_union_value();
        (id, table, builder.create_vector(children).as_union_value())
    }

    fn field(
        builder: &mut Builder,
        name: &str,
        nullable: bool,
        arrow_type: impl FnOnce(&mut Builder) -> ArrowType,
    ) -> Written {
        let name = name.to_owned().write(builder);
        let (id, data_type, children) = arrow_type(builder);
        let table = builder.start_table();
        builder.push_slot_always(voffset(0), name);
        builder.push_slot::<u8>(voffset(2), id, 0);
        builder.push_slot::<bool>(voffset(1), nullable, false);
        builder.push_slot_always(voffset(5), children);
        builder.push_slot_always(voffset(3), data_type);
        builder.end_table(table).as_union_value()
    }

    fn schema(mut builder: Builder, fields: &[Written]) -> ArrowSchemaBytes {
        let fields = builder.create_vector(fields).as_union_value();
        let table = builder.start_table();
        builder.push_slot_always(voffset(1), fields);
        let root = builder.end_table(table);
        builder.finish(root, None);
        ArrowSchemaBytes(builder.finished_data().to_vec())
    }

    /// As Arrow's Rust writer lays it out: a Int64, b Boolean, both required.
    pub(crate) fn int64_and_bool() -> ArrowSchemaBytes {
        let mut builder = Builder::new();
        let a = field(&mut builder, "a", false, |builder| int(builder, 64));
        let b = field(&mut builder, "b", false, |builder| plain(builder, 6, &[]));
        schema(builder, &[a, b])
    }

    #[test]
    fn arrow_schemas_read() {
        let expected = vec![
            DataField::new("a", DataType::Int64),
            DataField::new("b", DataType::Bool),
        ];
        assert_eq!(int64_and_bool().to_data_schema().unwrap().fields, expected);

        let mut builder = Builder::new();
        let item = field(&mut builder, "item", true, |builder| int(builder, 16));
        let list = field(&mut builder, "list", true, |builder| plain(builder, 12, &[item]));
        let item_type = Box::new(DataType::Int16.optional());
        let expected = DataField::new(
            "list",
            DataType::List {
                item_type,
                fixed_length: None,
            }
            .optional(),
        );
        assert_eq!(schema(builder, &[list]).to_data_schema().unwrap().fields, [expected]);
    }

    #[test]
    fn types_without_an_odf_word_are_refused() {
        let mut builder = Builder::new();
        let interval = field(&mut builder, "i", true, |builder| plain(builder, 11, &[]));
        let error = schema(builder, &[interval]).to_data_schema();
        assert_eq!(
            error,
            Err(DecodeError::UnknownMember {
                union: "arrow Type",
                id: 11
            })
        );
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ArrowSchemaBytes(bytes).to_data_schema();
        }
    }
}
