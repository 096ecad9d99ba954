//! Which column of a table becomes which column of the dataset.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::infer::{Inferred, Note, is_event_time, timestamp};
use super::merge::OperationColumn;
use super::shape::{Shape, type_name};
use super::source::{Format, Problem, Source, SourceError};
use odf_metadata::{DataSchema, MergeStrategy, Vocabulary};
use odf_tables::slice::Ordered;
use odf_tables::types::{NoCounterpart, to_arrow};

/// The default name of the event time column; a table that has it need not name it.
pub const EVENT_TIME: &str = "event_time";

/// Where the values of a dataset column come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Offset,
    Operation,
    SystemTime,
    /// The column of the shape with the event time; gaps are filled.
    EventTime(usize),
    /// A column of the shape.
    Data(usize),
}

/// How the rows of a table become rows of a dataset.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Every column of the dataset in its order.
    pub(super) schema: SchemaRef,
    /// The same columns as they are written: fewer are optional, and there may be more said about them.
    pub(super) written: SchemaRef,
    /// The columns by which the rows are in order, beside the offset.
    pub(super) order: Vec<Ordered>,
    /// For every column of the dataset where it comes from.
    pub(super) roles: Vec<Role>,
    /// What is read from the table.
    pub(super) shape: Shape,
}

/// Why a dataset and a table do not fit together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The table has the wrong columns.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The dataset has a type that is not supported.
    #[error(transparent)]
    NoCounterpart(#[from] NoCounterpart),
    /// The dataset's schema lacks a system column or has it in another type.
    #[error("the dataset's schema has no usable column `{0}`")]
    SystemColumn(String),
}

impl Plan {
    /// For a dataset without a schema: the table decides. Columns of `primary_key` are required.
    ///
    /// The event time column is the one that `vocabulary` names. If the table does not have it, that is an error only
    /// when `event_time_wanted`; otherwise the column is made of the fallback time. Whether the table may, or must, have an
    /// operation column depends on the `strategy`.
    pub fn infer(
        source: &Source,
        inferred: &Inferred,
        vocabulary: &Vocabulary,
        event_time_wanted: bool,
        primary_key: &[String],
        strategy: &MergeStrategy,
    ) -> Result<Plan, SourceError> {
        for name in primary_key {
            if !inferred.columns.iter().any(|c| c.name == *name) {
                return Err(source.column_error(name, Problem::NoColumn(inferred.names())));
            }
        }
        let event_name = &vocabulary.event_time_column;
        let operation = OperationColumn::of(strategy);
        let mut event_type = None;
        let mut given_operation = None;
        let mut rest = Vec::new();
        for column in &inferred.columns {
            if column.name == vocabulary.operation_type_column && operation != OperationColumn::Reserved {
                if !column.data_type.is_integer() {
                    let value = format!("{} in the file", type_name(&column.data_type));
                    let expected = "an integer (0 append, 1 retract, 2 correct from, 3 correct to)".to_owned();
                    return Err(source.column_error(&column.name, Problem::NotType { value, expected }));
                }
                given_operation = Some(Field::new(&column.name, column.data_type.clone(), column.nullable));
                continue;
            }
            if operation.reserves(&column.name, vocabulary) {
                return Err(source.column_error(&column.name, Problem::Reserved));
            }
            if column.name == *event_name {
                event_type = Some(match &column.data_type {
                    data_type if is_event_time(data_type) => data_type.clone(),
                    // The value that cannot be taken is named, with its place, where it is read.
                    data_type if data_type.is_integer() || column.note == Some(Note::FineTimes) => timestamp(),
                    other => return Err(source.column_error(event_name, Problem::NotATime(type_name(other)))),
                });
            } else {
                let nullable = column.nullable && !primary_key.contains(&column.name);
                rest.push(Field::new(&column.name, column.data_type.clone(), nullable));
            }
        }
        if event_time_wanted && event_type.is_none() {
            return Err(source.column_error(event_name, Problem::NoColumn(inferred.names())));
        }
        if operation == OperationColumn::Required && given_operation.is_none() {
            return Err(source.column_error(&vocabulary.operation_type_column, Problem::NoColumn(inferred.names())));
        }
        // A stream of changes is taken as it is, the column of its operations included.
        let kept_operation = given_operation.filter(|_| operation == OperationColumn::Required);
        let default_operation = || Field::new(&vocabulary.operation_type_column, DataType::Int32, false);
        let mut fields = vec![
            Field::new(&vocabulary.offset_column, DataType::Int64, false),
            kept_operation.unwrap_or_else(default_operation),
            Field::new(&vocabulary.system_time_column, timestamp(), false),
            Field::new(event_name, event_type.clone().unwrap_or_else(timestamp), false),
        ];
        fields.extend(rest);
        Ok(Plan::new(
            Arc::new(Schema::new(fields)),
            vocabulary,
            event_type.is_some(),
            operation,
        ))
    }

