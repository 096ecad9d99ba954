//! Parquet tables: what other writers put into them, and what becomes of it.

use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use ::parquet::file::properties::WriterProperties;
use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use odf_ingest::shape::{Shape, type_name};
use odf_ingest::source::Content;
use odf_metadata::ReadStep;

fn source(columns: Vec<(&str, ArrayRef, bool)>) -> Source {
    packed(columns, Compression::UNCOMPRESSED)
}

fn packed(columns: Vec<(&str, ArrayRef, bool)>, codec: Compression) -> Source {
    Source::bytes(
        "t.parquet",
        file(columns, codec),
        Format::Parquet,
        ReadOptions::default(),
    )
}

pub(crate) fn file(columns: Vec<(&str, ArrayRef, bool)>, codec: Compression) -> Bytes {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array, nullable)| Field::new(*name, array.data_type().clone(), *nullable))
        .collect();
    let arrays = columns.into_iter().map(|(_, array, _)| array).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let mut bytes = Vec::new();
    let properties = WriterProperties::builder().set_compression(codec).build();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    Bytes::from(bytes)
}

fn publish(world: &mut World, source: &Source) -> Result<Vec<String>, String> {
    let options = Options {
        changed: Changed::TakeAll,
        ..Options::default()
    };
    world.publish(source, &options).map_err(|error| error.to_string())?;
    let shown = world
        .rows()
        .into_iter()
        .map(|row| row.splitn(4, ' ').last().unwrap_or_default().to_owned());
    Ok(shown.collect())
}

fn columns(world: &World) -> Vec<String> {
    let dataset = world.dataset();
    let schema = dataset
        .state()
        .schema
        .as_ref()
        .and_then(|event| event.schema.as_ref())
        .unwrap();
    let schema = odf_tables::types::to_arrow(schema).unwrap();
    let column = |f: &Arc<Field>| {
        format!(
            "{}:{}{}",
            f.name(),
            type_name(f.data_type()),
            if f.is_nullable() { "?" } else { "" }
        )
    };
    schema.fields().iter().skip(4).map(column).collect()
}

#[test]
fn encodings_are_dropped_and_times_become_milliseconds_in_utc_where_they_have_no_more() {
    let dictionary: DictionaryArray<arrow::datatypes::Int32Type> = vec![Some("x"), None].into_iter().collect();
    let table = source(vec![
        ("large", Arc::new(LargeStringArray::from(vec![Some("a"), None])), true),
        ("view", Arc::new(StringViewArray::from(vec!["b", "c"])), false),
        ("dict", Arc::new(dictionary), true),
        (
            "naive",
            Arc::new(TimestampMicrosecondArray::from(vec![1_001_000, 1_000])),
            true,
        ),
        (
            "zoned",
            Arc::new(TimestampNanosecondArray::from(vec![0, 5_000_000]).with_timezone("+02:00")),
            true,
        ),
        ("date", Arc::new(Date64Array::from(vec![86_400_000, 0])), true),
        ("n", Arc::new(UInt16Array::from(vec![1, 65_535])), false),
        (
            "dec",
            Arc::new(
                Decimal128Array::from(vec![150, -1])
                    .with_precision_and_scale(5, 2)
                    .unwrap(),
            ),
            true,
        ),
    ]);
    let mut world = World::new();
    assert_eq!(
        publish(&mut world, &table).unwrap(),
        [
            "a b x 1970-01-01T00:00:01.001Z 1970-01-01T00:00:00Z 1970-01-02 1 1.50",
            "- c - 1970-01-01T00:00:00.001Z 1970-01-01T00:00:00.005Z 1970-01-01 65535 -0.01",
        ]
    );
    assert_eq!(
        columns(&world),
        [
            "large:String?",
            "view:String",
            "dict:String?",
            "naive:Timestamp?",
            "zoned:Timestamp?",
            "date:Date?",
            "n:UInt16",
            "dec:Decimal(5, 2)?",
        ]
    );
    up_to_date(world.publish(&table, &Options::default()));
}

