//! Columns of one type made into columns of another, no value changed in silence: what would come out as something else is
//! refused with its row. Text is read as in CSV.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Int32Array, Int64Array, ListArray, StringArray, StructArray,
    new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{can_cast_types, cast, max, min, take};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Field, FieldRef, Fields, Float64Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use chrono::DateTime;

use super::columns::{
    Column, changes, is_tellable, moments, no_unit, not_midnight, not_type, settled, too_far, with_zone,
};
use super::moment::{Counted, DAY_MILLIS, recount};
use super::source::{Problem, Reading};

/// How values are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) reading: Reading,
    /// The unit in which integers count since 1970; none if nobody said it.
    pub(super) integer_time: Option<TimeUnit>,
}

/// What cannot be taken.
#[derive(Debug)]
pub(super) enum Unfit {
    /// The value in this row, from 0.
    Value(usize, Problem),
    /// The column, whatever is in it.
    Column(Problem),
}

impl Unfit {
    /// The same of what the values are in: `row` says in which of its rows each of them is.
    fn in_row_of(self, row: impl Fn(usize) -> usize) -> Unfit {
        match self {
            Unfit::Value(at, problem) => Unfit::Value(row(at), problem),
            column => column,
        }
    }

    /// The same of the object that this is a member of.
    fn in_member(self, name: &str) -> Unfit {
        match self {
            Unfit::Value(row, problem) => Unfit::Value(row, problem.within(name)),
            Unfit::Column(problem) => Unfit::Column(problem.within(name)),
        }
    }
}

impl From<ArrowError> for Unfit {
    fn from(error: ArrowError) -> Self {
        Unfit::Column(Problem::Syntax(error.to_string()))
    }
}

/// Whether [`convert`] knows a way; the values decide.
pub(super) fn can_convert(has: &DataType, wants: &DataType) -> bool {
    use DataType::{
        Dictionary, FixedSizeList, LargeList, LargeListView, List, ListView, Null, RunEndEncoded, Struct, Timestamp,
        Utf8,
    };
    match (has, wants) {
        (Null, _) => true,
        (Dictionary(_, has), _) => can_convert(has, wants),
        (RunEndEncoded(_, has), _) => can_convert(has.data_type(), wants),
        (FixedSizeList(_, has), FixedSizeList(_, wants)) if has != wants => false,
        (_, LargeList(wants)) => can_convert(has, &List(wants.clone())),
        (
            List(has) | LargeList(has) | ListView(has) | LargeListView(has) | FixedSizeList(has, _),
            List(wants) | FixedSizeList(wants, _),
        ) => can_convert(has.data_type(), wants.data_type()),
        (Struct(has), Struct(wants)) => {
            let same = |(at, wants): (usize, &FieldRef)| can_convert(has[at].data_type(), wants.data_type());
            members(has, wants).is_some_and(|members| members.into_iter().zip(wants).all(same))
        }
        // One value is no list, and a list is no value.
        (FixedSizeList(..), _) | (_, List(_) | FixedSizeList(..)) => false,
        (Timestamp(..), Utf8) => true,
        (_, Timestamp(unit, Some(_))) => can_cast_types(has, &Timestamp(*unit, None)),
        _ => can_cast_types(has, wants),
    }
}

/// Where each member of one kind of objects is among those of another, if both have the same.
fn members(has: &Fields, wants: &Fields) -> Option<Vec<usize>> {
    let at = |wanted: &FieldRef| has.iter().position(|field| field.name() == wanted.name());
    let found = wants.iter().map(at).collect::<Option<Vec<_>>>()?;
    (has.len() == wants.len()).then_some(found)
}

