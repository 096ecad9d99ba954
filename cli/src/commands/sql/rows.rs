//! Rows of answers in the form that is wanted.

use std::path::Path;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use clap::ValueEnum;
use odf::table_file::write_parquet;

use crate::failure::Failure;
use crate::io::Io;
use crate::output::{self, Format, records};

/// A form of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RowFormat {
    /// Columns for people
    Table,
    /// One JSON array of objects
    Json,
    /// One JSON object a line
    Ndjson,
    /// One JSON array of arrays: the values of each row
    JsonAoa,
    /// One JSON object of arrays: the values of each column
    JsonSoa,
    /// Comma-separated values with a header
    Csv,
    /// Apache Parquet
    Parquet,
    /// Apache Arrow, as a stream of record batches
    Arrow,
}

impl RowFormat {
    /// What is written where nobody says what.
    pub(super) fn usual(io: &Io) -> Self {
        match io.terminal().output {
            true => Self::Table,
            false => Self::Json,
        }
    }

    /// Whether answers can stand behind one another.
    pub(super) fn is_text(self) -> bool {
        !matches!(self, Self::Parquet | Self::Arrow)
    }
}

/// Writes rows with these columns.
///
/// # Errors
/// That of `batches`; a value has no such form; the reader went away.
pub(super) fn write(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Failure>>,
    format: RowFormat,
    io: &mut Io,
) -> Result<(), Failure> {
    let mut count = 0;
    let batches = batches.inspect(|batch| count += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64));
    match format {
        RowFormat::Table => {
            records::write(schema, batches, Format::Table, io)?;
            io.line(format_args!("{} row(s)", output::count(count)))
        }
        RowFormat::Json => records::write(schema, batches, Format::Json, io),
        RowFormat::Ndjson => records::write(schema, batches, Format::Ndjson, io),
        RowFormat::JsonAoa => records::write(schema, batches, Format::JsonAoa, io),
        RowFormat::JsonSoa => records::write(schema, batches, Format::JsonSoa, io),
        RowFormat::Csv => records::write(schema, batches, Format::Csv, io),
        RowFormat::Parquet => {
            let written = write_parquet(Path::new("standard output"), io.out(), schema.clone(), batches);
            written.map(|_: u64| ())
        }
        RowFormat::Arrow => {
            let mut writer = StreamWriter::try_new(io.out(), schema)?;
            for batch in batches {
                writer.write(&batch?)?;
            }
            Ok(writer.finish()?)
        }
    }
}
