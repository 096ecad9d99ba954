//! Which parts of a slice can hold a wanted row.

use arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Field, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMillisecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, RowSelection, RowSelector};

/// A value of a type whose order is the same for us and for whoever wrote a slice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::merge) enum Bound {
    /// An integer, a date or a time.
    Number(i128),
    /// A text.
    Text(String),
}

/// Runs `$body` with `$values` bound to the column as the primitive array that it is; else `$otherwise`.
macro_rules! with_numbers {
    ($array:expr, $values:ident => $body:expr, $otherwise:expr) => {
        match $array.data_type() {
            DataType::Int8 => {
                let $values = $array.as_primitive::<Int8Type>();
                $body
            }
            DataType::Int16 => {
                let $values = $array.as_primitive::<Int16Type>();
                $body
            }
            DataType::Int32 => {
                let $values = $array.as_primitive::<Int32Type>();
                $body
            }
            DataType::Int64 => {
                let $values = $array.as_primitive::<Int64Type>();
                $body
            }
            DataType::UInt8 => {
                let $values = $array.as_primitive::<UInt8Type>();
                $body
            }
            DataType::UInt16 => {
                let $values = $array.as_primitive::<UInt16Type>();
                $body
            }
            DataType::UInt32 => {
                let $values = $array.as_primitive::<UInt32Type>();
                $body
            }
            DataType::UInt64 => {
                let $values = $array.as_primitive::<UInt64Type>();
                $body
            }
            DataType::Date32 => {
                let $values = $array.as_primitive::<Date32Type>();
                $body
            }
            DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, _) => {
                let $values = $array.as_primitive::<TimestampMillisecondType>();
                $body
            }
            _ => $otherwise,
        }
    };
}

/// What kinds of types have bounds, and convert to each other without changing their order.
#[derive(PartialEq, Eq)]
enum Kind {
    Integer,
    Date,
    Time,
    Text,
}

fn kind(data_type: &DataType) -> Option<Kind> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Kind::Text),
        DataType::Date32 => Some(Kind::Date),
        DataType::Timestamp(_, _) => Some(Kind::Time),
        other => other.is_integer().then_some(Kind::Integer),
    }
}

/// A column in the type in which its bounds are compared.
pub(super) fn plain(field: &Field) -> Field {
    match kind(field.data_type()) {
        Some(Kind::Text) => field.clone().with_data_type(DataType::Utf8),
        _ => field.clone(),
    }
}

/// The bounds in a column of them; none for a missing one.
fn bounds(array: &ArrayRef) -> Vec<Option<Bound>> {
    fn all<N: Into<i128>>(values: impl Iterator<Item = Option<N>>) -> Vec<Option<Bound>> {
        values
            .map(|value| value.map(|value| Bound::Number(value.into())))
            .collect()
    }
    with_numbers!(array, values => all(values.iter()), match array.data_type() {
        DataType::Utf8 => {
            let values = array.as_string::<i32>().iter();
            values.map(|value| value.map(|value| Bound::Text(value.to_owned()))).collect()
        }
        _ => vec![None; array.len()],
    })
}

/// The least and the greatest value of a column, so far.
enum Extent {
    /// Its type has no bounds.
    Unknown,
    /// No value yet.
    Empty,
    Between(Bound, Bound),
}

/// The least and greatest values of some columns.
pub(in crate::merge) struct Extents {
    columns: Vec<(Field, Extent)>,
}

impl Extents {
    pub(in crate::merge) fn new(fields: &[Field]) -> Extents {
        let extent = |field: &Field| {
            let field = plain(field);
            let known = match field.data_type() {
                DataType::Utf8 | DataType::Date32 => true,
                data_type => data_type.is_integer() || *data_type == crate::infer::timestamp(),
            };
            (field, if known { Extent::Empty } else { Extent::Unknown })
        };
        Extents {
            columns: fields.iter().map(extent).collect(),
        }
    }

