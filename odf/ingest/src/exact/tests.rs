use arrow::array::{
    Date64Array, Decimal256Array, DictionaryArray, FixedSizeListBuilder, Float64Array, Int32Array, Int64Builder,
    LargeListArray, ListBuilder, ListViewArray, NullArray, RunArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Int32Type, i256};

use super::*;

const STRICT: Manner = Manner {
    reading: Reading {
        lax: false,
        cut_times: false,
        nested: true,
        tells: false,
    },
    integer_time: None,
};

#[track_caller]
fn refused(array: &ArrayRef, wanted: &DataType) -> (usize, String) {
    match convert(array, wanted, STRICT) {
        Err(Unfit::Value(row, problem)) => (row, problem.to_string()),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn shows(array: &ArrayRef, wanted: &DataType) -> Vec<String> {
    assert!(can_convert(array.data_type(), wanted), "{wanted}");
    let made = convert(array, wanted, STRICT).unwrap();
    assert_eq!((made.data_type(), made.len()), (wanted, array.len()));
    (0..made.len())
        .map(|row| array_value_to_string(&made, row).unwrap())
        .collect()
}

fn list_of(item: DataType, nullable: bool) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, nullable)))
}

fn fixed_list_of(item: DataType, length: i32) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new("item", item, true)), length)
}

#[test]
fn values_that_would_change_are_named_with_their_row() {
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(1.5)]));
    let long: ArrayRef = Arc::new(Int64Array::from(vec![1 << 53, (1 << 53) + 1]));
    let dates: ArrayRef = Arc::new(Date64Array::from(vec![86_400_000, 86_400_001]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("5"), None, Some("x")]));
    for (array, wanted, row, value) in [
        (floats, DataType::Int32, 2, "1.5"),
        (long.clone(), DataType::Float64, 1, "9007199254740993"),
        (long, DataType::Int32, 0, "9007199254740992"),
        (dates, DataType::Date32, 1, "1970-01-02T00:00:00.001"),
        (texts, DataType::Int64, 2, "x"),
    ] {
        let (at, problem) = refused(&array, &wanted);
        assert_eq!(at, row, "{problem}");
        assert!(problem.starts_with(&format!("`{value}` ")), "{problem}");
    }
}

#[test]
fn lists_are_converted_with_what_is_in_them() {
    let items = Arc::new(Int64Array::from(vec![1 << 50, 1, 2, 1 << 40, 1 << 50]));
    let item = Arc::new(Field::new("element", DataType::Int64, true));
    let nulls = NullBuffer::from(vec![true, false, true]);
    let offsets = OffsetBuffer::new(vec![1i64, 2, 2, 4].into());
    let large = LargeListArray::try_new(item.clone(), offsets, items.clone(), Some(nulls.clone())).unwrap();
    let (starts, lengths) = (vec![1, 0, 2].into(), vec![1, 0, 2].into());
    let view = ListViewArray::try_new(item, starts, lengths, items, Some(nulls)).unwrap();
    let views: ArrayRef = Arc::new(view);
    for lists in [Arc::new(large) as ArrayRef, views] {
        let whole = ["[1]", "", "[2, 1099511627776]"];
        assert_eq!(shows(&lists, &list_of(DataType::Int64, true)), whole);
        let (row, problem) = refused(&lists, &list_of(DataType::Int32, true));
        assert_eq!(row, 2);
        assert!(problem.starts_with("`1099511627776` is not an Int32"), "{problem}");
        // What lies around the lists is none of their items.
        assert_eq!(shows(&lists.slice(0, 2), &list_of(DataType::Int32, true)), whole[..2]);
    }
}

#[test]
fn lists_of_a_fixed_length_take_lists_of_that_length() {
    let mut builder = FixedSizeListBuilder::new(Int64Builder::new(), 2);
    builder.values().append_slice(&[1, 2]);
    builder.append(true);
    builder.values().append_nulls(2);
    builder.append(false);
    builder.values().append_slice(&[3, 1 << 40]);
    builder.append(true);
    let fixed: ArrayRef = Arc::new(builder.finish());
    let mut builder = ListBuilder::new(Int64Builder::new());
    builder.append_value([Some(7), Some(8), Some(9)]);
    builder.append_value([Some(1), Some(2)]);
    builder.append_null();
    builder.append_value([Some(3), Some(1 << 40)]);
    let open: ArrayRef = Arc::new(builder.finish());
    let rest = open.slice(1, 3);
    let whole = ["[1, 2]", "", "[3, 1099511627776]"];
    for lists in [&fixed, &rest] {
        assert_eq!(shows(lists, &fixed_list_of(DataType::Int64, 2)), whole);
        assert_eq!(
            shows(lists, &list_of(DataType::Float64, true)),
            ["[1.0, 2.0]", "", "[3.0, 1099511627776.0]"]
        );
        assert_eq!(refused(lists, &fixed_list_of(DataType::Int16, 2)).0, 2);
    }
    let (row, problem) = refused(&open, &fixed_list_of(DataType::Int64, 2));
    assert_eq!(row, 0);
    assert!(problem.starts_with("`a list of 3 items` is not a"), "{problem}");
    assert!(!can_convert(fixed.data_type(), &fixed_list_of(DataType::Int64, 3)));
    for other in [DataType::Int64, DataType::Utf8] {
        assert!(!can_convert(fixed.data_type(), &other));
        assert!(!can_convert(&other, &list_of(other.clone(), true)));
    }
}

