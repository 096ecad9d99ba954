mod memory;

use std::fs;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Int32Array, Int64Array, Int64Builder, ListBuilder,
    StringArray, StringBuilder, StructArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::compute::{cast, nullif};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::record_batch::RecordBatch;

use odf_disk::Disk;
use parquet::arrow::ArrowWriter;

use super::write::properties;
use super::*;
use odf_metadata::{MetadataEvent, Multihash};
use odf_reference as golden;

fn kamu() -> SliceOptions {
    SliceOptions {
        created_by: "datafusion version 54.1.0".into(),
        codec: Codec::Snappy,
    }
}

fn rewrite(path: &Path, dir: &Path, rows_per_batch: usize, options: &SliceOptions) -> WrittenSlice {
    let reader = SliceReader::open(path).unwrap();
    let mut writer = SliceWriter::create(&Disk::new(), dir, reader.schema().clone(), options).unwrap();
    for batch in reader {
        let batch = batch.unwrap();
        for start in (0..batch.num_rows()).step_by(rows_per_batch) {
            writer
                .write(batch.slice(start, rows_per_batch.min(batch.num_rows() - start)))
                .unwrap();
        }
    }
    writer.finish().unwrap()
}

#[test]
fn slices_of_kamu_are_written_again_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    for golden in golden::datasets() {
        for block in golden.blocks() {
            let MetadataEvent::AddData(event) = &block.block().event else {
                continue;
            };
            let Some(slice) = &event.new_data else { continue };
            let path = golden.object(&format!("data/{}", slice.physical_hash));
            let ours = rewrite(&path, dir.path(), 8192, &kamu());
            assert_eq!(*ours.physical_hash(), slice.physical_hash, "{}", golden.name);
            assert_eq!(*ours.logical_hash(), slice.logical_hash, "{}", golden.name);
            assert_eq!(ours.size(), slice.size, "{}", golden.name);
        }
    }
}

fn cities(rows: i64) -> RecordBatch {
    let time = |rows: i64| -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from(vec![2_524_651_200_000; rows as usize]).with_timezone("UTC"))
    };
    let timestamp = crate::timestamp();
    let schema = Schema::new(vec![
        Field::new("offset", DataType::Int64, false),
        Field::new("op", DataType::Int32, false),
        Field::new("system_time", timestamp.clone(), false),
        Field::new("event_time", timestamp, false),
        Field::new("city", DataType::Utf8, false),
        Field::new("population", DataType::UInt64, false),
    ]);
    let names = ["A", "B"];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..rows)),
        Arc::new(Int32Array::from(vec![0; rows as usize])),
        time(rows),
        time(rows),
        Arc::new(StringArray::from_iter_values((0..rows).map(|n| names[n as usize % 2]))),
        Arc::new(UInt64Array::from_iter_values((0..rows).map(|n| 100 * (n as u64 + 1)))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

#[test]
fn the_slice_behind_kamus_own_golden_head_comes_out() {
    let dir = tempfile::tempdir().unwrap();
    let batch = cities(2);
    let options = SliceOptions {
        created_by: "kamu tests".into(),
        codec: Codec::Snappy,
    };
    let mut writer = SliceWriter::create(&Disk::new(), dir.path(), batch.schema(), &options).unwrap();
    writer.write(batch).unwrap();
    let written = writer.finish().unwrap();
    assert_eq!(written.size(), 1921);
    assert_eq!(
        written.physical_hash().to_string(),
        "f1620a0bf8dbbc4830e0d9a43f26bbebff095a5a84ebc375cb67d2d330531b9254fbe"
    );
    assert_eq!(
        written.logical_hash().to_string(),
        "f9680c00120440446fcdeef120c68757288af2391e174a83831812756c56b7298be251608d5"
    );
}

#[test]
fn the_order_of_the_rows_is_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let batch = cities(2);
    let by = |column: &str, descending| Ordered {
        column: column.to_owned(),
        descending,
        nulls_first: descending,
    };
    let order = [by("population", true), by("city", false), by("no column", false)];
    let (disk, schema) = (Disk::new(), batch.schema());
    let mut writer = SliceWriter::create_ordered(&disk, dir.path(), schema, &kamu(), &order).unwrap();
    writer.write(batch).unwrap();
    let path = writer.finish().unwrap().install(dir.path()).unwrap();
    let slice = SliceFile::open(&path, false).unwrap();
    let columns = slice.metadata().metadata().row_group(0).sorting_columns().unwrap();
    let columns: Vec<(i32, bool, bool)> = columns
        .iter()
        .map(|column| (column.column_idx, column.descending, column.nulls_first))
        .collect();
    assert_eq!(columns, [(0, false, false), (5, true, true), (4, false, false)]);
    assert_eq!(slice.order(), order[..2]);
}