/// A column in another type, lists and objects with all that is in them.
///
/// # Errors
/// The first value that does not fit, or would be another one.
pub(super) fn convert(array: &ArrayRef, wanted: &DataType, manner: Manner) -> Result<ArrayRef, Unfit> {
    use DataType::{
        Date32, Date64, Dictionary, FixedSizeList, LargeList, LargeListView, LargeUtf8, List, ListView, Null,
        RunEndEncoded, Struct, Timestamp, Utf8, Utf8View,
    };
    match (array.data_type(), wanted) {
        (has, wants @ Timestamp(..)) if has == wants => tellable(array),
        (has, wants) if has == wants && !has.is_nested() => Ok(array.clone()),
        (Null, _) => Ok(new_null_array(wanted, array.len())),
        (Dictionary(_, value), _) => convert(&cast(array, value)?, wanted, manner),
        (RunEndEncoded(_, value), _) => convert(&cast(array, value.data_type())?, wanted, manner),
        // Of the columns of a slice only those of Parquet files that declare nothing are lists with large offsets.
        (_, LargeList(item)) => Ok(cast(&convert(array, &List(item.clone()), manner)?, wanted)?),
        (List(_), List(item)) => list(array.as_list(), item, manner),
        (FixedSizeList(_, has), FixedSizeList(item, length)) if has == length => {
            fixed_list(array.as_fixed_size_list(), item, *length, manner)
        }
        (List(_), FixedSizeList(given, length)) => {
            let lists = of_length(array.as_list(), *length, wanted)?;
            fixed_list(&lists, given, *length, manner)
        }
        (
            LargeList(given) | ListView(given) | LargeListView(given) | FixedSizeList(given, _),
            List(_) | FixedSizeList(..),
        ) => convert(&cast(array, &List(given.clone()))?, wanted, manner),
        (Struct(has), Struct(wants)) => match members(has, wants) {
            Some(members) => object(array.as_struct(), &members, wants, manner),
            None => plain(array, wanted),
        },
        (Timestamp(unit, zone), Utf8) => times_as_text(array, *unit, zone.is_some()),
        (Timestamp(from, _), Timestamp(to, zone)) if from == to => Ok(with_zone(&tellable(array)?, zone.clone())?),
        (Timestamp(from, _), Timestamp(to, zone)) => {
            let counted = |count| recount(count, *from, *to);
            times(array, counts(array)?, *to, zone.clone(), manner, counted)
        }
        (Date32 | Date64, Timestamp(to, zone)) => {
            let millis = |count: i64| recount(count, TimeUnit::Millisecond, *to);
            times(array, date_millis(array)?, *to, zone.clone(), manner, millis)
        }
        (Timestamp(from, _), Date32) => {
            let millis = |count| recount(count, *from, TimeUnit::Millisecond);
            dates(array, &counts(array)?, &millis)
        }
        (Date64, Date32) => dates(array, &date_millis(array)?, &Counted::Exactly),
        (has, Timestamp(to, zone)) if has.is_integer() => {
            // Where kamu's rules hold a number counts the unit of the column.
            let from = manner.integer_time.or(manner.reading.lax.then_some(*to));
            let numbers = cast(array, &DataType::Int64)?;
            let row = |is: &dyn Fn(usize) -> bool| (0..array.len()).find(|row| array.is_valid(*row) && is(*row));
            if let Some(row) = row(&|row| from.is_none() || numbers.is_null(row)) {
                let value = shown(array, row);
                let problem = if from.is_none() {
                    no_unit(&value)
                } else {
                    too_far(&value)
                };
                return Err(Unfit::Value(row, problem));
            }
            let counted = |count| recount(count, from.unwrap_or(*to), *to);
            let numbers = numbers.as_primitive::<Int64Type>().clone();
            times(array, numbers, *to, zone.clone(), manner, counted)
        }
        (Utf8 | LargeUtf8 | Utf8View, wants) if !matches!(wants, Utf8 | LargeUtf8 | Utf8View) => {
            text(array, wanted, manner)
        }
        _ => plain(array, wanted),
    }
}

/// Lists whose items are brought to those of `item`.
fn list(lists: &ListArray, item: &FieldRef, manner: Manner) -> Result<ArrayRef, Unfit> {
    let offsets = lists.offsets();
    // What lies before and behind the lists is not part of them.
    let (start, end) = (offsets[0], offsets[lists.len()]);
    let given = lists.values();
    let given = given.slice(start.unsigned_abs() as usize, (end - start).unsigned_abs() as usize);
    let row = |at| {
        let before = |offset: &&i32| (**offset - start).unsigned_abs() as usize <= at;
        offsets.iter().take_while(before).count().saturating_sub(1)
    };
    let items = convert(&given, item.data_type(), manner).and_then(|items| required(items, item, &|_| true));
    let items = items.map_err(|unfit| unfit.in_row_of(row))?;
    let offsets = OffsetBuffer::new(offsets.iter().map(|offset| offset - start).collect());
    let made = ListArray::try_new(item.clone(), offsets, items, lists.nulls().cloned())?;
    Ok(Arc::new(made))
}

