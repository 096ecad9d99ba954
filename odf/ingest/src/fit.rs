//! How the rows of a source become rows of the dataset: checked, converted and compared with its schema as kamu does it
//! (odf-facts §8).
//!
//! In order: columns that the system keeps for itself are refused, or get a `_` in front where nobody chose their names
//! (no query, no ODF schema); in that case the event time may also be text (RFC 3339) or a number (Unix seconds, from 1973 to
//! 5138). Timestamps become milliseconds UTC; digits below are cut, of which is told where no query computed them (and refused
//! in Parquet). A missing event time is made of nulls, which are filled later. Then the columns must
//! be those of the dataset: same names, order and types, whatever the encoding of text and bytes; a column may be less
//! nullable than the dataset's, and where it is more, its values are checked one by one.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use chrono::DateTime;

use super::before::Before;
use super::columns::no_unit;
use super::exact::{self, Manner, Unfit};
use super::infer::{UTC, timestamp};
use super::moment::{Counted, parse_moment_lax};
use super::plan::{Plan, is_text};
use super::shape::type_name;
use super::source::{Alteration, Batches, Place, Problem, Reading, Source, SourceError};
use super::{FitError, merge};
use odf_metadata::{MergeStrategy, Vocabulary};
use odf_tables::slice::Ordered;
use odf_tables::types::{convert, to_arrow};

/// Unix seconds that nobody declared are taken from here, 1973-03-03, to the year 5138: a year, or milliseconds, are none.
const PLAUSIBLE_SECONDS: std::ops::Range<u64> = 100_000_000..100_000_000_000;

/// How one column of the source becomes one of the dataset.
#[derive(Clone, Debug, PartialEq)]
enum Conversion {
    /// As it is.
    Keep,
    /// To this type.
    To(DataType),
    /// Unix seconds.
    Seconds,
}

/// A column of the source on its way.
struct Column {
    at: usize,
    conversion: Conversion,
}

/// Where each column of the dataset comes from.
pub(super) struct Fit {
    plan: Plan,
    /// The rows are what a query computed.
    computed: bool,
    /// For every column of the plan's shape its source; none is filled with nulls.
    columns: Vec<Option<Column>>,
    /// Columns that are to be compared and are not there.
    not_compared: Vec<String>,
}

impl Fit {
    /// Fits rows with these columns into the dataset. `declared` says that the names and types of the columns are somebody's
    /// will, not what a file happens to have; `computed` that the rows come from a query, which is such a will too.
    ///
    /// # Errors
    /// See [`FitError`].
    pub(super) fn new(rows: &SchemaRef, before: &Before, declared: bool, computed: bool) -> Result<Fit, FitError> {
        let chosen = declared || computed;
        let vocabulary = &before.vocabulary;
        let declared = before.schema.as_ref().map(to_arrow).transpose()?;
        let mut taken: Vec<(Field, Column)> = Vec::with_capacity(rows.fields().len());
        for (at, field) in rows.fields().iter().enumerate() {
            let name = allowed_name(field.name(), &before.strategy, vocabulary, chosen)?;
            let (data_type, conversion) = match field.data_type() {
                // Functions keep them: the older release of the engine, which kamu has, gives their values.
                DataType::Dictionary(_, value) if computed && name != vocabulary.event_time_column => {
                    let (value, _) = normal(value);
                    (value.clone(), Conversion::To(value))
                }
                coded if is_coded(coded) => return Err(FitError::Coded(field.name().clone())),
                _ if name == vocabulary.event_time_column => event_time(field, chosen)?,
                other => normal(other),
            };
            if taken.iter().any(|(taken, _)| *taken.name() == name) {
                // There is one with the `_` already.
                return Err(FitError::Reserved(field.name().clone()));
            }
            let field = Field::new(name, data_type, field.is_nullable());
            taken.push((field, Column { at, conversion }));
        }
        for name in before.strategy.primary_key() {
            if !taken.iter().any(|(field, _)| field.name() == name) {
                return Err(FitError::NoKeyColumn {
                    column: name.clone(),
                    columns: names(taken.iter().map(|(field, _)| field.name().as_str())),
                });
            }
        }
        let not_compared = match &before.strategy {
            MergeStrategy::Snapshot {
                compare_columns: Some(names),
                ..
            } => names
                .iter()
                .filter(|name| !taken.iter().any(|(field, _)| field.name() == *name))
                .cloned()
                .collect(),
            _ => Vec::new(),
        };
        let schema = Arc::new(slice_schema(&taken, before, declared.as_ref())?);
        if let Some(declared) = &declared {
            compatible(declared, &schema)?;
        }
        // What is missing in a row is refused when the row is written: a merge may drop it before.
        let loose = schema.fields().iter().map(|field| {
            let given = taken.iter().find(|(taken, _)| taken.name() == field.name());
            let given_null = given.is_some_and(|(given, _)| given.is_nullable());
            field.as_ref().clone().with_nullable(field.is_nullable() || given_null)
        });
        let loose = Arc::new(Schema::new(loose.collect::<Vec<_>>()));
        let plan = Plan::of_rows(loose, schema, vocabulary, &before.strategy);
        let shape = plan.shape().schema();
        let mut columns = Vec::with_capacity(shape.fields().len());
        for wanted in shape.fields() {
            let found = taken.iter().position(|(field, _)| field.name() == wanted.name());
            columns.push(found.map(|found| taken.swap_remove(found).1));
        }
        Ok(Fit {
            plan,
            computed,
            columns,
            not_compared,
        })
    }

