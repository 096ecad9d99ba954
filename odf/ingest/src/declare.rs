//! The push source that says in the chain how rows come into a dataset, both ways.

use std::path::Path;

use arrow::datatypes::{Field, Schema, TimeUnit};

use super::IngestError;
use super::before::Before;
use super::infer::{Inferred, InferredColumn};
use super::json::GEOMETRY;
use super::merge::OperationColumn;
use super::plan::Plan;
use super::source::{
    self, Content, Format, INTEGER_TIMES, NULL_GEOMETRIES, OnProgress, Problem, Source, integer_times,
};
use odf_metadata::chain::ChainState;
use odf_metadata::{
    AddPushSource, DEFAULT_SOURCE, DataField, DataSchema, DataType, MergeStrategy, MetadataEvent, ReadStep,
    ReadStepCsv, SetDataSchema,
};
use odf_tables::types::{field_from_arrow, from_arrow};

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

/// The table, read as the source in the chain says where nobody said it otherwise: separator and member are remembered.
pub(super) fn as_recorded(source: &Source, state: Option<&ChainState>) -> Source {
    let Some(recorded) = state.and_then(|state| state.push_source()) else {
        return source.clone();
    };
    if Format::of_step(&recorded.read) != source.format() {
        return source.clone();
    }
    match &recorded.read {
        ReadStep::Csv(csv) => {
            let separated = source.or_separated_by(match csv.separator.as_deref().map(str::as_bytes) {
                None => Some(b','),
                Some([separator]) => Some(*separator),
                Some(_) => None,
            });
            match csv.header {
                Some(true) => separated,
                Some(false) | None => separated.without_header(),
            }
        }
        ReadStep::Json { sub_path, .. } | ReadStep::EsriShapefile { sub_path, .. } => {
            source.or_below(sub_path.as_deref())
        }
        _ => source.clone(),
    }
}

/// The schema with the columns of a table that it lacks, as optional ones behind the others; none if it lacks none.
pub(super) fn widened(
    schema: &DataSchema,
    found: &Inferred,
    Before {
        vocabulary, strategy, ..
    }: &Before,
    source: &Source,
) -> Result<Option<DataSchema>, IngestError> {
    let mut wider = schema.clone();
    for column in &found.columns {
        if schema.fields.iter().any(|field| field.name == column.name) {
            continue;
        }
        if OperationColumn::of(strategy).reserves(&column.name, vocabulary) {
            return Err(source.column_error(&column.name, Problem::Reserved).into());
        }
        wider.fields.push(field_from_arrow(&Field::new(
            &column.name,
            column.data_type.clone(),
            true,
        ))?);
    }
    Ok((wider.fields.len() > schema.fields.len()).then_some(wider))
}

/// Columns that a table adds to a source and its dataset.
pub(super) struct AddedColumns {
    /// The step that the table is read by.
    pub(super) read: ReadStep,
    /// The schema that the dataset gets, if it had one.
    pub(super) schema: Option<DataSchema>,
    /// What says so in the chain.
    pub(super) events: Vec<MetadataEvent>,
}

/// The columns of `content` that the source does not declare; none if it declares all of them. `read` is the step that the
/// content is read by, which is that of the source unless the content has another format.
pub(super) fn added_columns(
    name: &str,
    content: &Path,
    source: &AddPushSource,
    read: &ReadStep,
    before: &Before,
    progress: &mut OnProgress<'_>,
) -> Result<Option<AddedColumns>, IngestError> {
    if source.preprocess.is_some() {
        return Err(IngestError::ColumnsOfQuery);
    }
    let declared = source::declared_columns(read).map_err(|problem| IngestError::Declaration(problem.to_string()))?;
    let Some(declared) = declared else {
        return Err(IngestError::ColumnsOpen);
    };
    let table = Source::for_step(name, Content::File(content.to_owned()), &source::undeclared(read))?.looked_at_whole();
    let end = if table.is_there() { table.len()? } else { 0 };
    if end == 0 {
        return Ok(None);
    }
    let found = table.infer(end, progress)?;
    let field = |column: &InferredColumn| Field::new(&column.name, column.data_type.clone(), column.nullable);
    let columns = match read.schemas() {
        // With all that it says of its columns, such as what integers count.
        (_, Some(schema)) => schema.clone(),
        (_, None) => from_arrow(&Schema::new(declared.columns.iter().map(field).collect::<Vec<_>>()))?,
    };
    let Some(wider) = widened(&columns, &found, before, &table)? else {
        return Ok(None);
    };
    let schema = match &before.schema {
        None => None,
        Some(schema) => widened(schema, &found, before, &table)?,
    };
    let mut events = vec![MetadataEvent::AddPushSource(AddPushSource {
        read: source::with_schema(&source.read, Some(wider.clone())),
        ..source.clone()
    })];
    events.extend(schema.clone().map(|schema| {
        MetadataEvent::SetDataSchema(SetDataSchema {
            raw_arrow_schema: None,
            schema: Some(schema),
        })
    }));
    Ok(Some(AddedColumns {
        read: source::with_schema(read, Some(wider)),
        schema,
        events,
    }))
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
        None => order_of(source, plan)?,
    };
    let fields: Vec<_> = order.into_iter().map(|at| shape.schema().field(at).clone()).collect();
    let mut schema: DataSchema = from_arrow(&Schema::new(fields))?;
    for field in &mut schema.fields {
        if let Some(unit) = shape.position(&field.name).and_then(|at| shape.integer_time(at)) {
            count_in(field, unit);
        }
        if source.format().has_features() && field.name == GEOMETRY {
            let extra = field.extra.get_or_insert_default();
            extra.0.insert(NULL_GEOMETRIES.to_owned(), true.into());
        }
    }
    Ok(MetadataEvent::AddPushSource(AddPushSource {
        source_name: DEFAULT_SOURCE.to_owned(),
        read: read_step(source, schema),
        preprocess: None,
        merge,
    }))
}

/// The columns of a table whose types were not found out, as the dataset has a schema: in the order of the table, where that
/// shows. Without those that a table may lack and this one does.
fn order_of(source: &Source, plan: &Plan) -> Result<Vec<usize>, IngestError> {
    let shape = plan.shape();
    let named = source.declared_names()?.unwrap_or_default();
    let mut order: Vec<usize> = named.iter().filter_map(|name| shape.position(name)).collect();
    let rest = (0..shape.width()).filter(|at| !order.contains(at) && !shape.is_optional(*at));
    order.extend(rest.collect::<Vec<_>>());
    Ok(order)
}

/// Writes down in which unit the integers of a time column count.
pub(super) fn count_in(field: &mut DataField, counts: TimeUnit) {
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
            header: Some(source.options().header),
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