#[test]
fn bytes_do_not_depend_on_how_rows_come() {
    let dir = tempfile::tempdir().unwrap();
    let whole = cities(30_000);
    let hash = |rows: usize| {
        let mut writer = SliceWriter::create(&Disk::new(), dir.path(), whole.schema(), &kamu()).unwrap();
        for start in (0..whole.num_rows()).step_by(rows) {
            writer
                .write(whole.slice(start, rows.min(whole.num_rows() - start)))
                .unwrap();
        }
        *writer.finish().unwrap().physical_hash()
    };
    assert_eq!(hash(30_000), hash(1000));
    assert_eq!(hash(30_000), hash(8191));
    assert_eq!(hash(30_000), hash(8192));
}

/// Rows with a list and a struct, more than one row group of them, so that threads encode both groups.
#[test]
fn threads_encode_the_bytes_that_one_writer_does() {
    let rows = 1024 * 1024 + 70_000;
    let plain = cities(rows);
    let mut lists = ListBuilder::new(Int64Builder::new());
    for row in 0..rows {
        lists.append_option((row % 3 > 0).then(|| (0..row % 4).map(Some)));
    }
    // Some are missing in all places: where none is, the writer alone looks less often whether a page is full.
    let missing: BooleanArray = (0..rows).map(|row| Some(row % 500 == 0)).collect();
    let members: Vec<(FieldRef, ArrayRef)> = vec![
        (
            Arc::new(Field::new("a", DataType::UInt64, true)),
            nullif(plain.column(5), &missing).unwrap(),
        ),
        (
            Arc::new(Field::new("b", DataType::Utf8, true)),
            nullif(plain.column(4), &missing).unwrap(),
        ),
    ];
    let fields = plain
        .schema()
        .fields()
        .iter()
        .map(|field| field.as_ref().clone())
        .collect::<Vec<_>>();
    let lists = Arc::new(lists.finish());
    let structs = Arc::new(StructArray::from(members));
    let more = [
        Field::new("lists", lists.data_type().clone(), true),
        Field::new("structs", structs.data_type().clone(), true),
    ];
    let schema = Arc::new(Schema::new([fields, more.to_vec()].concat()));
    let columns = [plain.columns(), &[lists, structs]].concat();
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new();
    let mut writer = SliceWriter::create(&disk, dir.path(), schema.clone(), &kamu()).unwrap();
    let properties = properties(&kamu(), &schema, &[]);
    let mut alone = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).unwrap();
    for from in (0..batch.num_rows()).step_by(8192) {
        let batch = batch.slice(from, 8192.min(batch.num_rows() - from));
        writer.write(batch.clone()).unwrap();
        alone.write(&batch).unwrap();
    }
    let written = writer.finish().unwrap();
    assert_eq!(
        *written.physical_hash(),
        Multihash::sha3_256(&alone.into_inner().unwrap())
    );
}

/// The hash of the file that rows become.
fn written(batch: &RecordBatch) -> Multihash {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = SliceWriter::create(&Disk::new(), dir.path(), batch.schema(), &kamu()).unwrap();
    writer.write(batch.clone()).unwrap();
    *writer.finish().unwrap().physical_hash()
}

#[test]
fn pages_and_dictionaries_of_many_rows_end_where_those_of_kamus_writer_do() {
    // The hash is that of the file that version 58.4 of the writer makes of the same rows, 8,192 at a time.
    let rows = 50_000;
    let schema = Schema::new(vec![
        Field::new("offset", DataType::Int64, false),
        Field::new("n", DataType::Int64, true),
        Field::new("gap", DataType::Int64, true),
        Field::new("text", DataType::Utf8, true),
    ]);
    let text = (0..rows).map(|n| format!("{:036}", n * 7919 % rows));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..rows)),
        Arc::new(Int64Array::from_iter_values((0..rows).map(|n| n * 7 % 1000))),
        Arc::new((0..rows).map(|n| (n >= 20_000).then_some(n)).collect::<Int64Array>()),
        Arc::new(StringArray::from_iter_values(text)),
    ];
    let many = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    assert_eq!(
        written(&many).to_string(),
        "f16205e317f8d4767da55e9e3067fce9f26aede485a33182fa4bfc2ce33548dff96e7"
    );
}

