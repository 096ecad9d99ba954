//! Rows as JSON: objects in an array or in lines, and the two forms without a name at every value, as kamu has them: rows as
//! arrays, and columns as arrays.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, JsonArray, JsonFormat, LineDelimited, NullableEncoder,
    WriterBuilder as JsonBuilder, make_encoder,
};

use crate::failure::{Failure, Kind};
use crate::io::Io;

/// Most bytes of JSON that are kept until all rows are known, which a form that has a column after the other needs.
const COLUMNS_BYTES: usize = 256 << 20;

/// Writes an array of objects.
pub(super) fn objects(
    batches: impl Iterator<Item = Result<RecordBatch, Failure>>,
    floats: Floats,
    io: &mut Io,
) -> Result<(), Failure> {
    write::<JsonArray>(batches, floats, io)?;
    io.line("")
}

/// Writes an object a line, with words for NaN and infinities.
pub(super) fn lines(batches: impl Iterator<Item = Result<RecordBatch, Failure>>, io: &mut Io) -> Result<(), Failure> {
    write::<LineDelimited>(batches, Floats::Text, io)
}

/// Rows as an object a line.
pub(super) fn text(batch: &RecordBatch, floats: Floats) -> Result<Vec<u8>, ArrowError> {
    let builder = JsonBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(floats));
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// Writes an array of arrays: each row, and each struct in it, as its values in the order of the columns.
pub(super) fn arrays(
    batches: impl Iterator<Item = Result<RecordBatch, Failure>>,
    floats: Floats,
    io: &mut Io,
) -> Result<(), Failure> {
    write::<JsonArray>(batches, Positions(floats), io)?;
    io.line("")
}

fn write<F: JsonFormat>(
    batches: impl Iterator<Item = Result<RecordBatch, Failure>>,
    encoders: impl EncoderFactory + 'static,
    io: &mut Io,
) -> Result<(), Failure> {
    let builder = JsonBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(encoders));
    let mut writer = builder.build::<_, F>(io.out());
    for batch in batches {
        writer.write(&batch?)?;
    }
    Ok(writer.finish()?)
}

/// Writes one object with an array of all values for each column.
///
/// # Errors
/// The text of the columns is longer than [`COLUMNS_BYTES`].
pub(super) fn columns(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Failure>>,
    floats: Floats,
    io: &mut Io,
) -> Result<(), Failure> {
    columns_within(COLUMNS_BYTES, schema, batches, floats, io)
}

pub(super) fn columns_within(
    most: usize,
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Failure>>,
    floats: Floats,
    io: &mut Io,
) -> Result<(), Failure> {
    let options = EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(floats));
    let mut texts = vec![Vec::new(); schema.fields().len()];
    for batch in batches {
        let batch = batch?;
        let schema = batch.schema();
        for ((field, column), text) in schema.fields().iter().zip(batch.columns()).zip(&mut texts) {
            append(&mut make_encoder(field, column.as_ref(), &options)?, column.len(), text);
        }
        if texts.iter().map(Vec::len).sum::<usize>() > most {
            let most = crate::output::bytes(most as u64);
            return Err(Failure::new(
                Kind::Usage,
                format_args!("the columns are more than {most} of JSON, which is kept in memory for this form"),
            )
            .next("say `-o ndjson` or `-o json-aoa`, which are written row by row, or ask for fewer rows"));
        }
    }
    let mut object = String::from("{");
    for (at, (field, text)) in schema.fields().iter().zip(texts).enumerate() {
        if at > 0 {
            object.push(',');
        }
        let name = serde_json::to_string(field.name()).map_err(std::io::Error::from)?;
        object.push_str(&name);
        object.push_str(":[");
        io.write(object.as_bytes())?;
        io.write(&text)?;
        object = "]".to_owned();
    }
    object.push('}');
    io.line(object)
}

/// Adds so many values, with commas between them.
fn append(values: &mut NullableEncoder<'_>, count: usize, text: &mut Vec<u8>) {
    for row in 0..count {
        if !text.is_empty() {
            text.push(b',');
        }
        match values.is_null(row) {
            true => text.extend_from_slice(b"null"),
            false => values.encode(row, text),
        }
    }
}

/// Has structs written as arrays; a row is one.
#[derive(Debug)]
struct Positions(Floats);

impl EncoderFactory for Positions {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let DataType::Struct(fields) = array.data_type() else {
            return self.0.make_default_encoder(field, array, options);
        };
        let members = fields.iter().zip(array.as_struct().columns());
        let members = members
            .map(|(field, member)| make_encoder(field, member.as_ref(), options))
            .collect::<Result<_, _>>()?;
        let nulls = array.nulls().cloned();
        Ok(Some(NullableEncoder::new(Box::new(Members(members)), nulls)))
    }
}

/// The members of a struct.
struct Members<'a>(Vec<NullableEncoder<'a>>);

impl Encoder for Members<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'[');
        for (at, member) in self.0.iter_mut().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            match member.is_null(row) {
                true => out.extend_from_slice(b"null"),
                false => member.encode(row, out),
            }
        }
        out.push(b']');
    }
}

/// How NaN and infinities are written in JSON, which has no numbers for them.
#[derive(Debug)]
pub(super) enum Floats {
    /// As the text that they are in CSV.
    Text,
    /// As null, which is another value: they are counted, so that somebody is told.
    Null(Arc<AtomicU64>),
}

impl EncoderFactory for Floats {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        static NUMBERS: LazyLock<EncoderOptions> = LazyLock::new(EncoderOptions::default);
        if !array.data_type().is_floating() {
            return Ok(None);
        }
        let values = cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone();
        if values.iter().flatten().all(f64::is_finite) {
            return Ok(None);
        }
        let encoder = Numbers {
            values,
            finite: make_encoder(field, array, &NUMBERS)?,
            absent: match self {
                Self::Text => None,
                Self::Null(count) => Some(count.clone()),
            },
        };
        Ok(Some(NullableEncoder::new(Box::new(encoder), array.nulls().cloned())))
    }
}

struct Numbers<'a> {
    values: Float64Array,
    /// Writes those that are.
    finite: NullableEncoder<'a>,
    /// Counts the others, if they are written as null.
    absent: Option<Arc<AtomicU64>>,
}

impl Encoder for Numbers<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.values.value(row);
        match &self.absent {
            _ if value.is_finite() => self.finite.encode(row, out),
            None => out.extend_from_slice(format!("\"{value}\"").as_bytes()),
            Some(count) => {
                count.fetch_add(1, Ordering::Relaxed);
                out.extend_from_slice(b"null");
            }
        }
    }
}
