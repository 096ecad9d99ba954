//! On a terminal the line that shows progress moves from the beginning to the end, whatever the format and wherever rows come
//! from: it neither stays at 0 % nor waits at 100 %.
#![cfg(target_os = "linux")]

use std::fmt::Write as _;

use interop_tests::process::Finished;
use interop_tests::terminal::{self, Messages};
use interop_tests::{Outcome, Workspace};

/// Rows of the tables: so many that reading them takes longer than a few drawings of the line, which are 80 ms apart.
const ROWS: u64 = 400_000;
/// Rows of formats that are read a few times slower.
const FEW_ROWS: u64 = 120_000;
const COLUMNS: u16 = 120;

/// A step as it was shown: percent, if there were any, and the text.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    percent: Option<u64>,
    text: String,
}

/// The steps that a terminal showed, without repetitions.
fn shown(ended: &Finished) -> Vec<Shown> {
    let mut steps: Vec<Shown> = Vec::new();
    for line in ended.text().replace('\u{1b}', "\n\u{1b}").split(['\r', '\n']) {
        let line = line.trim_start_matches(|c: char| c == '\u{1b}' || c == '[' || c.is_ascii_digit() || c == ';');
        let line = line.strip_prefix(['A', 'K', 'G', 'J']).unwrap_or(line).trim();
        let step = match line.split_once("%  ") {
            Some((bar, text)) => Shown {
                percent: bar
                    .rsplit(|c: char| !c.is_ascii_digit())
                    .next()
                    .and_then(|digits| digits.parse().ok()),
                text: text.trim().to_owned(),
            },
            // Behind a spinner of one letter that is none of the words.
            None => match line.split_once(' ') {
                Some((spinner, text)) if spinner.chars().all(|c| ('\u{2800}'..='\u{28ff}').contains(&c)) => Shown {
                    percent: None,
                    text: text.trim().to_owned(),
                },
                _ => continue,
            },
        };
        if !step.text.is_empty() && steps.last() != Some(&step) {
            steps.push(step);
        }
    }
    steps
}

/// How many times as many rows are tried where the machine is done before the line is drawn a few times.
const LARGER: [u64; 4] = [1, 2, 4, 8];

/// Tries `check` with more and more times the rows, until it holds.
fn with_enough_rows(check: impl Fn(u64) -> Outcome) -> Outcome {
    let mut last = Ok(());
    for times in LARGER {
        last = check(times);
        if last.is_ok() {
            break;
        }
    }
    last
}

/// Fails unless steps with these words were shown at `least` different places between the beginning and the end.
fn moves(ended: &Finished, words: &str, least: usize) -> Outcome {
    let steps = shown(ended);
    let mut percents: Vec<u64> = steps
        .iter()
        .filter(|step| step.text.starts_with(words))
        .filter_map(|step| step.percent)
        .collect();
    percents.dedup();
    percents.retain(|percent| (1..100).contains(percent));
    match percents.len() >= least {
        true => Ok(()),
        false => Err(ended.failure(&format!("`{words}` stood still: {steps:#?}"))),
    }
}

/// A table of so many rows, each written by `row`.
fn table(
    begin: &str,
    rows: u64,
    between: &str,
    end: &str,
    row: impl Fn(&mut String, u64) -> std::fmt::Result,
) -> Outcome<String> {
    let mut text = begin.to_owned();
    for at in 0..rows {
        if at > 0 {
            text.push_str(between);
        }
        row(&mut text, at).map_err(|_| "a row cannot be written")?;
    }
    text.push_str(end);
    Ok(text)
}

fn csv(text: &mut String, row: u64) -> std::fmt::Result {
    write!(
        text,
        "{row},{}.5,city {},note {:x}",
        row % 977,
        row % 1_009,
        row.wrapping_mul(0x9e37_79b9)
    )
}

fn json(text: &mut String, row: u64) -> std::fmt::Result {
    write!(
        text,
        r#"{{"id":{row},"level":{}.5,"city":"city {}","note":"note {:x}"}}"#,
        row % 977,
        row % 1_009,
        row.wrapping_mul(0x9e37_79b9)
    )
}