/// Lists of `length` items each likewise.
fn fixed_list(lists: &FixedSizeListArray, item: &FieldRef, length: i32, manner: Manner) -> Result<ArrayRef, Unfit> {
    let row = |at| at / (length.unsigned_abs() as usize).max(1);
    let items = convert(lists.values(), item.data_type(), manner);
    let items = items.and_then(|items| required(items, item, &|at| lists.is_valid(row(at))));
    let items = items.map_err(|unfit| unfit.in_row_of(row))?;
    let nulls = lists.nulls().cloned();
    let made = FixedSizeListArray::try_new_with_length(item.clone(), length, items, nulls, lists.len())?;
    Ok(Arc::new(made))
}

/// Lists that must all have `length` items, as such. `wanted` is the type of the column.
fn of_length(lists: &ListArray, length: i32, wanted: &DataType) -> Result<FixedSizeListArray, Unfit> {
    let mut places = Vec::new();
    for (row, ends) in lists.offsets().windows(2).enumerate() {
        let [start, end] = [ends[0], ends[1]];
        if lists.is_null(row) {
            places.extend((0..length).map(|_| None));
        } else if end - start == length {
            places.extend((start..end).map(Some));
        } else {
            let value = format!("a list of {} items", end - start);
            return Err(Unfit::Value(row, not_type(&value, wanted)));
        }
    }
    let (DataType::List(item), places) = (lists.data_type(), Int32Array::from(places)) else {
        return Err(ArrowError::CastError("these are no lists".to_owned()).into());
    };
    // Where there is no list there are no items either, whatever they are declared to be.
    let item = Arc::new(item.as_ref().clone().with_nullable(true));
    let items = take(lists.values(), &places, None)?;
    let nulls = lists.nulls().cloned();
    Ok(FixedSizeListArray::try_new_with_length(
        item,
        length,
        items,
        nulls,
        lists.len(),
    )?)
}

/// Objects whose members, at these places, are brought to those of `wants`.
fn object(objects: &StructArray, members: &[usize], wants: &Fields, manner: Manner) -> Result<ArrayRef, Unfit> {
    let member = |(at, wants): (&usize, &FieldRef)| {
        let member = convert(objects.column(*at), wants.data_type(), manner);
        let member = member.and_then(|member| required(member, wants, &|row| objects.is_valid(row)));
        member.map_err(|unfit| unfit.in_member(wants.name()))
    };
    let members = members.iter().zip(wants).map(member);
    let members = members.collect::<Result<Vec<_>, _>>()?;
    let nulls = objects.nulls().cloned();
    let made = StructArray::try_new_with_length(wants.clone(), members, nulls, objects.len())?;
    Ok(Arc::new(made))
}

/// Values of which `field` says whether they may be missing, where `counts` says that they stand for anything.
fn required(values: ArrayRef, field: &FieldRef, counts: &dyn Fn(usize) -> bool) -> Result<ArrayRef, Unfit> {
    if field.is_nullable() || values.null_count() == 0 {
        return Ok(values);
    }
    match (0..values.len()).find(|at| values.is_null(*at) && counts(*at)) {
        None => Ok(values),
        Some(at) => Err(Unfit::Value(at, Problem::Missing)),
    }
}

/// Times of any unit as counts.
fn counts(array: &ArrayRef) -> Result<Int64Array, Unfit> {
    let counts = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => array
            .as_primitive::<TimestampSecondType>()
            .reinterpret_cast::<Int64Type>(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().reinterpret_cast()
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            array.as_primitive::<TimestampMicrosecondType>().reinterpret_cast()
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            array.as_primitive::<TimestampNanosecondType>().reinterpret_cast()
        }
        other => return Err(ArrowError::CastError(format!("{other} are no times")).into()),
    };
    Ok(counts)
}

/// The milliseconds at which days begin.
fn date_millis(array: &ArrayRef) -> Result<Int64Array, Unfit> {
    Ok(match array.data_type() {
        DataType::Date64 => array.as_primitive::<Date64Type>().reinterpret_cast(),
        _ => array
            .as_primitive_opt::<Date32Type>()
            .ok_or_else(|| ArrowError::CastError("these are no dates".to_owned()))?
            .unary(|days| i64::from(days) * DAY_MILLIS),
    })
}

/// Times of `unit` from what `counted` makes of each count. `array` is what they are from.
fn times(
    array: &ArrayRef,
    counts: Int64Array,
    unit: TimeUnit,
    zone: Option<Arc<str>>,
    manner: Manner,
    counted: impl Fn(i64) -> Counted,
) -> Result<ArrayRef, Unfit> {
    let time = |(row, count): (usize, i64)| {
        if counts.is_null(row) {
            return Ok(0);
        }
        let value = || shown(array, row);
        let time = settled(counted(count), manner.reading.cut_times, unit, &value);
        let time = time.map_err(|problem| Unfit::Value(row, problem))?;
        if is_tellable(time, unit) {
            Ok(time)
        } else {
            Err(Unfit::Value(row, too_far(&value())))
        }
    };
    let values = counts.values().iter().copied().enumerate().map(time);
    let values = values.collect::<Result<Vec<i64>, Unfit>>()?;
    let times = Int64Array::try_new(values.into(), counts.nulls().cloned())?;
    Ok(with_zone(&moments(times, unit), zone)?)
}

