use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{Field, Fields, Int32Type, IntervalUnit, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use odf_metadata::MetadataEvent;
use odf_reference as golden;

fn logical(batch: &RecordBatch) -> String {
    let mut hasher = LogicalHasher::new(&batch.schema()).unwrap();
    hasher.update(batch).unwrap();
    hasher
        .finish()
        .digest()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn one(name: &str, column: impl Array + 'static) -> RecordBatch {
    RecordBatch::try_from_iter([(name, Arc::new(column) as ArrayRef)]).unwrap()
}

fn time(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from(values).with_timezone("UTC"))
}

/// The usual columns, with `city` in the string layout given.
fn usual(rows: usize, city: ArrayRef) -> RecordBatch {
    let columns: [(&str, ArrayRef); 6] = [
        ("offset", Arc::new(Int64Array::from_iter_values(0..rows as i64))),
        ("op", Arc::new(Int32Array::from(vec![0; rows]))),
        ("system_time", time(vec![1_262_347_200_000; rows])),
        ("event_time", time(vec![946_728_000_000; rows])),
        ("city", city),
        (
            "population",
            Arc::new(Int64Array::from(vec![Some(1000), None, Some(3000)][..rows].to_vec())),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn logical_hashes_are_those_of_the_reference() {
    let cities = vec![Some("A"), Some("B"), None];
    let expected = "b948b0adf83e9c4e753c2df88453b9d1b690f93846c0134465778a307f552874";
    assert_eq!(
        logical(&usual(3, Arc::new(StringArray::from(cities.clone())))),
        expected
    );
    assert_eq!(
        logical(&usual(3, Arc::new(StringViewArray::from(cities.clone())))),
        expected,
        "layout does not matter"
    );
    assert_eq!(
        logical(&usual(3, Arc::new(LargeStringArray::from(cities)))),
        expected,
        "layout does not matter"
    );

    let none = usual(0, Arc::new(StringArray::from(Vec::<&str>::new())));
    assert_eq!(
        logical(&none),
        "be9268c4374210566b428a4f6d7c066bfed378c28925dde8b11a41123e481a46"
    );

    let columns: [(&str, ArrayRef); 2] = [
        ("a", Arc::new(Int32Array::from(vec![1, 2, 3]))),
        ("b", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
    ];
    let two = RecordBatch::try_from_iter(columns).unwrap();
    assert_eq!(
        logical(&two),
        "5684f7bfdcaf4ff7d1f9bf0fd766c98d8ded335e933fb4eec245054f3206b61a"
    );

    let empty = RecordBatch::new_empty(Arc::new(Schema::empty()));
    assert_eq!(
        logical(&empty),
        "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a"
    );

    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.append_value([Some("q"), None]);
    lists.append_null();
    lists.append_value(Vec::<Option<&str>>::new());
    let expected = "dfafcab122999a953c093e34e47072ffed555dabffc3fcafc5747fed1a7396f5";
    assert_eq!(logical(&one("l", lists.finish())), expected);

    let dates = Date32Array::from(vec![Some(0), None, Some(19_000)]);
    let expected = "26cb7d0778b9eeecd7a4baa5c6fb8e9c8cffe75adfdfd5944bbead4ed78e90bd";
    assert_eq!(logical(&one("d", dates)), expected);

    let decimals = Decimal128Array::from(vec![Some(12_345), None, Some(-1)])
        .with_precision_and_scale(10, 2)
        .unwrap();
    let expected = "5ec9c9d2b66166da43e91ff161fac0ef9e4d0de8311732d7294fae794b06c13d";
    assert_eq!(logical(&one("dec", decimals)), expected);

    let booleans = BooleanArray::from(vec![Some(true), Some(false), None]);
    let expected = "74c6455a3c064ab1f393bd9ce92e59000a6164b26b1a5dc0fa01cf47bac88e84";
    assert_eq!(logical(&one("s", booleans)), expected);

    let fields = Fields::from(vec![
        Field::new("x", DataType::Int32, true),
        Field::new("y", DataType::Boolean, true),
    ]);
    let x = PrimitiveArray::<Int32Type>::from(vec![Some(1), Some(2), None]);
    let members: Vec<ArrayRef> = vec![Arc::new(x), Arc::new(BooleanArray::from(vec![true, false, true]))];
    let structs = StructArray::new(fields, members, Some(NullBuffer::from(vec![true, false, true])));
    let expected = "87268dac2a650422fb25c806743e6b78f92ab64f767719360fd69482955e0c0f";
    assert_eq!(logical(&one("s", structs)), expected);
}

#[test]
fn logical_hash_does_not_depend_on_batches() {
    let whole = usual(3, Arc::new(StringArray::from(vec![Some("A"), None, Some("C")])));
    let mut hasher = LogicalHasher::new(&whole.schema()).unwrap();
    hasher.update(&whole.slice(0, 1)).unwrap();
    hasher.update(&whole.slice(1, 2)).unwrap();
    let mut at_once = LogicalHasher::new(&whole.schema()).unwrap();
    at_once.update(&whole).unwrap();
    assert_eq!(hasher.finish(), at_once.finish());
}

#[test]
fn types_without_a_logical_hash_are_errors() {
    let member = Fields::from(vec![Field::new("x", DataType::Int32, true)]);
    let item = |data_type| Arc::new(Field::new("item", data_type, true));
    for data_type in [
        DataType::Null,
        DataType::Duration(TimeUnit::Millisecond),
        DataType::Interval(IntervalUnit::DayTime),
        DataType::List(item(DataType::Struct(member))),
        DataType::List(item(DataType::Null)),
        DataType::ListView(item(DataType::Int8)),
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        DataType::Struct(Fields::from(vec![Field::new("deep", DataType::Null, true)])),
    ] {
        let schema = Schema::new(vec![Field::new("c", data_type.clone(), true)]);
        assert!(
            matches!(LogicalHasher::new(&schema), Err(DigestError::UnsupportedType { .. })),
            "{data_type}"
        );
    }
    let mut hasher = LogicalHasher::new(&Schema::new(vec![Field::new("a", DataType::Int32, false)])).unwrap();
    let other = one("a", Int64Array::from(vec![1]));
    assert!(matches!(hasher.update(&other), Err(DigestError::OtherSchema { .. })));
    assert!(
        hasher
            .update(&usual(0, Arc::new(StringArray::from(Vec::<&str>::new()))))
            .is_err()
    );
}

#[test]
fn physical_hash_streams() {
    let data: Vec<u8> = (0..READ_BYTES + 17).map(|index| index as u8).collect();
    assert_eq!(
        physical_hash_of(data.as_slice()).unwrap(),
        (Multihash::sha3_256(&data), data.len() as u64)
    );
    assert_eq!(physical_hash_of(io::empty()).unwrap(), (Multihash::sha3_256(b""), 0));
    assert!(physical_hash(Path::new("/no/such/file")).is_err());
}

#[test]
fn every_golden_slice_has_the_hashes_of_its_block() {
    for dataset in golden::datasets() {
        for block in dataset.blocks() {
            let MetadataEvent::AddData(event) = &block.block().event else {
                continue;
            };
            let Some(slice) = &event.new_data else { continue };
            let path = dataset.object(&format!("data/{}", slice.physical_hash));
            assert_eq!(
                physical_hash(&path).unwrap(),
                (slice.physical_hash, slice.size),
                "{}",
                dataset.name
            );
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
            let mut hasher = LogicalHasher::new(reader.schema()).unwrap();
            for batch in reader.with_batch_size(100).build().unwrap() {
                hasher.update(&batch.unwrap()).unwrap();
            }
            assert_eq!(hasher.finish(), slice.logical_hash, "{} {path:?}", dataset.name);
        }
    }
}

/// A column of every type that is hashed side by side with others, with nulls and without; `rows` values each.
fn columns_of_all_types(rows: usize) -> Vec<ArrayRef> {
    let number = |row: usize| (row as i64).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()) >> (row % 50);
    let numbers = || (0..rows).map(number);
    let some = |row: usize| row % 7 != 3;
    let text = |row: usize| "ab\u{e9}\u{1F600}".repeat(row % 23);
    let int64: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers()));
    let holes: ArrayRef = Arc::new(Int64Array::from_iter(
        (0..rows).map(|row| some(row).then(|| number(row))),
    ));
    let types = [
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float16,
        DataType::Float32,
        DataType::Float64,
        DataType::Date32,
        DataType::Date64,
        DataType::Time32(TimeUnit::Second),
        DataType::Time32(TimeUnit::Millisecond),
        DataType::Time64(TimeUnit::Microsecond),
        DataType::Time64(TimeUnit::Nanosecond),
        DataType::Timestamp(TimeUnit::Second, None),
        DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Kyiv".into())),
        DataType::Timestamp(TimeUnit::Nanosecond, None),
        DataType::Decimal128(38, 2),
        DataType::Decimal128(38, -3),
        DataType::Decimal256(70, 5),
        DataType::Boolean,
    ];
    let mut columns = Vec::new();
    for data_type in types {
        for from in [&int64, &holes] {
            // Arrow makes times of integers of their own width.
            let width = match data_type {
                DataType::Time32(_) => DataType::Int32,
                _ => DataType::Int64,
            };
            let of_width = cast(from, &width).unwrap();
            columns.push(cast(&of_width, &data_type).unwrap());
        }
    }
    let texts = || (0..rows).map(|row| some(row).then(|| text(row)));
    let bytes = || (0..rows).map(|row| some(row).then(|| text(row).into_bytes()));
    let fixed = (0..rows).map(|row| some(row).then(|| (row as u32).to_be_bytes()));
    columns.push(Arc::new(StringArray::from_iter_values((0..rows).map(text))));
    columns.push(Arc::new(StringArray::from_iter(texts())));
    columns.push(Arc::new(LargeStringArray::from_iter(texts())));
    columns.push(Arc::new(StringViewArray::from_iter(texts())));
    columns.push(Arc::new(BinaryArray::from_iter(bytes())));
    columns.push(Arc::new(LargeBinaryArray::from_iter(bytes())));
    columns.push(Arc::new(BinaryViewArray::from_iter(bytes())));
    columns.push(Arc::new(
        FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed, 4).unwrap(),
    ));
    columns
}

/// The crate that the reference implementation uses hashes the same rows to the same.
#[test]
fn columns_side_by_side_have_the_hash_of_the_reference_crate() {
    let expected = |batch: &RecordBatch| RecordDigestV0::<Sha3_256>::digest(batch).to_vec();
    let hash = |batch: &RecordBatch, step: usize| {
        let mut hasher = LogicalHasher::new(&batch.schema()).unwrap();
        assert!(matches!(hasher.rows, Rows::Flat { .. }));
        for from in (0..batch.num_rows()).step_by(step) {
            hasher
                .update(&batch.slice(from, step.min(batch.num_rows() - from)))
                .unwrap();
        }
        hasher.finish().digest().to_vec()
    };
    let columns = columns_of_all_types(2 * ROWS_AT_A_TIME + 77);
    let named = columns
        .iter()
        .enumerate()
        .map(|(at, array)| (format!("c{at}"), array.clone()));
    let all = RecordBatch::try_from_iter(named).unwrap();
    for step in [1, 100, ROWS_AT_A_TIME, 1 << 20] {
        assert_eq!(hash(&all, step), expected(&all), "steps of {step}");
    }
    // Each by itself, so that one that is wrong is known by its type; and from the middle of its buffers.
    for column in columns {
        let batch = one("c", column.slice(5, column.len() - 9));
        assert_eq!(hash(&batch, 1000), expected(&batch), "{}", column.data_type());
    }
}
