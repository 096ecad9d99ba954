//! The schema as declarations.
//!
//! `table!`, `union!` and `scalar_enum!` take a type of the ODF schema once, fields in the order of their FlatBuffers
//! ids, and yield the Rust type, its FlatBuffers form both ways and its text form (YAML, JSON, dag-cbor) both ways.
//! Text: fields in camelCase, absent options left out, unknown fields refused, a union as a map with its member under
//! `kind`; the names of members and values are also accepted in camelCase and lowercase, as kamu does.

/// Writes the fields (bound to references) as one table: children first, then slots.
macro_rules! write_fields {
    ($builder:ident $(, $field:ident)*) => {{
        $( let $field = $crate::codec::field::prepare($field, $builder); )*
        let table = $builder.start_table();
        #[allow(unused_mut)]
        let mut _slot = 0;
        $( $crate::codec::field::push_next($field, $builder, &mut _slot); )*
        $builder.end_table(table).as_union_value()
    }};
}

/// Reads fields in order into the value built by the given path.
macro_rules! read_fields {
    ($table:expr, ($($path:tt)+), $($field:ident),*) => {{
        #[allow(unused_mut)]
        let mut _slot = 0;
        Ok($($path)+ { $( $field: $crate::codec::field::read_next($table, &mut _slot, stringify!($field))?, )* })
    }};
}

