//! From the read step of a source in the chain to a table that can be read (odf-facts §8.4).

use std::sync::Arc;

use arrow::datatypes::TimeUnit;

use super::format::Format;
use super::problem::{Problem, SourceError};
use super::{Content, ReadOptions, Source, check_names};
use crate::infer::{Inferred, InferredColumn};
use odf_metadata::{DataField, DataSchema, DataType, ReadStep, ReadStepCsv};
use odf_tables::ddl::parse_columns;
use odf_tables::types::to_arrow;

/// From how many rows the columns of a source that declares none are found out.
pub const FIRST_ROWS: u64 = 1_000;

impl Source {
    /// A table to be read exactly as `step` says. `name` is used in messages.
    ///
    /// If the step declares columns, [`Source::declared`] gives them, and reading differs from that of an undeclared table:
    /// - columns (members, fields) that are not asked for are passed over instead of refused;
    /// - CSV columns are found by name where there is a header, else by their place, for which there must be as many as
    ///   declared; a header whose names nobody declared renames them;
    /// - values are read as kamu reads them: numbers in a JSON time column are in the unit of the column, fractions become the
    ///   nearest float, numbers in text have no blanks around them and integers no point. Digits below the unit of a time or
    ///   the scale of a decimal, and the time of day of a date, are cut, and told of. What would be lost otherwise is refused:
    ///   digits of an integer, a number that becomes infinite.
    ///
    /// If it does not, columns are those that kamu finds in the first [`FIRST_ROWS`] rows: lists and objects of JSON have types
    /// of their own, text is text even where it looks like a date. Members that only later rows have are passed over, which is
    /// told ([`Source::told`]). Numbers whose digits a float would lose make text, as everywhere.
    ///
    /// # Errors
    /// [`Problem::Option`] for an option with a value that is not supported, [`Problem::Declaration`] for columns that cannot
    /// be understood. The content is not looked at.
    pub fn for_step(name: &str, content: Content, step: &ReadStep) -> Result<Source, SourceError> {
        let mut source = Source {
            name: name.to_owned(),
            content,
            format: Format::of_step(step),
            options: ReadOptions::default(),
            has_step: true,
            declared: None,
            lasting: false,
            told: Arc::default(),
            takes_nulls: says_of_a_field(step, NULL_GEOMETRIES),
            rows: None,
        };
        source.options = options(step).map_err(|problem| source.error(problem))?;
        let declared = declared_columns(step).map_err(|problem| source.error(problem))?;
        if let Some(declared) = &declared {
            check_names(&source, declared.columns.iter().map(|c| c.name.as_str()))?;
        }
        source.declared = declared.map(Arc::new);
        // Of a shapefile the header says what there is.
        let is_sampled = source.declared.is_none() && source.format != Format::EsriShapefile;
        source.options.first_rows = is_sampled.then_some(FIRST_ROWS);
        Ok(source)
    }

    /// The columns that the read step declares, in its order; none if it leaves them open or there is no step.
    /// The number of rows is not known and given as 0.
    pub fn declared(&self) -> Option<&Inferred> {
        self.declared.as_deref()
    }
}

/// Whether tables can be read as `step` says, whatever is in them.
///
/// # Errors
/// As [`Source::for_step`]; `name` stands for the table.
pub fn check_step(name: &str, step: &ReadStep) -> Result<(), SourceError> {
    Source::for_step(name, Content::Bytes(bytes::Bytes::new()), step).map(drop)
}

/// The step with its columns left open, to be found out with their types.
pub(crate) fn undeclared(step: &ReadStep) -> ReadStep {
    let mut open = with_schema(step, None);
    if let ReadStep::Csv(csv) = &mut open {
        csv.infer_schema = Some(true);
    }
    open
}

/// The step with other columns.
pub(crate) fn with_schema(step: &ReadStep, columns: Option<DataSchema>) -> ReadStep {
    let mut other = step.clone();
    let (ddl, schema) = match &mut other {
        ReadStep::Csv(ReadStepCsv { ddl_schema, schema, .. })
        | ReadStep::NdJson { ddl_schema, schema, .. }
        | ReadStep::Json { ddl_schema, schema, .. }
        | ReadStep::GeoJson { ddl_schema, schema }
        | ReadStep::NdGeoJson { ddl_schema, schema }
        | ReadStep::Parquet { ddl_schema, schema }
        | ReadStep::EsriShapefile { ddl_schema, schema, .. } => (ddl_schema, schema),
    };
    (*ddl, *schema) = (None, columns);
    other
}