#[test]
fn nested_columns_are_kept_where_they_have_a_logical_hash() {
    let mut list = ListBuilder::new(StringBuilder::new());
    list.append_value([Some("q"), None]);
    let members = vec![(
        Arc::new(Field::new("x", DataType::Int32, true)),
        Arc::new(Int32Array::from(vec![1])) as ArrayRef,
    )];
    let table = source(vec![
        ("list", Arc::new(list.finish()), true),
        ("s", Arc::new(StructArray::from(members)), true),
    ]);
    let mut world = World::new();
    assert_eq!(publish(&mut world, &table).unwrap(), ["[q, ] {x: 1}"]);

    let duration = source(vec![("d", Arc::new(DurationSecondArray::from(vec![1])), true)]);
    assert_eq!(
        publish(&mut World::new(), &duration).unwrap_err(),
        "t.parquet, column `d`: the type Duration(s) is not supported; cast it to another one first"
    );
}

#[test]
fn every_codec_of_the_format_is_read() {
    let text: Vec<String> = (0..1000).map(|row| format!("row {}", row / 3)).collect();
    for codec in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ] {
        let table = packed(vec![("t", Arc::new(StringArray::from(text.clone())), false)], codec);
        let rows = publish(&mut World::new(), &table).unwrap();
        assert_eq!(rows, text, "{codec:?}");
    }
}

#[test]
fn what_pyarrow_packs_with_lz4_is_read() {
    // Of parquet-cpp-arrow 26.0.1: pq.write_table(pa.table({"id": [1, 2, 3], "s": ["a", None, "c"]}), f, compression="lz4")
    let bytes: Vec<u8> = PYARROW_LZ4
        .split_whitespace()
        .flat_map(str::as_bytes)
        .collect::<Vec<_>>()
        .chunks(2)
        .map(|pair| u8::from_str_radix(&format!("{}{}", char::from(*pair[0]), char::from(*pair[1])), 16).unwrap())
        .collect();
    let table = Source::bytes("t.parquet", Bytes::from(bytes), Format::Parquet, ReadOptions::default());
    assert_eq!(publish(&mut World::new(), &table).unwrap(), ["1 a", "2 -", "3 c"]);
}

const PYARROW_LZ4: &str = "
    504152311504153015264c15061500120000220100010012020700900003000000000000001500151415162c15061510150615061c18080300000000
    00000018080100000000000000160028080300000000000000180801000000000000001111000000a0020000000601020324001504151415164c1504
    1500120000a0010000006101000000631500151215142c15061510150615061c36022801631801611111000000900200000003050103021504193c35
    001806736368656d61150400150425021802696400150c250218017325004c1c0000001606191c192c26001c150419350006101918026964150e1606
    16de0116d601264a26081c180803000000000000001808010000000000000016002808030000000000000018080100000000000000111100192c1504
    1500150200150015101502003c29061926000600000026001c150c193500061019180173150e1606167c16800126900226de011c3602280163180161
    111100192c15041500150200150015101502003c160419061926020400000016da021606260816d60200191c180c4152524f573a736368656d6118ec
    012f2f2f2f2f36674141414151414141414141414b41417741426741464141674143674141414141424241414d414141414341414941414141424141
    49414141414241414141414941414142414141414142414141414e6a2f2f2f3841414145464541414141426741414141454141414141414141414145
    414141427a41414141424141454141514141414151414251414341414741416341444141414142414145414141414141414151495141414141484141
    414141514141414141414141414167414141476c6b41414149414177414341414841416741414141414141414251414141414141414141413d001820
    706172717565742d6370702d6172726f772076657273696f6e2032362e302e31192c1c00001c0000000e02000050415231
";

#[test]
fn a_column_of_nothing_but_nulls_is_optional_text_and_fits_any_column_later() {
    let table = |column: ArrayRef| {
        source(vec![
            ("id", Arc::new(Int64Array::from(vec![1])), true),
            ("x", column, true),
        ])
    };
    let nulls = || table(Arc::new(NullArray::new(1)));
    let mut world = World::new();
    assert_eq!(publish(&mut world, &nulls()).unwrap(), ["1 -"]);
    assert_eq!(columns(&world), ["id:Int64?", "x:String?"]);
    let text = table(Arc::new(StringArray::from(vec!["a"])));
    assert_eq!(publish(&mut world, &text).unwrap(), ["1 -", "1 a"]);

    let mut world = World::new();
    publish(&mut world, &table(Arc::new(Date32Array::from(vec![1])))).unwrap();
    assert_eq!(publish(&mut world, &nulls()).unwrap(), ["1 1970-01-02", "1 -"]);

    // Within lists and structs, as pandas writes empty ones.
    let mut list = ListBuilder::new(NullBuilder::new());
    list.append(true);
    let fields = vec![(
        Arc::new(Field::new("n", DataType::Null, true)),
        Arc::new(NullArray::new(1)) as ArrayRef,
    )];
    let nested = source(vec![
        ("l", Arc::new(list.finish()), true),
        ("s", Arc::new(StructArray::from(fields)), true),
    ]);
    let mut world = World::new();
    assert_eq!(publish(&mut world, &nested).unwrap(), ["[] {n: }"]);
    let mut list = ListBuilder::new(Int64Builder::new());
    list.append_value([Some(1)]);
    let lists = |array: ArrayRef| source(vec![("l", array, true)]);
    let mut world = World::new();
    publish(&mut world, &lists(Arc::new(list.finish()))).unwrap();
    let mut list = ListBuilder::new(NullBuilder::new());
    list.append(true);
    assert_eq!(
        publish(&mut world, &lists(Arc::new(list.finish()))).unwrap(),
        ["[1]", "[]"]
    );
}