    /// Rows of a query, whose engine has its own say about them: `rows` are its columns, `stored` the same as it writes them,
    /// mostly fewer of them optional, with what the query says about them beside their types, and `order` those by which the
    /// rows are in order. A column that it found required and writes as an optional one is written so, as in kamu.
    pub(super) fn stored(mut self, before: &Before, rows: &Schema, stored: &Schema, order: &[Ordered]) -> Fit {
        let known = |name: &str| stored.field_with_name(name).ok();
        let is_required = |name: &str| rows.field_with_name(name).is_ok_and(|field| !field.is_nullable());
        let first = before.slices.is_empty();
        let (keeps_columns, keeps_order) = match before.strategy {
            MergeStrategy::Append | MergeStrategy::ChangelogStream { .. } => (true, true),
            MergeStrategy::Ledger { .. } => (true, first),
            MergeStrategy::Snapshot { .. } => (first, first),
            MergeStrategy::UpsertStream { .. } => (false, false),
        };
        if keeps_columns {
            let fields = self.plan.schema.fields().iter().map(|field| match known(field.name()) {
                Some(known) if *known.name() != before.vocabulary.event_time_column => field
                    .as_ref()
                    .clone()
                    .with_nullable(known.is_nullable() && (field.is_nullable() || is_required(field.name())))
                    .with_metadata(known.metadata().clone()),
                _ => field.as_ref().clone(),
            });
            self.plan.written = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        }
        if keeps_order {
            // Event times that are missing are filled: no order by them is known any more.
            let kept = |by: &&Ordered| by.column != before.vocabulary.event_time_column;
            self.plan.order = order.iter().take_while(kept).cloned().collect();
        }
        self
    }

    /// The plan that the rows follow now.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Rows of the source as rows of the plan's shape.
    pub(super) fn rows<'a>(&'a self, source: &'a Source, batches: Box<dyn Batches + 'a>) -> Box<dyn Batches + 'a> {
        Box::new(Fitted {
            fit: self,
            source,
            batches,
            read: 0,
        })
    }
}

/// The name of a column in the dataset.
fn allowed_name(
    name: &str,
    strategy: &MergeStrategy,
    vocabulary: &Vocabulary,
    chosen: bool,
) -> Result<String, FitError> {
    match (merge::OperationColumn::of(strategy).reserves(name, vocabulary), chosen) {
        (false, _) => Ok(name.to_owned()),
        (true, false) => Ok(format!("_{name}")),
        (true, true) => Err(FitError::Reserved(name.to_owned())),
    }
}

/// Whether values stand in it as numbers of entries of a dictionary.
fn is_coded(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(..) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_coded(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| is_coded(field.data_type())),
        _ => false,
    }
}

/// Type and conversion of a column that holds no event times.
fn normal(data_type: &DataType) -> (DataType, Conversion) {
    match data_type {
        DataType::Timestamp(..) if *data_type != timestamp() => (timestamp(), Conversion::To(timestamp())),
        other => (other.clone(), Conversion::Keep),
    }
}

