//! `odfs demo`: the main job of odfs between two processes, told step by step.
//!
//! The demo does nothing that a user could not type: it starts two nodes, each on a throw-away workspace, and runs the
//! ordinary commands on them. Both talk over loopback only.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use crate::failure::{Failure, Kind};
use crate::io::{Io, Terminal};
use crate::output::{self, Rows};

/// The table that is published when no file is given.
const EARTHQUAKES: &str = include_str!("../../../examples/earthquakes.csv");
/// Its event time column.
const EARTHQUAKES_TIME: &str = "time";
/// How many rows are kept back, to be appended later. Half of the rows of a smaller table.
const LATE_ROWS: usize = 50;
/// Rows and columns that are shown.
const SHOWN_ROWS: &str = "5";
const SHOWN_COLUMNS: usize = 6;
/// How long a node may take to start.
const START: Duration = Duration::from_secs(30);
/// Settings of both nodes: loopback, no public peers, no neighbours.
const SEALED: &str = "network.listen=[\"/ip4/127.0.0.1/tcp/0\"];network.bootstrap=[];network.mdns=false;\
                      gateway.listen=127.0.0.1:0";
/// Name of the dataset in both workspaces.
const NAME: &str = "demo";

/// Publish a table in one process, pull it in another, append rows, see them arrive; then clean up and end
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// CSV or NDJSON table to publish [default: a week of earthquakes]
    file: Option<PathBuf>,
}

/// A node on a workspace of its own; killed when dropped.
struct Site {
    what: &'static str,
    root: PathBuf,
    node: Child,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

pub(super) fn run(args: &DemoArgs, io: &mut Io) -> Result<(), Failure> {
    let started = Instant::now();
    let dir = tempfile::tempdir().map_err(|error| Failure::from(error).about("a temporary directory"))?;
    let table = Table::cut(args.file.as_deref(), dir.path(), io)?;

    let mut step = Scene {
        number: 0,
        at: Instant::now(),
    };
    let here = Site::start("the publisher", dir.path().join("here"))?;
    let there = Site::start("the reader", dir.path().join("there"))?;
    step.done(
        io,
        "started two odfs processes, each with a workspace and a peer of its own",
    )?;

    table.write(table.early)?;
    let mut publish = vec!["publish", table.text(), "--name", NAME, "--exit", "--output", "json"];
    publish.extend(table.event_time.iter().flat_map(|column| ["--event-time", column]));
    let published: Value = here.json(&publish)?;
    let name = published["name"].as_str().unwrap_or_default().to_owned();
    let rows = published["rows"].as_u64().unwrap_or_default();
    step.done(
        io,
        format_args!(
            "published {} rows: a dataset, its DAG, and a name signed with its key",
            output::count(rows)
        ),
    )?;
    io.line(format_args!("     ipns://{name}"))?;

    let status = here.json(&["status", "--output", "json"])?;
    let address = text(&status["addresses"][0]);
    let from = format!("ipns://{name}");
    there.output(&["pull", &from, "--as", NAME, "--peer", &address])?;
    step.done(
        io,
        "pulled it there: found the name, fetched the blocks, checked each block and file, and only then showed the dataset",
    )?;

    there.output(&["verify", NAME])?;
    step.done(
        io,
        "verified it again from the files: every byte of them by the hashes in the chain, and the rules of the chain",
    )?;

    let tail = there.json(&["tail", NAME, "-n", SHOWN_ROWS, "--output", "json"])?;
    step.done(io, "read the last rows on the reader's side")?;
    let shown = table.show(&tail, io.terminal());
    io.line(shown)?;

    table.write(table.all)?;
    let updated = here.json(&publish)?;
    let appended = updated["rows"].as_u64().unwrap_or_default();
    step.done(
        io,
        format_args!("appended {appended} rows to the file and published it again: only those were taken"),
    )?;

    let pulled = there.output(&["pull", NAME])?;
    step.done(io, format_args!("the update arrived: {}", pulled.trim()))?;

    let every = (rows + appended).to_string();
    let same = |site: &Site| site.output(&["tail", NAME, "-n", &every, "--output", "csv"]);
    if same(&here)? != same(&there)? {
        return Err(Failure::new(Kind::Integrity, "the two sides do not show the same rows").about("the demo"));
    }
    step.done(
        io,
        format_args!("both sides show the same {} rows", output::count(rows + appended)),
    )?;
    io.line(format_args!(
        "Everything worked, in {} ms. Nothing of it is left behind.",
        started.elapsed().as_millis()
    ))
}

/// Says what was done and how long it took.
struct Scene {
    number: u32,
    at: Instant,
}

impl Scene {
    fn done(&mut self, io: &mut Io, what: impl std::fmt::Display) -> Result<(), Failure> {
        self.number += 1;
        let took = self.at.elapsed().as_millis();
        io.line(format_args!("{:>2}. {what} ({took} ms)", self.number))?;
        io.out().flush()?;
        self.at = Instant::now();
        Ok(())
    }
}

/// The table as it grows.
struct Table {
    path: PathBuf,
    content: String,
    /// Length of the first part in bytes.
    early: usize,
    /// Length of all in bytes.
    all: usize,
    event_time: Option<&'static str>,
}

impl Table {
    /// Reads the table and decides which rows come late.
    fn cut(file: Option<&Path>, dir: &Path, io: &Io) -> Result<Self, Failure> {
        let (content, name, event_time) = match file {
            None => (EARTHQUAKES.to_owned(), "earthquakes.csv".into(), Some(EARTHQUAKES_TIME)),
            Some(file) => {
                let file = io.resolve(file);
                let content = fs::read_to_string(&file).map_err(|error| Failure::file(&file, &error))?;
                (content, file.file_name().unwrap_or_default().to_owned(), None)
            }
        };
        let ends: Vec<usize> = content.match_indices('\n').map(|(at, _)| at + 1).collect();
        let late = LATE_ROWS.min(ends.len().saturating_sub(1) / 2);
        let early = ends
            .len()
            .checked_sub(late + 1)
            .filter(|_| late > 0)
            .and_then(|at| ends.get(at));
        let Some(&early) = early else {
            return Err(Failure::new(Kind::BadInput, "the demo needs a table of several lines")
                .next("give it a CSV or NDJSON file, or none at all"));
        };
        Ok(Self {
            path: dir.join(name),
            all: content.len(),
            content,
            early,
            event_time,
        })
    }

