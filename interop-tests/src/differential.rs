//! Cases that were run by the reference implementation with fixed times, run by odfs: every step has to end as it did
//! there, and every dataset has to have the same head, which stands for all its blocks and slices.
//!
//! Where odfs differs for a reason, [`explained`] says for which datasets and why.

mod case;

pub use self::case::Case;

use self::case::{Row, Step, short};
use crate::process::{Finished, Running, run};
use crate::reference::differential;
use crate::site::Site;
use crate::workspace::LIMIT;
use crate::workspace::dataset::Listed;
use crate::{Failure, Outcome, Workspace};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

/// What the reference implementation wrote into the footers of its slices.
const CREATED_BY: &str = "datafusion version 54.1.0";
/// Where the polled cases find their sources. The URLs stand in the recorded blocks, so it cannot be another port.
const SITE: &str = "127.0.0.1:18125";
/// How long to wait for the port when another run of these cases has it.
const PORT_PATIENCE: Duration = Duration::from_secs(120);
/// Exit codes that are no refusal: an internal error, and a panic.
const CRASHES: [i32; 2] = [70, 101];
/// More rows than any case has.
const ALL_ROWS: &str = "20000";

/// One thing that came out otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The dataset that it is about.
    pub dataset: String,
    /// What is other, in one line.
    pub what: String,
}

/// Why a case may differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The datasets that do, all of them.
    pub datasets: BTreeSet<String>,
    /// A sentence.
    pub why: String,
}

/// A metadata block, as far as two are told apart.
struct Block {
    hash: String,
    kind: String,
    rows: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.dataset, self.what)
    }
}

/// All recorded cases.
///
/// # Errors
/// A file cannot be read, or is no case; the failure names it.
pub fn cases() -> Outcome<Vec<Case>> {
    Case::all(&differential())
}

/// The cases that may differ, by name: lines `CASE [DATASET DATASET]: SENTENCE` of the file `odfs.differs`.
///
/// # Errors
/// It cannot be read, or a line is none.
pub fn explained() -> Outcome<BTreeMap<String, Explained>> {
    let text = fs::read_to_string(differential().join("odfs.differs"))?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(explanation).collect()
}

fn explanation(line: &str) -> Outcome<(String, Explained)> {
    let parts = line.split_once(" [").and_then(|(case, rest)| {
        let (datasets, why) = rest.split_once("]: ")?;
        Some((case, datasets, why))
    });
    match parts {
        Some((case, datasets, why)) if !datasets.is_empty() && why.ends_with('.') => {
            let datasets = datasets.split(' ').map(str::to_owned).collect();
            let why = why.to_owned();
            Ok((case.to_owned(), Explained { datasets, why }))
        }
        _ => Err(format!("`{line}` is not `CASE [DATASETS]: SENTENCE.`").into()),
    }
}

/// The site that serves the polled cases, one after the other.
///
/// # Errors
/// Its port is taken for longer than another run of the cases takes.
pub fn site() -> Outcome<Site> {
    Site::when_free(SITE, PORT_PATIENCE).map_err(|failure| {
        let why = "the recorded blocks name this address, so the polled cases can be served nowhere else. End what listens there";
        Failure::new(format!("{failure}; {why}"))
    })
}

impl Case {
    /// Runs every step in a fresh workspace and compares what came of it; an empty list is equality. A polled case gets
    /// its files from `site`, which nothing else may use meanwhile.
    ///
    /// # Errors
    /// A step cannot be run at all, or takes too long; the case is polled and there is no site.
    pub fn replay(&self, site: Option<&Site>) -> Outcome<Vec<Difference>> {
        let workspace = Workspace::new()?;
        workspace.odfs(["config", "set", "parquet.createdBy", CREATED_BY])?;
        for (name, bytes) in &self.files {
            workspace.write(name, bytes)?;
        }
        if let Some(site) = site {
            site.clear();
        }
        let mut found = Vec::new();
        let mut number = 0;
        for step in &self.steps {
            match step {
                Step::Command { words, stdin, code } => {
                    number += 1;
                    let ended = command(&workspace, number, words, stdin.as_deref())?;
                    found.extend(self.compare_end(number, words, *code, &ended));
                }
                Step::Put {
                    file,
                    path,
                    modified,
                    etag,
                } => {
                    let site = site.ok_or("a polled case needs a site")?;
                    site.put_with(path, self.files[file].clone(), modified.as_deref(), etag.as_deref());
                }
                Step::Look { dataset, label } => {
                    let listed = workspace.listed(dataset)?;
                    found.extend(self.compare_chain(&workspace, dataset, label, listed.as_ref())?);
                }
            }
        }
        let listed = workspace.list()?;
        for dataset in self.recorded.keys().filter(|name| !name.contains('@')) {
            let here = listed.get(dataset);
            let difference = match self.compare_chain(&workspace, dataset, dataset, here)? {
                Some(difference) => Some(difference),
                None => self.compare_rows(&workspace, dataset)?,
            };
            found.extend(difference);
        }
        Ok(found)
    }