/// The columns that a read step declares, in either of the two ways; none if it leaves them open.
pub fn declared_columns(step: &ReadStep) -> Result<Option<Inferred>, Problem> {
    let fields = match step.schemas() {
        (_, Some(schema)) => {
            for field in &schema.fields {
                check_type(&field.data_type, false)
                    .map_err(|reason| Problem::Declaration(format!("column `{}`: {reason}", field.name)))?;
            }
            let schema = to_arrow(schema).map_err(|error| Problem::Declaration(error.to_string()))?;
            schema.fields().iter().map(|f| f.as_ref().clone()).collect()
        }
        (Some(ddl), None) => parse_columns(ddl).map_err(|error| Problem::Declaration(error.to_string()))?,
        (None, None) => return Ok(None),
    };
    let columns = fields
        .into_iter()
        .map(|field| InferredColumn {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
            note: None,
        })
        .collect();
    Ok(Some(Inferred { columns, rows: 0 }))
}

/// Refuses types that have a form and no meaning: what no slice can hold, and what kamu cannot read. `is_optional` says that
/// the type stands in an optional one.
fn check_type(data_type: &DataType, is_optional: bool) -> Result<(), String> {
    match data_type {
        DataType::Option { .. } if is_optional => Err("an optional type within an optional one".to_owned()),
        DataType::Option { inner } => check_type(inner, true),
        DataType::Decimal { precision, scale } if !u32::try_from(*scale).is_ok_and(|scale| scale <= *precision) => Err(
            format!("Decimal({precision}, {scale}) has a scale that is not from 0 to its precision"),
        ),
        DataType::List { item_type, .. } => check_type(item_type, false),
        DataType::Struct { fields } => fields.iter().try_for_each(|field| check_type(&field.data_type, false)),
        _ => Ok(()),
    }
}

/// The attribute of a declared time column that says: integers in it count its unit, also where they are text, which kamu
/// refuses. Numbers of JSON count it anyway.
pub(crate) const INTEGER_TIMES: &str = "odfs.dev/integerTimes";

/// The attribute of a declared geometry column that says: features may be without one. kamu refuses those.
pub(crate) const NULL_GEOMETRIES: &str = "odfs.dev/nullGeometries";

/// Whether one of the columns that a step declares has this attribute.
fn says_of_a_field(step: &ReadStep, attribute: &str) -> bool {
    let fields = step.schemas().1.map(|schema| schema.fields.as_slice());
    let extras = fields
        .unwrap_or_default()
        .iter()
        .filter_map(|field| field.extra.as_ref());
    extras.into_iter().any(|extra| extra.0.contains_key(attribute))
}

/// In which unit integers count in those time columns of a read step that say it.
pub(crate) fn integer_times(step: &ReadStep) -> Vec<(String, TimeUnit)> {
    let fields = step
        .schemas()
        .1
        .map(|schema| schema.fields.as_slice())
        .unwrap_or_default();
    let unit = |field: &DataField| {
        let plain = match &field.data_type {
            DataType::Option { inner } => inner.as_ref(),
            plain => plain,
        };
        let DataType::Timestamp { unit, .. } = plain else {
            return None;
        };
        let is_said = field
            .extra
            .as_ref()
            .is_some_and(|extra| extra.0.contains_key(INTEGER_TIMES));
        is_said.then_some(match unit {
            Some(odf_metadata::TimeUnit::Second) => TimeUnit::Second,
            None | Some(odf_metadata::TimeUnit::Millisecond) => TimeUnit::Millisecond,
            Some(odf_metadata::TimeUnit::Microsecond) => TimeUnit::Microsecond,
            Some(odf_metadata::TimeUnit::Nanosecond) => TimeUnit::Nanosecond,
        })
    };
    let times = fields
        .iter()
        .filter_map(|field| Some((field.name.clone(), unit(field)?)));
    times.collect()
}