fn feature(text: &mut String, row: u64) -> std::fmt::Result {
    text.push_str(r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"properties":"#);
    json(text, row)?;
    text.push('}');
    Ok(())
}

#[test]
fn every_format_moves() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let collection = r#"{"type":"FeatureCollection","features":["#;
    type Row = fn(&mut String, u64) -> std::fmt::Result;
    let formats: [(&str, &str, u64, &str, &str, Row); 5] = [
        ("a.csv", "id,level,city,note\n", ROWS, "\n", "\n", csv),
        ("b.ndjson", "", ROWS, "\n", "\n", json),
        ("c.json", "[", FEW_ROWS, ",\n", "]\n", json),
        ("d.geojson", collection, FEW_ROWS, ",\n", "]}\n", feature),
        ("e.ndgeojson", "", FEW_ROWS, "\n", "\n", feature),
    ];
    for (name, begin, rows, between, end, row) in formats {
        with_enough_rows(|times| {
            let workspace = Workspace::new()?;
            workspace.write(name, table(begin, rows * times, between, end, row)?)?;
            let ended =
                terminal::run(&workspace, COLUMNS, Messages::There, &["publish", name, "--exit"], "")?.success()?;
            moves(&ended, "finding out the types of columns", 2)?;
            moves(&ended, "reading rows", 2)
        })?;
    }
    Ok(())
}

#[test]
fn what_is_read_again_moves() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    with_enough_rows(|times| {
        let workspace = Workspace::new()?;
        workspace.write("a.csv", table("id,level,city,note\n", ROWS * times, "\n", "\n", csv)?)?;
        workspace.odfs(["publish", "a.csv", "--exit"])?;
        // Columns of Parquet lie behind each other: how far a row is in the file is reckoned.
        workspace.odfs(["export", "a", "f.parquet"])?;
        let args = ["publish", "f.parquet", "--event-time", "event_time", "--exit"];
        let ended = terminal::run(&workspace, COLUMNS, Messages::There, &args, "")?.success()?;
        moves(&ended, "reading rows", 2)?;

        let ended = terminal::run(&workspace, COLUMNS, Messages::There, &["verify", "a"], "")?.success()?;
        moves(&ended, "checking a", 1)?;
        let ended = terminal::run(&workspace, COLUMNS, Messages::There, &["export", "a", "out.csv"], "")?.success()?;
        let rows = shown(&ended)
            .iter()
            .filter(|step| step.text.starts_with("writing rows: "))
            .count();
        match rows >= 3 {
            true => Ok(()),
            false => Err(ended.failure("`writing rows` stood still")),
        }
    })
}

#[test]
fn rows_with_a_key_do_not_wait_at_the_end() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let keyed = [
        "publish",
        "a.csv",
        "--primary-key",
        "id",
        "--merge",
        "snapshot",
        "--exit",
    ];
    with_enough_rows(|times| {
        let workspace = Workspace::new()?;
        let header = "id,level,city,note\n";
        workspace.write("a.csv", table(header, ROWS * times, "\n", "\n", csv)?)?;
        workspace.odfs(keyed)?;
        let changed = |text: &mut String, row| csv(text, row).and_then(|()| text.write_char('!'));
        workspace.write("a.csv", table(header, ROWS * times, "\n", "\n", changed)?)?;
        let ended = terminal::run(&workspace, COLUMNS, Messages::There, &keyed, "")?.success()?;
        let words = "comparing rows with those that are there: ";
        let compares = |step: &Shown| step.percent.is_none() && step.text.starts_with(words);
        match shown(&ended).iter().any(compares) {
            true => Ok(()),
            false => Err(ended.failure("nothing is said while rows are compared")),
        }
    })
}

#[test]
fn what_comes_slowly_is_seen_coming() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let workspace = Workspace::new()?;
    workspace.write("part", table("", 2_000, "\n", "\n", csv)?)?;
    let feed = "(echo id,level,city,note; for i in 1 2 3 4 5; do cat part; sleep 0.15; done)";
    let args = ["publish", "-", "--format", "csv", "--name", "piped", "--exit"];
    let ended = terminal::run_fed(&workspace, COLUMNS, feed, &args)?.success()?;
    let read = shown(&ended)
        .iter()
        .filter(|step| step.text.starts_with("reading "))
        .count();
    assert!(read >= 3, "{}", ended.text());
    Ok(())
}
