//! Columns of one type made into columns of another, no value changed in silence: what would come out as something else is
//! refused with its row. Text is read as in CSV.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, StringArray, StructArray};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Field, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
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

/// A value that cannot be taken.
#[derive(Debug)]
pub(super) struct Unfit {
    /// Its row, from 0.
    pub(super) row: usize,
    pub(super) problem: Problem,
}

impl Unfit {
    fn at(row: usize, problem: Problem) -> Unfit {
        Unfit { row, problem }
    }
}

impl From<ArrowError> for Unfit {
    fn from(error: ArrowError) -> Self {
        Unfit::at(0, Problem::Syntax(error.to_string()))
    }
}

/// Whether [`convert`] knows a way; the values decide.
pub(super) fn can_convert(has: &DataType, wants: &DataType) -> bool {
    use DataType::{FixedSizeList, LargeList, List, Struct, Timestamp, Utf8};
    match (has, wants) {
        (DataType::Dictionary(_, has), _) => can_convert(has, wants),
        (List(has) | LargeList(has) | FixedSizeList(has, _), List(wants)) => {
            can_convert(has.data_type(), wants.data_type())
        }
        (Struct(has), Struct(wants)) if same_names(has, wants) => has
            .iter()
            .zip(wants)
            .all(|(has, wants)| can_convert(has.data_type(), wants.data_type())),
        (Timestamp(..), Utf8) => true,
        (_, Timestamp(unit, Some(_))) => can_cast_types(has, &Timestamp(*unit, None)),
        _ => can_cast_types(has, wants),
    }
}

fn same_names(has: &arrow::datatypes::Fields, wants: &arrow::datatypes::Fields) -> bool {
    has.len() == wants.len() && has.iter().zip(wants).all(|(has, wants)| has.name() == wants.name())
}

/// A column in another type.
///
/// # Errors
/// The first value that does not fit, or would be another one.
pub(super) fn convert(array: &ArrayRef, wanted: &DataType, manner: Manner) -> Result<ArrayRef, Unfit> {
    use DataType::{
        Date32, Date64, Dictionary, FixedSizeList, LargeList, LargeUtf8, List, Struct, Timestamp, Utf8, Utf8View,
    };
    match (array.data_type(), wanted) {
        (has, wants @ Timestamp(..)) if has == wants => tellable(array),
        (has, wants) if has == wants => Ok(array.clone()),
        (Dictionary(_, value), _) => convert(&cast(array, value)?, wanted, manner),
        (List(_) | LargeList(_) | FixedSizeList(..), List(item)) => list(array, item, manner),
        (Struct(has), Struct(wants)) if same_names(has, wants) => {
            let array = array.as_struct();
            let members = array.columns().iter().zip(wants);
            let members = members.map(|(member, field)| convert(member, field.data_type(), manner));
            let members = members.collect::<Result<Vec<_>, _>>()?;
            let made = StructArray::try_new_with_length(wants.clone(), members, array.nulls().cloned(), array.len())?;
            Ok(Arc::new(made))
        }
        (Timestamp(unit, zone), Utf8) => times_as_text(array, *unit, zone.is_some()),
        (Timestamp(from, _), Timestamp(to, zone)) => {
            let counted = |count| recount(count, *from, *to);
            times(array, counts(array)?, *to, zone.clone(), manner, &counted)
        }
        (Date32 | Date64, Timestamp(to, zone)) => {
            let millis = |count: i64| recount(count, TimeUnit::Millisecond, *to);
            times(array, date_millis(array)?, *to, zone.clone(), manner, &millis)
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
                return Err(Unfit::at(row, problem));
            }
            let counted = |count| recount(count, from.unwrap_or(*to), *to);
            let numbers = numbers.as_primitive::<Int64Type>().clone();
            times(array, numbers, *to, zone.clone(), manner, &counted)
        }
        (Utf8 | LargeUtf8 | Utf8View, wants) if !matches!(wants, Utf8 | LargeUtf8 | Utf8View) => {
            text(array, wanted, manner)
        }
        _ => plain(array, wanted),
    }
}

