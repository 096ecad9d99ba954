//! The rows of a dataset as one file: its state now, or all of its history.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use clap::ValueEnum;
use odf::dataset::Dataset;
use odf::metadata::Vocabulary;
use odf::table_file::write_parquet;

use crate::commands::target::Target;
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output::{self, Format, records};

/// A form of rows in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TableFormat {
    /// Comma-separated values with a header
    Csv,
    /// One JSON object a line
    Ndjson,
    /// One JSON array of objects
    Json,
    /// Apache Parquet
    Parquet,
}

impl TableFormat {
    /// That of a file of this name; nothing if it is the name of a directory.
    pub(super) fn of(name: &str) -> Option<TableFormat> {
        if name == "-" {
            return Some(Self::Csv);
        }
        let extension = Path::new(name).extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "csv" => Some(Self::Csv),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            "json" => Some(Self::Json),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// Where rows go, and which.
pub(super) struct Wanted<'a> {
    /// The name of a file, or `-`.
    pub(super) to: &'a str,
    /// Their form.
    pub(super) format: TableFormat,
    /// All that ever came, in place of those that hold now.
    pub(super) history: bool,
    /// A file that is there is written over.
    pub(super) force: bool,
}

/// What was written.
#[derive(Default)]
pub(super) struct Wrote {
    /// Rows; not counted on their way to standard output.
    pub(super) rows: u64,
    /// The length of the file.
    pub(super) bytes: u64,
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, Failure>>>;

/// Writes the rows that are wanted.
///
/// # Errors
/// There are none, the file is there already or cannot be written; it is then as it was.
pub(super) fn write(dataset: &Dataset, wanted: &Wanted<'_>, io: &mut Io) -> Result<Wrote, Failure> {
    let Wanted {
        to,
        format,
        history: all,
        force,
    } = *wanted;
    let name = dataset.name()?;
    let (schema, batches) = if all { history(dataset)? } else { state(dataset)? }.ok_or_else(|| {
        Failure::new(
            Kind::EmptyInput,
            format!("{name} has no rows yet, so nothing was written"),
        )
        .next(format!("`odfs inspect schema {name}` shows its columns"))
    })?;
    let mut count = 0;
    if to == "-" {
        match format {
            TableFormat::Parquet => {
                write_parquet(Path::new("standard output"), io.out(), schema, batches).map(|_: u64| ())
            }
            _ => records::write(&schema, batches, text(format), io),
        }?;
        return Ok(Wrote::default());
    }
    let path = io.resolve(Path::new(to));
    let target = Target::new(path, force)?;
    let progress = io.progress().clone();
    let batches = batches.inspect(|batch| {
        count += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        progress.show(|| Step {
            text: format!("writing rows: {}", output::count(count)),
            ..Step::default()
        });
    });
    let mut file = target.reopen()?;
    match format {
        TableFormat::Parquet => {
            write_parquet(&target.path, &mut file, schema, batches)?;
        }
        _ => io.redirected(file, |io| records::write(&schema, batches, text(format), io))?,
    }
    let bytes = target.finish()?;
    io.say(format_args!(
        "Wrote {} row(s) of {name}{}, {}, to {}",
        output::count(count),
        if all { ", its whole history" } else { "" },
        output::bytes(bytes),
        to
    ));
    Ok(Wrote { rows: count, bytes })
}

fn text(format: TableFormat) -> Format {
    match format {
        TableFormat::Csv | TableFormat::Parquet => Format::Csv,
        TableFormat::Ndjson => Format::Ndjson,
        TableFormat::Json => Format::Json,
    }
}

/// The rows that hold now, without the columns that say how they came.
fn state(dataset: &Dataset) -> Result<Option<(SchemaRef, Batches)>, Failure> {
    let Some(current) = dataset.current()? else {
        return Ok(None);
    };
    let Vocabulary {
        offset_column,
        operation_type_column,
        system_time_column,
        ..
    } = dataset.state().vocabulary();
    let system = [offset_column, operation_type_column, system_time_column];
    let fields = current.schema().fields().iter().enumerate();
    let kept: Vec<usize> = fields
        .filter(|(_, field)| !system.contains(field.name()))
        .map(|(at, _)| at)
        .collect();
    let schema = Arc::new(current.schema().project(&kept)?);
    let batches = current.map(move |batch| Ok(batch?.project(&kept)?));
    Ok(Some((schema, Box::new(batches))))
}

/// All rows, with what each did in words.
fn history(dataset: &Dataset) -> Result<Option<(SchemaRef, Batches)>, Failure> {
    let Some(newest) = dataset.newest(u64::MAX, 0)? else {
        return Ok(None);
    };
    let operation = dataset.state().vocabulary().operation_type_column;
    let at = newest.schema().index_of(&operation)?;
    let fields = newest
        .schema()
        .fields()
        .iter()
        .enumerate()
        .map(|(position, field)| match position {
            position if position == at => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
            _ => field.clone(),
        });
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let written = schema.clone();
    let batches = newest.map(move |batch| {
        let batch = batch?;
        let mut columns = batch.columns().to_vec();
        columns[at] = in_words(&columns[at])?;
        Ok(RecordBatch::try_new(written.clone(), columns)?)
    });
    Ok(Some((schema, Box::new(batches))))
}

/// Operations in words; what is none stays the number that it is.
fn in_words(operations: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !operations.data_type().is_integer() {
        // A stream of changes may have words of its own.
        return cast(operations, &DataType::Utf8);
    }
    let numbers = cast(operations, &DataType::Int64)?;
    let words = numbers.as_primitive::<Int64Type>().iter().map(|operation| {
        operation.map(|operation| match operation {
            0 => "append".to_owned(),
            1 => "retract".to_owned(),
            2 => "correct-from".to_owned(),
            3 => "correct-to".to_owned(),
            other => other.to_string(),
        })
    });
    Ok(Arc::new(words.collect::<StringArray>()))
}
