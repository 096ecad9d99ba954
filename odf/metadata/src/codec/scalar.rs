//! Fields stored inside the table: numbers, booleans, enumerations and timestamps.

use flatbuffers::Push;

use super::DecodeError;
use super::field::{Builder, Field, missing, voffset};
use super::reader::Table;
use crate::Timestamp;

/// A value that a buffer stores as one number.
pub(crate) trait Scalar: Copy {
    type Raw: Push + PartialEq + Default;
    /// What an absent slot of a plain (not optional) field means.
    const ZERO: Self;
    fn raw(self) -> Self::Raw;
    fn load(table: &Table<'_>, at: usize) -> Result<Self, DecodeError>;
}

/// Implements [`Field`] for a scalar and for the scalar made optional. A plain scalar equal to 0 leaves its slot
/// absent; an optional one is written whenever it is there, 0 too.
macro_rules! scalar_field {
    ($($ty:ty),+) => {$(
        impl $crate::codec::field::Field for $ty {
            type Prepared = $ty;

            fn prepare(&self, _: &mut $crate::codec::field::Builder) -> $ty {
                *self
            }

            fn push(prepared: $ty, builder: &mut $crate::codec::field::Builder, slot: u16) {
                use $crate::codec::scalar::Scalar;
                let default = <$ty as Scalar>::Raw::default();
                builder.push_slot($crate::codec::field::voffset(slot), prepared.raw(), default);
            }

            fn read(
                table: &$crate::codec::reader::Table<'_>,
                slot: u16,
                name: &'static str,
            ) -> Result<Self, $crate::codec::DecodeError> {
                use $crate::codec::scalar::Scalar;
                Ok(Option::<$ty>::read(table, slot, name)?.unwrap_or(<$ty>::ZERO))
            }
        }

        impl $crate::codec::field::Field for Option<$ty> {
            type Prepared = Option<$ty>;

            fn prepare(&self, _: &mut $crate::codec::field::Builder) -> Option<$ty> {
                *self
            }

            fn push(prepared: Option<$ty>, builder: &mut $crate::codec::field::Builder, slot: u16) {
                use $crate::codec::scalar::Scalar;
                if let Some(value) = prepared {
                    builder.push_slot_always($crate::codec::field::voffset(slot), value.raw());
                }
            }

            fn read(
                table: &$crate::codec::reader::Table<'_>,
                slot: u16,
                _: &'static str,
            ) -> Result<Self, $crate::codec::DecodeError> {
                use $crate::codec::scalar::Scalar;
                table.slot(slot)?.map(|at| <$ty>::load(table, at)).transpose()
            }

            fn is_absent(&self) -> bool {
                self.is_none()
            }
        }
    )+};
}
pub(crate) use scalar_field;

macro_rules! number {
    ($($ty:ty),+) => {$(
        impl Scalar for $ty {
            type Raw = $ty;
            const ZERO: Self = 0;

            fn raw(self) -> $ty {
                self
            }

            fn load(table: &Table<'_>, at: usize) -> Result<Self, DecodeError> {
                table.inline(at).map(<$ty>::from_le_bytes)
            }
        }
        scalar_field!($ty);
    )+};
}

number!(u32, u64, i32);

impl Scalar for bool {
    type Raw = bool;
    const ZERO: Self = false;

    fn raw(self) -> bool {
        self
    }

    fn load(table: &Table<'_>, at: usize) -> Result<Self, DecodeError> {
        table.inline::<1>(at).map(|[byte]| byte != 0)
    }
}

scalar_field!(bool);

/// `struct Timestamp { year: i32; ordinal: u16; seconds_from_midnight: u32; nanoseconds: u32 }`, 16 bytes, UTC.
fn push_timestamp(timestamp: Timestamp, builder: &mut Builder, slot: u16) {
    let (year, ordinal, seconds, nanoseconds) = timestamp.parts();
    // The buffer grows downwards, so the last member goes first. Four aligned words lay out exactly as the aligned
    // struct does; the day is followed by two bytes of padding, which are zero.
    builder.push(nanoseconds);
    builder.push(seconds);
    builder.push(u32::from(ordinal));
    builder.push_slot_always(voffset(slot), year);
}

fn load_timestamp(table: &Table<'_>, at: usize) -> Result<Timestamp, DecodeError> {
    let year = i32::from_le_bytes(table.inline(at)?);
    let ordinal = u16::from_le_bytes(table.inline(at + 4)?);
    let seconds = u32::from_le_bytes(table.inline(at + 8)?);
    let nanoseconds = u32::from_le_bytes(table.inline(at + 12)?);
    Timestamp::from_parts(year, ordinal, seconds, nanoseconds).map_err(|error| DecodeError::BadValue {
        table: table.name,
        reason: error.to_string(),
    })
}

impl Field for Timestamp {
    type Prepared = Timestamp;

    fn prepare(&self, _: &mut Builder) -> Timestamp {
        *self
    }

    fn push(prepared: Timestamp, builder: &mut Builder, slot: u16) {
        push_timestamp(prepared, builder, slot);
    }

    fn read(table: &Table<'_>, slot: u16, name: &'static str) -> Result<Self, DecodeError> {
        Option::<Timestamp>::read(table, slot, name)?.ok_or_else(|| missing(table, name))
    }
}

impl Field for Option<Timestamp> {
    type Prepared = Option<Timestamp>;

    fn prepare(&self, _: &mut Builder) -> Option<Timestamp> {
        *self
    }

    fn push(prepared: Option<Timestamp>, builder: &mut Builder, slot: u16) {
        if let Some(timestamp) = prepared {
            push_timestamp(timestamp, builder, slot);
        }
    }

    fn read(table: &Table<'_>, slot: u16, _: &'static str) -> Result<Self, DecodeError> {
        table.slot(slot)?.map(|at| load_timestamp(table, at)).transpose()
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}
