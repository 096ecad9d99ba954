//! Times of Parquet files, in every form that they have there.

use arrow::datatypes::TimeUnit;

use super::*;

fn shown(world: &World) -> Vec<String> {
    let short = |row: String| row.splitn(4, ' ').last().unwrap_or_default().to_owned();
    world.rows().into_iter().map(short).collect()
}

fn read_parquet(bytes: Vec<u8>) -> Vec<String> {
    let mut world = World::new();
    world
        .publish(&parquet(bytes, ReadOptions::default()), &Options::default())
        .unwrap();
    shown(&world)
}

#[test]
fn parquet_times_keep_their_digits_before_1970_too_and_within_lists_and_objects() {
    let micros = |values: Vec<i64>| Arc::new(TimestampMicrosecondArray::from(values)) as ArrayRef;
    assert_eq!(
        read_parquet(table(vec![("t", micros(vec![1_000, -1_000]))])),
        ["1970-01-01T00:00:00.001Z", "1969-12-31T23:59:59.999Z"]
    );
    assert_eq!(
        read_parquet(table(vec![("t", micros(vec![1_001, -1]))])),
        ["1970-01-01T00:00:00.001001", "1969-12-31T23:59:59.999999"]
    );
    let nanos = TimestampNanosecondArray::from(vec![Some(1), None]).with_timezone("+02:00");
    assert_eq!(
        read_parquet(table(vec![("t", Arc::new(nanos))])),
        ["1970-01-01T00:00:00.000000001Z", "-"]
    );
    let list = |values: Vec<i64>| {
        let item = Arc::new(Field::new(
            "item",
            DataType::Timestamp(TimeUnit::Microsecond, None),
            true,
        ));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([1, 1]);
        Arc::new(ListArray::new(item, offsets, micros(values), None)) as ArrayRef
    };
    assert_eq!(
        read_parquet(table(vec![("t", list(vec![0, -2_000]))])),
        ["[1970-01-01T00:00:00Z]", "[1969-12-31T23:59:59.998Z]"]
    );
    assert_eq!(
        read_parquet(table(vec![("t", list(vec![0, 1]))])),
        ["[1970-01-01T00:00:00]", "[1970-01-01T00:00:00.000001]"]
    );
    let object = |values: Vec<i64>| {
        let field = Arc::new(Field::new("x", DataType::Timestamp(TimeUnit::Microsecond, None), true));
        Arc::new(StructArray::from(vec![(field, micros(values))])) as ArrayRef
    };
    assert_eq!(
        read_parquet(table(vec![("o", object(vec![1_000]))])),
        ["{x: 1970-01-01T00:00:00.001Z}"]
    );
    // A dataset of milliseconds refuses what it does not hold, with the row.
    let mut world = World::new();
    world
        .publish(
            &parquet(table(vec![("t", list(vec![0, 0]))]), ReadOptions::default()),
            &Options::default(),
        )
        .unwrap();
    let options = Options {
        changed: Changed::TakeAll,
        ..Options::default()
    };
    let fine = parquet(table(vec![("t", list(vec![0, 1_500]))]), ReadOptions::default());
    let error = world.publish(&fine, &options).unwrap_err().to_string();
    let wanted = "t.parquet, row 2, column `t`: `1970-01-01T00:00:00.001500` has digits below the millisecond";
    assert!(error.starts_with(wanted), "{error}");
    let cut = ReadOptions {
        cut_times: true,
        ..ReadOptions::default()
    };
    let mut world = World::new();
    world
        .publish(
            &parquet(table(vec![("t", micros(vec![-1, 1]))]), cut),
            &Options::default(),
        )
        .unwrap();
    // Towards 1970, as Arrow casts them; text is rounded down.
    assert_eq!(shown(&world), ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"]);
    // Times that no calendar has.
    let far = parquet(
        table(vec![(
            "t",
            Arc::new(TimestampSecondArray::from(vec![i64::MAX / 1_000])),
        )]),
        ReadOptions::default(),
    );
    let error = World::new().publish(&far, &Options::default()).unwrap_err().to_string();
    assert!(
        error.contains("row 1, column `t`: ") && error.contains("lies beyond the times"),
        "{error}"
    );
}

/// INT96 as Spark and Hive write it: nanoseconds of the day, and the Julian day.
mod int96 {
    use ::parquet::data_type::{Int96, Int96Type};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    fn julian(time: &str, nanos: u32) -> Int96 {
        let time: Timestamp = time.parse().unwrap();
        let millis = time.millis();
        let (day, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
        let nanos = u64::try_from(of_day).unwrap() * 1_000_000 + u64::from(nanos);
        let mut value = Int96::new();
        let day = u32::try_from(day + 2_440_588).unwrap();
        value.set_data(nanos as u32, (nanos >> 32) as u32, day);
        value
    }

    /// One leaf column; `levels` are its definition and repetition levels.
    fn file(message: &str, values: &[Int96], levels: Option<(&[i16], &[i16])>) -> Vec<u8> {
        let schema = Arc::new(parse_message_type(message).unwrap());
        let mut bytes = Vec::new();
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let (definition, repetition) = (levels.map(|l| l.0), levels.map(|l| l.1));
        column
            .typed::<Int96Type>()
            .write_batch(values, definition, repetition)
            .unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
        bytes
    }

    const FAR: [&str; 5] = [
        "1000-01-01T00:00:00Z",
        "1677-01-01T00:00:00Z",
        "2000-01-01T01:02:03.456Z",
        "2300-01-01T00:00:00Z",
        "9999-12-31T02:00:00Z",
    ];

    fn far() -> Vec<Int96> {
        FAR.iter().map(|time| julian(time, 0)).collect()
    }

    #[test]
    fn times_far_away_are_what_they_are() {
        let plain = file("message m { required int96 t; }", &far(), None);
        assert_eq!(read_parquet(plain.clone()), FAR);
        // As the event time.
        let mut world = World::new();
        world
            .publish(&parquet(plain.clone(), ReadOptions::default()), &at("t", ""))
            .unwrap();
        let wanted: Vec<String> = FAR
            .iter()
            .enumerate()
            .map(|(row, time)| format!("{row} 0 {time}"))
            .collect();
        assert_eq!(world.rows(), wanted);
        // As a source declares it.
        for (declared, shown) in [
            ("t TIMESTAMP", FAR.map(str::to_owned)),
            ("t STRING", FAR.map(|time| time.trim_end_matches('Z').to_owned())),
        ] {
            let step = ReadStep::Parquet {
                ddl_schema: Some(vec![declared.to_owned()]),
                schema: None,
            };
            assert_eq!(declared_rows(plain.clone(), &step).unwrap(), shown, "{declared}");
        }
        // In objects and lists.
        let object = file("message m { required group o { required int96 t; } }", &far(), None);
        assert_eq!(read_parquet(object), FAR.map(|time| format!("{{t: {time}}}")));
        let list = "message m { required group l (LIST) { repeated group list { required int96 element; } } }";
        let list = file(list, &far(), Some((&[1; 5], &[0, 1, 1, 1, 1])));
        assert_eq!(read_parquet(list), [format!("[{}]", FAR.join(", "))]);
    }

    #[test]
    fn digits_below_the_microsecond_are_not_lost() {
        let fine = |nanos| {
            file(
                "message m { required int96 t; }",
                &[julian(FAR[0], 0), julian(FAR[4], nanos)],
                None,
            )
        };
        assert_eq!(
            read_parquet(fine(123_000)),
            ["1000-01-01T00:00:00", "9999-12-31T02:00:00.000123"]
        );
        let publish = |bytes| World::new().publish(&parquet(bytes, ReadOptions::default()), &Options::default());
        let error = publish(fine(500)).unwrap_err().to_string();
        assert!(
            error.starts_with("t.parquet, row 2, column `t`: `a time` has digits below the microsecond"),
            "{error}"
        );
    }
}
