//! The schema of a dataset in the forms that other tools read: Arrow's JSON, Parquet's message type, SQL columns.

use std::sync::Arc;

use arrow::datatypes::{DataType as Arrow, Field, Schema, TimeUnit};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::schema::types::Type;
use serde_json::{Value, json};

use crate::types::{NoCounterpart, to_arrow};
use odf_metadata::codec::DecodeError;
use odf_metadata::{DataField, DataSchema, DataType};

/// Why a schema cannot be shown in some form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaTextError {
    /// A column that Arrow, and so Parquet, has no type for.
    #[error(transparent)]
    NoCounterpart(#[from] NoCounterpart),
    /// Parquet does not take the type of a column.
    #[error("not a schema that Parquet has: {0}")]
    Parquet(#[from] ParquetError),
    /// The legacy form of the schema cannot be read.
    #[error("the schema is in the legacy form and cannot be read: {0}")]
    Legacy(#[from] DecodeError),
}

/// The Arrow schema as one JSON object in the form that kamu prints: that of serde in the Arrow crate.
///
/// # Errors
/// [`SchemaTextError::NoCounterpart`].
pub fn arrow_json(schema: &DataSchema) -> Result<String, SchemaTextError> {
    let schema = to_arrow(schema)?;
    let fields: Vec<ArrowField> = schema.fields().iter().map(|field| ArrowField::from(&**field)).collect();
    let schema = ArrowSchema {
        fields,
        metadata: Empty {},
    };
    Ok(serde_json::to_string(&schema).unwrap_or_default())
}

/// Keys stand in the order of the crate's own serialization, which a plain JSON value would lose.
#[derive(serde::Serialize)]
struct ArrowSchema {
    fields: Vec<ArrowField>,
    metadata: Empty,
}

#[derive(serde::Serialize)]
struct Empty {}

#[derive(serde::Serialize)]
struct ArrowField {
    name: String,
    data_type: ArrowType,
    nullable: bool,
    dict_id: i64,
    dict_is_ordered: bool,
    metadata: Empty,
}

/// A type with the fields of nested ones, or anything simpler.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum ArrowType {
    Simple(Value),
    List {
        #[serde(rename = "List")]
        item: Box<ArrowField>,
    },
    FixedSizeList {
        #[serde(rename = "FixedSizeList")]
        item: (Box<ArrowField>, i32),
    },
    Struct {
        #[serde(rename = "Struct")]
        fields: Vec<ArrowField>,
    },
    Map {
        #[serde(rename = "Map")]
        entries: (Box<ArrowField>, bool),
    },
}

impl From<&Field> for ArrowField {
    fn from(field: &Field) -> Self {
        let nested = |field: &Arc<Field>| Box::new(ArrowField::from(&**field));
        let data_type = match field.data_type() {
            Arrow::List(item) => ArrowType::List { item: nested(item) },
            Arrow::FixedSizeList(item, length) => ArrowType::FixedSizeList {
                item: (nested(item), *length),
            },
            Arrow::Struct(fields) => ArrowType::Struct {
                fields: fields.iter().map(|field| ArrowField::from(&**field)).collect(),
            },
            Arrow::Map(entries, sorted) => ArrowType::Map {
                entries: (nested(entries), *sorted),
            },
            simple => ArrowType::Simple(simple_type(simple)),
        };
        Self {
            name: field.name().clone(),
            data_type,
            nullable: field.is_nullable(),
            dict_id: 0,
            dict_is_ordered: false,
            metadata: Empty {},
        }
    }
}

/// A type without fields: its name, or its name with its parameters.
fn simple_type(data_type: &Arrow) -> Value {
    let unit = |unit: &TimeUnit| format!("{unit:?}");
    match data_type {
        Arrow::Timestamp(u, zone) => json!({"Timestamp": [unit(u), zone.as_deref()]}),
        Arrow::Time32(u) => json!({"Time32": unit(u)}),
        Arrow::Time64(u) => json!({"Time64": unit(u)}),
        Arrow::Duration(u) => json!({"Duration": unit(u)}),
        Arrow::FixedSizeBinary(length) => json!({"FixedSizeBinary": length}),
        Arrow::Decimal128(precision, scale) => json!({"Decimal128": [precision, scale]}),
        Arrow::Decimal256(precision, scale) => json!({"Decimal256": [precision, scale]}),
        named => Value::String(format!("{named:?}")),
    }
}

/// The Parquet schema of slices with this schema.
fn parquet_type(schema: &DataSchema) -> Result<Type, SchemaTextError> {
    let arrow: Schema = to_arrow(schema)?;
    // kamu's name for the message.
    let described = ArrowSchemaConverter::new()
        .schema_root("arrow_schema")
        .convert(&arrow)?;
    Ok(described.root_schema().clone())
}

/// The Parquet schema as `parquet-schema` prints it.
///
/// # Errors
/// See [`SchemaTextError`].
pub fn parquet(schema: &DataSchema) -> Result<String, SchemaTextError> {
    let mut text = Vec::new();
    parquet::schema::printer::print_schema(&mut text, &parquet_type(schema)?);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The Parquet schema as one JSON object.
///
/// # Errors
/// See [`SchemaTextError`].
pub fn parquet_json(schema: &DataSchema) -> Result<String, SchemaTextError> {
    let json = ParquetField::from(&parquet_type(schema)?);
    Ok(serde_json::to_string(&json).unwrap_or_default())
}

/// A column or group of Parquet, keys in the order in which kamu writes them.
#[derive(serde::Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum ParquetField {
    Column {
        name: String,
        repetition: String,
        r#type: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        logical_type: Option<String>,
    },
    Group {
        name: String,
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        repetition: Option<String>,
        fields: Vec<ParquetField>,
    },
}

impl From<&Type> for ParquetField {
    fn from(of: &Type) -> Self {
        match of {
            Type::PrimitiveType {
                basic_info,
                physical_type,
                type_length,
                ..
            } => Self::Column {
                name: basic_info.name().to_owned(),
                repetition: basic_info.repetition().to_string(),
                r#type: match physical_type {
                    PhysicalType::FIXED_LEN_BYTE_ARRAY => format!("{physical_type}({type_length})"),
                    other => other.to_string(),
                },
                logical_type: match basic_info.logical_type_ref() {
                    Some(logical) => Some(logical_name(logical)),
                    None => match basic_info.converted_type() {
                        ConvertedType::NONE => None,
                        converted => Some(converted.to_string()),
                    },
                },
            },
            Type::GroupType { basic_info, fields } => Self::Group {
                name: basic_info.name().to_owned(),
                r#type: "struct",
                repetition: basic_info.has_repetition().then(|| basic_info.repetition().to_string()),
                fields: fields.iter().map(|field| Self::from(&**field)).collect(),
            },
        }
    }
}

