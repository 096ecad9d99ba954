//! Rows that come now and then, written as they come: what one lot begins, the next goes on with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::Format;
use super::records::{csv_text, lines, page, readable};
use crate::failure::{Failure, Kind};
use crate::io::Io;

/// The line below the headings of a table begins with this.
const BELOW_HEADINGS: char = '╞';
/// The last line of a table begins with this.
const BOTTOM: char = '└';

/// Rows on their way to somebody who reads them as they come.
pub(crate) struct Flow {
    format: Format,
    /// The columns, once they are written.
    named: Option<SchemaRef>,
    /// The headings of the last table.
    headings: String,
    begun: bool,
    /// Numbers that JSON has no form for.
    absent: Arc<AtomicU64>,
}

impl Flow {
    /// Nothing written yet. Of the forms, those whose last byte is needed to read the first are no use here; they are written as
    /// an array of objects.
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            named: None,
            headings: String::new(),
            begun: false,
            absent: Arc::default(),
        }
    }

    /// Writes a lot of rows with these columns, and hands it to the reader.
    ///
    /// # Errors
    /// That of `rows`; columns that a CSV already begun does not have; the user wants to stop; the reader went away.
    pub(crate) fn write<E: Into<Failure>>(
        &mut self,
        schema: &SchemaRef,
        rows: impl Iterator<Item = Result<RecordBatch, E>>,
        io: &mut Io,
    ) -> Result<(), Failure> {
        for batch in rows {
            io.check()?;
            let batch = readable(&batch.map_err(Into::<Failure>::into)?)?;
            match self.format {
                Format::Table => self.table(&batch, io)?,
                Format::Ndjson => io.write(&lines(&batch, None)?)?,
                Format::Csv => self.csv(schema, &batch, io)?,
                Format::Json | Format::JsonAoa | Format::JsonSoa => self.objects(&batch, io)?,
            }
        }
        io.finish()
    }

    /// Writes what the rows need behind the last of them.
    ///
    /// # Errors
    /// The reader went away.
    pub(crate) fn end(&mut self, io: &mut Io) -> Result<(), Failure> {
        match self.format {
            Format::Json | Format::JsonAoa | Format::JsonSoa => {
                io.text(if self.begun { "]\n" } else { "[]\n" })?;
                match self.absent.load(Ordering::Relaxed) {
                    0 => {}
                    count => io.say(format_args!(
                        "Note: {count} value(s) are NaN or infinite and stand here as null; -o ndjson, csv and table show them"
                    )),
                }
            }
            Format::Table | Format::Ndjson | Format::Csv => {}
        }
        io.finish()
    }

    /// The rows below the headings, which are shown again only where the columns got other widths.
    fn table(&mut self, batch: &RecordBatch, io: &mut Io) -> Result<(), Failure> {
        let (mut headings, mut rows, mut within) = (String::new(), String::new(), false);
        for line in page(batch)?.table(io.terminal()).lines() {
            if line.starts_with(BOTTOM) {
                // What follows is which columns are not shown, as is said once.
                within = false;
                continue;
            }
            let part = if within { &mut rows } else { &mut headings };
            part.push_str(line);
            part.push('\n');
            within |= line.starts_with(BELOW_HEADINGS);
        }
        if headings != self.headings {
            io.text(&headings)?;
            self.headings = headings;
        }
        io.text(&rows)
    }

    fn csv(&mut self, schema: &SchemaRef, batch: &RecordBatch, io: &mut Io) -> Result<(), Failure> {
        let names = |schema: &SchemaRef| -> Vec<String> { schema.fields().iter().map(|f| f.name().clone()).collect() };
        if let Some(named) = &self.named
            && names(named) != names(schema)
        {
            return Err(
                Failure::new(Kind::Schema, "the dataset has other columns now, which do not stand at the top")
                    .next("begin a new file with them: run the command again, or say -o ndjson, which has the names at each value"),
            );
        }
        let text = csv_text(batch, self.named.is_none())?;
        self.named = Some(schema.clone());
        io.write(text.as_bytes())
    }

    fn objects(&mut self, batch: &RecordBatch, io: &mut Io) -> Result<(), Failure> {
        let text = lines(batch, Some(&self.absent))?;
        // No line has an end of line within.
        for object in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            io.write(if self.begun { b",\n" } else { b"[" })?;
            io.write(object)?;
            self.begun = true;
        }
        Ok(())
    }
}