/// Type and conversion of the event time column.
fn event_time(field: &Field, chosen: bool) -> Result<(DataType, Conversion), FitError> {
    match field.data_type() {
        DataType::Date32 => Ok((DataType::Date32, Conversion::Keep)),
        // The same dates; one type for them is enough.
        DataType::Date64 => Ok((DataType::Date32, Conversion::To(DataType::Date32))),
        time @ DataType::Timestamp(..) => Ok(normal(time)),
        number if number.is_integer() && !chosen => Ok((timestamp(), Conversion::Seconds)),
        DataType::Utf8 | DataType::Utf8View if !chosen => Ok((timestamp(), Conversion::To(timestamp()))),
        other => Err(FitError::EventTime {
            column: field.name().clone(),
            found: type_name(other),
        }),
    }
}

/// The columns of the new slice.
fn slice_schema(taken: &[(Field, Column)], before: &Before, declared: Option<&Schema>) -> Result<Schema, FitError> {
    let vocabulary = &before.vocabulary;
    let (operation, event) = (&vocabulary.operation_type_column, &vocabulary.event_time_column);
    let find = |name: &str| taken.iter().map(|(field, _)| field).find(|field| field.name() == name);
    let in_dataset = |name: &str| declared.and_then(|schema| schema.field_with_name(name).ok());
    // Rows of these strategies are put together from old and new ones, so that the looser of both holds.
    let mixes = matches!(
        before.strategy,
        MergeStrategy::Snapshot { .. } | MergeStrategy::UpsertStream { .. }
    ) && !before.slices.is_empty();
    let nullable = |field: &Field| match in_dataset(field.name()) {
        None => field.is_nullable(),
        Some(dataset) => dataset.is_nullable() && (mixes || field.is_nullable()),
    };
    // Only where rows may say what they are: elsewhere the column was refused.
    let given = find(operation);
    let is_operation = |data_type: &DataType| data_type.is_integer() || is_text(data_type);
    if let Some(field) = given.filter(|field| !is_operation(field.data_type())) {
        return Err(FitError::Operation {
            column: operation.clone(),
            found: type_name(field.data_type()),
        });
    }
    let operations = match (&before.strategy, given) {
        (MergeStrategy::ChangelogStream { .. }, Some(field)) => field.clone().with_nullable(nullable(field)),
        (MergeStrategy::ChangelogStream { .. }, None) => return Err(FitError::NoOperation(operation.clone())),
        _ => Field::new(operation, DataType::Int32, false),
    };
    let times = match (find(event), in_dataset(event)) {
        (Some(field), _) => field.data_type().clone(),
        (None, Some(dataset)) if before.rows > 0 => dataset.data_type().clone(),
        (None, _) => timestamp(),
    };
    let mut fields = vec![
        Field::new(&vocabulary.offset_column, DataType::Int64, false),
        operations,
        Field::new(&vocabulary.system_time_column, timestamp(), false),
        Field::new(event, times, false),
    ];
    for (field, _) in taken {
        if field.name() != operation && field.name() != event {
            fields.push(field.clone().with_nullable(nullable(field)));
        }
    }
    Ok(Schema::new(fields))
}

/// Whether a slice with these columns can follow in a dataset with that schema.
pub fn compatible(dataset: &Schema, slice: &Schema) -> Result<(), FitError> {
    let refuse = |detail: String| Err(FitError::Incompatible(detail));
    for (at, (old, new)) in dataset.fields().iter().zip(slice.fields()).enumerate() {
        let place = at + 1;
        if old.name() != new.name() {
            return refuse(match dataset.field_with_name(new.name()) {
                Err(_) => format!(
                    "column {place} is `{}`, which the dataset does not have; there it has `{}`",
                    new.name(),
                    old.name()
                ),
                Ok(_) if slice.field_with_name(old.name()).is_err() => {
                    format!("the dataset's column `{}` is missing", old.name())
                }
                Ok(_) => format!(
                    "column {place} is `{}`, and the dataset has `{}` there; the order must be the same",
                    new.name(),
                    old.name()
                ),
            });
        }
        if !same_type(old.data_type(), new.data_type()) {
            return refuse(format!(
                "column `{}` is {}, and the dataset has {}",
                old.name(),
                type_name(new.data_type()),
                type_name(old.data_type())
            ));
        }
        if new.is_nullable() && !old.is_nullable() {
            return refuse(format!(
                "column `{}` is optional, and the dataset requires it",
                old.name()
            ));
        }
    }
    let (old, new) = (dataset.fields().len(), slice.fields().len());
    if let Some(missing) = dataset.fields().get(new) {
        return refuse(format!("the dataset's column `{}` is missing", missing.name()));
    }
    if let Some(extra) = slice.fields().get(old) {
        return refuse(format!("the dataset does not have the column `{}`", extra.name()));
    }
    Ok(())
}