    /// A step ends with success on both sides or on neither, and never with a crash.
    fn compare_end(&self, number: usize, words: &[String], code: i32, ended: &Finished) -> Option<Difference> {
        let crashed = ended.code().is_none_or(|code| CRASHES.contains(&code));
        if !crashed && (code == 0) == ended.succeeded() {
            return None;
        }
        let theirs = if code == 0 { "succeeded" } else { "was refused" };
        let ours = match ended.code() {
            Some(0) => "succeeded".to_owned(),
            Some(code) => format!("ended with {code}"),
            None => "was killed".to_owned(),
        };
        let said = ended
            .stderr
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        Some(Difference {
            dataset: self.dataset(words),
            what: format!("step {number}, `{}`, {theirs} and here {ours}: {said}", words.join(" ")),
        })
    }

    /// The dataset that a command is about.
    fn dataset(&self, words: &[String]) -> String {
        let manifest = words
            .get(1)
            .filter(|_| words[0] == "add")
            .and_then(|file| self.files.get(file));
        let named = manifest.and_then(|bytes| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let name = text.lines().find_map(|line| line.strip_prefix("  name:"))?;
            Some(name.trim().trim_matches(['"', '\'']).to_owned())
        });
        let mut recorded = words.iter().skip(1).filter(|word| self.recorded.contains_key(*word));
        named
            .or_else(|| recorded.next().cloned())
            .or_else(|| words.get(1).cloned())
            .unwrap_or_default()
    }

    fn compare_chain(
        &self,
        workspace: &Workspace,
        dataset: &str,
        label: &str,
        listed: Option<&Listed>,
    ) -> Outcome<Option<Difference>> {
        let recorded = &self.recorded[label];
        let differs = |what: String| {
            let (dataset, at) = match label.split_once('@') {
                Some((dataset, at)) => (dataset, format!("@{at}: ")),
                None => (dataset, String::new()),
            };
            Ok(Some(Difference {
                dataset: dataset.to_owned(),
                what: format!("{at}{what}"),
            }))
        };
        match listed {
            None => return differs(format!("is not there and has {} blocks", recorded.blocks.len())),
            Some(listed) if listed.head == recorded.head => return Ok(None),
            Some(_) => {}
        }
        let blocks = blocks(&workspace.chain(dataset)?);
        for (at, (ours, (hash, rows))) in blocks.iter().zip(&recorded.blocks).enumerate() {
            if short(&ours.hash) != hash {
                let what = match (ours.rows.as_deref().map(short), rows.as_deref()) {
                    (Some(ours), Some(theirs)) if ours == theirs => "has the same rows and other bytes",
                    (Some(_), Some(_)) => "has other rows",
                    _ => "is another",
                };
                return differs(format!("block {at} ({}) {what}", ours.kind));
            }
        }
        differs(format!("{} blocks instead of {}", blocks.len(), recorded.blocks.len()))
    }

    /// Rows as they are printed: of equal slices they may still be shown as other values.
    fn compare_rows(&self, workspace: &Workspace, dataset: &str) -> Outcome<Option<Difference>> {
        let Some(theirs) = self.rows.get(dataset) else {
            return Ok(None);
        };
        let printed = workspace.odfs(["tail", dataset, "-n", ALL_ROWS, "--output", "json"])?;
        let ours: Vec<Row> = serde_json::from_slice(&printed.stdout)
            .map_err(|error| printed.failure(&format!("printed no rows in JSON ({error})")))?;
        let differs = |what: String| {
            Ok(Some(Difference {
                dataset: dataset.to_owned(),
                what: format!("equal blocks, other rows printed: {what}"),
            }))
        };
        if ours.len() != theirs.len() {
            return differs(format!("{} instead of {}", ours.len(), theirs.len()));
        }
        for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            if !ours.keys().eq(theirs.keys()) {
                return differs(format!("row {at} has other columns"));
            }
            for (column, ours) in ours {
                let theirs = &theirs[column];
                if !is_same_value(theirs, ours)? {
                    return differs(format!("row {at}, `{column}`: {ours} instead of {theirs}"));
                }
            }
        }
        Ok(None)
    }
}