    fn write(&self, len: usize) -> Result<(), Failure> {
        let written = fs::File::create(&self.path).and_then(|mut file| file.write_all(&self.content.as_bytes()[..len]));
        written.map_err(|error| Failure::file(&self.path, &error))
    }

    /// Rows as a table of the first columns.
    fn show(&self, rows: &Value, terminal: Terminal) -> String {
        let first = self.content.lines().next().unwrap_or_default();
        let columns: Vec<String> = match serde_json::from_str::<Value>(first) {
            Ok(Value::Object(row)) => row.keys().take(SHOWN_COLUMNS).cloned().collect(),
            _ => first
                .split(',')
                .take(SHOWN_COLUMNS)
                .map(|name| name.trim_matches('"').to_owned())
                .collect(),
        };
        let numeric = vec![false; columns.len()];
        let mut shown = Rows::new(columns.clone(), numeric);
        for row in rows.as_array().into_iter().flatten() {
            let cell = |column: &String| match &row[column] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            shown.push(columns.iter().map(cell).collect());
        }
        shown.table(terminal)
    }

    fn text(&self) -> &str {
        self.path.to_str().unwrap_or_default()
    }
}

impl Site {
    /// Starts `odfs node` and waits until it says that it is ready.
    fn start(what: &'static str, root: PathBuf) -> Result<Self, Failure> {
        let mut command = command(&root)?;
        let node = command
            .arg("node")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let node = node.map_err(|error| Failure::from(error).about(what))?;
        let mut site = Self { what, root, node };
        let output = site.node.stdout.take();
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            // The first line says that the node is up; the rest is read so that the node never waits for us.
            let mut lines = output.map(BufReader::new).into_iter().flat_map(BufRead::lines);
            let _ = ready.send(lines.next().is_some());
            lines.for_each(drop);
        });
        match is_ready.recv_timeout(START) {
            Ok(true) => Ok(site),
            _ => Err(Failure::new(Kind::General, format!("{what} did not start"))
                .next("run `odfs node` by itself to see why")),
        }
    }

    /// What a command on this side prints.
    fn output(&self, args: &[&str]) -> Result<String, Failure> {
        let output = command(&self.root)?.args(args).stdin(Stdio::null()).output();
        let output = output.map_err(|error| Failure::from(error).about(self.what))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(
            Kind::General,
            format!("`odfs {}` failed: {}", args.join(" "), said.trim()),
        )
        .about(self.what))
    }

    fn json(&self, args: &[&str]) -> Result<Value, Failure> {
        let output = self.output(args)?;
        serde_json::from_str(&output).map_err(|error| {
            Failure::new(Kind::General, format!("`odfs {}`: {error}", args.join(" "))).about(self.what)
        })
    }
}

/// This program on a workspace, with nothing of the user's settings.
fn command(root: &Path) -> Result<Command, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::from(error).about("this program"))?;
    let mut command = Command::new(program);
    // A workspace above the current directory would win over the variable.
    fs::create_dir_all(root).map_err(|error| Failure::file(root, &error))?;
    command
        .current_dir(root)
        .env("ODFS_PATH", root.join("workspace"))
        .env("ODFS_CONFIG", SEALED);
    Ok(command)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
