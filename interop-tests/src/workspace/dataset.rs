//! What tests ask of a dataset in a workspace: publish it, look at its head, compare it with another.

use super::Workspace;
use crate::process::Finished;
use crate::{Failure, Outcome};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};

/// What `odfs publish` said.
pub struct Published {
    /// The IPNS name, `k51…`.
    pub name: String,
    /// The CID of the root.
    pub root: String,
    /// The command for others, from `odfs` on.
    pub pull: String,
    /// All of it.
    pub said: Finished,
}

/// A line of `odfs list --wide`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// `did:odf:fed01…`.
    pub id: String,
    /// Hash of the newest metadata block.
    pub head: String,
    /// Rows.
    pub records: u64,
    /// Metadata blocks.
    pub blocks: u64,
    /// The name of its own on the network, if its id is the public half of a key that can be one.
    pub ipns: Option<String>,
}

impl Workspace {
    /// `odfs publish ARGS --exit`, which must succeed.
    ///
    /// # Errors
    /// It fails, or does not say what it should.
    pub fn publish(&self, args: &[&str]) -> Outcome<Published> {
        // The CID of the root is told to who asks for the terms of the field.
        let said = self.odfs([&["-v", "publish"], args, &["--exit"]].concat())?;
        let everything = format!("{}\n{}", said.text(), said.stderr);
        let word = |prefix: &str| {
            let words = everything.split(|c: char| !c.is_ascii_alphanumeric());
            words
                .into_iter()
                .find(|word| word.starts_with(prefix))
                .map(str::to_owned)
        };
        let pull = everything
            .lines()
            .find_map(|line| line.find("odfs pull ").map(|at| line[at..].trim().to_owned()));
        match (word("k51"), word("bafyrei"), pull) {
            (Some(name), Some(root), Some(pull)) => Ok(Published { name, root, pull, said }),
            _ => Err(said.failure("does not print a name, a root CID and the pull command")),
        }
    }

    /// Publishes a table that has grown since, so many times: one slice each.
    ///
    /// # Errors
    /// As for [`Workspace::publish`].
    pub fn publish_often(&self, name: &str, times: u64) -> Outcome<Published> {
        let mut published = None;
        for rows in 1..=times {
            let file = self.write("often.csv", table(rows))?.display().to_string();
            published = Some(self.publish(&[&file, "--name", name])?);
        }
        published.ok_or_else(|| Failure::new("nothing was published"))
    }

    /// All datasets by name. One without a name goes under its id.
    ///
    /// # Errors
    /// `odfs list` fails or prints something unexpected.
    pub fn list(&self) -> Outcome<BTreeMap<String, Listed>> {
        let finished = self.odfs(["list", "--wide", "--output", "json"])?;
        let json = finished.json()?;
        let rows = json.as_array().ok_or_else(|| finished.failure("printed no array"))?;
        let mut listed = BTreeMap::new();
        for row in rows {
            let text = |key: &str| row[key].as_str().map(str::to_owned);
            let number = |key: &str| row[key].as_u64();
            match (text("ID"), text("Head"), number("Records"), number("Blocks")) {
                (Some(id), Some(head), Some(records), Some(blocks)) => {
                    let name = text("Name").unwrap_or_else(|| id.clone());
                    let row = Listed {
                        id,
                        head,
                        records,
                        blocks,
                        ipns: text("IPNS"),
                    };
                    if listed.insert(name, row).is_some() {
                        return Err(finished.failure("lists a name twice"));
                    }
                }
                _ => return Err(finished.failure("lacks ID, Head, Records or Blocks")),
            }
        }
        Ok(listed)
    }

    /// The dataset called `name`, or nothing if there is none.
    ///
    /// # Errors
    /// As for [`Workspace::list`].
    pub fn listed(&self, name: &str) -> Outcome<Option<Listed>> {
        Ok(self.list()?.remove(name))
    }

    /// The dataset called `name`, which must be there.
    ///
    /// # Errors
    /// As for [`Workspace::list`], and if there is none.
    pub fn dataset(&self, name: &str) -> Outcome<Listed> {
        self.listed(name)?
            .ok_or_else(|| Failure::new(format!("there is no dataset {name}")))
    }

