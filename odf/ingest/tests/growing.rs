//! Files that are published again and again.

use super::*;

#[test]
fn a_file_that_grew_goes_on_where_it_ended() {
    for (format, steps) in [
        (Format::Csv, ["a\n1\n", "a\n1\n2\n", "a\n1\n2\n3\n"]),
        (
            Format::Ndjson,
            [
                "{\"a\":1}\n",
                "{\"a\":1}\n{\"a\":2}\n",
                "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n",
            ],
        ),
        // The last line may lack its line break, as editors leave it.
        (Format::Csv, ["a\n1", "a\n1\n2", "a\n1\n2\n3"]),
        (
            Format::Csv,
            [
                "\u{feff}a\r\n1\r\n",
                "\u{feff}a\r\n1\r\n2\r\n",
                "\u{feff}a\r\n1\r\n2\r\n3\r\n",
            ],
        ),
    ] {
        let mut world = World::new();
        for (at, text) in steps.into_iter().enumerate() {
            let update = updated(world.publish_text(text, format, &Options::default()));
            assert_eq!(update.rows, 1, "{text:?}");
            assert_eq!(update.slice.unwrap().offset_interval.start, at as u64);
            up_to_date(world.publish_text(text, format, &Options::default()));
        }
        let values: Vec<String> = world
            .rows()
            .iter()
            .map(|row| row.rsplit(' ').next().unwrap().to_owned())
            .collect();
        assert_eq!(values, ["1", "2", "3"]);
    }
}

#[test]
fn places_in_the_new_part_are_those_of_the_whole_file() {
    let mut world = World::new();
    updated(world.publish_text("a,b\n1,\"x\ny\"\n", Format::Csv, &Options::default()));
    let error = world
        .publish_text("a,b\n1,\"x\ny\"\n2,z\nthree,z\n", Format::Csv, &Options::default())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "t.csv, line 5, column `a`: `three` is not an Int64, the type of this column"
    );

    let mut world = World::new();
    updated(world.publish_text("{\"a\":1}\n", Format::Ndjson, &Options::default()));
    let error = world
        .publish_text("{\"a\":1}\n\n{\"a\":true}\n", Format::Ndjson, &Options::default())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "t.ndjson, line 3, column `a`: `true` is not an Int64, the type of this column"
    );
}

#[test]
fn a_file_that_changed_otherwise_is_refused_with_the_ways_out() {
    let mut world = World::new();
    updated(world.publish_text("a\n1\n2\n", Format::Csv, &Options::default()));
    let head = *world.dataset().head();
    for text in ["a\n1\n3\n", "a\n1\n", "a\n0\n1\n2\n", "a\n1\n22\n"] {
        let error = world.publish_text(text, Format::Csv, &Options::default()).unwrap_err();
        assert!(
            matches!(error, IngestError::Changed { length: 6, .. }),
            "{text:?}: {error}"
        );
        for way in ["--name", "--append-all", "--primary-key"] {
            assert!(error.to_string().contains(way), "{error}");
        }
    }
    assert_eq!(*world.dataset().head(), head);

    let all = Options {
        changed: Changed::TakeAll,
        ..Options::default()
    };
    assert_eq!(updated(world.publish_text("a\n8\n9\n", Format::Csv, &all)).rows, 2);
    up_to_date(world.publish_text("a\n8\n9\n", Format::Csv, &all));
    assert_eq!(updated(world.publish_text("a\n8\n9\n10\n", Format::Csv, &all)).rows, 1);
}

#[test]
fn the_same_rows_in_another_format_are_another_file() {
    let mut world = World::new();
    updated(world.publish_text("{\"a\":1}\n", Format::Ndjson, &Options::default()));
    up_to_date(world.publish_text("{\"a\":1}\n", Format::Json, &Options::default()));
    let error = world
        .publish_text("a\n1\n", Format::Csv, &Options::default())
        .unwrap_err();
    assert!(matches!(error, IngestError::Changed { .. }));
}

#[test]
fn rows_of_unknown_origin_are_not_doubled() {
    let mut world = World::new();
    updated(world.publish_text("a\n1\n2\n", Format::Csv, &Options::default()));
    // The block carries no state of the source.
    updated(set_watermark(&mut world.dataset(), hour(9), hour(1)));
    let error = world
        .publish_text("a\n1\n2\n", Format::Csv, &Options::default())
        .unwrap_err();
    assert!(matches!(error, IngestError::Unknown { rows: 2, .. }), "{error}");
    let all = Options {
        changed: Changed::TakeAll,
        ..Options::default()
    };
    assert_eq!(updated(world.publish_text("a\n3\n", Format::Csv, &all)).rows, 1);
}

#[test]
fn blank_lines_at_the_end_are_no_rows() {
    let mut world = World::new();
    updated(world.publish_text("a\n1\n", Format::Csv, &Options::default()));
    up_to_date(world.publish_text("a\n1\n\n\n", Format::Csv, &Options::default()));
    assert_eq!(
        updated(world.publish_text("a\n1\n\n\n2\n", Format::Csv, &Options::default())).rows,
        1
    );
}
