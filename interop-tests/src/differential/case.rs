//! A recorded case as it lies on disk: one text file with its steps, what the reference implementation made of them, and
//! the files that they name.
//!
//! A line `-- NAME --` begins a section, which goes on to the next such line. The section `steps` has one step a line,
//! `recorded` one dataset a line; every other section is a file. What is no plain text stands there as one JSON string
//! (`-- NAME as JSON --`) or, where it is no text, in a file of its own (`-- NAME in files --`).

use crate::{Failure, Outcome};
use flate2::read::GzDecoder;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

/// Hexadecimal digits by which a hash is kept where another hash, which is kept whole, decides.
pub(super) const SHORT: usize = 8;
/// What the text of a metadata block's hash and of a slice's logical hash begin with.
const PREFIXES: [&str; 2] = ["f1620", "f9680c00120"];
/// The most bytes that the recorded rows may have once they are unpacked.
const MAX_ROWS_BYTES: u64 = 16 << 20;

/// One row as `tail --output json` prints it; values as they are written.
pub(super) type Row = BTreeMap<String, Box<RawValue>>;

/// One case.
pub struct Case {
    /// Its name, which is that of its file.
    pub name: String,
    /// What was done, in order.
    pub(super) steps: Vec<Step>,
    /// What the reference implementation had in the end, by dataset; with `@LABEL` behind the name, what it had at the
    /// step [`Step::Look`].
    pub(super) recorded: BTreeMap<String, Chain>,
    /// All rows that it printed in the end, by dataset; none for one without rows.
    pub(super) rows: BTreeMap<String, Vec<Row>>,
    /// The files that the steps name.
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A command: its words after the name of the program, the file that is its standard input, and the exit code with
    /// which the reference implementation ended.
    Command {
        /// As they are typed.
        words: Vec<String>,
        /// The name of a file of the case.
        stdin: Option<String>,
        /// 0 for success.
        code: i32,
    },
    /// From here on the site serves this file of the case at this path.
    Put {
        /// The name of a file of the case.
        file: String,
        /// The path of its URL.
        path: String,
        /// `Last-Modified`, an HTTP date.
        modified: Option<String>,
        /// `ETag`, with its quotes.
        etag: Option<String>,
    },
    /// The chain of a dataset is compared now, with the one that is recorded under this label.
    Look {
        /// Its name.
        dataset: String,
        /// `NAME@LABEL`.
        label: String,
    },
}

/// The recorded chain of one dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    /// The hash of its head, which decides: it stands for all blocks and all slices.
    pub(super) head: String,
    /// For every block, the oldest first, the first digits of its hash, and of the logical hash of its rows if it has
    /// some: they tell where two chains part.
    pub(super) blocks: Vec<(String, Option<String>)>,
}

/// The digits of a hash that are kept as [`SHORT`].
pub(super) fn short(hash: &str) -> &str {
    let digits = PREFIXES
        .iter()
        .find_map(|prefix| hash.strip_prefix(prefix))
        .unwrap_or(hash);
    digits.get(..SHORT).unwrap_or(digits)
}

