//! Tables as strangers write them come out of a second workspace as they went into the first.
//!
//! `values.ndjson` has 400 small files, each with the columns and values that have to come of it, or what a refusal has to
//! say and the lines it may name. They are made by `interop-tests/oracle/tables.py`, which knows what it wrote and reads
//! `docs/reading.md`; its README says how.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::sandbox::{Outcome, Sandbox};

/// Commands that run at the same time.
const AT_ONCE: usize = 4;
/// Datasets that one command pulls.
const PULLED_AT_ONCE: usize = 50;

#[derive(Deserialize)]
struct Table {
    name: String,
    /// What is odd about it.
    about: String,
    /// Arguments of `publish` besides the file.
    args: Vec<String>,
    text: Option<String>,
    hex: Option<String>,
    /// Names and types.
    #[serde(default)]
    columns: Vec<(String, String)>,
    #[serde(default)]
    rows: Vec<Vec<Option<String>>>,
    /// Words of the refusal; one of each group has to be there.
    refused: Option<Vec<Vec<String>>>,
    lines: Option<(u64, u64)>,
}

impl Table {
    fn content(&self) -> Vec<u8> {
        let Some(hex) = &self.hex else {
            return self.text.clone().unwrap().into_bytes();
        };
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    /// Whether the file is refused as it has to be; else what is wrong.
    fn judge_refusal(&self, groups: &[Vec<String>], outcome: &Outcome) -> Result<(), String> {
        let err = &outcome.err;
        let all = groups.iter().all(|words| words.iter().any(|word| err.contains(word)));
        let line = err.split_once(", line ").and_then(|(_, rest)| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<u64>().ok()
        });
        let place = self
            .lines
            .is_none_or(|(first, last)| line.is_some_and(|line| (first..=last).contains(&line)));
        let known = matches!(outcome.code, Some(4..=7)) && err.contains("Next: ");
        if all && place && known {
            return Ok(());
        }
        Err(format!(
            "should be refused with {groups:?} on one of lines {:?}: {err}{}",
            self.lines, outcome.out
        ))
    }

    /// Whether the columns and rows are those that were written; else what is wrong.
    fn judge_rows(&self, schema: &str, rows: &str) -> Result<(), String> {
        let columns: Vec<(String, String)> = schema
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|column| (column["Name"].as_str().unwrap().to_owned(), shown_type(&column)))
            .skip(4)
            .collect();
        if columns != self.columns {
            return Err(format!("columns {columns:?}, not {:?}", self.columns));
        }
        let rows: Vec<&str> = rows.lines().collect();
        if rows.len() != self.rows.len() {
            return Err(format!("{} row(s), not {}", rows.len(), self.rows.len()));
        }
        for (number, (row, wanted)) in rows.iter().zip(&self.rows).enumerate() {
            let row: BTreeMap<String, Box<RawValue>> = serde_json::from_str(row).unwrap();
            for ((name, data_type), wanted) in self.columns.iter().zip(wanted) {
                let value = row[name].get();
                if !is_same(data_type, value, wanted.as_deref()) {
                    return Err(format!("row {}, column {name:?}: {value} for {wanted:?}", number + 1));
                }
            }
        }
        Ok(())
    }
}

/// The type of a column by the word that `docs/reading.md` has for it.
fn shown_type(column: &Value) -> String {
    let shown = column["Type"].as_str().unwrap();
    match shown.strip_prefix("Timestamp") {
        Some(unit) => {
            assert_eq!(unit, "(Millisecond, UTC)");
            "Timestamp".to_owned()
        }
        None => shown.to_owned(),
    }
}

/// Whether a value in JSON is the one that is wanted.
fn is_same(data_type: &str, value: &str, wanted: Option<&str>) -> bool {
    let Some(wanted) = wanted else {
        return value == "null";
    };
    let text = serde_json::from_str::<String>(value).ok();
    match (data_type, wanted) {
        // Compared as numbers: they are written in more than one way.
        ("Float64", wanted) if text.is_none() => {
            let (value, wanted) = (value.parse::<f64>(), wanted.parse::<f64>());
            value.is_ok_and(|value| wanted.is_ok_and(|wanted| value.to_bits() == wanted.to_bits()))
        }
        ("Int64" | "Bool", wanted) => value == wanted,
        (decimal, wanted) if decimal.starts_with("Decimal") => text.as_deref().unwrap_or(value) == wanted,
        (_, wanted) => text.as_deref() == Some(wanted),
    }
}

/// What `work` gives for every number below `count`, some of them at a time.
fn for_each<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    let result = work(at);
                    done.lock().unwrap().push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[test]
fn every_value_comes_out_as_it_went_in_or_the_file_is_refused() {
    let tables: Vec<Table> = include_str!("values.ndjson")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(tables.len() >= 400, "{}", tables.len());
    let (here, there) = (Sandbox::new(), Sandbox::new());
    let mut node = here.start(&["node"]);
    let url = BufReader::new(node.stdout())
        .lines()
        .find_map(|line| line.unwrap().strip_prefix("Repository: ").map(str::to_owned))
        .unwrap();
    let published = for_each(tables.len(), |at| {
        let table = &tables[at];
        here.file(&table.name, table.content());
        let name = format!("d{at}");
        let args: Vec<&str> = table.args.iter().map(String::as_str).collect();
        here.run(&[&["publish", table.name.as_str(), "--name", name.as_str()], &args[..]].concat())
    });
    let taken: Vec<usize> = (0..tables.len()).filter(|at| published[*at].code == Some(0)).collect();
    let addresses: Vec<String> = taken.iter().map(|at| format!("{url}d{at}")).collect();
    for addresses in addresses.chunks(PULLED_AT_ONCE) {
        let targets: Vec<&str> = addresses.iter().map(String::as_str).collect();
        there.run(&[&["pull"], &targets[..]].concat()).ok();
    }
    let came = for_each(taken.len(), |at| {
        let name = format!("d{}", taken[at]);
        let schema = there.run(&["inspect", "schema", &name, "-o", "ndjson"]).ok();
        (schema, there.run(&["tail", &name, "-n", "1000", "-o", "ndjson"]).ok())
    });
    let mut came = taken.iter().zip(&came).peekable();
    let mut wrong = Vec::new();
    for (at, (table, outcome)) in tables.iter().zip(&published).enumerate() {
        let found = came.next_if(|(taken, _)| **taken == at);
        let judged = match (&table.refused, found) {
            (Some(words), _) => table.judge_refusal(words, outcome),
            (None, Some((_, (schema, rows)))) => table.judge_rows(schema, rows),
            (None, None) => Err(format!("refused: {}", outcome.err)),
        };
        if let Err(what) = judged {
            wrong.push(format!("{} ({}) {:?}: {what}", table.name, table.about, table.args));
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}
