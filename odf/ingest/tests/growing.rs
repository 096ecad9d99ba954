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
        // The last line of the first may lack its line break, as editors leave it.
        (Format::Csv, ["a\n1", "a\n1\n2\n", "a\n1\n2\n3\n"]),
        (Format::Csv, ["a\r1\r", "a\r1\r2\r", "a\r1\r2\r3\r"]),
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

fn finished() -> Options {
    Options {
        finished: true,
        ..Options::default()
    }
}

#[test]
fn the_last_line_of_a_file_that_grows_waits_for_its_end() {
    let mut world = World::new();
    // Most files are finished when they are published first, also without a last line break.
    assert_eq!(
        updated(world.publish_text("a,b\n1,x", Format::Csv, &Options::default())).rows,
        1
    );
    up_to_date(world.publish_text("a,b\n1,x\n2", Format::Csv, &Options::default()));
    up_to_date(world.publish_text("a,b\n1,x\n2,\"y\n", Format::Csv, &Options::default()));
    let more = "a,b\n1,x\n2,\"y\nz\"\n3,";
    assert_eq!(
        updated(world.publish_text(more, Format::Csv, &Options::default())).rows,
        1
    );
    let state = world.dataset().state().source_state.clone();
    assert_eq!(
        taken::waiting(&World::source(more, Format::Csv), state.as_ref()),
        Some(2)
    );
    up_to_date(world.publish_text(more, Format::Csv, &Options::default()));
    let rest = format!("{more}w");
    assert_eq!(updated(world.publish_text(&rest, Format::Csv, &finished())).rows, 1);
    let state = world.dataset().state().source_state.clone();
    assert_eq!(taken::waiting(&World::source(&rest, Format::Csv), state.as_ref()), None);
    up_to_date(world.publish_text(&rest, Format::Csv, &Options::default()));
    let values: Vec<String> = world
        .rows()
        .iter()
        .map(|row| row[row.len() - 3..].replace('\n', "/"))
        .collect();
    assert_eq!(values, ["1 x", "y/z", "3 w"]);

    let mut lines = World::new();
    let publish = |world: &mut World, text: &str| world.publish_text(text, Format::Ndjson, &Options::default());
    updated(publish(&mut lines, "{\"a\":1}\n"));
    up_to_date(publish(&mut lines, "{\"a\":1}\n{\"a\":2"));
    updated(publish(&mut lines, "{\"a\":1}\n{\"a\":20}\n"));
    assert!(lines.rows()[1].ends_with(" 20"), "{:?}", lines.rows());
}

#[test]
fn half_a_row_does_not_stay_for_ever() {
    for strategy in ["append", "ledger", "snapshot"] {
        let key: &[&str] = if strategy == "append" { &[] } else { &["a"] };
        let options = keyed(strategy, key);
        let mut world = World::new();
        updated(world.publish_text("a,b\n1,x\n2,ya", Format::Csv, &options));
        let whole = "a,b\n1,x\n2,yard\n";
        let again = world.publish_text(whole, Format::Csv, &options);
        if strategy == "snapshot" {
            assert_eq!(updated(again).rows, 2, "a correction");
            assert!(world.rows().last().unwrap().ends_with("2 yard"));
            continue;
        }
        let error = again.unwrap_err();
        assert!(matches!(error, IngestError::WentOn(_)), "{strategy}: {error}");
        for way in ["--name", "--append-all", "--merge snapshot"] {
            assert!(error.to_string().contains(way), "{error}");
        }
        assert_eq!(world.rows().len(), 2, "{strategy}");
    }
    // Keyed rows are compared with those that are there, so a file is read whole; yet not beyond its last whole line.
    let mut world = World::new();
    let options = keyed("ledger", &["a"]);
    updated(world.publish_text("a,b\n1,x\n", Format::Csv, &options));
    updated(world.publish_text("a,b\n1,x\n2,y\n3,z", Format::Csv, &options));
    assert_eq!(world.rows().len(), 2);
    updated(world.publish_text("a,b\n1,x\n2,y\n34,z\n", Format::Csv, &options));
    assert!(world.rows()[2].ends_with("34 z"), "{:?}", world.rows());
}

/// Publishes a file that `meddle` gets at each time when its rows are about to be read, with how often that was.
fn publish_meddled(
    world: &mut World,
    text: &str,
    options: &Options,
    mut meddle: impl FnMut(&Path, usize),
) -> Result<Outcome, IngestError> {
    let path = world.dir.path().join("t.csv");
    std::fs::write(&path, text).unwrap();
    let source = Source::file(&path, None, ReadOptions::default()).unwrap();
    let staged = world
        .catalog
        .stage(DatasetId::from_public_key([7; 32]), &"t".parse().unwrap())
        .unwrap();
    let (mut times, mut inferring) = (0, false);
    let progress = &mut |at: odf_ingest::source::Progress| {
        // Once for each time that the file is read.
        if at.phase == Phase::Inferring && !inferring {
            times += 1;
            meddle(&path, times);
        }
        inferring = at.phase == Phase::Inferring;
        ControlFlow::Continue(())
    };
    ingest(Target::New { staged }, &source, options, hour(0), progress)
}