/// Times that have their type already.
fn tellable(array: &ArrayRef) -> Result<ArrayRef, Unfit> {
    let DataType::Timestamp(unit, _) = array.data_type() else {
        return Ok(array.clone());
    };
    let times = counts(array)?;
    // The times that can be told are an interval.
    let mut ends = [min(&times), max(&times)].into_iter().flatten();
    if ends.all(|end| is_tellable(end, *unit)) {
        return Ok(array.clone());
    }
    let beyond = |row: &usize| times.is_valid(*row) && !is_tellable(times.value(*row), *unit);
    match (0..times.len()).find(beyond) {
        None => Ok(array.clone()),
        Some(row) => Err(Unfit::Value(row, too_far(&shown(array, row)))),
    }
}

/// Dates from the milliseconds that `millis` makes of each count.
fn dates(array: &ArrayRef, counts: &Int64Array, millis: &dyn Fn(i64) -> Counted) -> Result<ArrayRef, Unfit> {
    let date = |(row, count): (usize, Option<i64>)| match count.map(millis) {
        None => Ok(None),
        Some(Counted::Exactly(millis)) if millis.rem_euclid(DAY_MILLIS) == 0 => {
            match i32::try_from(millis.div_euclid(DAY_MILLIS)) {
                Ok(days) if is_tellable(millis, TimeUnit::Millisecond) => Ok(Some(days)),
                _ => Err(Unfit::Value(row, too_far(&shown(array, row)))),
            }
        }
        Some(_) => Err(Unfit::Value(row, not_midnight(&shown(array, row)))),
    };
    let dates = counts.iter().enumerate().map(date);
    Ok(Arc::new(dates.collect::<Result<arrow::array::Date32Array, Unfit>>()?))
}

/// Times as RFC 3339 text with all of their digits; `Z` behind those that are in UTC and not in some place's own time.
fn times_as_text(array: &ArrayRef, unit: TimeUnit, is_utc: bool) -> Result<ArrayRef, Unfit> {
    let times = counts(array)?;
    let text = |(row, count): (usize, Option<i64>)| {
        let Some(count) = count else {
            return Ok(None);
        };
        let time = moment(count, unit).ok_or_else(|| Unfit::Value(row, too_far(&count.to_string())))?;
        let zone = if is_utc { "Z" } else { "" };
        Ok(Some(format!("{}{zone}", time.format("%Y-%m-%dT%H:%M:%S%.f"))))
    };
    let texts = times.iter().enumerate().map(text);
    Ok(Arc::new(texts.collect::<Result<StringArray, Unfit>>()?))
}

fn moment(count: i64, unit: TimeUnit) -> Option<DateTime<chrono::Utc>> {
    match unit {
        TimeUnit::Second => DateTime::from_timestamp(count, 0),
        TimeUnit::Millisecond => DateTime::from_timestamp_millis(count),
        TimeUnit::Microsecond => DateTime::from_timestamp_micros(count),
        TimeUnit::Nanosecond => Some(DateTime::from_timestamp_nanos(count)),
    }
}

