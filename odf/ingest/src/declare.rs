//! The push source that says in the chain how rows come into a dataset, both ways.

use arrow::datatypes::{Schema, TimeUnit};

use super::IngestError;
use super::infer::Inferred;
use super::plan::Plan;
use super::source::{self, Format, INTEGER_TIMES, Source, integer_times};
use odf_metadata::chain::ChainState;
use odf_metadata::{
    AddPushSource, DEFAULT_SOURCE, DataField, DataSchema, DataType, MergeStrategy, MetadataEvent, ReadStep, ReadStepCsv,
};
use odf_tables::types::from_arrow;

/// The columns that the source in force declares, in either way; none if it leaves them open.
pub(super) fn declared_columns(state: &ChainState) -> Result<Option<Inferred>, IngestError> {
    let polling = state
        .polling_source
        .as_ref()
        .map(|source| (&source.read, &source.preprocess));
    let push = || state.push_source().map(|source| (&source.read, &source.preprocess));
    // What a query makes of the columns is not known here.
    let Some((read, None)) = polling.or_else(push) else {
        return Ok(None);
    };
    source::declared_columns(read).map_err(|problem| IngestError::Declaration(problem.to_string()))
}

/// In which unit integers count in the time columns of the source in force, where it says so.
pub(super) fn declared_integer_times(state: &ChainState) -> Vec<(String, TimeUnit)> {
    let polling = state.polling_source.as_ref().map(|source| &source.read);
    let push = || state.push_source().map(|source| &source.read);
    polling.or_else(push).map(integer_times).unwrap_or_default()
}

/// The source for a table with these columns. Their order is that of the file, because kamu reads CSV by position.
pub(super) fn push_source(
    source: &Source,
    plan: &Plan,
    columns: Option<&Inferred>,
    merge: MergeStrategy,
) -> Result<MetadataEvent, IngestError> {
    let shape = plan.shape();
    let order: Vec<usize> = match columns {
        Some(columns) => columns
            .columns
            .iter()
            .filter_map(|column| shape.position(&column.name))
            .collect(),
        None => (0..shape.width()).collect(),
    };
    let fields: Vec<_> = order.into_iter().map(|at| shape.schema().field(at).clone()).collect();
    let mut schema: DataSchema = from_arrow(&Schema::new(fields))?;
    for field in &mut schema.fields {
        if let Some(unit) = shape.position(&field.name).and_then(|at| shape.integer_time(at)) {
            count_in(field, unit);
        }
    }
    Ok(MetadataEvent::AddPushSource(AddPushSource {
        source_name: DEFAULT_SOURCE.to_owned(),
        read: read_step(source, schema),
        preprocess: None,
        merge,
    }))
}

/// Writes down in which unit the integers of a time column count.
fn count_in(field: &mut DataField, counts: TimeUnit) {
    let time = match &mut field.data_type {
        DataType::Option { inner } => inner.as_mut(),
        plain => plain,
    };
    if let DataType::Timestamp { unit, .. } = time {
        *unit = Some(match counts {
            TimeUnit::Second => odf_metadata::TimeUnit::Second,
            TimeUnit::Millisecond => odf_metadata::TimeUnit::Millisecond,
            TimeUnit::Microsecond => odf_metadata::TimeUnit::Microsecond,
            TimeUnit::Nanosecond => odf_metadata::TimeUnit::Nanosecond,
        });
        let extra = field.extra.get_or_insert_default();
        extra.0.insert(INTEGER_TIMES.to_owned(), true.into());
    }
}

fn read_step(source: &Source, schema: DataSchema) -> ReadStep {
    let schema = Some(schema);
    let (ddl_schema, date_format, encoding, timestamp_format) = (None, None, None, None);
    match source.format() {
        Format::Csv => ReadStep::Csv(ReadStepCsv {
            separator: source
                .options()
                .separator
                .filter(|s| *s != b',')
                .map(|s| char::from(s).to_string()),
            // Quotes are doubled, a backslash is a backslash; kamu's default is the other way round.
            escape: Some(String::new()),
            header: Some(true),
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
        Format::Json => {
            let sub_path = source.options().sub_path.clone();
            ReadStep::Json {
                sub_path,
                ddl_schema,
                date_format,
                encoding,
                timestamp_format,
                schema,
            }
        }
        Format::GeoJson => ReadStep::GeoJson { ddl_schema, schema },
        Format::NdGeoJson => ReadStep::NdGeoJson { ddl_schema, schema },
        Format::Parquet => ReadStep::Parquet { ddl_schema, schema },
        Format::EsriShapefile => ReadStep::EsriShapefile {
            ddl_schema,
            sub_path: source.options().sub_path.clone(),
            schema,
        },
    }
}
