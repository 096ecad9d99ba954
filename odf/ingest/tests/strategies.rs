//! Inputs and outputs of each merge strategy. Columns of a row: offset, op, event time, the rest.

use super::*;

const T: &str = "t,id,v\n";

fn with_event_time(options: Options) -> Options {
    Options {
        event_time: Some("t".into()),
        ..options
    }
}

/// Publishes each file in turn and gives the rows that each added.
fn run(options: &Options, files: &[&str]) -> Vec<Vec<String>> {
    let mut world = World::new();
    let mut before = 0;
    let mut added = Vec::new();
    for file in files {
        // Only the first call may set the event time; the same options again must be fine too.
        world.publish_text(file, Format::Csv, options).unwrap();
        let rows = world.rows();
        added.push(rows[before..].to_vec());
        before = rows.len();
    }
    let offsets = offsets(&world.dataset().tail(1000).unwrap().unwrap());
    assert_eq!(
        offsets,
        (0..offsets.len() as i64).collect::<Vec<_>>(),
        "offsets have no gaps"
    );
    added
}

#[test]
fn append_orders_by_event_time_which_may_be_that_of_the_ingest() {
    let options = with_event_time(Options {
        changed: Changed::TakeAll,
        ..Options::default()
    });
    let first = format!("{T}2024-01-02,a,1\n2024-01-01,b,2\n,c,3\n2024-01-02,d,4\n,e,5\n");
    let second = format!("{T}2023-01-01,a,1\n2023-01-01,z,2\n");
    let added = run(&options, &[&first, &second]);
    assert_eq!(
        added[0],
        [
            "0 0 2024-01-01 b 2",
            "1 0 2024-01-02 a 1",
            "2 0 2024-01-02 d 4",
            "3 0 2026-06-01 c 3",
            "4 0 2026-06-01 e 5"
        ]
    );
    assert_eq!(added[1], ["5 0 2023-01-01 a 1", "6 0 2023-01-01 z 2"]);
}

#[test]
fn ledger_takes_rows_of_new_keys_and_keeps_repeats_within_a_file() {
    let options = with_event_time(keyed("ledger", &["id"]));
    let first = format!("{T}2024-01-02,a,1\n2024-01-01,b,2\n2024-01-01,b,3\n");
    let second = format!("{T}2024-01-05,c,9\n2024-01-02,a,100\n2024-01-01,d,2\n");
    let added = run(&options, &[&first, &second, &second, &first]);
    assert_eq!(
        added[0],
        ["0 0 2024-01-01 b 2", "1 0 2024-01-01 b 3", "2 0 2024-01-02 a 1"]
    );
    assert_eq!(added[1], ["3 0 2024-01-01 d 2", "4 0 2024-01-05 c 9"]);
    assert!(added[2].is_empty() && added[3].is_empty(), "nothing new");
}

