//! `odfs tail`

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, make_array};
use arrow::datatypes::{DataType, Schema};
use arrow::json::writer::{JsonArray, LineDelimited, WriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::Args;

use crate::failure::Failure;
use crate::io::Io;
use crate::output::{Format, OutputArgs, Rows};
use crate::session::Session;

/// Show the last rows of a dataset
#[derive(Args, Debug)]
pub(crate) struct TailArgs {
    /// Name or id of the dataset
    dataset: String,
    /// How many rows
    #[arg(short, long, default_value_t = 10, value_name = "N")]
    num_records: u64,
    /// Rows to leave out at the end
    #[arg(short, long, default_value_t = 0, value_name = "N")]
    skip_records: u64,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &TailArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let dataset = session.workspace()?.catalog().find(&args.dataset)?;
    let format = args.output.format(io);
    let batch = dataset.tail(args.num_records.saturating_add(args.skip_records))?;
    let batch = batch.map(|batch| {
        let skipped = usize::try_from(args.skip_records).unwrap_or(usize::MAX);
        batch.slice(0, batch.num_rows().saturating_sub(skipped))
    });
    match batch {
        Some(batch) => write(&batch, format, io),
        None if format == Format::Json => io.line("[]"),
        None if format == Format::Table => {
            io.say("the dataset has no rows yet");
            Ok(())
        }
        None => Ok(()),
    }
}

/// Times in UTC, to the digits that they have.
const TIME: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

/// Writes rows in the form of a listing.
pub(super) fn write(batch: &RecordBatch, format: Format, io: &mut Io) -> Result<(), Failure> {
    let batch = &in_offset_zones(batch)?;
    match format {
        Format::Table => {
            let names = batch
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect();
            let mut rows = Rows::new(
                names,
                batch.columns().iter().map(|c| c.data_type().is_numeric()).collect(),
            );
            let options = FormatOptions::default()
                .with_null("-")
                .with_timestamp_tz_format(Some(TIME));
            let columns = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
                .collect::<Result<Vec<_>, _>>()?;
            for row in 0..batch.num_rows() {
                rows.push(columns.iter().map(|column| column.value(row).to_string()).collect());
            }
            let text = rows.table(io.terminal().width);
            io.line(text)
        }
        Format::Json => {
            let mut writer = json().build::<_, JsonArray>(io.out());
            writer.write(batch)?;
            writer.finish()?;
            io.line("")
        }
        Format::Ndjson => {
            let mut writer = json().build::<_, LineDelimited>(io.out());
            writer.write(batch)?;
            Ok(writer.finish()?)
        }
        Format::Csv => {
            let builder = arrow::csv::WriterBuilder::new().with_timestamp_tz_format(TIME.to_owned());
            Ok(builder.build(io.out()).write(batch)?)
        }
    }
}

fn json() -> WriterBuilder {
    WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_timestamp_tz_format(TIME.to_owned())
}

/// The same rows with `UTC` written as an offset, the only form of time zone that arrow formats without a database.
fn in_offset_zones(batch: &RecordBatch) -> Result<RecordBatch, Failure> {
    let utc = |zone: &str| ["utc", "z", "etc/utc"].contains(&zone.to_ascii_lowercase().as_str());
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        match column.data_type() {
            DataType::Timestamp(unit, Some(zone)) if utc(zone) => {
                let data_type = DataType::Timestamp(*unit, Some("+00:00".into()));
                let data = column.to_data().into_builder().data_type(data_type.clone()).build()?;
                fields.push(field.as_ref().clone().with_data_type(data_type));
                columns.push(make_array(data));
            }
            _ => {
                fields.push(field.as_ref().clone());
                columns.push(column.clone());
            }
        }
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
