//! Rows of datasets, written as people or programs want them, however many there are: a batch is in memory at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait, RecordBatch,
    StringArray, StringBuilder, StructArray, make_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::{Format, Rows, csv_field};
use crate::failure::Failure;
use crate::io::Io;
use json::Floats;

mod json;

/// Times in UTC, to the digits that they have.
const TIME: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

/// What arrow puts behind a date that is counted in milliseconds.
const MIDNIGHT: &str = "T00:00:00";

/// What arrow says in place of a duration that is too long for it.
const INVALID: &str = "<invalid>";

/// How many rows are shown as one table: its columns are as wide as the widest of them.
const TABLE_ROWS: usize = 1000;

/// Writes rows with these columns in the form of a listing.
///
/// # Errors
/// That of `rows`; a value has no form as text; the user wants to stop; the reader went away.
pub(crate) fn write<E: Into<Failure>>(
    schema: &SchemaRef,
    rows: impl Iterator<Item = Result<RecordBatch, E>>,
    format: Format,
    io: &mut Io,
) -> Result<(), Failure> {
    let cancel = io.cancel().clone();
    let batches = rows.map(|batch| -> Result<RecordBatch, Failure> {
        if cancel.is_set() {
            return Err(Failure::interrupted());
        }
        let batch: RecordBatch = batch.map_err(Into::<Failure>::into)?;
        Ok(readable(&batch)?)
    });
    match format {
        Format::Table => tables(batches, io),
        Format::Json | Format::JsonAoa | Format::JsonSoa => {
            let absent = Arc::new(AtomicU64::new(0));
            let floats = Floats::Null(absent.clone());
            match format {
                Format::JsonAoa => json::arrays(batches, floats, io)?,
                Format::JsonSoa => json::columns(schema, batches, floats, io)?,
                _ => json::objects(batches, floats, io)?,
            }
            match absent.load(Ordering::Relaxed) {
                0 => {}
                count => io.say(format_args!(
                    "Note: {count} value(s) are NaN or infinite and stand here as null, as in kamu; -o ndjson, csv and table show them"
                )),
            }
            Ok(())
        }
        Format::Ndjson => json::lines(batches, io),
        Format::Csv => csv(schema, batches, io),
    }
}

fn tables(batches: impl Iterator<Item = Result<RecordBatch, Failure>>, io: &mut Io) -> Result<(), Failure> {
    let mut page: Option<(Rows, usize)> = None;
    let terminal = io.terminal();
    for batch in batches {
        let batch = batch?;
        for cells in cells(&batch)? {
            let (rows, count) = page.get_or_insert_with(|| (header(&batch), 0));
            rows.push(cells);
            *count += 1;
            if *count == TABLE_ROWS
                && let Some((rows, _)) = page.take()
            {
                io.line(rows.table(terminal))?;
            }
        }
    }
    match page {
        Some((rows, _)) => io.line(rows.table(terminal)),
        None => Ok(()),
    }
}