/// Whether two values are one. The reference implementation prints a decimal as text, odfs as a number with the same
/// digits.
fn is_same_value(theirs: &RawValue, ours: &RawValue) -> Outcome<bool> {
    let (theirs, ours) = (theirs.get(), ours.get());
    let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '.'));
    if theirs.trim_matches('"') == ours && is_number(ours) {
        return Ok(true);
    }
    Ok(serde_json::from_str::<Value>(theirs)? == serde_json::from_str::<Value>(ours)?)
}

/// Runs one command of a case. The system's time is fixed by the number of the step, as it was for the reference
/// implementation.
fn command(workspace: &Workspace, number: usize, words: &[String], stdin: Option<&str>) -> Outcome<Finished> {
    let (day, hour, minute) = (1 + number / 24, number % 24, number % 60);
    let time = format!("2026-06-{day:02}T{hour:02}:{minute:02}:00.5Z");
    let mut all = vec!["--yes".to_owned(), "--system-time".to_owned(), time];
    all.extend(words.iter().cloned());
    if let ["reset", dataset, block] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        all.pop();
        all.push(block_at(workspace, dataset, block)?);
    }
    let command = workspace.command(all)?;
    match stdin {
        None => run(command, LIMIT),
        Some(file) => {
            let file = File::open(workspace.path().join(file))?;
            Running::start_reading(command, Stdio::from(file))?.finish(LIMIT)
        }
    }
}

/// The hash of the metadata block that a case calls `@N`: a reset takes hashes.
fn block_at(workspace: &Workspace, dataset: &str, block: &str) -> Outcome<String> {
    let at: Option<usize> = block.strip_prefix('@').and_then(|at| at.parse().ok());
    let blocks = blocks(&workspace.chain(dataset)?);
    at.and_then(|at| blocks.into_iter().nth(at))
        .map(|block| block.hash)
        .ok_or_else(|| Failure::new(format!("{dataset} has no block {block}")))
}

/// The blocks of a printed chain, the oldest first.
fn blocks(log: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in log.lines() {
        if let Some(hash) = line.strip_prefix("# Block: ") {
            blocks.push(Block {
                hash: hash.trim().to_owned(),
                kind: String::new(),
                rows: None,
            });
            continue;
        }
        let Some(block) = blocks.last_mut() else { continue };
        if let Some(kind) = line.strip_prefix("    kind: ").filter(|_| block.kind.is_empty()) {
            block.kind = kind.to_owned();
        } else if let Some(hash) = line.trim_start().strip_prefix("logicalHash: ") {
            block.rows = Some(hash.to_owned());
        }
    }
    blocks.reverse();
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Outcome<Box<RawValue>> {
        Ok(RawValue::from_string(text.to_owned())?)
    }

    #[test]
    fn values_are_the_same_whatever_their_spelling() -> Outcome {
        for (theirs, ours, same) in [
            ("\"1.50\"", "1.50", true),
            ("\"1.5\"", "1.50", false),
            ("1.0", "1.00", true),
            ("\"a\"", "\"a\"", true),
            ("\"1\"", "\"1\"", true),
            ("null", "\"NaN\"", false),
            ("9007199254740993", "9007199254740992", false),
            ("{\"a\": 1}", "{\"a\":1}", true),
        ] {
            assert_eq!(is_same_value(&raw(theirs)?, &raw(ours)?)?, same, "{theirs} {ours}");
        }
        Ok(())
    }

    #[test]
    fn blocks_are_found_in_a_printed_chain() {
        let log = "---\n# Block: f1620bb\nkind: MetadataBlock\ncontent:\n  event:\n    kind: AddData\n    newData:\n      \
            logicalHash: f9680c00120cc\n---\n# Block: f1620aa\n  event:\n    kind: AddPushSource\n    read:\n      kind: Csv\n";
        let found = blocks(log);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].hash.as_str(), found[0].kind.as_str()),
            ("f1620aa", "AddPushSource")
        );
        assert_eq!(found[1].rows.as_deref().map(short), Some("cc"));
    }

    #[test]
    fn an_explanation_names_datasets_and_ends_as_a_sentence() {
        let (case, explained) = explanation("sql-x [a b]: The engine is newer.").expect("a line");
        assert_eq!(case, "sql-x");
        assert_eq!(explained.datasets.len(), 2);
        for line in [
            "sql-x: The engine is newer.",
            "sql-x []: The engine.",
            "sql-x [a]: no sentence",
        ] {
            assert!(explanation(line).is_err(), "{line}");
        }
    }
}