/// Whether two types are one, encodings of text, bytes, dates and lists aside. A schema does not say in how many bits decimals
/// are, so that those of 32 and 64 never are the dataset's: as in kamu, a second file of them is refused.
fn same_type(old: &DataType, new: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Date32, Date64, FixedSizeList, LargeBinary, LargeList, LargeUtf8, List, Struct, Timestamp,
        Utf8, Utf8View,
    };
    let fits = |old: &Field, new: &Field| {
        (old.is_nullable() || !new.is_nullable()) && same_type(old.data_type(), new.data_type())
    };
    match (old, new) {
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => true,
        (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => true,
        (Date32 | Date64, Date32 | Date64) => true,
        // A schema has no times without a zone, and a list in a Parquet file may have them.
        (Timestamp(unit, zone), Timestamp(new_unit, new_zone)) => {
            unit == new_unit && zone.as_deref().unwrap_or(UTC) == new_zone.as_deref().unwrap_or(UTC)
        }
        (List(old) | LargeList(old), List(new) | LargeList(new)) => fits(old, new),
        (FixedSizeList(old, length), FixedSizeList(new, new_length)) => length == new_length && fits(old, new),
        (Struct(old), Struct(new)) => {
            old.len() == new.len()
                && old
                    .iter()
                    .zip(new)
                    .all(|(old, new)| old.name() == new.name() && fits(old, new))
        }
        _ => old == new,
    }
}

fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// Rows brought into the shape of the plan.
struct Fitted<'a> {
    fit: &'a Fit,
    source: &'a Source,
    batches: Box<dyn Batches + 'a>,
    read: u64,
}

impl Fitted<'_> {
    fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch, SourceError> {
        let schema = self.fit.plan.shape().schema();
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (column, wanted) in self.fit.columns.iter().zip(schema.fields()) {
            let array = match column {
                None => new_null_array(wanted.data_type(), batch.num_rows()),
                Some(column) => {
                    let given = batch.column(column.at);
                    let array = match &column.conversion {
                        Conversion::Keep => given.clone(),
                        Conversion::To(to) => self.convert_column(given, to, None, wanted)?,
                        Conversion::Seconds => {
                            self.require_seconds(given, wanted)?;
                            self.convert_column(given, &timestamp(), Some(TimeUnit::Second), wanted)?
                        }
                    };
                    // The plan may want a column wider than it is written, as it does with operations.
                    if array.data_type() == wanted.data_type() {
                        array
                    } else {
                        convert(&array, wanted.data_type()).map_err(|error| self.fail(wanted, syntax(&error)))?
                    }
                }
            };
            columns.push(array);
        }
        RecordBatch::try_new(schema.clone(), columns).map_err(|error| SourceError {
            name: self.source.name().to_owned(),
            place: None,
            column: None,
            problem: syntax(&error),
        })
    }

    /// Tells of what is taken and surprises.
    fn tell(&self, rows: &RecordBatch) {
        let shape = self.fit.plan.shape();
        if let Some(at) = shape.operation()
            && let Some(numbers) = rows.column(at).as_primitive_opt::<Int64Type>()
        {
            let odd = numbers
                .iter()
                .flatten()
                .filter(|number| !(0..=3).contains(number))
                .count();
            self.source
                .tell_of(shape.name(at), Alteration::OddOperations, odd as u64);
        }
        if self.read == 0 {
            for name in &self.fit.not_compared {
                self.source.tell(name, Alteration::NotCompared, 0);
            }
        }
    }

    /// The refusal of a whole column.
    fn fail(&self, column: &Field, problem: Problem) -> SourceError {
        SourceError {
            name: self.source.name().to_owned(),
            place: None,
            column: Some(column.name().clone()),
            problem,
        }
    }

    /// A column in another type, no value changed in silence.
    fn convert_column(
        &self,
        given: &ArrayRef,
        to: &DataType,
        integer_time: Option<TimeUnit>,
        column: &Field,
    ) -> Result<ArrayRef, SourceError> {
        let tells = self.source.tells_of_times() && !self.fit.computed;
        let reading = Reading {
            lax: true,
            cut_times: self.fit.computed || tells && matches!(given.data_type(), DataType::Timestamp(..)),
            nested: true,
            tells: false,
        };
        let manner = Manner { reading, integer_time };
        if reading.cut_times
            && matches!(
                (given.data_type(), to),
                (DataType::Timestamp(..), DataType::Timestamp(..))
            )
        {
            // Toward zero, as in kamu, also before 1970.
            let cut = convert(given, to).map_err(|error| self.fail(column, syntax(&error)))?;
            if tells {
                self.source
                    .tell_of(column.name(), Alteration::CutTimes, below_millis(given));
            }
            return Ok(cut);
        }
        let mut converted = exact::convert(given, to, manner);
        if matches!(converted, Err(Unfit::Value(..))) && tells && is_text(given.data_type()) {
            // Perhaps it was digits that are not stored.
            let texts = cast(given, &DataType::Utf8).map_err(|error| self.fail(column, syntax(&error)))?;
            let (texts, cut) = cut_texts(texts.as_string());
            let texts: ArrayRef = Arc::new(texts);
            converted = exact::convert(&texts, to, manner);
            if converted.is_ok() {
                self.source.tell_of(column.name(), Alteration::CutTimes, cut);
            }
        }
        converted.map_err(|unfit| match unfit {
            Unfit::Value(row, problem) => self.refuse(row, column, problem),
            Unfit::Column(problem) => self.fail(column, problem),
        })
    }

    /// Refuses numbers that are hardly Unix seconds.
    fn require_seconds(&self, given: &ArrayRef, column: &Field) -> Result<(), SourceError> {
        let numbers = convert(given, &DataType::Int64).map_err(|error| self.fail(column, syntax(&error)))?;
        let numbers = numbers.as_primitive::<Int64Type>();
        let odd = |number: Option<i64>| number.filter(|number| !PLAUSIBLE_SECONDS.contains(&number.unsigned_abs()));
        match numbers
            .iter()
            .enumerate()
            .find_map(|(row, number)| Some((row, odd(number)?)))
        {
            None => Ok(()),
            Some((row, number)) => Err(self.refuse(row, column, no_unit(&number.to_string()))),
        }
    }

    /// The refusal of a value in this row of the batch.
    fn refuse(&self, row: usize, column: &Field, problem: Problem) -> SourceError {
        SourceError {
            name: self.source.name().to_owned(),
            place: Some(Place::Row(self.read + row as u64 + 1)),
            column: Some(column.name().clone()),
            problem,
        }
    }
}