#[test]
fn ledger_keys_may_have_several_columns() {
    let options = keyed("ledger", &["id", "v"]);
    let added = run(&options, &["id,v\na,1\n", "id,v\na,1\na,2\nb,1\n"]);
    let rest = |rows: &[String]| {
        rows.iter()
            .map(|row| row.splitn(4, ' ').last().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(rest(&added[1]), ["a 2", "b 1"]);
}

#[test]
fn snapshot_tells_what_came_changed_and_went() {
    let options = |time: &str| Options {
        default_event_time: Some(time.parse().unwrap()),
        ..keyed("snapshot", &["id"])
    };
    let mut world = World::new();
    let mut before = 0;
    let mut step = |world: &mut World, file: &str, time: &str| {
        world.publish_text(file, Format::Csv, &options(time)).unwrap();
        let rows = world.rows();
        let added = rows[before..].to_vec();
        before = rows.len();
        added
    };
    let day = |n: u32| format!("2024-01-0{n}T00:00:00Z");
    let added = step(&mut world, "id,v,w\nc,3,x\na,1,\nb,2,y\n", &day(1));
    assert_eq!(
        added,
        [
            "0 0 2024-01-01T00:00:00Z a 1 -",
            "1 0 2024-01-01T00:00:00Z b 2 y",
            "2 0 2024-01-01T00:00:00Z c 3 x"
        ]
    );
    // a: null becomes a value, b: unchanged, c: gone, d: new.
    let added = step(&mut world, "id,v,w\nd,4,\nb,2,y\na,1,z\n", &day(2));
    assert_eq!(
        added,
        [
            "3 2 2024-01-01T00:00:00Z a 1 -",
            "4 3 2024-01-02T00:00:00Z a 1 z",
            "5 1 2024-01-01T00:00:00Z c 3 x",
            "6 0 2024-01-02T00:00:00Z d 4 -",
        ]
    );
    assert!(
        step(&mut world, "id,v,w\na,1,z\nb,2,y\nd,4,\n", &day(3)).is_empty(),
        "order is no change"
    );
    // c comes back, and is new.
    let added = step(&mut world, "id,v,w\na,1,z\nb,2,y\nc,3,x\nd,4,\n", &day(4));
    assert_eq!(added, ["7 0 2024-01-04T00:00:00Z c 3 x"]);
    // All change at once; the retracted row is the latest version.
    let added = step(&mut world, "id,v,w\nb,5,y\n", &day(5));
    assert_eq!(
        added,
        [
            "8 1 2024-01-02T00:00:00Z a 1 z",
            "9 2 2024-01-01T00:00:00Z b 2 y",
            "10 3 2024-01-05T00:00:00Z b 5 y",
            "11 1 2024-01-04T00:00:00Z c 3 x",
            "12 1 2024-01-02T00:00:00Z d 4 -",
        ]
    );
}

#[test]
fn snapshot_compares_the_event_time_only_where_the_new_row_has_one() {
    let options = with_event_time(keyed("snapshot", &["id"]));
    let added = run(
        &options,
        &[
            &format!("{T}2024-01-01,a,1\n2024-01-01,b,1\n2024-01-01,c,1\n"),
            &format!("{T},a,1\n2024-01-01,b,1\n2024-01-02,c,1\n"),
        ],
    );
    assert_eq!(added[1], ["3 2 2024-01-01 c 1", "4 3 2024-01-02 c 1"]);
}

#[test]
fn snapshot_may_compare_some_columns_only() {
    let merge = MergeStrategy::Snapshot {
        primary_key: vec!["id".into()],
        compare_columns: Some(vec!["v".into()]),
    };
    let options = Options {
        merge: Some(merge),
        ..Options::default()
    };
    let added = run(&options, &["id,v,w\na,1,x\nb,1,x\n", "id,v,w\na,1,other\nb,2,x\n"]);
    let rest = |row: &String| row.split(' ').nth(1).unwrap().to_owned() + " " + row.splitn(4, ' ').last().unwrap();
    assert_eq!(added[1].iter().map(rest).collect::<Vec<_>>(), ["2 b 1 x", "3 b 2 x"]);
}

#[test]
fn snapshots_hold_each_key_once_and_keys_have_values() {
    let mut world = World::new();
    let options = keyed("snapshot", &["id"]);
    let error = world
        .publish_text("id,v\na,1\nb,2\na,3\n", Format::Csv, &options)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "rows 1 and 3 have the same primary key (a); a snapshot holds each key once"
    );
    for strategy in ["snapshot", "ledger"] {
        let error = world
            .publish_text("id,v\na,1\n,2\n", Format::Csv, &keyed(strategy, &["id"]))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "t.csv, line 3, column `id`: no value, but this column must have one"
        );
    }
    let error = world
        .publish_text("id\na\n", Format::Csv, &keyed("ledger", &["nope"]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "t.csv, column `nope`: no such column; the file has id"
    );
}

#[test]
fn an_empty_snapshot_does_not_take_everything_away() {
    let mut world = World::new();
    let options = keyed("snapshot", &["id"]);
    updated(world.publish_text("id,v\na,1\n", Format::Csv, &options));
    let error = world.publish_text("id,v\n", Format::Csv, &options).unwrap_err();
    assert_eq!(error.to_string(), "t.csv: there are no rows");
    assert_eq!(world.rows().len(), 1);
}

#[test]
fn the_strategy_of_a_dataset_is_remembered_and_can_be_changed() {
    let mut world = World::new();
    updated(world.publish_text("id,v\na,1\n", Format::Csv, &keyed("ledger", &["id"])));
    up_to_date(world.publish_text("id,v\na,2\n", Format::Csv, &Options::default()));
    let update = updated(world.publish_text("id,v\na,2\n", Format::Csv, &keyed("snapshot", &["id"])));
    let kinds: Vec<&str> = update
        .blocks
        .iter()
        .map(|stored| stored.block.block().event.kind())
        .collect();
    assert_eq!(kinds, ["AddPushSource", "AddData"]);
    assert_eq!(update.rows, 2);
}

#[test]
fn a_new_strategy_is_noted_even_if_no_row_is_new() {
    let mut world = World::new();
    updated(world.publish_text("id,v\na,1\n", Format::Csv, &Options::default()));
    let update = updated(world.publish_text("id,v\na,1\n", Format::Csv, &keyed("ledger", &["id"])));
    assert_eq!((update.rows, update.slice.is_none(), update.blocks.len()), (0, true, 1));
    up_to_date(world.publish_text("id,v\na,1\n", Format::Csv, &keyed("ledger", &["id"])));
    assert_eq!(
        updated(world.publish_text("id,v\nb,1\n", Format::Csv, &Options::default())).rows,
        1
    );
}

#[test]
fn many_batches_merge_as_one() {
    // Three and a half batches, event times going backwards, so that sorting crosses batches.
    let rows = source::BATCH_ROWS * 3 + 4000;
    let mut text = String::from("t,id\n");
    for n in 0..rows {
        let second = rows - n;
        let time = chrono::DateTime::from_timestamp(1_700_000_000 + second as i64, 0).unwrap();
        text.push_str(&format!("{},{n}\n", time.format("%FT%TZ")));
    }
    let mut world = World::new();
    updated(world.publish_text(&text, Format::Csv, &with_event_time(keyed("ledger", &["id"]))));
    let batch = world.dataset().tail(rows as u64).unwrap().unwrap();
    let ids = batch
        .column_by_name("id")
        .unwrap()
        .as_primitive::<Int64Type>()
        .values()
        .to_vec();
    assert_eq!(ids, (0..rows as i64).rev().collect::<Vec<_>>());
    assert_eq!(offsets(&batch), (0..rows as i64).collect::<Vec<_>>());

    text.push_str("2023-11-14T00:00:00Z,new\n");
    let error = world.publish_text(&text, Format::Csv, &Options::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("line {}, column `id`: `new`", rows + 2)),
        "{error}"
    );
}