/// The cells of each row, as people read them.
fn cells(batch: &RecordBatch) -> Result<Vec<Vec<String>>, ArrowError> {
    let options = FormatOptions::default().with_null("-").with_display_error(false);
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
        .collect::<Result<Vec<_>, _>>()?;
    let row = |row: usize| -> Result<Vec<String>, ArrowError> {
        columns.iter().map(|column| column.value(row).try_to_string()).collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

/// Rows that [`readable`] made so, as one table.
pub(super) fn page(batch: &RecordBatch) -> Result<Rows, ArrowError> {
    let mut rows = header(batch);
    cells(batch)?.into_iter().for_each(|cells| rows.push(cells));
    Ok(rows)
}

/// Rows that [`readable`] made so, as an object of JSON a line. NaN and infinities are words; where they are counted, null.
pub(super) fn lines(batch: &RecordBatch, absent: Option<&Arc<AtomicU64>>) -> Result<Vec<u8>, ArrowError> {
    let floats = absent.map_or(Floats::Text, |absent| Floats::Null(absent.clone()));
    json::text(batch, floats)
}

/// A few rows as values of JSON. NaN and infinities are words.
pub(crate) fn values(batch: &RecordBatch) -> Result<Vec<serde_json::Value>, Failure> {
    let text = lines(&readable(batch)?, None)?;
    let values = serde_json::Deserializer::from_slice(&text).into_iter();
    Ok(values.collect::<Result<_, _>>().map_err(std::io::Error::from)?)
}

fn header(batch: &RecordBatch) -> Rows {
    let names = batch
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let numeric = batch.columns().iter().map(|column| column.data_type().is_numeric());
    Rows::new(names, numeric.collect())
}

fn csv(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Failure>>,
    io: &mut Io,
) -> Result<(), Failure> {
    let mut begun = false;
    // The header stands also where there is no row.
    let nothing = readable(&RecordBatch::new_empty(schema.clone())).map_err(Failure::from);
    for batch in std::iter::once(nothing).chain(batches) {
        let text = csv_text(&batch?, !begun)?;
        io.write(text.as_bytes())?;
        begun = true;
    }
    Ok(())
}

/// Rows that [`readable`] made so, as lines of CSV, below the names of the columns if that is wanted.
pub(super) fn csv_text(batch: &RecordBatch, named: bool) -> Result<String, ArrowError> {
    // Before the header, so that columns without a form as text leave nothing half written.
    let batch = flat(batch)?;
    let mut text = String::new();
    if named {
        let names: Vec<_> = batch.schema().fields().iter().map(|f| csv_field(f.name())).collect();
        text = names.join(",") + "\n";
    }
    csv_rows(&batch, &mut text)?;
    Ok(text)
}

/// Adds rows as lines of CSV: a null is nothing, and an empty text is `""`, as `odfs publish` reads them.
fn csv_rows(batch: &RecordBatch, text: &mut String) -> Result<(), ArrowError> {
    let options = FormatOptions::default().with_display_error(false);
    let columns = batch
        .columns()
        .iter()
        .map(|column| {
            Ok((
                ArrayFormatter::try_new(column.as_ref(), &options)?,
                column.logical_nulls(),
            ))
        })
        .collect::<Result<Vec<_>, ArrowError>>()?;
    for row in 0..batch.num_rows() {
        for (at, (values, nulls)) in columns.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            match values.value(row).try_to_string()? {
                empty if empty.is_empty() => text.push_str("\"\""),
                value => text.push_str(&csv_field(&value)),
            }
        }
        text.push('\n');
    }
    Ok(())
}

/// The same rows with lists, structs and maps as JSON text, which is all that a cell of CSV can hold.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let options = EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Floats::Text));
    change(batch, |field, column| {
        if !column.data_type().is_nested() {
            return Ok(column.clone());
        }
        let mut encoder = make_encoder(field, column.as_ref(), &options)?;
        let mut texts = StringBuilder::new();
        let mut text = Vec::new();
        for row in 0..column.len() {
            if encoder.is_null(row) {
                texts.append_null();
                continue;
            }
            text.clear();
            encoder.encode(row, &mut text);
            texts.append_value(String::from_utf8_lossy(&text));
        }
        Ok(Arc::new(texts.finish()))
    })
}

/// The same rows with every time, date and duration as text, also inside of lists and structs. Arrow's writers put an error
/// message in place of a time that their calendar does not reach, and know names of time zones only with a database built in.
pub(crate) fn readable(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    change(batch, |_, column| readable_column(column))
}

/// The rows with each column as `by` makes it.
fn change(
    batch: &RecordBatch,
    by: impl Fn(&FieldRef, &ArrayRef) -> Result<ArrayRef, ArrowError>,
) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let fields = schema.fields().iter();
    let columns = fields
        .clone()
        .zip(batch.columns())
        .map(|(field, column)| by(field, column))
        .collect::<Result<Vec<_>, _>>()?;
    let fields: Vec<FieldRef> = fields
        .zip(&columns)
        .map(|(field, column)| typed(field, column))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// The field with the type that its column has got.