/// The same texts, but for times with digits below the millisecond, and how many these are: they are cut toward 1970, as kamu
/// cuts what it takes for times only behind the reading.
fn cut_texts(texts: &StringArray) -> (StringArray, u64) {
    let mut count = 0;
    let cut = texts.iter().map(|text| {
        let moment = parse_moment_lax(text?, TimeUnit::Millisecond, None).map(|moment| moment.counted);
        let time = match moment {
            Some(Counted::Finer(below)) => DateTime::from_timestamp_millis(below + i64::from(below < 0)),
            _ => None,
        };
        count += u64::from(time.is_some());
        Some(time.map_or_else(|| text.unwrap_or_default().to_owned(), |time| time.to_rfc3339()))
    });
    (cut.collect(), count)
}

/// How many times have digits below the millisecond.
fn below_millis(times: &ArrayRef) -> u64 {
    let per_milli = match times.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1_000_000,
        _ => return 0,
    };
    let Ok(counts) = cast(times, &DataType::Int64) else {
        return 0;
    };
    let counts = counts.as_primitive::<Int64Type>();
    counts.iter().flatten().filter(|count| count % per_milli != 0).count() as u64
}

fn syntax(error: &ArrowError) -> Problem {
    Problem::Syntax(error.to_string())
}

impl Batches for Fitted<'_> {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let Some(batch) = self.batches.next_batch()? else {
            return Ok(None);
        };
        let fitted = self.convert(&batch)?;
        self.tell(&fitted);
        self.read += batch.num_rows() as u64;
        Ok(Some(fitted))
    }

    fn bytes(&self) -> u64 {
        self.batches.bytes()
    }

    fn ends_block(&self) -> bool {
        self.batches.ends_block()
    }

    fn held(&self) -> Option<usize> {
        self.batches.held()
    }

    fn is_arranged(&self) -> bool {
        self.batches.is_arranged()
    }
}