#[test]
fn a_published_stream_of_changes_is_taken_once_and_says_what_its_rows_do() {
    let mut world = World::new();
    let options = keyed("changelog", &["id"]);
    let first = "op,id,v\n0,a,1\n0,b,1\n";
    updated(world.publish_text(first, Format::Csv, &options));
    up_to_date(world.publish_text(first, Format::Csv, &options));
    // The old row of a correction before the new one, wherever they stand.
    updated(world.publish_text(&format!("{first}3,b,2\n2,b,1\n1,a,1\n"), Format::Csv, &options));
    let rest = |row: &String| row.split(' ').nth(1).unwrap().to_owned() + " " + row.splitn(4, ' ').last().unwrap();
    assert_eq!(
        world.rows().iter().map(rest).collect::<Vec<_>>(),
        ["0 a 1", "0 b 1", "1 a 1", "2 b 1", "3 b 2"]
    );
    for (rows, refusal) in [
        (
            "0,c,1\n7,c,2\n",
            "new row 2: 7 in the column `op` is no operation; it takes 0 (append), 1 (retract), 2 (correct from) and 3 (correct to)",
        ),
        ("0,c,1\n,c,2\n", "new row 2: the operation column `op` has no value"),
    ] {
        let text = format!("{first}3,b,2\n2,b,1\n1,a,1\n{rows}");
        let error = world.publish_text(&text, Format::Csv, &options).unwrap_err();
        assert_eq!(error.to_string(), refusal);
    }
    assert_eq!(world.rows().len(), 5, "nothing was taken");

    let refused = |text: &str| {
        let error = World::new().publish_text(text, Format::Csv, &options).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        refused("id,v\na,1\n"),
        "t.csv, column `op`: no such column; the file has id, v"
    );
    assert_eq!(
        refused("op,id\n+A,a\n"),
        "t.csv, column `op`: `String in the file` is not an integer (0 append, 1 retract, 2 correct from, 3 correct to), \
         the type of this column"
    );
}

#[test]
fn a_published_upsert_replaces_rows_and_retracts_those_that_say_so() {
    let mut world = World::new();
    let options = keyed("upsert", &["id"]);
    updated(world.publish_text("id,v\na,1\nb,1\nc,1\n", Format::Csv, &options));
    updated(world.publish_text(
        "op,id,v\n0,a,2\n1,b,\n0,c,1\n0,d,1\n1,e,1\n0,a,3\n",
        Format::Csv,
        &options,
    ));
    let rest = |row: &String| row.split(' ').nth(1).unwrap().to_owned() + " " + row.splitn(4, ' ').last().unwrap();
    assert_eq!(
        world.rows().iter().map(rest).collect::<Vec<_>>(),
        ["0 a 1", "0 b 1", "0 c 1", "2 a 1", "3 a 3", "1 b 1", "0 d 1"]
    );
}