#[test]
fn wide_values_are_kept_whole() {
    let wide = |text: &str, precision, scale| {
        let value = arrow::datatypes::i256::from_string(text).unwrap();
        let array = Decimal256Array::from(vec![Some(value), None]);
        Arc::new(array.with_precision_and_scale(precision, scale).unwrap()) as ArrayRef
    };
    let fifty = "12345678901234567890123456789012345678901234567890";
    let table = source(vec![
        ("d50", wide(fifty, 50, 2), true),
        ("d20", wide("12345678901234567890", 20, 2), true),
        ("u64", Arc::new(UInt64Array::from(vec![u64::MAX, 0])), true),
        ("t32", Arc::new(Time32MillisecondArray::from(vec![1_001, 0])), true),
        (
            "t64",
            Arc::new(Time64NanosecondArray::from(vec![1_000_000_001, 0])),
            true,
        ),
        (
            "f",
            Arc::new(FixedSizeBinaryArray::try_from_iter([[1u8, 2], [255, 0]].into_iter()).unwrap()),
            true,
        ),
    ]);
    let mut world = World::new();
    assert_eq!(
        publish(&mut world, &table).unwrap(),
        [
            "123456789012345678901234567890123456789012345678.90 123456789012345678.90 18446744073709551615 00:00:01.001 \
             00:00:01.000000001 0102",
            "- - 0 00:00:00 00:00:00 ff00",
        ]
    );
    assert_eq!(
        columns(&world),
        [
            "d50:Decimal256(50, 2)?",
            "d20:Decimal(20, 2)?",
            "u64:UInt64?",
            "t32:Time32(ms)?",
            "t64:Time64(ns)?",
            "f:FixedSizeBinary(2)?",
        ]
    );
}

#[test]
fn lists_of_every_make_are_read() {
    let mut large = LargeListBuilder::new(Int64Builder::new());
    large.append_value([Some(1), None]);
    large.append_null();
    let mut fixed = FixedSizeListBuilder::new(Int32Builder::new(), 2);
    fixed.values().append_slice(&[1, 2]);
    fixed.append(true);
    fixed.values().append_nulls(2);
    fixed.append(false);
    let mut nested = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
    nested.append_value([Some(vec![Some("a"), None]), None]);
    nested.append_value([Some(Vec::<Option<&str>>::new())]);
    let times = Arc::new(TimestampMicrosecondArray::from(vec![1_000, 2_000]));
    let item = Arc::new(Field::new("element", times.data_type().clone(), true));
    let offsets = arrow::buffer::OffsetBuffer::new(vec![0, 2, 2].into());
    let times = ListArray::new(item, offsets, times, None);
    let table = source(vec![
        ("large", Arc::new(large.finish()), true),
        ("fixed", Arc::new(fixed.finish()), true),
        ("nested", Arc::new(nested.finish()), true),
        ("times", Arc::new(times), true),
    ]);
    let mut world = World::new();
    assert_eq!(
        publish(&mut world, &table).unwrap(),
        [
            "[1, ] [1, 2] [[a, ], ] [1970-01-01T00:00:00.001Z, 1970-01-01T00:00:00.002Z]",
            "- - [[]] []",
        ]
    );
    up_to_date(world.publish(&table, &Options::default()));
}