fn typed(field: &Field, column: &ArrayRef) -> FieldRef {
    Arc::new(field.clone().with_data_type(column.data_type().clone()))
}

fn readable_column(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        DataType::Timestamp(..)
        | DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Duration(_) => temporal(column),
        DataType::List(field) => list::<i32>(field, column),
        DataType::LargeList(field) => list::<i64>(field, column),
        DataType::FixedSizeList(field, size) => {
            let list = column.as_fixed_size_list();
            let values = readable_column(list.values())?;
            let field = typed(field, &values);
            Ok(Arc::new(FixedSizeListArray::try_new(
                field,
                *size,
                values,
                list.nulls().cloned(),
            )?))
        }
        DataType::Struct(fields) if !fields.is_empty() => Ok(Arc::new(structs(column.as_struct())?)),
        DataType::Map(field, ordered) => {
            let map = column.as_map();
            let entries = structs(map.entries())?;
            let field = field.as_ref().clone().with_data_type(entries.data_type().clone());
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(
                Arc::new(field),
                offsets,
                entries,
                nulls,
                *ordered,
            )?))
        }
        DataType::Dictionary(_, values) if values.is_temporal() || values.is_nested() => {
            readable_column(&cast(column, values)?)
        }
        _ => Ok(column.clone()),
    }
}

fn list<O: OffsetSizeTrait>(field: &FieldRef, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let list = column.as_list::<O>();
    let values = readable_column(list.values())?;
    let field = typed(field, &values);
    let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
    Ok(Arc::new(GenericListArray::<O>::try_new(field, offsets, values, nulls)?))
}

fn structs(column: &StructArray) -> Result<StructArray, ArrowError> {
    let columns = column
        .columns()
        .iter()
        .map(readable_column)
        .collect::<Result<Vec<_>, _>>()?;
    let fields = column.fields().iter().zip(&columns);
    let fields: Vec<FieldRef> = fields.map(|(field, column)| typed(field, column)).collect();
    StructArray::try_new(fields.into(), columns, column.nulls().cloned())
}

/// Times and their kin as text. One that is beyond the calendar is shown as the number that it is.
fn temporal(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let column = in_utc(column)?;
    let options = FormatOptions::default()
        .with_display_error(false)
        .with_timestamp_tz_format(Some(TIME));
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    // Dates that are counted in milliseconds are dates where no time of day is lost.
    let is_date = matches!(column.data_type(), DataType::Date64);
    let text = |row: usize| match formatter.value(row).try_to_string() {
        Ok(text) if text != INVALID => match text.strip_suffix(MIDNIGHT) {
            Some(date) if is_date => date.to_owned(),
            _ => text,
        },
        _ => number(&column, row),
    };
    let texts = (0..column.len()).map(|row| (!column.is_null(row)).then(|| text(row)));
    Ok(Arc::new(texts.collect::<StringArray>()))
}

/// The same instants with the zone as an offset, the only form of it that arrow formats without a database.
fn in_utc(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            let data_type = DataType::Timestamp(*unit, Some("+00:00".into()));
            Ok(make_array(
                column.to_data().into_builder().data_type(data_type).build()?,
            ))
        }
        _ => Ok(column.clone()),
    }
}

/// The number behind a time, with what it counts.
fn number(column: &ArrayRef, row: usize) -> String {
    let data = column.to_data();
    let number = match column.data_type().primitive_width() {
        Some(4) => data.buffer::<i32>(0).get(row).map(|number| i64::from(*number)),
        _ => data.buffer::<i64>(0).get(row).copied(),
    };
    let number = number.unwrap_or_default();
    match column.data_type() {
        DataType::Timestamp(unit, _) => format!("{number} {} since 1970-01-01", short(*unit)),
        DataType::Date32 => format!("{number} days since 1970-01-01"),
        DataType::Date64 => format!("{number} ms since 1970-01-01"),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("{number} {} since midnight", short(*unit)),
        DataType::Duration(unit) => format!("{number} {}", short(*unit)),
        _ => number.to_string(),
    }
}

fn short(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

#[cfg(test)]
mod tests;