    /// For a dataset that has a schema: the table must fit.
    pub fn fit(
        source: &Source,
        schema: &DataSchema,
        vocabulary: &Vocabulary,
        strategy: &MergeStrategy,
    ) -> Result<Plan, PlanError> {
        let schema = Arc::new(to_arrow(schema)?);
        for (name, usable) in [
            (&vocabulary.offset_column, DataType::is_integer as fn(&DataType) -> bool),
            (&vocabulary.operation_type_column, DataType::is_integer),
            (&vocabulary.system_time_column, |t| *t == timestamp()),
            (&vocabulary.event_time_column, is_event_time),
        ] {
            if !schema.field_with_name(name).is_ok_and(|f| usable(f.data_type())) {
                return Err(PlanError::SystemColumn(name.clone()));
            }
        }
        let event_name = &vocabulary.event_time_column;
        let has_event_time = match source.declared_names()? {
            // A column of another name than the default was chosen by somebody: its absence is no accident to fill.
            Some(names) => event_name != EVENT_TIME || names.contains(event_name),
            None => true,
        };
        let operation = OperationColumn::of(strategy);
        Ok(Plan::new(schema, vocabulary, has_event_time, operation))
    }

    /// For rows whose columns are known: `rows` as they come, `slice` as they are written, in the same order.
    pub(super) fn of_rows(
        rows: SchemaRef,
        slice: SchemaRef,
        vocabulary: &Vocabulary,
        strategy: &MergeStrategy,
    ) -> Plan {
        let plan = Plan::new(rows, vocabulary, true, OperationColumn::of(strategy));
        Plan {
            written: slice.clone(),
            schema: slice,
            shape: plan.shape.by_source(),
            ..plan
        }
    }

    /// The event time column is read as nulls unless the table has it, so that earlier rows keep theirs.
    fn new(schema: SchemaRef, vocabulary: &Vocabulary, has_event_time: bool, operation: OperationColumn) -> Plan {
        let mut fields = Vec::new();
        if let Ok(field) = schema.field_with_name(&vocabulary.event_time_column) {
            fields.push(field.clone().with_nullable(true));
        }
        // Text is kept as it is where rows are.
        let is_text = operation == OperationColumn::Required
            && schema
                .field_with_name(&vocabulary.operation_type_column)
                .is_ok_and(|field| is_text(field.data_type()));
        let operation = if is_text { OperationColumn::Reserved } else { operation };
        if operation != OperationColumn::Reserved {
            // The widest integers, and optional: the merge says itself what is wrong with a value, and in which row.
            fields.push(Field::new(&vocabulary.operation_type_column, DataType::Int64, true));
        }
        let mut roles = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let name = field.name();
            roles.push(if *name == vocabulary.offset_column {
                Role::Offset
            } else if *name == vocabulary.operation_type_column && !is_text {
                Role::Operation
            } else if *name == vocabulary.system_time_column {
                Role::SystemTime
            } else if *name == vocabulary.event_time_column {
                Role::EventTime(0)
            } else {
                fields.push(field.as_ref().clone());
                Role::Data(fields.len() - 1)
            });
        }
        let mut shape = Shape::new(fields, Some(&vocabulary.event_time_column));
        if !has_event_time {
            let event_time = shape.event_time();
            shape = shape.with_optional(event_time);
        }
        if operation != OperationColumn::Reserved {
            shape = shape.with_operation(&vocabulary.operation_type_column);
        }
        if operation == OperationColumn::Optional {
            let operation = shape.operation();
            shape = shape.with_optional(operation);
        }
        Plan {
            written: schema.clone(),
            schema,
            order: Vec::new(),
            roles,
            shape,
        }
    }

    /// Says in which unit integers count in time columns, by name.
    pub(super) fn with_integer_times(self, times: &[(String, TimeUnit)]) -> Plan {
        Plan {
            shape: self.shape.with_integer_times(times),
            ..self
        }
    }

    /// Every column of the dataset in its order.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What is read from the table.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }
}

/// Whether a type is text, whatever its encoding.
pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

impl Source {
    /// The names of the columns where the format declares them before the rows; none for JSON and its kin.
    pub(super) fn declared_names(&self) -> Result<Option<Vec<String>>, SourceError> {
        match self.format() {
            Format::Csv => super::delimited::names(&self.settled()?).map(Some),
            Format::Parquet => super::columnar::names(self).map(Some),
            Format::Ndjson | Format::Json | Format::GeoJson | Format::NdGeoJson | Format::EsriShapefile => Ok(None),
        }
    }
}