/// Text that does not get shorter when it is packed.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b' ' + (state >> 32) as u8 % 95)
    };
    std::iter::repeat_with(letter).take(length).collect()
}

/// Rows of text and bytes, short ones before those of more than a kibibyte.
fn long(rows: usize, lists: bool) -> RecordBatch {
    let length = |n: usize| if n < 1500 { n % 40 } else { 1025 + n * 37 % 300 };
    let texts = |seed: u64, none: usize| -> StringArray {
        let one = |n: usize| (!n.is_multiple_of(none)).then(|| noise(seed + n as u64, length(n) / (seed as usize)));
        (0..rows).map(one).collect()
    };
    let few: StringArray = (0..rows).map(|n| Some(noise(n as u64 % 7 + 1, 200))).collect();
    let (all, some) = (texts(1, usize::MAX), texts(6, 3));
    let bytes: BinaryArray = some.iter().map(|text| text.map(str::as_bytes)).collect();
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("offset", Arc::new(Int64Array::from_iter_values(0..rows as i64))),
        ("all", Arc::new(all)),
        ("some", Arc::new(some)),
        ("bytes", Arc::new(bytes)),
        ("few", Arc::new(few)),
    ];
    if lists {
        let mut builder = ListBuilder::new(StringBuilder::new());
        for n in 0..rows {
            builder.append_value((0..n % 4).map(|item| Some(noise((n * 4 + item) as u64, n % 40))));
        }
        columns.push(("lists", Arc::new(builder.finish())));
    }
    RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, name != "offset")),
    )
    .unwrap()
}

#[test]
fn pages_of_long_rows_end_where_those_of_kamus_writer_do() {
    // As above, the hashes are of files of version 58.4 of the writer.
    for (lists, wanted) in [
        (
            false,
            "f1620aa276db44ff484b96ff63ee6f067cacd3e9e0e7b3ba8c143ae189047ec8a9d1d",
        ),
        (
            true,
            "f1620cda4a9af07420b7d6046ab28f1714e9a891dd7f0ec9366463fafd1f75404bd69",
        ),
    ] {
        assert_eq!(written(&long(6000, lists)).to_string(), wanted, "lists: {lists}");
    }
}

#[test]
fn text_is_cut_into_pages_and_dictionaries_as_if_the_writer_never_looked_within_1024_rows() {
    let rows = 45_000;
    // So many values of so many bytes: a small dictionary, one that is nearly full, and one that is full before all rows are
    // there.
    let kinds = [(97, 3), (40_000, 20), (rows, 20)];
    let text = |(values, length)| -> ArrayRef {
        let text = (0..rows).map(|row| format!("{:0length$}", row * 7919 % values));
        Arc::new(StringArray::from_iter_values(text))
    };
    let missing: BooleanArray = (0..rows).map(|row| Some(row % 500 == 0)).collect();
    let mut fields = vec![Field::new("offset", DataType::Int64, false)];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(0..rows as i64))];
    for kind in kinds {
        let all = text(kind);
        for values in [nullif(&all, &missing).unwrap(), all] {
            for data_type in [DataType::Utf8, DataType::Utf8View, DataType::BinaryView] {
                fields.push(Field::new(format!("c{}", columns.len()), data_type.clone(), true));
                columns.push(cast(&values, &data_type).unwrap());
            }
        }
    }
    // Of this 1,024 are more than a page.
    fields.push(Field::new("long", DataType::Utf8View, true));
    columns.push(cast(&text((9, 1_100)), &DataType::Utf8View).unwrap());
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    assert_eq!(written(&batch), written_alone(&batch));
}

