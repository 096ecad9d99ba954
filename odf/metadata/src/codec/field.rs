//! How each kind of field is laid out: one trait, implemented once per kind.
//!
//! The bytes of a table depend on the order of builder calls, so it is fixed here for the whole schema: first every
//! out-of-line child in declaration order, depth first ([`Field::prepare`]), then the table with its slots in
//! declaration order ([`Field::push`]). The macros of `metadata::declare` put fields together by this trait.

use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, VOffsetT, WIPOffset};

use super::DecodeError;
use super::reader::Table;
use crate::{ArrowSchemaBytes, DatasetId, ExtraAttributes, Multihash};

pub(crate) type Builder = FlatBufferBuilder<'static>;
/// Something written out of line: the end of a string, vector or table.
pub(crate) type Written = WIPOffset<UnionWIPOffset>;

/// The vtable entry of the field with the given id.
pub(crate) fn voffset(slot: u16) -> VOffsetT {
    4 + 2 * slot
}

/// A field of a table.
pub(crate) trait Field: Sized {
    /// How many field ids it takes: a union takes two.
    const SLOTS: u16 = 1;
    /// What is left of the field once its out-of-line part is written.
    type Prepared;

    /// Pass 1: writes what lies out of line.
    fn prepare(&self, builder: &mut Builder) -> Self::Prepared;
    /// Pass 2: fills the slot, or leaves it absent.
    fn push(prepared: Self::Prepared, builder: &mut Builder, slot: u16);
    /// Reads it back. `name` is the field's name in Rust, for messages.
    fn read(table: &Table<'_>, slot: u16, name: &'static str) -> Result<Self, DecodeError>;
    /// Whether the field is left out of the text form.
    fn is_absent(&self) -> bool {
        false
    }
}

/// A field whose out-of-line part is written.
pub(crate) struct Ready<F: Field>(F::Prepared);

/// Pass 1 for one field.
pub(crate) fn prepare<F: Field>(field: &F, builder: &mut Builder) -> Ready<F> {
    Ready(field.prepare(builder))
}

/// Pass 2 for one field: fills its slots and moves on to the next id.
pub(crate) fn push_next<F: Field>(ready: Ready<F>, builder: &mut Builder, slot: &mut u16) {
    F::push(ready.0, builder, *slot);
    *slot += F::SLOTS;
}

/// Reads one field and moves on to the next id.
pub(crate) fn read_next<F: Field>(table: &Table<'_>, slot: &mut u16, name: &'static str) -> Result<F, DecodeError> {
    let at = *slot;
    *slot += F::SLOTS;
    F::read(table, at, name)
}

/// A value that lies out of line behind one offset.
pub(crate) trait OutOfLine: Sized {
    fn write(&self, builder: &mut Builder) -> Written;
    /// Reads the value that the offset at `at` points to.
    fn read_at(table: &Table<'_>, at: usize) -> Result<Self, DecodeError>;
}

/// A table of the schema; implemented by `table!`.
pub(crate) trait Tabular: Sized {
    const NAME: &'static str;
    fn write_table(&self, builder: &mut Builder) -> Written;
    fn read_table(table: &Table<'_>) -> Result<Self, DecodeError>;
}

pub(crate) fn missing(table: &Table<'_>, field: &'static str) -> DecodeError {
    DecodeError::Missing {
        table: table.name,
        field,
    }
}

impl<T: Tabular> OutOfLine for T {
    fn write(&self, builder: &mut Builder) -> Written {
        self.write_table(builder)
    }

    fn read_at(table: &Table<'_>, at: usize) -> Result<Self, DecodeError> {
        T::read_table(&table.table(at, T::NAME)?)
    }
}

/// What a vector can hold: anything out of line, and unions inside a wrapper table.
pub(crate) trait Element: Sized {
    fn write_element(&self, builder: &mut Builder) -> Written;
    /// Reads the element whose offset is stored at `at`.
    fn read_element(table: &Table<'_>, at: usize) -> Result<Self, DecodeError>;
}

impl<T: OutOfLine> Element for T {
    fn write_element(&self, builder: &mut Builder) -> Written {
        self.write(builder)
    }