macro_rules! table {
    (
        $(#[$meta:meta])*
        pub struct $name:ident { $( $(#[$field_meta:meta])* pub $field:ident : $ty:ty ),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(skip_serializing_if = "crate::codec::field::Field::is_absent")]
                pub $field: $ty,
            )*
        }

        impl $crate::codec::field::Tabular for $name {
            const NAME: &'static str = stringify!($name);

            fn write_table(&self, builder: &mut $crate::codec::field::Builder) -> $crate::codec::field::Written {
                let Self { $($field),* } = self;
                $crate::declare::write_fields!(builder $(, $field)*)
            }

            fn read_table(_table: &$crate::codec::reader::Table<'_>) -> Result<Self, $crate::codec::DecodeError> {
                $crate::declare::read_fields!(_table, (Self), $($field),*)
            }
        }

        #[cfg(test)]
        impl $crate::sample::Sample for $name {
            fn sample(_tape: &mut $crate::sample::Tape) -> Self {
                Self { $( $field: $crate::sample::Sample::sample(_tape), )* }
            }
        }
    };
}

/// The pattern of a member's value.
macro_rules! bind {
    ($name:ident, $ty:ty) => {
        $name
    };
}

/// Writes the table of a union member.
macro_rules! write_member {
    ($builder:ident, [$value:ident $ty:ty] []) => {
        $crate::codec::field::Tabular::write_table($value, $builder)
    };
    ($builder:ident, [] [$($field:ident)*]) => {
        $crate::declare::write_fields!($builder $(, $field)*)
    };
}

/// Reads the table of a union member.
macro_rules! read_member {
    ($table:expr, ($($path:tt)+), [$ty:ty] []) => {
        Ok($($path)+(<$ty as $crate::codec::field::Tabular>::read_table($table)?))
    };
    ($table:expr, $path:tt, [] [$($field:ident)*]) => {
        $crate::declare::read_fields!($table, $path, $($field),*)
    };
}

/// Reads a union member from a map that no longer holds `kind`.
macro_rules! member_from_map {
    ($map:ident, ($($path:tt)+), [$ty:ty] []) => {
        <$ty as serde::Deserialize>::deserialize($map).map($($path)+)
    };
    ($map:ident, ($($path:tt)+), [] [$( { $(#[$meta:meta])* $field:ident : $ty:ty } )*]) => {{
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Fields { $( $field: $ty, )* }
        <Fields as serde::Deserialize>::deserialize($map).map(|Fields { $($field),* }| $($path)+ { $($field),* })
    }};
}

/// An arbitrary union member.
#[cfg(test)]
macro_rules! sample_member {
    ($tape:ident, ($($path:tt)+), [$ty:ty] []) => {
        $($path)+(<$ty as $crate::sample::Sample>::sample($tape))
    };
    ($tape:ident, ($($path:tt)+), [] [$($field:ident)*]) => {
        $($path)+ { $( $field: $crate::sample::Sample::sample($tape), )* }
    };
}

macro_rules! union {
    (
        $(#[$meta:meta])*
        pub enum $name:ident $( ($short:ident) )? {
            $(
                $(#[$member_meta:meta])*
                $member:ident $( ($ty:ty) )? $( { $( $(#[$field_meta:meta])* $field:ident : $field_ty:ty ),* $(,)? } )?
                = $id:literal
            ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
        #[serde(tag = "kind", rename_all_fields = "camelCase")]
        pub enum $name {
            $(
                $(#[$member_meta])*
                $member $( ($ty) )? $( {
                    $(
                        $(#[$field_meta])*
                        #[serde(skip_serializing_if = "crate::codec::field::Field::is_absent")]
                        $field: $field_ty,
                    )*
                } )?,
            )*
        }

        impl $name {
            /// Name of the member, as `kind` has it.
            pub fn kind(&self) -> &'static str {
                match self {
                    $( Self::$member { .. } => stringify!($member), )*
                }
            }

            fn write_member(&self, builder: &mut $crate::codec::field::Builder) -> (u8, $crate::codec::field::Written) {
                match self {
                    $(
                        Self::$member {
                            $( 0: $crate::declare::bind!(value, $ty), )? $( $($field,)* )?
                        } => {
                            let written = $crate::declare::write_member!(
                                builder, [$(value $ty)?] [$( $($field)* )?]
                            );
                            ($id, written)
                        }
                    )*
                }
            }

            fn read_member(
                id: u8,
                table: &mut $crate::codec::reader::Table<'_>,
            ) -> Result<Self, $crate::codec::DecodeError> {
                match id {
                    $(
                        $id => {
                            table.name = stringify!($member);
                            $crate::declare::read_member!(
                                table, (Self::$member), [$($ty)?] [$( $($field)* )?]
                            )
                        }
                    )*
                    _ => Err($crate::codec::DecodeError::UnknownMember { union: stringify!($name), id }),
                }
            }
        }

        $crate::declare::union_field!($name);

        impl $crate::text::TextUnion for $name {
            const NAME: &'static str = stringify!($name);
            const MEMBERS: &'static [&'static str] = &[$( stringify!($member) ),*];
            const SHORT: bool = !<[&str]>::is_empty(&[$( stringify!($short) )?]);

            fn read_member<'de, D: serde::Deserializer<'de>>(name: &'static str, fields: D) -> Result<Self, D::Error> {
                match name {
                    $(
                        stringify!($member) => $crate::declare::member_from_map!(
                            fields, (Self::$member), [$($ty)?] [$( $( { $(#[$field_meta])* $field : $field_ty } )* )?]
                        ),
                    )*
                    other => Err(serde::de::Error::unknown_variant(other, Self::MEMBERS)),
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::text::read_union(deserializer)
            }
        }

        #[cfg(test)]
        impl $crate::sample::Sample for $name {
            fn sample(tape: &mut $crate::sample::Tape) -> Self {
                const IDS: &[u8] = &[$($id),*];
                match tape.choose(IDS) {
                    $(
                        $id => $crate::declare::sample_member!(
                            tape, (Self::$member), [$($ty)?] [$( $($field)* )?]
                        ),
                    )*
                    _ => unreachable!("the tape chose from the list"),
                }
            }
        }
    };
}

/// A union in a table: one slot for the member's id, one for the member.
macro_rules! union_field {
    ($name:ident) => {
        impl $crate::codec::field::Field for $name {
            const SLOTS: u16 = 2;
            type Prepared = (u8, $crate::codec::field::Written);

            fn prepare(&self, builder: &mut $crate::codec::field::Builder) -> Self::Prepared {
                self.write_member(builder)
            }

            fn push((id, written): Self::Prepared, builder: &mut $crate::codec::field::Builder, slot: u16) {
                builder.push_slot_always($crate::codec::field::voffset(slot), id);
                builder.push_slot_always($crate::codec::field::voffset(slot + 1), written);
            }

            fn read(
                table: &$crate::codec::reader::Table<'_>,
                slot: u16,
                name: &'static str,
            ) -> Result<Self, $crate::codec::DecodeError> {
                Option::<$name>::read(table, slot, name)?.ok_or_else(|| $crate::codec::field::missing(table, name))
            }
        }

        impl $crate::codec::field::Field for Option<$name> {
            const SLOTS: u16 = 2;
            type Prepared = Option<(u8, $crate::codec::field::Written)>;

            fn prepare(&self, builder: &mut $crate::codec::field::Builder) -> Self::Prepared {
                self.as_ref().map(|value| value.write_member(builder))
            }

            fn push(prepared: Self::Prepared, builder: &mut $crate::codec::field::Builder, slot: u16) {
                if let Some(prepared) = prepared {
                    <$name as $crate::codec::field::Field>::push(prepared, builder, slot);
                }
            }

            fn read(
                table: &$crate::codec::reader::Table<'_>,
                slot: u16,
                name: &'static str,
            ) -> Result<Self, $crate::codec::DecodeError> {
                let id = match table.slot(slot)? {
                    Some(at) => u8::from_le_bytes(table.inline(at)?),
                    None => 0,
                };
                if id == 0 {
                    return Ok(None);
                }
                let at = table
                    .slot(slot + 1)?
                    .ok_or_else(|| $crate::codec::field::missing(table, name))?;
                $name::read_member(id, &mut table.table(at, stringify!($name))?).map(Some)
            }

            fn is_absent(&self) -> bool {
                self.is_none()
            }
        }
    };
}

macro_rules! scalar_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident : $raw:ty { $( $(#[$value_meta:meta])* $value:ident = $number:literal ),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        pub enum $name {
            $( $(#[$value_meta])* $value = $number, )*
        }

        impl $name {
            /// The name used in text.
            pub fn name(self) -> &'static str {
                match self {
                    $( Self::$value => stringify!($value), )*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl TryFrom<$raw> for $name {
            type Error = $raw;

            /// The value with this number, or the number back.
            fn try_from(number: $raw) -> Result<Self, $raw> {
                match number {
                    $( $number => Ok(Self::$value), )*
                    other => Err(other),
                }
            }
        }

        impl $crate::codec::scalar::Scalar for $name {
            type Raw = $raw;
            const ZERO: Self = {
                let [first, ..] = [$( Self::$value ),*];
                first
            };

            fn raw(self) -> $raw {
                self as $raw
            }

            fn load(
                table: &$crate::codec::reader::Table<'_>,
                at: usize,
            ) -> Result<Self, $crate::codec::DecodeError> {
                let number = <$raw>::from_le_bytes(table.inline(at)?);
                Self::try_from(number).map_err(|number| $crate::codec::DecodeError::UnknownValue {
                    name: stringify!($name),
                    value: number.into(),
                })
            }
        }

        $crate::codec::scalar::scalar_field!($name);

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                const VALUES: &[&str] = &[$( stringify!($value) ),*];
                match $crate::text::read_name(deserializer, VALUES)? {
                    $( stringify!($value) => Ok(Self::$value), )*
                    other => Err(serde::de::Error::unknown_variant(other, VALUES)),
                }
            }
        }

        #[cfg(test)]
        impl $crate::sample::Sample for $name {
            fn sample(tape: &mut $crate::sample::Tape) -> Self {
                tape.choose(&[$( Self::$value ),*])
            }
        }
    };
}

#[cfg(test)]
pub(crate) use sample_member;
pub(crate) use {
    bind, member_from_map, read_fields, read_member, scalar_enum, table, union, union_field, write_fields, write_member,
};
