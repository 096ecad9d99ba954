//! `odfs sql` between processes: datasets here, datasets that somebody else has, and a terminal.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use interop_tests::terminal;
use interop_tests::workspace::dataset::{Published, table};
use interop_tests::{Failure, Kubo, Outcome, Workspace};

/// How long two connected peers may take to have each other in their DHTs.
const SOON: Duration = Duration::from_secs(20);

/// Slices of the dataset that is asked from afar, and rows of each.
const SLICES: u64 = 30;
const ROWS: u64 = 16_000;

/// A day of flights: rows that no compression makes small.
fn flights(day: u64) -> String {
    let mut rows = String::from("day,flight,origin,destination,delay,distance,carrier,tail\n");
    let mut state = day * 7_919 + 1;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for row in 0..ROWS {
        let (origin, destination) = (random(60), random(300));
        let _ = writeln!(
            rows,
            "2026-01-{:02},{},A{origin:02},B{destination:03},{},{},C{:02},N{:08}",
            day + 1,
            day * ROWS + row,
            random(180) as i64 - 30,
            random(4_000_000),
            random(14),
            random(100_000_000),
        );
    }
    rows
}

/// Publishes the flights, a slice for each day.
fn publish(here: &Workspace) -> Outcome<Published> {
    let mut all = String::new();
    let mut published = None;
    for day in 0..SLICES {
        let rows = flights(day);
        let header = rows.find('\n').map_or(0, |end| end + 1);
        all.push_str(&rows[if day == 0 { 0 } else { header }..]);
        let file = here.write("flights.csv", &all)?.display().to_string();
        published = Some(here.publish(&[&file, "--name", "flights"])?);
    }
    published.ok_or_else(|| Failure::new("nothing was published"))
}

/// Two questions, and the most of the bytes that they may take from afar.
const QUESTIONS: [(&str, f64); 2] = [
    (
        "select origin, avg(delay) as late, count(*) as flights from TABLE group by origin order by origin",
        0.25,
    ),
    (
        "select count(*) as flights, min(delay) as early from TABLE where day = '2026-01-17'",
        0.10,
    ),
];