    fn read_element(table: &Table<'_>, at: usize) -> Result<Self, DecodeError> {
        T::read_at(table, at)
    }
}

impl<T: Element> OutOfLine for Vec<T> {
    fn write(&self, builder: &mut Builder) -> Written {
        let elements: Vec<Written> = self.iter().map(|element| element.write_element(builder)).collect();
        builder.create_vector(&elements).as_union_value()
    }

    fn read_at(table: &Table<'_>, at: usize) -> Result<Self, DecodeError> {
        let (start, count) = table.vector(at)?;
        (0..count)
            .map(|index| T::read_element(table, start + 4 * index))
            .collect()
    }
}

impl OutOfLine for String {
    fn write(&self, builder: &mut Builder) -> Written {
        builder.create_string(self).as_union_value()
    }

    fn read_at(table: &Table<'_>, at: usize) -> Result<Self, DecodeError> {
        let bytes = table.bytes(at)?.to_vec();
        String::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { table: table.name })
    }
}

/// A type stored as a byte vector.
macro_rules! byte_vector {
    ($ty:ty, $write:expr, $read:expr) => {
        impl OutOfLine for $ty {
            fn write(&self, builder: &mut Builder) -> Written {
                let bytes: &dyn Fn(&$ty) -> Vec<u8> = &$write;
                builder.create_vector::<u8>(&bytes(self)).as_union_value()
            }

            fn read_at(table: &Table<'_>, at: usize) -> Result<Self, DecodeError> {
                let bytes = table.bytes(at)?;
                $read(bytes).map_err(|error| DecodeError::BadValue {
                    table: table.name,
                    reason: error.to_string(),
                })
            }
        }
    };
}

byte_vector!(Multihash, Multihash::to_bytes, Multihash::from_bytes);
byte_vector!(
    DatasetId,
    |id: &DatasetId| id.to_bytes().to_vec(),
    DatasetId::from_bytes
);
byte_vector!(
    ArrowSchemaBytes,
    |raw: &ArrowSchemaBytes| raw.0.clone(),
    |bytes: &[u8]| { Ok::<_, std::convert::Infallible>(ArrowSchemaBytes(bytes.to_vec())) }
);

/// `table ExtraAttributes { entries: string }`: the JSON object as text, one table around it.
impl OutOfLine for ExtraAttributes {
    fn write(&self, builder: &mut Builder) -> Written {
        let entries = self.to_json().write(builder);
        let start = builder.start_table();
        <String as Field>::push(entries, builder, 0);
        builder.end_table(start).as_union_value()
    }

    fn read_at(table: &Table<'_>, at: usize) -> Result<Self, DecodeError> {
        let table = table.table(at, "ExtraAttributes")?;
        let entries = <String as Field>::read(&table, 0, "entries")?;
        ExtraAttributes::from_json(&entries).map_err(|error| DecodeError::BadValue {
            table: table.name,
            reason: error.to_string(),
        })
    }
}

impl<T: OutOfLine> Field for T {
    type Prepared = Written;

    fn prepare(&self, builder: &mut Builder) -> Written {
        self.write(builder)
    }

    fn push(prepared: Written, builder: &mut Builder, slot: u16) {
        builder.push_slot_always(voffset(slot), prepared);
    }

    fn read(table: &Table<'_>, slot: u16, name: &'static str) -> Result<Self, DecodeError> {
        let at = table.slot(slot)?.ok_or_else(|| missing(table, name))?;
        T::read_at(table, at)
    }
}

impl<T: OutOfLine> Field for Option<T> {
    type Prepared = Option<Written>;

    fn prepare(&self, builder: &mut Builder) -> Option<Written> {
        self.as_ref().map(|value| value.write(builder))
    }

    fn push(prepared: Option<Written>, builder: &mut Builder, slot: u16) {
        if let Some(written) = prepared {
            builder.push_slot_always(voffset(slot), written);
        }
    }

    fn read(table: &Table<'_>, slot: u16, _: &'static str) -> Result<Self, DecodeError> {
        table.slot(slot)?.map(|at| T::read_at(table, at)).transpose()
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}
