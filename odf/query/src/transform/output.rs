//! From the result of the queries to rows of the dataset.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::TransformError;
use odf_ingest::infer::{UTC, timestamp};
use odf_ingest::source::{Problem, SourceError};
use odf_ingest::{FitError, compatible};
use odf_metadata::{OperationType, SetDataSchema, Timestamp, Vocabulary};
use odf_tables::types::{convert, to_arrow};

/// Where a column of the dataset comes from.
#[derive(Debug, PartialEq)]
enum Role {
    Offset,
    /// All rows are appended.
    Appended,
    SystemTime,
    /// A column of the result.
    Result(usize),
}

/// How rows of the result become rows of the dataset.
#[derive(Debug)]
pub(super) struct Output {
    schema: SchemaRef,
    roles: Vec<Role>,
}

impl Output {
    /// Checks the columns of the result and puts them behind the system columns. Timestamps become milliseconds UTC.
    ///
    /// # Errors
    /// A system column that the engine makes is there, the event time is not or is no time, or the columns are not those
    /// of the dataset.
    pub(super) fn new(
        result: &SchemaRef,
        vocabulary: &Vocabulary,
        declared: Option<&SetDataSchema>,
    ) -> Result<Output, TransformError> {
        let Vocabulary {
            offset_column,
            operation_type_column,
            system_time_column,
            event_time_column,
        } = vocabulary;
        let position = |name: &str| result.fields().iter().position(|field| field.name() == name);
        for reserved in [offset_column, system_time_column] {
            if position(reserved).is_some() {
                return Err(TransformError::Reserved(reserved.clone()));
            }
        }
        let event_time = position(event_time_column).ok_or_else(|| TransformError::NoEventTime {
            wanted: event_time_column.clone(),
            columns: names(result),
        })?;
        let operation = position(operation_type_column);
        let mut fields = vec![Field::new(offset_column, DataType::Int64, false)];
        let mut roles = vec![Role::Offset];
        match operation {
            None => {
                fields.push(Field::new(operation_type_column, DataType::Int32, false));
                roles.push(Role::Appended);
            }
            Some(at) => {
                fields.push(operations(result.field(at))?);
                roles.push(Role::Result(at));
            }
        }
        fields.push(Field::new(system_time_column, timestamp(), false));
        roles.push(Role::SystemTime);
        fields.push(times(result.field(event_time))?);
        roles.push(Role::Result(event_time));
        for (at, field) in result.fields().iter().enumerate() {
            if at != event_time && Some(at) != operation {
                fields.push(normal(field));
                roles.push(Role::Result(at));
            }
        }
        let schema = Arc::new(Schema::new(fields));
        if let Some(declared) = declared.and_then(|event| event.schema.as_ref()) {
            compatible(&to_arrow(declared)?, &schema)?;
        }
        Ok(Output { schema, roles })
    }

    /// The columns of slices.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows of the result with the system columns, the first of them at offset `first`.
    pub(super) fn complete(
        &self,
        batch: &RecordBatch,
        first: i64,
        system_time: Timestamp,
    ) -> Result<RecordBatch, SourceError> {
        let rows = batch.num_rows();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.roles.len());
        for (role, field) in self.roles.iter().zip(self.schema.fields()) {
            let fail = |problem| SourceError {
                name: "the result of the query".to_owned(),
                place: None,
                column: Some(field.name().clone()),
                problem,
            };
            let column: ArrayRef = match role {
                Role::Offset => {
                    let end = first.saturating_add(i64::try_from(rows).unwrap_or(i64::MAX));
                    Arc::new(Int64Array::from_iter_values(first..end))
                }
                Role::Appended => Arc::new(Int32Array::from_value(OperationType::Append as i32, rows)),
                Role::SystemTime => {
                    Arc::new(TimestampMillisecondArray::from_value(system_time.millis(), rows).with_timezone(UTC))
                }
                Role::Result(at) => convert(batch.column(*at), field.data_type())
                    .map_err(|error| fail(Problem::Syntax(error.to_string())))?,
            };
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(fail(Problem::Missing));
            }
            columns.push(column);
        }
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| SourceError {
            name: "the result of the query".to_owned(),
            place: None,
            column: None,
            problem: Problem::Syntax(error.to_string()),
        })
    }
}

/// A column whose type is as slices hold it.
fn normal(field: &Field) -> Field {
    match field.data_type() {
        DataType::Timestamp(..) => Field::new(field.name(), timestamp(), field.is_nullable()),
        _ => field.clone(),
    }
}

fn operations(field: &Field) -> Result<Field, FitError> {
    use DataType::{Int8, Int16, Int32, UInt8, UInt16, UInt32};
    match field.data_type() {
        Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32 => {
            Ok(Field::new(field.name(), DataType::Int32, field.is_nullable()))
        }
        other => Err(FitError::Operation {
            column: field.name().clone(),
            found: other.to_string(),
        }),
    }
}

fn times(field: &Field) -> Result<Field, FitError> {
    match field.data_type() {
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => Ok(normal(field)),
        other => Err(FitError::EventTime {
            column: field.name().clone(),
            found: other.to_string(),
        }),
    }
}

fn names(schema: &Schema) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names.join(", ")
}