/// A logical type with its parameters, as Parquet's own tools write it.
fn logical_name(logical: &LogicalType) -> String {
    match logical {
        LogicalType::Integer(int) => format!("INTEGER({},{})", int.bit_width, int.is_signed),
        LogicalType::Decimal(decimal) => format!("DECIMAL({},{})", decimal.precision, decimal.scale),
        LogicalType::Timestamp(time) => format!("TIMESTAMP({:?},{})", time.unit, time.is_adjusted_to_u_t_c),
        LogicalType::Time(time) => format!("TIME({:?},{})", time.unit, time.is_adjusted_to_u_t_c),
        named => format!("{named:?}").to_ascii_uppercase(),
    }
}

/// The columns as SQL declares them, one a line. What `ddlSchema` of a source can say it can read back; types that it does
/// not know stand under their usual SQL names.
pub fn ddl(schema: &DataSchema) -> String {
    let columns: Vec<String> = schema.fields.iter().map(ddl_column).collect();
    columns.join(",\n")
}

fn ddl_column(field: &DataField) -> String {
    let plain = field.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && field.name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let name = if plain {
        field.name.clone()
    } else {
        format!("\"{}\"", field.name.replace('"', "\"\""))
    };
    match &field.data_type {
        DataType::Option { inner } => format!("{name} {}", ddl_type(inner)),
        required => format!("{name} {} NOT NULL", ddl_type(required)),
    }
}