/// Text as the values it stands for, read as in CSV. An empty text is no value and stands for none.
fn text(array: &ArrayRef, wanted: &DataType, manner: Manner) -> Result<ArrayRef, Unfit> {
    let texts = cast(array, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    let field = Field::new("", wanted.clone(), true);
    let Some(mut column) = Column::new(&field, manner.integer_time, manner.reading) else {
        return plain(array, wanted);
    };
    for (row, text) in texts.iter().enumerate() {
        let pushed = match text {
            None => column.push_null(),
            Some("") => Err(not_type("", wanted)),
            Some(text) => column.push_text(text),
        };
        pushed.map_err(|problem| Unfit::Value(row, problem))?;
    }
    Ok(column.finish()?)
}

/// Everything else: by a cast, whose outcome is compared with what it was made from where it may be something else.
fn plain(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, Unfit> {
    let made = cast(array, wanted)?;
    // What cannot be converted has become null.
    if made.null_count() > array.null_count()
        && let Some(row) = (0..made.len()).find(|row| made.is_null(*row) && array.is_valid(*row))
    {
        return Err(Unfit::Value(row, not_type(&shown(array, row), wanted)));
    }
    let has = array.data_type();
    let goes_back = match wanted {
        DataType::Boolean => has.is_numeric(),
        wanted if wanted.is_integer() => has.is_floating() || has.is_decimal(),
        wanted if wanted.is_floating() => has.is_integer(),
        _ => false,
    };
    let changed = if goes_back {
        let back = cast(&made, has)?;
        distinct(&back.as_ref(), &array.as_ref())?
            .iter()
            .position(|changed| changed == Some(true))
    } else if wanted.is_floating() && has.is_floating() {
        let (before, after) = (cast(array, &DataType::Float64)?, cast(&made, &DataType::Float64)?);
        let (before, after) = (
            before.as_primitive::<Float64Type>(),
            after.as_primitive::<Float64Type>(),
        );
        let lost = |row: &usize| {
            before.is_valid(*row) && before.value(*row).is_finite() && {
                let (before, after) = (before.value(*row), after.value(*row));
                !after.is_finite() || (after == 0.0) != (before == 0.0)
            }
        };
        (0..array.len()).find(lost)
    } else {
        None
    };
    match changed {
        None => Ok(made),
        Some(row) => {
            let value = shown(array, row);
            let problem = if wanted.is_floating() {
                changes(
                    &value,
                    "has digits, or a size, that the floats of this column do not keep; use a Decimal or a String",
                )
            } else {
                not_type(&value, wanted)
            };
            Err(Unfit::Value(row, problem))
        }
    }
}

/// A value in a message.
fn shown(array: &ArrayRef, row: usize) -> String {
    let time = match (array.data_type(), counts(array)) {
        (DataType::Timestamp(unit, _), Ok(counts)) => moment(counts.value(row), *unit)
            .map(|time| time.format("%Y-%m-%dT%H:%M:%S%.f").to_string())
            .or_else(|| Some(counts.value(row).to_string())),
        _ => None,
    };
    time.or_else(|| array_value_to_string(array, row).ok())
        .unwrap_or_default()
}

/// Whether a column, or anything within it, holds a time with digits below the millisecond.
pub(super) fn has_fine_times(array: &ArrayRef) -> bool {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, _) => false,
        DataType::Timestamp(unit, _) => counts(array).is_ok_and(|counts| {
            let fine = |count| !matches!(recount(count, *unit, TimeUnit::Millisecond), Counted::Exactly(_));
            counts.iter().flatten().any(fine)
        }),
        _ => parts(array).iter().any(has_fine_times),
    }
}

/// The first row in which the same times of two columns differ: `nanos` holds those of `micros` in a finer unit, modulo 2⁶⁴.
pub(super) fn first_finer(micros: &ArrayRef, nanos: &ArrayRef) -> Option<usize> {
    use TimeUnit::{Microsecond, Nanosecond};
    if let (DataType::Timestamp(Microsecond, _), DataType::Timestamp(Nanosecond, _)) =
        (micros.data_type(), nanos.data_type())
    {
        let (micros, nanos) = (counts(micros).ok()?, counts(nanos).ok()?);
        let differs =
            |row: &usize| micros.is_valid(*row) && micros.value(*row).wrapping_mul(1_000) != nanos.value(*row);
        return (0..micros.len().min(nanos.len())).find(differs);
    }
    let inside = parts(micros).into_iter().zip(parts(nanos));
    // The place within a list is as good as its row for saying that there is one.
    inside.filter_map(|(micros, nanos)| first_finer(&micros, &nanos)).min()
}

/// The columns within a column.
fn parts(array: &ArrayRef) -> Vec<ArrayRef> {
    match array.data_type() {
        DataType::List(_) => vec![array.as_list::<i32>().values().clone()],
        DataType::LargeList(_) => vec![AsArray::as_list::<i64>(array).values().clone()],
        DataType::ListView(_) => vec![array.as_list_view::<i32>().values().clone()],
        DataType::LargeListView(_) => vec![array.as_list_view::<i64>().values().clone()],
        DataType::FixedSizeList(..) => vec![array.as_fixed_size_list().values().clone()],
        DataType::Struct(_) => array.as_struct().columns().to_vec(),
        // What cannot be taken out of them is refused when it is converted.
        DataType::Dictionary(_, value) => cast(array, value).into_iter().collect(),
        DataType::RunEndEncoded(_, value) => cast(array, value.data_type()).into_iter().collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
