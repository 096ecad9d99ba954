//! How the schema of a dataset may change.
//!
//! Rows written under every earlier schema stay in the dataset, so a later schema must be able to read them: fields
//! may move, gain optional siblings and change their attributes, and nothing else.

use crate::{DataField, DataSchema, DataType, TimeUnit};

/// A change of schema that rows written before would not survive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaChange {
    /// A field is gone.
    #[error("field `{field}` was removed")]
    Removed {
        /// Path of the field.
        field: String,
    },
    /// A field that rows before cannot have is required.
    #[error("new field `{field}` is required; only optional fields can be added")]
    AddedRequired {
        /// Path of the field.
        field: String,
    },
    /// A field means something else.
    #[error("field `{field}` changed from {old} to {new}")]
    Changed {
        /// Path of the field.
        field: String,
        /// Type before.
        old: String,
        /// Type now.
        new: String,
    },
}

/// Whether two schemas say the same: an absent unit or time zone is its default.
pub(super) fn same(old: &DataSchema, new: &DataSchema) -> bool {
    old.extra == new.extra && same_fields(&old.fields, &new.fields)
}

/// Whether fields say the same, in the same order.
fn same_fields(old: &[DataField], new: &[DataField]) -> bool {
    old.len() == new.len()
        && old.iter().zip(new).all(|(old, new)| {
            old.name == new.name && old.extra == new.extra && same_type(&old.data_type, &new.data_type)
        })
}

/// Whether types say the same, with everything in them.
fn same_type(old: &DataType, new: &DataType) -> bool {
    match (old, new) {
        (DataType::Option { inner: old }, DataType::Option { inner: new }) => same_type(old, new),
        (DataType::Struct { fields: old }, DataType::Struct { fields: new }) => same_fields(old, new),
        (
            DataType::List {
                item_type: old,
                fixed_length: old_length,
            },
            DataType::List {
                item_type: new,
                fixed_length: new_length,
            },
        ) => old_length == new_length && same_type(old, new),
        (
            DataType::Map {
                key_type: old_key,
                value_type: old_value,
                keys_sorted: old_sorted,
            },
            DataType::Map {
                key_type: new_key,
                value_type: new_value,
                keys_sorted: new_sorted,
            },
        ) => old_sorted == new_sorted && same_type(old_key, new_key) && same_type(old_value, new_value),
        (old, new) => same_scalar(old, new),
    }
}

/// Whether two types without parts are the same.
fn same_scalar(old: &DataType, new: &DataType) -> bool {
    let unit = |unit: &Option<TimeUnit>| unit.unwrap_or(TimeUnit::Millisecond);
    match (old, new) {
        (
            DataType::Timestamp {
                unit: old_unit,
                timezone: old_zone,
            },
            DataType::Timestamp {
                unit: new_unit,
                timezone: new_zone,
            },
        ) => {
            let zone = |zone: &Option<String>| zone.clone().unwrap_or_else(|| "UTC".to_owned());
            unit(old_unit) == unit(new_unit) && zone(old_zone) == zone(new_zone)
        }
        (DataType::Time { unit: old }, DataType::Time { unit: new })
        | (DataType::Duration { unit: old }, DataType::Duration { unit: new }) => unit(old) == unit(new),
        (old, new) => old == new,
    }
}

/// Checks that rows written under `old` can be read under `new`. `lax`: whether a field is optional is not compared.
pub(super) fn check_evolution(old: &DataSchema, new: &DataSchema, lax: bool) -> Result<(), SchemaChange> {
    check_fields("", &old.fields, &new.fields, lax)
}

fn check_fields(path: &str, old: &[DataField], new: &[DataField], lax: bool) -> Result<(), SchemaChange> {
    for field in old {
        let name = format!("{path}{}", field.name);
        match new.iter().find(|candidate| candidate.name == field.name) {
            Some(now) => check_type(&name, &field.data_type, &now.data_type, lax)?,
            None => return Err(SchemaChange::Removed { field: name }),
        }
    }
    let added = new
        .iter()
        .filter(|field| old.iter().all(|before| before.name != field.name));
    for field in added {
        if !matches!(field.data_type, DataType::Option { .. }) {
            return Err(SchemaChange::AddedRequired {
                field: format!("{path}{}", field.name),
            });
        }
    }
    Ok(())
}

fn check_type(name: &str, old: &DataType, new: &DataType, lax: bool) -> Result<(), SchemaChange> {
    match (old, new) {
        (DataType::Option { inner: old }, DataType::Option { inner: new }) => check_type(name, old, new, lax),
        (DataType::Option { inner: old }, new) if lax => check_type(name, old, new, lax),
        (old, DataType::Option { inner: new }) if lax => check_type(name, old, new, lax),
        (DataType::Struct { fields: old }, DataType::Struct { fields: new }) => {
            check_fields(&format!("{name}."), old, new, lax)
        }
        (
            DataType::List {
                item_type: old,
                fixed_length: old_length,
            },
            DataType::List {
                item_type: new,
                fixed_length: new_length,
            },
        ) if old_length == new_length => check_type(&format!("{name}[]"), old, new, lax),
        // Nothing changes within a map.
        (old, new) if same_type(old, new) => Ok(()),
        (old, new) => Err(SchemaChange::Changed {
            field: name.to_owned(),
            old: describe(old),
            new: describe(new),
        }),
    }
}

fn describe(data_type: &DataType) -> String {
    match data_type {
        DataType::Option { inner } => format!("optional {}", describe(inner)),
        DataType::Decimal { precision, scale } => format!("Decimal({precision}, {scale})"),
        DataType::Timestamp {
            unit: Some(unit),
            timezone,
        } => {
            format!("Timestamp({unit}, {})", timezone.as_deref().unwrap_or("UTC"))
        }
        plain => plain.kind().to_owned(),
    }
}