    /// Waits, for `limit` at most, until every name that is own or followed here can be resolved by others until `until` without
    /// this node: each was put again.
    ///
    /// # Errors
    /// One was not; or `odfs status` fails.
    pub fn names_are_safe(&self, until: SystemTime, limit: Duration) -> Outcome {
        let deadline = Instant::now() + limit;
        // Both in the same form, which sorts as time does.
        let wanted = DateTime::<Utc>::from(until).to_rfc3339_opts(SecondsFormat::Secs, true);
        loop {
            let status = self.odfs(["status", "--output", "json"])?.json()?;
            let names = status["names"].as_array().map(Vec::as_slice).unwrap_or_default();
            let safe =
                |name: &serde_json::Value| name["SafeUntil"].as_str().is_some_and(|safe| safe >= wanted.as_str());
            if !names.is_empty() && names.iter().all(safe) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Failure::new(format!("a name was not put again by {wanted}: {status}")));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The last `rows` rows as CSV.
    ///
    /// # Errors
    /// `odfs tail` fails.
    pub fn tail(&self, name: &str, rows: u32) -> Outcome<String> {
        Ok(self
            .odfs(["tail", name, "-n", &rows.to_string(), "--output", "csv"])?
            .text())
    }

    /// The whole chain as YAML.
    ///
    /// # Errors
    /// `odfs log` fails.
    pub fn chain(&self, name: &str) -> Outcome<String> {
        Ok(self
            .odfs(["log", name, "--limit", "1000000", "--output", "yaml"])?
            .text())
    }

    /// Exports to a fresh folder of the workspace's directory and says where that is.
    ///
    /// # Errors
    /// `odfs export` fails.
    pub fn export(&self, name: &str, folder: &str) -> Outcome<std::path::PathBuf> {
        let to = self.path().join(folder);
        self.odfs(["export", name, &to.display().to_string()])?;
        Ok(to)
    }
}

/// Fails unless both workspaces hold the same dataset, rows and chain, and both verify it.
///
/// # Errors
/// The first difference.
pub fn same_dataset(left: (&Workspace, &str), right: (&Workspace, &str)) -> Outcome {
    let compare = |what: &str, a: String, b: String| {
        if a == b {
            Ok(())
        } else {
            Err(Failure::new(format!("{what} differs:\n--- left\n{a}\n--- right\n{b}")))
        }
    };
    let (a, b) = (left.0.dataset(left.1)?, right.0.dataset(right.1)?);
    compare("the list", format!("{a:#?}"), format!("{b:#?}"))?;
    compare("the chain", left.0.chain(left.1)?, right.0.chain(right.1)?)?;
    compare("the tail", left.0.tail(left.1, 50)?, right.0.tail(right.1, 50)?)?;
    left.0.odfs(["verify", left.1])?;
    right.0.odfs(["verify", right.1]).map(drop)
}

/// The number that stands before a word beginning with `unit`: 12 in `fetched 12 blocks`, 3 in `(3 block(s))`.
pub fn number_before(text: &str, unit: &str) -> Option<u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let pairs = words
        .windows(2)
        .filter(|pair| pair[1].trim_start_matches('(').starts_with(unit));
    let digits = |word: &str| word.chars().filter(char::is_ascii_digit).collect::<String>();
    pairs.into_iter().find_map(|pair| digits(pair[0]).parse().ok())
}

/// All files below a folder by their paths.
///
/// # Errors
/// Something cannot be read.
pub fn tree(folder: &Path) -> Outcome<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).map_err(|error| format!("{}: {error}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path
                    .strip_prefix(folder)
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .into_owned();
                files.insert(name, std::fs::read(&path)?);
            }
        }
    }
    Ok(files)
}

/// A table of `rows` rows; a longer one begins with the shorter one, byte for byte.
pub fn table(rows: u64) -> String {
    let mut csv = String::from("id,at,city,reading\n");
    for row in 0..rows {
        let (minute, second) = (row / 60 % 60, row % 60);
        let (day, hour) = (row / 86_400 + 1, row / 3_600 % 24);
        csv.push_str(&format!(
            "{row},2024-01-{day:02}T{hour:02}:{minute:02}:{second:02}Z,city-{},{}.25\n",
            row % 7,
            row * 31 % 1_000
        ));
    }
    csv
}