fn ddl_type(data_type: &DataType) -> String {
    let named = match data_type {
        DataType::Binary { .. } => "BINARY",
        DataType::Bool => "BOOLEAN",
        DataType::Date => "DATE",
        DataType::Decimal { precision, scale } => return format!("DECIMAL({precision},{scale})"),
        DataType::Duration { .. } => "INTERVAL",
        DataType::Float16 | DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "TINYINT UNSIGNED",
        DataType::UInt16 => "SMALLINT UNSIGNED",
        DataType::UInt32 => "INT UNSIGNED",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::List { item_type, .. } => return format!("ARRAY<{}>", ddl_type(item_type)),
        DataType::Map {
            key_type, value_type, ..
        } => return format!("MAP<{}, {}>", ddl_type(key_type), ddl_type(value_type)),
        DataType::Null => "NULL",
        DataType::Option { inner } => return ddl_type(inner),
        DataType::Struct { fields } => {
            let fields: Vec<String> = fields.iter().map(ddl_column).collect();
            return format!("STRUCT<{}>", fields.join(", "));
        }
        DataType::Time { .. } => "TIME",
        DataType::Timestamp { .. } => "TIMESTAMP",
        DataType::String => "STRING",
    };
    named.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use odf_metadata::MetadataEvent;
    use odf_reference as golden;

    fn schema(fields: &[(&str, DataType)]) -> DataSchema {
        DataSchema {
            fields: fields
                .iter()
                .map(|(name, of)| DataField::new(*name, of.clone()))
                .collect(),
            extra: None,
        }
    }

    #[test]
    fn arrow_json_is_what_kamu_prints() {
        for dataset in golden::datasets() {
            let expected = dataset.text("schema.json");
            let set = dataset
                .blocks()
                .into_iter()
                .find_map(|block| match block.into_block().event {
                    MetadataEvent::SetDataSchema(event) => Some(event),
                    _ => None,
                });
            let found = set.map(|event| arrow_json(&event.declared().unwrap().unwrap()).unwrap());
            assert_eq!(found.unwrap_or_default(), expected.trim_end(), "{}", dataset.name);
        }
    }

    #[test]
    fn nested_types_keep_their_fields() {
        let inner = DataType::Struct {
            fields: vec![DataField::new(
                "x",
                DataType::Decimal {
                    precision: 10,
                    scale: 2,
                },
            )],
        };
        let list = DataType::List {
            item_type: Box::new(inner.optional()),
            fixed_length: None,
        };
        let text = arrow_json(&schema(&[("l", list)])).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let item = &json["fields"][0]["data_type"]["List"];
        assert_eq!((&item["name"], &item["nullable"]), (&json!("item"), &json!(true)));
        assert_eq!(
            item["data_type"]["Struct"][0]["data_type"],
            json!({"Decimal128": [10, 2]})
        );
    }

    #[test]
    fn parquet_has_two_forms() {
        let schema = schema(&[
            ("offset", DataType::Int64),
            ("op", DataType::UInt8),
            (
                "at",
                DataType::Timestamp {
                    unit: None,
                    timezone: None,
                },
            ),
            ("name", DataType::String.optional()),
            ("id", DataType::Binary { fixed_length: Some(4) }),
        ]);
        let text = parquet(&schema).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines[0], "message arrow_schema {");
        assert!(lines.contains(&"REQUIRED INT64 at (TIMESTAMP(MILLIS,true));"), "{text}");
        assert!(lines.contains(&"OPTIONAL BYTE_ARRAY name (STRING);"), "{text}");
        let json: Value = serde_json::from_str(&parquet_json(&schema).unwrap()).unwrap();
        assert_eq!(
            (&json["name"], &json["type"]),
            (&json!("arrow_schema"), &json!("struct"))
        );
        let field = |at: usize| &json["fields"][at];
        assert_eq!(
            field(0),
            &json!({"name": "offset", "repetition": "REQUIRED", "type": "INT64"})
        );
        assert_eq!(field(1)["logicalType"], "INTEGER(8,false)");
        assert_eq!(field(2)["logicalType"], "TIMESTAMP(MILLIS,true)");
        assert_eq!(field(3)["logicalType"], "STRING");
        assert_eq!(field(4)["type"], "FIXED_LEN_BYTE_ARRAY(4)");
    }

    #[test]
    fn columns_of_sql_name_their_types() {
        let schema = schema(&[
            ("offset", DataType::Int64),
            ("my \"col\"", DataType::Decimal { precision: 3, scale: 1 }.optional()),
            (
                "tags",
                DataType::List {
                    item_type: Box::new(DataType::String.optional()),
                    fixed_length: None,
                },
            ),
        ]);
        assert_eq!(
            ddl(&schema),
            "offset BIGINT NOT NULL,\n\"my \"\"col\"\"\" DECIMAL(3,1),\ntags ARRAY<STRING> NOT NULL"
        );
    }
}