#[test]
fn a_source_that_declares_no_columns_has_those_of_the_file_as_they_are_encoded() {
    let mut large =
        LargeListBuilder::new(LargeStringBuilder::new()).with_field(Field::new("element", DataType::LargeUtf8, true));
    large.append_value([Some("a"), None]);
    large.append_null();
    let mut fixed = FixedSizeListBuilder::new(Int32Builder::new(), 2);
    fixed.values().append_slice(&[1, 2]);
    fixed.append(true);
    fixed.values().append_nulls(2);
    fixed.append(false);
    let micros = Arc::new(TimestampMicrosecondArray::from(vec![1_001, -1]));
    let member = Arc::new(Field::new("t", micros.data_type().clone(), false));
    let decimal = |values: [i32; 2]| {
        Decimal32Array::from(values.to_vec())
            .with_precision_and_scale(5, 2)
            .unwrap()
    };
    let coded: DictionaryArray<arrow::datatypes::Int32Type> = vec![Some("x"), None].into_iter().collect();
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        (
            "text",
            Arc::new(StringArray::from(vec![Some("a text beyond twelve bytes"), None])),
            true,
        ),
        ("long", Arc::new(LargeStringArray::from(vec!["a", "b"])), false),
        ("bytes", Arc::new(BinaryArray::from(vec![&b"a"[..], b"b"])), false),
        ("few", Arc::new(decimal([12_345, -1])), false),
        ("day", Arc::new(Date64Array::from(vec![86_400_000, 0])), false),
        ("large", Arc::new(large.finish()), true),
        ("fixed", Arc::new(fixed.finish()), true),
        (
            "object",
            Arc::new(StructArray::from(vec![(member, micros.clone() as ArrayRef)])),
            false,
        ),
        ("fine", micros, false),
        ("coded", Arc::new(coded), true),
    ];
    let (text, bytes) = (DataType::Utf8View, DataType::BinaryView);
    let mut expected: Vec<DataType> = columns.iter().map(|(_, array, _)| array.data_type().clone()).collect();
    expected[..3].clone_from_slice(&[text.clone(), text, bytes]);

    let step = ReadStep::Parquet {
        ddl_schema: None,
        schema: None,
    };
    let content = Content::Bytes(file(columns, Compression::SNAPPY));
    let source = Source::for_step("t.parquet", content, &step).unwrap();
    let end = source.len().unwrap();
    let found = source.infer(end, &mut |_| ControlFlow::Continue(())).unwrap().columns;
    let types: Vec<DataType> = found.iter().map(|column| column.data_type.clone()).collect();
    assert_eq!(types, expected);
    let fields: Vec<Field> = found
        .iter()
        .map(|column| Field::new(&column.name, column.data_type.clone(), column.nullable))
        .collect();
    let shape = Shape::new(fields, None);
    let span = odf_ingest::source::Span { start: 0, line: 0, end };
    let batch = source.rows(&shape, span).unwrap().next_batch().unwrap().unwrap();
    assert_eq!(batch.schema(), *shape.schema());
    assert_eq!(
        lines(&batch),
        [
            "a text beyond twelve bytes a 61 123.45 1970-01-02T00:00:00 [a, ] [1, 2] {t: 1970-01-01T00:00:00.001001} \
             1970-01-01T00:00:00.001001 x",
            "- b 62 -0.01 1970-01-01T00:00:00 - - {t: 1969-12-31T23:59:59.999999} 1969-12-31T23:59:59.999999 -",
        ]
    );
}

#[test]
fn what_has_no_place_is_refused_by_name() {
    let member = Arc::new(Field::new("x", DataType::Int32, true));
    let object = StructArray::from(vec![(member, Arc::new(Int32Array::from(vec![1])) as ArrayRef)]);
    let item = Arc::new(Field::new("item", object.data_type().clone(), true));
    let offsets = arrow::buffer::OffsetBuffer::new(vec![0, 1].into());
    let objects = ListArray::new(item, offsets, Arc::new(object), None);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_value(1);
    map.append(true).unwrap();
    for (array, name) in [
        (Arc::new(objects) as ArrayRef, "List("),
        (Arc::new(map.finish()), "Map("),
        (Arc::new(IntervalYearMonthArray::from(vec![1])), "Interval("),
    ] {
        let error = publish(&mut World::new(), &source(vec![("c", array, true)])).unwrap_err();
        assert!(
            error.starts_with(&format!("t.parquet, column `c`: the type {name}")),
            "{error}"
        );
    }
    // A date is no time of day.
    let dates = source(vec![("d", Arc::new(Date64Array::from(vec![0, 86_400_001])), true)]);
    let error = publish(&mut World::new(), &dates).unwrap_err();
    assert!(
        error.starts_with("t.parquet, row 2, column `d`: `1970-01-02"),
        "{error}"
    );
    // An event time that is none is not replaced by the time of the ingest.
    let table = source(vec![(
        "event_time",
        Arc::new(Int64Array::from(vec![1, i64::MAX])),
        true,
    )]);
    let options = Options {
        types: parse_types("event_time TIMESTAMP(0)").unwrap(),
        ..Options::default()
    };
    let error = World::new().publish(&table, &options).unwrap_err().to_string();
    let wanted = "t.parquet, row 2, column `event_time`: `9223372036854775807` lies beyond the times";
    assert!(error.starts_with(wanted), "{error}");
}