#[test]
fn rows_of_several_kibibytes_are_cut_as_if_they_came_in_one_call() {
    let rows = 7_000;
    // A call has enough bytes after some 1,100 of these rows, and not twice as many after 2,048.
    for longest in [5_000, 14_000] {
        let text = (0..rows).map(|row| noise(row as u64 + 1, row * 7919 % longest));
        let columns: [(&str, ArrayRef); 2] = [
            ("offset", Arc::new(Int64Array::from_iter_values(0..rows as i64))),
            ("long", Arc::new(StringArray::from_iter_values(text))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        assert_eq!(written(&batch), written_alone(&batch), "{longest}");
    }
}

/// The hash of the file that one writer makes of rows, which it is given 1,024 at a time and text as a whole.
fn written_alone(batch: &RecordBatch) -> Multihash {
    let (schema, rows) = (batch.schema(), batch.num_rows());
    let properties = properties(&kamu(), &schema, &[]);
    let mut alone = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).unwrap();
    let whole = |column: &ArrayRef| -> ArrayRef {
        let plain = match column.data_type() {
            DataType::Int64 => return column.clone(),
            DataType::BinaryView => DataType::Binary,
            _ => DataType::Utf8,
        };
        let values = cast(column, &plain).unwrap();
        let keys = Int32Array::new((0..values.len() as i32).collect(), values.nulls().cloned());
        Arc::new(DictionaryArray::try_new(keys, values).unwrap())
    };
    for from in (0..rows).step_by(1024) {
        let part = batch.slice(from, 1024.min(rows - from));
        let columns: Vec<ArrayRef> = part.columns().iter().map(whole).collect();
        let types = |(field, column): (&FieldRef, &ArrayRef)| {
            Arc::new(field.as_ref().clone().with_data_type(column.data_type().clone()))
        };
        let fields: Vec<FieldRef> = part.schema().fields().iter().zip(&columns).map(types).collect();
        let part = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        alone.write(&part).unwrap();
    }
    Multihash::sha3_256(&alone.into_inner().unwrap())
}

#[test]
fn a_slice_has_its_name_only_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let count = || fs::read_dir(dir.path()).unwrap().count();
    let batch = cities(3);
    let mut writer = SliceWriter::create(&Disk::new(), dir.path(), batch.schema(), &kamu()).unwrap();
    writer.write(batch.clone()).unwrap();
    assert_eq!(count(), 1);
    drop(writer);
    assert_eq!(count(), 0, "dropped while being written");

    let writer = SliceWriter::create(&Disk::new(), dir.path(), batch.schema(), &kamu()).unwrap();
    assert!(matches!(writer.finish().map(|_| ()), Err(SliceError::NoRows)));
    assert_eq!(count(), 0, "nothing in it");

    let mut writer = SliceWriter::create(&Disk::new(), dir.path(), batch.schema(), &kamu()).unwrap();
    writer.write(batch.clone()).unwrap();
    let written = writer.finish().unwrap();
    let (logical, physical) = (*written.logical_hash(), *written.physical_hash());
    let path = written.install(dir.path()).unwrap();
    assert_eq!(path, dir.path().join(physical.to_string()));
    assert_eq!(logical_hash(&path).unwrap(), logical);
    assert_eq!(crate::digest::physical_hash(&path).unwrap().0, physical);
    assert_eq!(SliceReader::open(&path).unwrap().next().unwrap().unwrap(), batch);

    let part = SliceReader::open_part(&path, Some(&["city"]), 2).unwrap();
    assert_eq!(part.rows(), 3);
    let part: Vec<_> = part.map(Result::unwrap).collect();
    assert_eq!((part[0].num_rows(), part[0].num_columns()), (1, 1));
    let missing = SliceReader::open_part(&path, Some(&["nope"]), 0)
        .map(|_| ())
        .unwrap_err();
    assert!(missing.to_string().contains("no column `nope`"));

    // Two at once do not meet.
    let mut writers = [0, 1].map(|_| SliceWriter::create(&Disk::new(), dir.path(), batch.schema(), &kamu()).unwrap());
    for writer in &mut writers {
        writer.write(batch.clone()).unwrap();
    }
    for writer in writers {
        assert_eq!(writer.finish().unwrap().install(dir.path()).unwrap(), path);
    }
    assert_eq!(crate::digest::physical_hash(&path).unwrap().0, physical);

    fs::write(dir.path().join(".pending-slice"), "half").unwrap();
    fs::create_dir_all(dir.path().join(".pending-query/spilled")).unwrap();
    Disk::new().sweep(dir.path()).unwrap();
    assert_eq!(count(), 1);
    fs::write(&path, "no Parquet").unwrap();
    assert!(matches!(
        SliceReader::open(&path).map(|_| ()),
        Err(SliceError::Parquet { .. })
    ));
}