/// The step that reads `format` where `step` was meant for another: the same columns, everything else by default.
///
/// CSV has a header then only if the columns are not declared. If the format is the same, so is the step.
pub fn step_for_format(step: &ReadStep, format: Format) -> ReadStep {
    if Format::of_step(step) == format {
        return step.clone();
    }
    let (ddl_schema, schema) = step.schemas();
    let (ddl_schema, schema) = (ddl_schema.map(<[String]>::to_vec), schema.cloned());
    let (sub_path, date_format, encoding, timestamp_format) = (None, None, None, None);
    match format {
        Format::Csv => ReadStep::Csv(ReadStepCsv {
            header: Some(ddl_schema.is_none() && schema.is_none()),
            ddl_schema,
            schema,
            ..ReadStepCsv::default()
        }),
        Format::Ndjson => ReadStep::NdJson {
            ddl_schema,
            date_format,
            encoding,
            timestamp_format,
            schema,
        },
        Format::Json => ReadStep::Json {
            sub_path,
            ddl_schema,
            date_format,
            encoding,
            timestamp_format,
            schema,
        },
        Format::GeoJson => ReadStep::GeoJson { ddl_schema, schema },
        Format::NdGeoJson => ReadStep::NdGeoJson { ddl_schema, schema },
        Format::Parquet => ReadStep::Parquet { ddl_schema, schema },
        Format::EsriShapefile => ReadStep::EsriShapefile {
            ddl_schema,
            sub_path,
            schema,
        },
    }
}

/// The step that reads the CSV that a sheet was written as: the same columns, found by the names in its header.
pub(crate) fn step_for_sheet(step: &ReadStep) -> ReadStep {
    let (ddl_schema, schema) = step.schemas();
    ReadStep::Csv(ReadStepCsv {
        header: Some(true),
        escape: Some(String::new()),
        infer_schema: match step {
            ReadStep::Csv(csv) => csv.infer_schema,
            _ => Some(true),
        },
        ddl_schema: ddl_schema.map(<[String]>::to_vec),
        schema: schema.cloned(),
        ..ReadStepCsv::default()
    })
}

fn options(step: &ReadStep) -> Result<ReadOptions, Problem> {
    let mut options = ReadOptions::default();
    match step {
        ReadStep::Csv(csv) => {
            expect("encoding", csv.encoding.as_deref(), "utf8")?;
            expect("nullValue", csv.null_value.as_deref(), "")?;
            expect("dateFormat", csv.date_format.as_deref(), "rfc3339")?;
            expect("timestampFormat", csv.timestamp_format.as_deref(), "rfc3339")?;
            options.separator = Some(character("separator", csv.separator.as_deref().unwrap_or(","))?);
            options.quote = character("quote", csv.quote.as_deref().unwrap_or("\""))?;
            options.escape = match csv.escape.as_deref().unwrap_or("\\") {
                "" => None,
                text => Some(character("escape", text)?),
            };
            options.header = csv.header.unwrap_or(false);
            options.infer_types = csv.infer_schema.unwrap_or(false);
        }
        ReadStep::Json {
            sub_path,
            date_format,
            encoding,
            timestamp_format,
            ..
        } => {
            text_options(encoding, date_format, timestamp_format)?;
            options.sub_path = sub_path.clone();
        }
        ReadStep::NdJson {
            date_format,
            encoding,
            timestamp_format,
            ..
        } => text_options(encoding, date_format, timestamp_format)?,
        ReadStep::EsriShapefile { sub_path, .. } => options.sub_path = sub_path.clone(),
        ReadStep::GeoJson { .. } | ReadStep::NdGeoJson { .. } | ReadStep::Parquet { .. } => {}
    }
    Ok(options)
}

fn text_options(encoding: &Option<String>, date: &Option<String>, time: &Option<String>) -> Result<(), Problem> {
    expect("encoding", encoding.as_deref(), "utf8")?;
    expect("dateFormat", date.as_deref(), "rfc3339")?;
    expect("timestampFormat", time.as_deref(), "rfc3339")
}

/// Refuses an option with another value than the one that there is; to the letter, as kamu does.
fn expect(option: &'static str, value: Option<&str>, supported: &'static str) -> Result<(), Problem> {
    match value {
        Some(value) if value != supported => Err(Problem::Option {
            option,
            value: super::shorten(value),
            supported: match supported {
                "" => "an empty text",
                supported => supported,
            },
        }),
        _ => Ok(()),
    }
}

fn character(option: &'static str, value: &str) -> Result<u8, Problem> {
    match value.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
        _ => Err(Problem::Option {
            option,
            value: super::shorten(value),
            supported: "one ASCII character",
        }),
    }
}