impl Case {
    /// Every case of a folder, in order of their names.
    ///
    /// # Errors
    /// A file cannot be read, or is not what the module says; the failure names it.
    pub(super) fn all(folder: &Path) -> Outcome<Vec<Self>> {
        let mut rows = rows(&folder.join("rows.json.gz")).map_err(|failure| failure.during("rows.json.gz"))?;
        let mut cases = Vec::new();
        for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "case") {
                continue;
            }
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path)?;
            let mut case = Self::parse(&name, &text, |file| {
                let path = folder.join("files").join(format!("{name}.{file}"));
                fs::read(&path).map_err(|error| format!("{}: {error}", path.display()).into())
            })
            .map_err(|failure| failure.during(path.display()))?;
            case.rows = rows.remove(&name).unwrap_or_default();
            cases.push(case);
        }
        if let Some(name) = rows.keys().next() {
            return Err(format!("rows of {name}, which is no case").into());
        }
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(cases)
    }

    /// Reads the text of a case; `apart` gives the files that are not in the text.
    ///
    /// # Errors
    /// A line that is not understood, or a step that names a file which the case does not have.
    pub(super) fn parse(name: &str, text: &str, apart: impl Fn(&str) -> Outcome<Vec<u8>>) -> Outcome<Self> {
        let mut case = Self {
            name: name.to_owned(),
            steps: Vec::new(),
            recorded: BTreeMap::new(),
            rows: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        for (title, body) in sections(text)? {
            let words: Vec<&str> = title.split(' ').collect();
            let (file, bytes) = match words[..] {
                ["steps"] => {
                    case.steps = body.lines().map(step).collect::<Outcome<_>>()?;
                    continue;
                }
                ["recorded"] => {
                    case.recorded = body.lines().map(chain).collect::<Outcome<_>>()?;
                    continue;
                }
                [file] => (file, body.into_bytes()),
                [file, "as", "JSON"] => (file, serde_json::from_str::<String>(&body)?.into_bytes()),
                [file, "in", "files"] => (file, apart(file)?),
                _ => return Err(format!("`-- {title} --` begins no section").into()),
            };
            case.files.insert(file.to_owned(), bytes);
        }
        for step in &case.steps {
            let missing = match step {
                Step::Command { stdin, .. } => stdin.as_ref().filter(|file| !case.files.contains_key(*file)).cloned(),
                Step::Put { file, .. } => (!case.files.contains_key(file)).then(|| file.clone()),
                Step::Look { label, .. } => (!case.recorded.contains_key(label)).then(|| label.clone()),
            };
            if let Some(missing) = missing {
                return Err(format!("{step:?}: the case has no {missing}").into());
            }
        }
        if case.steps.is_empty() {
            return Err("no steps".into());
        }
        Ok(case)
    }

    /// Whether it is served something: the address of the site stands in its recorded blocks.
    pub fn is_polled(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Put { .. }))
    }
}

/// The titles and bodies of all sections.
fn sections(text: &str) -> Outcome<Vec<(String, String)>> {
    let mut sections: Vec<(String, String)> = Vec::new();
    for line in text.split_inclusive('\n') {
        let title = line
            .trim_end()
            .strip_prefix("-- ")
            .and_then(|rest| rest.strip_suffix(" --"));
        match (title, sections.last_mut()) {
            (Some(title), _) => sections.push((title.to_owned(), String::new())),
            (None, Some((_, body))) => body.push_str(line),
            (None, None) => return Err("it does not begin with a section".into()),
        }
    }
    Ok(sections)
}

/// `CODE WORD… [< FILE]`, `- put FILE PATH [Last-Modified: DATE] [ETag: TAG]` or `- log DATASET @LABEL`.
fn step(line: &str) -> Outcome<Step> {
    let unknown = || Failure::new(format!("`{line}` is no step"));
    let (code, rest) = line.split_once(' ').ok_or_else(unknown)?;
    if code != "-" {
        let (words, stdin) = match rest.split_once(" < ") {
            Some((words, file)) => (words, Some(file.to_owned())),
            None => (rest, None),
        };
        return Ok(Step::Command {
            words: words.split(' ').map(str::to_owned).collect(),
            stdin,
            code: code.parse().map_err(|_| unknown())?,
        });
    }
    let mut words = rest.splitn(4, ' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some("put"), Some(file), Some(path), fields) => {
            let fields = fields.unwrap_or_default();
            let (before, etag) = match fields.split_once("ETag: ") {
                Some((before, etag)) => (before.trim_end(), Some(etag.to_owned())),
                None => (fields, None),
            };
            Ok(Step::Put {
                file: file.to_owned(),
                path: path.to_owned(),
                modified: before.strip_prefix("Last-Modified: ").map(str::to_owned),
                etag,
            })
        }
        (Some("log"), Some(dataset), Some(label), None) if label.starts_with('@') => Ok(Step::Look {
            dataset: dataset.to_owned(),
            label: format!("{dataset}{label}"),
        }),
        _ => Err(unknown()),
    }
}