    /// Takes in more values.
    pub(in crate::merge) fn widen(&mut self, columns: &[ArrayRef]) {
        use arrow::compute::{max, max_string, min, min_string};
        fn pair<N: Into<i128>>(least: Option<N>, greatest: Option<N>) -> Option<(Bound, Bound)> {
            Some((Bound::Number(least?.into()), Bound::Number(greatest?.into())))
        }
        for ((field, extent), array) in self.columns.iter_mut().zip(columns) {
            let (Extent::Empty | Extent::Between(..), Ok(array)) = (&*extent, cast(array, field.data_type())) else {
                *extent = Extent::Unknown;
                continue;
            };
            let found = with_numbers!(array, values => pair(min(values), max(values)), {
                let texts = array.as_string::<i32>();
                let text = |value: Option<&str>| value.map(|value| Bound::Text(value.to_owned()));
                text(min_string(texts)).zip(text(max_string(texts)))
            });
            let Some((least, greatest)) = found else {
                continue;
            };
            *extent = match std::mem::replace(extent, Extent::Empty) {
                Extent::Between(low, high) => Extent::Between(low.min(least), high.max(greatest)),
                _ => Extent::Between(least, greatest),
            };
        }
    }

    /// That a row could be one of those whose values were taken in.
    pub(in crate::merge) fn conditions(&self) -> Vec<Condition<'_>> {
        let condition = |(field, extent): &'_ (Field, Extent)| -> Option<(Field, Option<(Bound, Bound)>)> {
            match extent {
                Extent::Unknown => None,
                Extent::Empty => Some((field.clone(), None)),
                Extent::Between(least, greatest) => Some((field.clone(), Some((least.clone(), greatest.clone())))),
            }
        };
        self.columns
            .iter()
            .filter_map(condition)
            .map(|(field, range)| Condition {
                field,
                can_hold: Box::new(move |least, greatest| match &range {
                    Some((low, high)) => least <= high && greatest >= low,
                    None => false,
                }),
            })
            .collect()
    }
}

/// Something that the wanted rows have in common.
pub(in crate::merge) struct Condition<'c> {
    /// The column, in the type it has now.
    pub(in crate::merge) field: Field,
    /// Whether one of them can be among rows whose least and greatest values of the column are these.
    #[expect(clippy::type_complexity, reason = "a predicate over two bounds")]
    pub(in crate::merge) can_hold: Box<dyn Fn(&Bound, &Bound) -> bool + Send + Sync + 'c>,
}

impl Condition<'_> {
    /// Which of the parts with these least and greatest values can hold a wanted row; without both every one can.
    fn parts(&self, least: &ArrayRef, greatest: &ArrayRef, count: usize) -> Vec<bool> {
        let bounds = |array: &ArrayRef| cast(array, self.field.data_type()).map(|array| bounds(&array));
        match (bounds(least), bounds(greatest)) {
            (Ok(least), Ok(greatest)) if least.len() == count && greatest.len() == count => {
                let can_hold = |(least, greatest): (&Option<Bound>, &Option<Bound>)| match (least, greatest) {
                    (Some(least), Some(greatest)) => (self.can_hold)(least, greatest),
                    _ => true,
                };
                least.iter().zip(&greatest).map(can_hold).collect()
            }
            _ => vec![true; count],
        }
    }
}