#[test]
fn types_may_widen_and_nothing_else() {
    let numbers = |array: ArrayRef| source(vec![("n", array, true)]);
    let mut world = World::new();
    assert_eq!(
        publish(&mut world, &numbers(Arc::new(Int64Array::from(vec![1])))).unwrap(),
        ["1"]
    );
    assert_eq!(
        publish(&mut world, &numbers(Arc::new(Int32Array::from(vec![2])))).unwrap(),
        ["1", "2"]
    );
    let error = publish(&mut world, &numbers(Arc::new(Float64Array::from(vec![1.0])))).unwrap_err();
    assert_eq!(
        error,
        "t.parquet, column `n`: `Float64 in the file` is not an Int64, the type of this column"
    );
    let error = publish(
        &mut world,
        &source(vec![("m", Arc::new(Int64Array::from(vec![1])), true)]),
    )
    .unwrap_err();
    assert_eq!(
        error,
        "t.parquet, column `m`: the dataset has no such column; its columns are event_time, n"
    );

    let shape = Shape::new(vec![Field::new("n", DataType::Int64, false)], None);
    let table = numbers(Arc::new(Int64Array::from(vec![Some(1), None])));
    let mut batches = table
        .rows(
            &shape,
            odf_ingest::source::Span {
                start: 0,
                line: 0,
                end: 1,
            },
        )
        .unwrap();
    let error = batches.next_batch().unwrap_err().to_string();
    assert_eq!(
        error,
        "t.parquet, row 2, column `n`: no value, but this column must have one"
    );
}

#[test]
fn an_event_time_may_be_of_any_kind_of_time() {
    for (array, types, wanted) in [
        (
            Arc::new(Int64Array::from(vec![1_700_000_000])) as ArrayRef,
            "at TIMESTAMP(0) NOT NULL",
            "2023-11-14T22:13:20Z",
        ),
        (
            Arc::new(UInt64Array::from(vec![1_700_000_000_500])),
            "at TIMESTAMP(3) NOT NULL",
            "2023-11-14T22:13:20.500Z",
        ),
        (
            Arc::new(TimestampSecondArray::from(vec![0])),
            "at TIMESTAMP",
            "1970-01-01T00:00:00Z",
        ),
        (Arc::new(Date32Array::from(vec![1])), "at DATE", "1970-01-02"),
    ] {
        let table = source(vec![("at", array, false)]);
        let mut world = World::new();
        let options = Options {
            event_time: Some("at".into()),
            types: parse_types(types).unwrap(),
            ..Options::default()
        };
        updated(world.publish(&table, &options));
        assert_eq!(world.rows(), [format!("0 0 {wanted}")]);
    }
    let table = source(vec![("at", Arc::new(Int64Array::from(vec![2024])), false)]);
    let options = Options {
        event_time: Some("at".into()),
        ..Options::default()
    };
    let error = World::new().publish(&table, &options).unwrap_err().to_string();
    let wanted = "t.parquet, row 1, column `at`: `2024` is a number, and nothing says in which unit";
    assert!(error.starts_with(wanted), "{error}");
    let table = source(vec![(
        "event_time",
        Arc::new(TimestampSecondArray::from(vec![0, 5])),
        true,
    )]);
    let mut world = World::new();
    updated(world.publish(&table, &Options::default()));
    assert_eq!(world.rows(), ["0 0 1970-01-01T00:00:00Z", "1 0 1970-01-01T00:00:05Z"]);
}
