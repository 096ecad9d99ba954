//! `odfs inspect schema`

use clap::{Args, ValueEnum};
use odf::metadata::{DataField, DataType, SetDataSchema, TimeUnit};
use odf::schema_text;

use crate::commands::as_of::AsOfArgs;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output::{Format, Listing};
use crate::session::Session;

/// Show the columns of a dataset
#[derive(Args, Debug)]
pub(crate) struct SchemaArgs {
    /// Name or id of the dataset
    dataset: String,
    /// Form of the schema [default: table on a terminal, json otherwise]
    #[arg(short, long, value_name = "FORMAT", alias = "output-format")]
    output: Option<SchemaFormat>,
    #[command(flatten)]
    as_of: AsOfArgs,
}

/// The form of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaFormat {
    /// One line a column, for people
    Table,
    /// One JSON array with an object a column
    Json,
    /// One JSON object a line and column
    Ndjson,
    /// Comma-separated values with a header
    Csv,
    /// The schema of ODF as YAML
    OdfYaml,
    /// The schema of ODF as JSON
    OdfJson,
    /// The schema of Arrow as JSON
    ArrowJson,
    /// SQL column declarations, as in ddlSchema
    Ddl,
    /// The schema of Parquet
    Parquet,
    /// The schema of Parquet as JSON
    ParquetJson,
}

pub(super) fn run(args: &SchemaArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let dataset = args.as_of.open(&args.dataset, session)?;
    let declared = dataset.state().schema.as_ref().map(SetDataSchema::declared).transpose();
    let declared = declared.map_err(schema_text::SchemaTextError::from)?;
    let schema = declared.flatten().ok_or_else(|| {
        Failure::new(Kind::NotFound, "the dataset has no schema yet").next("it gets one with its first rows")
    })?;
    let default = if io.terminal().output {
        SchemaFormat::Table
    } else {
        SchemaFormat::Json
    };
    let format = match args.output.unwrap_or(default) {
        SchemaFormat::OdfYaml => {
            let text = serde_norway::to_string(&schema)
                .map_err(|error| Failure::new(Kind::General, error).about("writing the schema"))?;
            return io.text(&text);
        }
        SchemaFormat::OdfJson => return io.line(serde_json::to_string_pretty(&schema).map_err(std::io::Error::from)?),
        SchemaFormat::ArrowJson => return io.line(schema_text::arrow_json(&schema)?),
        SchemaFormat::Ddl => return io.line(schema_text::ddl(&schema)),
        SchemaFormat::Parquet => return io.text(&schema_text::parquet(&schema)?),
        SchemaFormat::ParquetJson => return io.line(schema_text::parquet_json(&schema)?),
        SchemaFormat::Table => Format::Table,
        SchemaFormat::Json => Format::Json,
        SchemaFormat::Ndjson => Format::Ndjson,
        SchemaFormat::Csv => Format::Csv,
    };
    let mut listing = Listing::new(&["Name", "Type", "Optional"]);
    for field in &schema.fields {
        let (data_type, optional) = type_in_words(field);
        listing.row([field.name.as_str().into(), data_type.into(), optional.into()]);
    }
    listing.write(format, io)
}

/// The type of a column without the wrapping that makes it optional, and whether it is.
pub(in crate::commands) fn type_in_words(field: &DataField) -> (String, bool) {
    match &field.data_type {
        DataType::Option { inner } => (name(inner), true),
        other => (name(other), false),
    }
}

fn name(data_type: &DataType) -> String {
    let unit = |unit: &Option<TimeUnit>| unit.unwrap_or(TimeUnit::Millisecond).name();
    match data_type {
        DataType::Decimal { precision, scale } => format!("Decimal({precision}, {scale})"),
        DataType::Duration { unit: u } => format!("Duration({})", unit(u)),
        DataType::Time { unit: u } => format!("Time({})", unit(u)),
        DataType::Timestamp { unit: u, timezone } => {
            format!("Timestamp({}, {})", unit(u), timezone.as_deref().unwrap_or("UTC"))
        }
        DataType::Binary {
            fixed_length: Some(length),
        } => format!("Binary({length})"),
        DataType::List { item_type, .. } => format!("List({})", name(item_type)),
        DataType::Map {
            key_type, value_type, ..
        } => format!("Map({}, {})", name(key_type), name(value_type)),
        DataType::Option { inner } => format!("Option({})", name(inner)),
        DataType::Struct { fields } => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{}: {}", field.name, name(&field.data_type)))
                .collect();
            format!("Struct({})", fields.join(", "))
        }
        other => other.kind().to_owned(),
    }
}
