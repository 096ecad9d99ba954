//! Columns that somebody adds to a dataset by saying so, before a row has them.

use arrow::datatypes::{Field, Schema};

use super::declare::count_in;
use super::infer::InferredColumn;
use super::source;
use super::{ColumnType, IngestError};
use odf_metadata::chain::ChainState;
use odf_metadata::{AddPushSource, DataField, DataSchema, DatasetKind, MetadataEvent, ReadStep, SetDataSchema};
use odf_tables::types::{field_from_arrow, from_arrow};

/// The events that add these columns, as optional ones, behind those that a dataset has: its schema, and its push sources,
/// which read them from then on.
///
/// # Errors
/// A column is there, has a name that ODF keeps for itself, or is to be required; the columns are those of a query, of a
/// source that is polled, or not declared at all.
pub fn add_columns(state: &ChainState, columns: &[ColumnType]) -> Result<Vec<MetadataEvent>, IngestError> {
    if state.kind == DatasetKind::Derivative {
        return Err(IngestError::Derivative);
    }
    if state.polling_source.is_some() {
        return Err(IngestError::ColumnsPolled);
    }
    let vocabulary = state.vocabulary();
    for ColumnType { field, .. } in columns {
        let name = field.name();
        if vocabulary.of_system().contains(&name) {
            return Err(IngestError::ColumnReserved(name.clone()));
        }
        if !field.is_nullable() {
            return Err(IngestError::ColumnRequired(name.clone()));
        }
    }
    let mut events = Vec::new();
    for source in state.push_sources.values() {
        if source.preprocess.is_some() {
            return Err(IngestError::ColumnsOfQuery);
        }
        let declared = declared(&source.read)?.ok_or(IngestError::ColumnsOpen)?;
        events.push(MetadataEvent::AddPushSource(AddPushSource {
            read: source::with_schema(&source.read, Some(with(declared, columns, true)?)),
            ..source.clone()
        }));
    }
    match state
        .schema
        .as_ref()
        .map(SetDataSchema::declared)
        .transpose()?
        .flatten()
    {
        Some(schema) => events.push(MetadataEvent::SetDataSchema(SetDataSchema {
            raw_arrow_schema: None,
            schema: Some(with(schema, columns, false)?),
        })),
        None if events.is_empty() => return Err(IngestError::NoPushSource),
        None => {}
    }
    Ok(events)
}

/// The columns that a source declares; none if it leaves them open.
fn declared(read: &ReadStep) -> Result<Option<DataSchema>, IngestError> {
    if let (_, Some(schema)) = read.schemas() {
        return Ok(Some(schema.clone()));
    }
    let declared = source::declared_columns(read).map_err(|problem| IngestError::Declaration(problem.to_string()))?;
    let Some(declared) = declared else {
        return Ok(None);
    };
    let field = |column: &InferredColumn| Field::new(&column.name, column.data_type.clone(), column.nullable);
    let fields: Vec<Field> = declared.columns.iter().map(field).collect();
    Ok(Some(from_arrow(&Schema::new(fields))?))
}

/// The schema with more columns; in that of a source times say what integers in them count.
fn with(mut schema: DataSchema, columns: &[ColumnType], is_source: bool) -> Result<DataSchema, IngestError> {
    for ColumnType { field, integer_time } in columns {
        if schema.fields.iter().any(|there| there.name == *field.name()) {
            return Err(IngestError::ColumnThere(field.name().clone()));
        }
        let mut added: DataField = field_from_arrow(&Field::clone(field))?;
        if let Some(unit) = integer_time.filter(|_| is_source) {
            count_in(&mut added, unit);
        }
        schema.fields.push(added);
    }
    Ok(schema)
}