#[test]
fn objects_are_converted_by_the_names_of_their_members() {
    let fields = |types: [(&str, DataType, bool); 2]| {
        let field = |(name, data_type, nullable): (&str, DataType, bool)| Field::new(name, data_type, nullable);
        Fields::from(types.map(field).to_vec())
    };
    let given = StructArray::new(
        fields([("x", DataType::Int64, true), ("y", DataType::Int64, true)]),
        vec![
            Arc::new(Int64Array::from(vec![Some(1), Some(1 << 40), None])),
            Arc::new(Int64Array::from(vec![Some(2), Some(3), None])),
        ],
        Some(NullBuffer::from(vec![true, true, false])),
    );
    let given: ArrayRef = Arc::new(given);
    let wanted = |x: DataType, nullable| DataType::Struct(fields([("y", DataType::Int8, nullable), ("x", x, true)]));
    // A member that must be there need not be where the object is not.
    assert_eq!(
        shows(&given, &wanted(DataType::Utf8, false)),
        ["{y: 2, x: 1}", "{y: 3, x: 1099511627776}", ""]
    );
    let (row, problem) = refused(&given, &wanted(DataType::Int32, true));
    assert_eq!(row, 1);
    assert!(
        problem.starts_with("member `x`: `1099511627776` is not an Int32"),
        "{problem}"
    );
    let missing: ArrayRef = Arc::new(StructArray::new(
        fields([("x", DataType::Int64, true), ("y", DataType::Int64, true)]),
        vec![
            Arc::new(Int64Array::from(vec![1, 2])),
            Arc::new(Int64Array::from(vec![Some(1), None])),
        ],
        None,
    ));
    let (row, problem) = refused(&missing, &wanted(DataType::Int64, false));
    assert_eq!(
        (row, problem.starts_with("member `y`: no value")),
        (1, true),
        "{problem}"
    );
    let other = DataType::Struct(fields([("x", DataType::Int64, true), ("z", DataType::Int64, true)]));
    assert!(!can_convert(given.data_type(), &other));
}

#[test]
fn items_that_must_be_there_are() {
    let mut builder = ListBuilder::new(Int64Builder::new());
    builder.append_value([Some(1)]);
    builder.append_value([Some(2), None]);
    let lists: ArrayRef = Arc::new(builder.finish());
    let (row, problem) = refused(&lists, &list_of(DataType::Int64, false));
    assert_eq!((row, problem.starts_with("no value")), (1, true), "{problem}");
    assert_eq!(shows(&lists.slice(0, 1), &list_of(DataType::Int64, false)), ["[1]"]);
}

#[test]
fn nulls_stay_nulls_however_they_are_written() {
    let nothing: ArrayRef = Arc::new(NullArray::new(2));
    for wanted in [
        DataType::Utf8,
        DataType::Int64,
        DataType::Date32,
        DataType::Decimal128(5, 2),
        DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        list_of(DataType::Int64, true),
        fixed_list_of(DataType::Int64, 2),
    ] {
        assert_eq!(shows(&nothing, &wanted), ["", ""]);
    }
    // The null is a value of the dictionary, and of a run.
    let values = Arc::new(StringArray::from(vec![Some("5"), None]));
    let keys = Int32Array::from(vec![Some(0), Some(1), None]);
    let words: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, values.clone()));
    let ends = Int32Array::from(vec![1, 3]);
    let runs: ArrayRef = Arc::new(RunArray::<Int32Type>::try_new(&ends, values.as_ref()).unwrap());
    for array in [words, runs] {
        assert_eq!(shows(&array, &DataType::Utf8), ["5", "", ""]);
        assert_eq!(shows(&array, &DataType::Int64), ["5", "", ""]);
    }
}

#[test]
fn decimals_take_fewer_bits_where_these_are_enough() {
    let array = |value: &str| {
        let value = i256::from_string(value).unwrap();
        let array = Decimal256Array::from(vec![None, Some(value)]);
        Arc::new(array.with_precision_and_scale(40, 2).unwrap()) as ArrayRef
    };
    let narrow = DataType::Decimal128(20, 2);
    assert_eq!(
        shows(&array("-12345678901234567890"), &narrow),
        ["", "-123456789012345678.90"]
    );
    assert_eq!(refused(&array("123456789012345678901"), &narrow).0, 1);
    assert_eq!(refused(&array("150"), &DataType::Int64).0, 1);
    assert_eq!(shows(&array("1500"), &DataType::Int64), ["", "15"]);
}

#[test]
fn times_within_are_looked_at_like_others() {
    let micros = |values: Vec<i64>| Arc::new(arrow::array::TimestampMicrosecondArray::from(values)) as ArrayRef;
    let view = |values: ArrayRef| {
        let item = Arc::new(Field::new("item", values.data_type().clone(), true));
        let (starts, lengths) = (vec![0, 1].into(), vec![1, 1].into());
        Arc::new(ListViewArray::try_new(item, starts, lengths, values, None).unwrap()) as ArrayRef
    };
    let keyed = |values: ArrayRef| {
        let keys = Int32Array::from(vec![0, 1]);
        Arc::new(DictionaryArray::<Int32Type>::new(keys, values)) as ArrayRef
    };
    for within in [view, keyed] {
        assert!(has_fine_times(&within(micros(vec![0, 1]))));
        assert!(!has_fine_times(&within(micros(vec![0, 1_000]))));
    }
    // A time that no calendar has is none in a list either, though the types are the same.
    let far: ArrayRef = Arc::new(arrow::array::TimestampMillisecondArray::from(vec![0, i64::MAX]));
    let mut lists = ListBuilder::new(arrow::array::TimestampMillisecondBuilder::new());
    lists.append_value([Some(0)]);
    lists.append_value([Some(i64::MAX)]);
    let lists: ArrayRef = Arc::new(lists.finish());
    for array in [far, lists] {
        let (row, problem) = refused(&array, &array.data_type().clone());
        assert_eq!(row, 1);
        assert!(problem.contains("lies beyond the times"), "{problem}");
    }
}