#[test]
fn a_file_that_changes_while_it_is_read_is_read_again_or_refused() {
    // Replaced by another, once.
    let mut world = World::new();
    let replace = |path: &Path, times: usize| {
        if times == 1 {
            std::fs::write(path, "a\n7\n8\n9\n").unwrap();
        }
    };
    assert_eq!(
        updated(publish_meddled(&mut world, "a\n1\n2\n", &Options::default(), replace)).rows,
        3
    );
    assert!(world.rows()[0].ends_with(" 7"), "{:?}", world.rows());

    // It grows: what was there is taken, and half a line at its end is not.
    let append = |text: &'static str| {
        move |path: &Path, times: usize| {
            let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            std::io::Write::write_all(&mut file, if times == 1 { text } else { "" }.as_bytes()).unwrap();
        }
    };
    let mut world = World::new();
    let taken = publish_meddled(&mut world, "a\n1\n2\n", &Options::default(), append("3\n"));
    assert_eq!(updated(taken).rows, 2);
    let mut world = World::new();
    let taken = publish_meddled(&mut world, "a\n1\n2", &Options::default(), append("34\n5"));
    assert_eq!(updated(taken).rows, 2);
    assert!(world.rows()[1].ends_with(" 234"), "{:?}", world.rows());

    // Never the same twice.
    let mut world = World::new();
    let mut readings = 0;
    let restless = |path: &Path, times: usize| {
        readings = times;
        std::fs::write(path, format!("a\n{times}\n")).unwrap();
    };
    let error = publish_meddled(&mut world, "a\n0\n", &Options::default(), restless).unwrap_err();
    assert_eq!(readings, odf_ingest::source::MAX_READINGS);
    assert!(matches!(error, IngestError::Unsteady(_)), "{error}");
    assert!(world.catalog.find("t").is_err(), "nothing was made");
}

#[test]
fn separator_and_member_are_remembered() {
    let said = |text: &str, format: Format, options: ReadOptions| {
        Source::bytes("t", Bytes::copy_from_slice(text.as_bytes()), format, options)
    };
    let mut world = World::new();
    let semicolons = ReadOptions {
        separator: Some(b'~'),
        ..ReadOptions::default()
    };
    updated(world.publish(&said("a~b\n1~x\n", Format::Csv, semicolons), &Options::default()));
    updated(world.publish_text("a~b\n1~x\n2~y\n", Format::Csv, &Options::default()));
    assert!(world.rows()[1].ends_with("2 y"), "{:?}", world.rows());

    let member = ReadOptions {
        sub_path: Some("b".to_owned()),
        ..ReadOptions::default()
    };
    let mut world = World::new();
    let options = keyed("ledger", &["x"]);
    let text = r#"{"a":[{"x":1}],"b":[{"x":2}]}"#;
    updated(world.publish(&said(text, Format::Json, member), &options));
    let text = r#"{"a":[{"x":1}],"b":[{"x":2},{"x":3}]}"#;
    updated(world.publish_text(text, Format::Json, &options));
    assert!(world.rows()[1].ends_with(" 3"), "{:?}", world.rows());
}

#[test]
fn a_separator_that_the_file_shows_goes_into_the_chain() {
    let mut world = World::new();
    updated(world.publish_text("a;b\n1;2,5\n", Format::Csv, &Options::default()));
    let dataset = world.dataset();
    let Some(odf_metadata::ReadStep::Csv(csv)) = dataset.state().push_source().map(|source| &source.read) else {
        panic!("no push source")
    };
    assert_eq!(csv.separator.as_deref(), Some(";"));
    // Whatever later files look like.
    updated(world.publish_text("a;b\n1;2,5\n3;x,y\n", Format::Csv, &Options::default()));
    assert!(world.rows()[1].ends_with("3 x,y"), "{:?}", world.rows());
}

#[test]
fn new_columns_are_taken_when_that_is_said() {
    let wider = Options {
        changed: Changed::TakeAll,
        add_columns: true,
        ..Options::default()
    };
    let plain = Options {
        add_columns: false,
        ..wider.clone()
    };
    for (format, old, new, more) in [
        (Format::Csv, "a,b\n1,x\n", "c,b,a\n2.5,y,2\n", "3.5,z,3\n"),
        (
            Format::Ndjson,
            "{\"a\":1,\"b\":\"x\"}\n",
            "{\"c\":2.5,\"b\":\"y\",\"a\":2}\n",
            "{\"c\":3.5,\"a\":3}\n",
        ),
    ] {
        let mut world = World::new();
        updated(world.publish_text(old, format, &Options::default()));
        let error = world.publish_text(new, format, &plain).unwrap_err().to_string();
        assert!(error.contains("`c`"), "{error}");
        let update = updated(world.publish_text(new, format, &wider));
        let kinds: Vec<&str> = update
            .blocks
            .iter()
            .map(|stored| stored.block.block().event.kind())
            .collect();
        assert_eq!(kinds, ["AddPushSource", "SetDataSchema", "AddData"]);
        let rows = world.rows();
        assert!(rows[0].ends_with("1 x -") && rows[1].ends_with("2 y 2.5"), "{rows:?}");
        // Nothing more is said the next time.
        let kinds = |update: Update| update.blocks.len();
        assert_eq!(
            kinds(updated(world.publish_text(&format!("{new}{more}"), format, &wider))),
            1
        );
    }
    let mut snapshot = World::new();
    let options = keyed("snapshot", &["a"]);
    updated(snapshot.publish_text("a,b\n1,x\n2,y\n", Format::Csv, &options));
    let wider = Options {
        add_columns: true,
        ..options
    };
    updated(snapshot.publish_text("a,b,c\n1,x,\n2,y,z\n", Format::Csv, &wider));
    let rows = snapshot.rows();
    assert_eq!(rows.len(), 4, "one correction: {rows:?}");
    assert!(rows[2].ends_with("2 y -") && rows[3].ends_with("2 y z"), "{rows:?}");
    let error = snapshot
        .publish_text("a,b,c,op\n1,x,,0\n", Format::Csv, &wider)
        .unwrap_err();
    assert!(error.to_string().contains("`op`: this name is reserved"), "{error}");
}