/// The row groups of a slice that can hold a row for which all conditions hold, and which rows of each.
pub(super) fn select(
    metadata: &ArrowReaderMetadata,
    conditions: &[Condition<'_>],
) -> Vec<(usize, Option<RowSelection>)> {
    let count = metadata.metadata().num_row_groups();
    let mut parts: Vec<Option<Option<RowSelection>>> = vec![Some(None); count];
    for condition in conditions {
        let Some(column) = usable(metadata, &condition.field) else {
            continue;
        };
        let groups = metadata.metadata().row_groups();
        let (Ok(least), Ok(greatest)) = (column.row_group_mins(groups), column.row_group_maxes(groups)) else {
            continue;
        };
        for (group, can_hold) in condition.parts(&least, &greatest, count).into_iter().enumerate() {
            let Some(rows) = &mut parts[group] else {
                continue;
            };
            if !can_hold {
                parts[group] = None;
            } else if let Some(more) = pages(metadata, condition, &column, group) {
                *rows = Some(match rows.take() {
                    Some(rows) => rows.intersection(&more),
                    None => more,
                });
            }
        }
    }
    let some_rows = |rows: &Option<RowSelection>| rows.as_ref().is_none_or(RowSelection::selects_any);
    parts
        .into_iter()
        .enumerate()
        .filter_map(|(group, rows)| rows.filter(some_rows).map(|rows| (group, rows)))
        .collect()
}

/// The least and greatest value of each of some columns in a whole slice; nothing where the footer does not say.
pub(super) fn ranges(metadata: &ArrowReaderMetadata, fields: &[Field]) -> Vec<Option<(Bound, Bound)>> {
    let groups = metadata.metadata().row_groups();
    let range = |field: &Field| {
        let column = usable(metadata, field)?;
        let all = |array: ArrayRef| -> Option<Vec<Bound>> {
            let found = bounds(&cast(&array, field.data_type()).ok()?);
            // One row group of which nothing is known may hold anything.
            found.into_iter().collect()
        };
        let least = all(column.row_group_mins(groups).ok()?)?;
        let greatest = all(column.row_group_maxes(groups).ok()?)?;
        let is_complete = least.len() == groups.len() && greatest.len() == groups.len();
        let range = least.into_iter().min().zip(greatest.into_iter().max());
        range.filter(|_| is_complete)
    };
    fields.iter().map(range).collect()
}

/// The statistics of a column, if there are any that say what they seem to say.
fn usable<'m>(metadata: &'m ArrowReaderMetadata, field: &Field) -> Option<StatisticsConverter<'m>> {
    let name = metadata.schema().field_with_name(field.name()).ok()?.name();
    let column = StatisticsConverter::try_new(name, metadata.schema(), metadata.parquet_schema()).ok()?;
    if kind(column.arrow_field().data_type())? != kind(field.data_type())? {
        return None;
    }
    // The early form of statistics compared texts and unsigned numbers as if they were signed.
    let at = column.parquet_column_index()?;
    let sound = metadata.metadata().row_groups().iter().all(|group| {
        let statistics = group.column(at).statistics();
        statistics.is_some_and(|statistics| !statistics.is_min_max_deprecated())
    });
    sound.then_some(column)
}

/// Which rows of a row group lie in pages that can hold a wanted one; none if all do or it is not known.
fn pages(
    metadata: &ArrowReaderMetadata,
    condition: &Condition<'_>,
    column: &StatisticsConverter<'_>,
    group: usize,
) -> Option<RowSelection> {
    let metadata = metadata.metadata();
    let (values, places) = (metadata.column_index()?, metadata.offset_index()?);
    let least = column.data_page_mins(values, places, [&group]).ok()?;
    let greatest = column.data_page_maxes(values, places, [&group]).ok()?;
    let rows: UInt64Array = column
        .data_page_row_counts(places, metadata.row_groups(), [&group])
        .ok()??;
    let can_hold = condition.parts(&least, &greatest, rows.len());
    if can_hold.iter().all(|can_hold| *can_hold) {
        return None;
    }
    let selector = |(rows, can_hold): (&u64, bool)| {
        let rows = usize::try_from(*rows).unwrap_or(usize::MAX);
        if can_hold {
            RowSelector::select(rows)
        } else {
            RowSelector::skip(rows)
        }
    };
    Some(
        rows.values()
            .iter()
            .zip(can_hold)
            .map(selector)
            .collect::<Vec<_>>()
            .into(),
    )
}