/// How many of how many bytes were fetched, by the messages of a command.
fn fetched(messages: &str) -> Option<(u64, u64)> {
    let line = messages.lines().find(|line| line.contains(" bytes fetched"))?;
    let mut numbers = line.split(' ').filter_map(|word| word.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// Asks the questions of a dataset by its name, each from an empty workspace, and compares with `answers`.
fn ask(name: &str, options: &[&str], answers: &[String]) -> Outcome {
    for ((question, most), answer) in QUESTIONS.into_iter().zip(answers) {
        let there = Workspace::new()?;
        let question = question.replace("TABLE", &format!("'{name}'"));
        let words = [&["-v", "sql", &question, "-o", "csv"], options].concat();
        let asked = there.odfs(&words)?;
        assert_eq!(asked.text(), *answer, "{words:?}");
        let (came, all) = fetched(&asked.stderr).ok_or_else(|| asked.failure("does not say what was fetched"))?;
        assert!(came as f64 <= most * all as f64, "{words:?}: {came} of {all} bytes");
        assert!(there.list()?.is_empty(), "nothing was pulled");
    }
    Ok(())
}

#[test]
fn a_question_to_a_dataset_elsewhere_fetches_what_it_needs() -> Outcome {
    let here = Workspace::new()?;
    let published = publish(&here)?;
    let answers: Vec<String> = QUESTIONS
        .iter()
        .map(|(question, _)| {
            Ok(here
                .odfs(["sql", &question.replace("TABLE", "flights"), "-o", "csv"])?
                .text())
        })
        .collect::<Outcome<_>>()?;
    assert!(answers[1].contains("16000,-30"), "{answers:?}");
    let node = here.node()?;
    let name = format!("ipns://{}", published.name);
    ask(&name, &["--peer", &node.address], &answers)?;
    ask(
        &format!("ipfs://{}", published.root),
        &["--peer", &node.address],
        &answers,
    )?;
    ask(&name, &["--gateway", &node.gateway], &answers)?;
    let Some(kubo) = Kubo::daemon()? else { return Ok(()) };
    kubo.connect(&node.address)?;
    kubo.wait_for_dht_peer(&node.peer_id, SOON)?;
    kubo.ok(["pin", "add", &published.root])?;
    node.stop()?;
    ask(
        &format!("ipfs://{}", published.root),
        &["--peer", &kubo.address()?],
        &answers,
    )
}

#[test]
fn the_same_is_answered_by_a_node_that_owns_the_workspace() -> Outcome {
    let here = Workspace::new()?;
    let file = here.write("t.csv", table(500))?.display().to_string();
    here.publish(&[&file, "--name", "t"])?;
    let question = "select count(*) as rows from t";
    let alone = here.odfs(["sql", question, "-o", "json"])?.text();
    assert_eq!(alone, "[{\"rows\":500}]");
    let node = here.node()?;
    assert_eq!(here.odfs(["sql", question, "-o", "json"])?.text(), alone);
    // One that needs more than it may have takes nothing with it.
    let large = "select array_length(array_agg(a.value)) from generate_series(1, 400000000) a";
    let refused = here.refused(["sql", large])?;
    assert_eq!(refused.code(), Some(7), "{}", refused.stderr);
    assert!(refused.stderr.contains("query.memory"), "{}", refused.stderr);
    assert_eq!(here.odfs(["sql", question, "-o", "json"])?.text(), alone);
    node.stop()?;
    for (question, code) in [
        ("select nothing from t", 2),
        ("select * from missing", 3),
        ("delete from t", 2),
        ("", 2),
        ("select * from \"t@nothing\"", 3),
        ("select cast('a' as int)", 5),
    ] {
        let refused = here.refused(["sql", question])?;
        assert_eq!(refused.code(), Some(code), "{question}: {}", refused.stderr);
        assert!(refused.stderr.contains("Next: "), "{question}: {}", refused.stderr);
    }
    Ok(())
}

#[test]
fn rows_are_files_for_other_programs() -> Outcome {
    let here = Workspace::new()?;
    let file = here.write("t.csv", table(3))?.display().to_string();
    here.publish(&[&file, "--name", "t"])?;
    let question = "select id, at, city, reading from t order by offset";
    let rows = |format: &str| here.odfs(["sql", question, "-o", format]);
    let parquet = rows("parquet")?.stdout;
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    let again = here.write("again.parquet", parquet)?.display().to_string();
    here.publish(&[&again, "--name", "again"])?;
    assert_eq!(
        here.odfs(["sql", "select count(*) as rows from again", "-o", "csv"])?
            .text(),
        "rows\n3"
    );
    // The sign that stands before each message of a stream.
    assert!(rows("arrow")?.stdout.starts_with(&[0xff; 4]));
    assert_eq!(rows("ndjson")?.text().lines().count(), 3);
    Ok(())
}

#[test]
fn ctrl_c_ends_a_query_at_once() -> Outcome {
    let here = Workspace::new()?;
    let endless = "select count(*) from generate_series(1, 10000000) a cross join generate_series(1, 10000000) b";
    let query = here.start(["sql", endless])?;
    std::thread::sleep(Duration::from_millis(1_500));
    let began = Instant::now();
    query.interrupt()?;
    let ended = query.finish(SOON)?;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(ended.code() != Some(0), "{}", ended.stderr);
    Ok(())
}

#[test]
fn statements_are_typed_at_a_terminal() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let here = Workspace::new()?;
    let file = here.write("t.csv", table(4))?.display().to_string();
    here.publish(&[&file, "--name", "t"])?;
    let lines = [
        "\\d\n",
        "select count(*)\n",
        "  as many from t;\n",
        "\\d t\n",
        "\\nothing\n",
        "select wrong from t;\n",
        "\\o csv\n",
        "select 7 as seven;\n",
        "\\q\n",
    ];
    let shown = terminal::run_slowly(&here, 100, &["sql"], &lines)?.text();
    for part in [
        "odfs> ",
        "many",
        "event_time",
        "is nothing that is known here",
        "cannot be understood",
        "seven\r\n7",
    ] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
    Ok(())
}