/// Lists of items that are brought to the type of `item`.
fn list(array: &ArrayRef, item: &Arc<Field>, manner: Manner) -> Result<ArrayRef, Unfit> {
    let lists = match array.data_type() {
        DataType::List(_) => array.clone(),
        has => {
            let (DataType::LargeList(given) | DataType::FixedSizeList(given, _)) = has else {
                return plain(array, &DataType::List(item.clone()));
            };
            cast(array, &DataType::List(given.clone()))?
        }
    };
    let lists: &ListArray = lists.as_list();
    let offsets = lists.offsets();
    let items = convert(lists.values(), item.data_type(), manner).map_err(|unfit| {
        let ends = offsets.iter().skip(1);
        let row = ends.take_while(|end| usize::try_from(**end).is_ok_and(|end| end <= unfit.row));
        Unfit::at(row.count(), unfit.problem)
    })?;
    let made = ListArray::try_new(item.clone(), offsets.clone(), items, lists.nulls().cloned())?;
    Ok(Arc::new(made))
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
    counted: &dyn Fn(i64) -> Counted,
) -> Result<ArrayRef, Unfit> {
    let time = |(row, count): (usize, Option<i64>)| {
        let Some(count) = count else {
            return Ok(None);
        };
        let value = || shown(array, row);
        let time = settled(counted(count), manner.reading.cut_times, unit, &value);
        let time = time.map_err(|problem| Unfit::at(row, problem))?;
        if is_tellable(time, unit) {
            Ok(Some(time))
        } else {
            Err(Unfit::at(row, too_far(&value())))
        }
    };
    let times = counts
        .iter()
        .enumerate()
        .map(time)
        .collect::<Result<Int64Array, Unfit>>()?;
    Ok(with_zone(&moments(times, unit), zone)?)
}

/// Times that have their type already.
fn tellable(array: &ArrayRef) -> Result<ArrayRef, Unfit> {
    let DataType::Timestamp(unit, _) = array.data_type() else {
        return Ok(array.clone());
    };
    let times = counts(array)?;
    let beyond = |row: &usize| times.is_valid(*row) && !is_tellable(times.value(*row), *unit);
    match (0..times.len()).find(beyond) {
        None => Ok(array.clone()),
        Some(row) => Err(Unfit::at(row, too_far(&shown(array, row)))),
    }
}

/// Dates from the milliseconds that `millis` makes of each count.
fn dates(array: &ArrayRef, counts: &Int64Array, millis: &dyn Fn(i64) -> Counted) -> Result<ArrayRef, Unfit> {
    let date = |(row, count): (usize, Option<i64>)| match count.map(millis) {
        None => Ok(None),
        Some(Counted::Exactly(millis)) if millis.rem_euclid(DAY_MILLIS) == 0 => {
            match i32::try_from(millis.div_euclid(DAY_MILLIS)) {
                Ok(days) if is_tellable(millis, TimeUnit::Millisecond) => Ok(Some(days)),
                _ => Err(Unfit::at(row, too_far(&shown(array, row)))),
            }
        }
        Some(_) => Err(Unfit::at(row, not_midnight(&shown(array, row)))),
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
        let time = moment(count, unit).ok_or_else(|| Unfit::at(row, too_far(&count.to_string())))?;
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
        pushed.map_err(|problem| Unfit::at(row, problem))?;
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
        return Err(Unfit::at(row, not_type(&shown(array, row), wanted)));
    }
    let has = array.data_type();
    let is_decimal = |t: &DataType| matches!(t, DataType::Decimal128(..) | DataType::Decimal256(..));
    let goes_back = match wanted {
        DataType::Boolean => has.is_numeric(),
        wanted if wanted.is_integer() => has.is_floating() || is_decimal(has),
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
            Err(Unfit::at(row, problem))
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
        _ => within(array).iter().any(has_fine_times),
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
    let inside = within(micros).into_iter().zip(within(nanos));
    // The place within a list is as good as its row for saying that there is one.
    inside.filter_map(|(micros, nanos)| first_finer(&micros, &nanos)).min()
}

/// The columns within a column.
fn within(array: &ArrayRef) -> Vec<ArrayRef> {
    match array.data_type() {
        DataType::List(_) => vec![array.as_list::<i32>().values().clone()],
        DataType::LargeList(_) => vec![AsArray::as_list::<i64>(array).values().clone()],
        DataType::FixedSizeList(..) => vec![array.as_fixed_size_list().values().clone()],
        DataType::Struct(_) => array.as_struct().columns().to_vec(),
        _ => Vec::new(),
    }
}