/// `DATASET HEAD BLOCK…`, where a block is `HASH` or `HASH:LOGICAL`, both shortened.
fn chain(line: &str) -> Outcome<(String, Chain)> {
    let mut words = line.split(' ');
    let (Some(dataset), Some(head)) = (words.next(), words.next()) else {
        return Err(format!("`{line}` is no chain").into());
    };
    let blocks: Vec<_> = words
        .map(|block| match block.split_once(':') {
            Some((hash, rows)) => (hash.to_owned(), Some(rows.to_owned())),
            None => (block.to_owned(), None),
        })
        .collect();
    if blocks.last().is_none_or(|(hash, _)| hash != short(head)) {
        return Err(format!("`{line}`: the last block is not the head").into());
    }
    let head = head.to_owned();
    Ok((dataset.to_owned(), Chain { head, blocks }))
}

/// The rows of all cases, by case and dataset.
fn rows(path: &Path) -> Outcome<BTreeMap<String, BTreeMap<String, Vec<Row>>>> {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(path)?)
        .take(MAX_ROWS_BYTES)
        .read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "-- steps --\n0 add a.yaml --dataset-id did:odf:fed01\n1 ingest a --stdin < b.csv\n\
        - put b.csv /p/x.csv Last-Modified: Thu, 02 Jan 2025 03:04:05 GMT ETag: W/\"v 3\"\n- put b.csv /p/x.csv ETag: \"v4\"\n\
        - log a @before\n-- recorded --\na f1620aabbccdd00 11223344 aabbccdd:55667788\na@before f162011223344 11223344\n\
        -- b.csv as JSON --\n\"id\\r\\n\"\n-- c.csv --\nid\n\n-- d.bin in files --\n";

    fn apart(file: &str) -> Outcome<Vec<u8>> {
        match file {
            "d.bin" => Ok(vec![0xff]),
            _ => Err(file.into()),
        }
    }

    #[test]
    fn a_case_is_read_as_it_is_written() -> Outcome {
        let case = Case::parse("x", TEXT, apart)?;
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(case.steps.len(), 5);
        assert_eq!(
            case.steps[1],
            Step::Command {
                words: words("ingest a --stdin"),
                stdin: Some("b.csv".to_owned()),
                code: 1
            }
        );
        let put = |modified: Option<&str>, etag: &str| Step::Put {
            file: "b.csv".to_owned(),
            path: "/p/x.csv".to_owned(),
            modified: modified.map(str::to_owned),
            etag: Some(etag.to_owned()),
        };
        assert_eq!(case.steps[2], put(Some("Thu, 02 Jan 2025 03:04:05 GMT"), "W/\"v 3\""));
        assert_eq!(case.steps[3], put(None, "\"v4\""));
        assert!(case.is_polled());
        let recorded = &case.recorded["a"];
        assert_eq!(recorded.head, "f1620aabbccdd00");
        assert_eq!(recorded.blocks[1], ("aabbccdd".to_owned(), Some("55667788".to_owned())));
        assert_eq!(case.files["b.csv"], b"id\r\n");
        assert_eq!(case.files["c.csv"], b"id\n\n");
        assert_eq!(case.files["d.bin"], [0xff]);
        Ok(())
    }

    #[test]
    fn what_is_no_case_is_refused() {
        for (text, why) in [
            ("", "no steps"),
            ("0 add a.yaml\n", "does not begin"),
            ("-- steps --\nadd\n", "is no step"),
            ("-- steps --\n- log a before\n", "is no step"),
            ("-- steps --\n- log a @x\n", "has no a@x"),
            ("-- steps --\n0 ingest a --stdin < x\n", "has no x"),
            ("-- steps --\n- put x /x\n", "has no x"),
            ("-- x as XML --\n", "begins no section"),
            ("-- x in files --\n", "x"),
            ("-- recorded --\na f16201 2\n", "not the head"),
        ] {
            let said = Case::parse("x", text, apart).err().map(|failure| failure.to_string());
            assert!(
                said.as_ref().is_some_and(|said| said.contains(why)),
                "{text:?}: {said:?}"
            );
        }
    }
}
