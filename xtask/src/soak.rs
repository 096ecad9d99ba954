//! Eight nodes for half an hour: datasets grow, are followed and pulled, and neither memory nor descriptors do.
//!
//! What a node is to keep for others is not counted: each root that is announced leaves provider records at all eight, for two days
//! or until their budget is full, of which half an hour sees the beginning only.

use std::fs;
use std::time::{Duration, Instant};

use interop_tests::process::resident;
use interop_tests::{Failure, Node, Outcome, Workspace, http};

/// How many publish, and how many there are.
const PUBLISHERS: usize = 4;
const NODES: usize = 8;
/// A publisher adds a row this often, all in turn.
const APPEND_EVERY: Duration = Duration::from_secs(1);
/// A newcomer pulls a dataset and goes away this often, in appends.
const NEWCOMER_EVERY: u64 = 30;
const MINUTE: Duration = Duration::from_secs(60);
/// Minutes in which each node comes to its size.
const WARM_UP: usize = 5;
/// By how much the mean of the last minutes may be above that of the first ones after the warm-up.
const MAX_GROWTH: f64 = 1.1;

/// What one node held at the end of a minute.
#[derive(Clone, Copy)]
struct Held {
    /// Resident.
    bytes: u64,
    /// Of these, records of the DHT, by the node's own count.
    records: u64,
    descriptors: usize,
}

impl Held {
    fn by(node: &Node) -> Outcome<Self> {
        let id = node.process.id();
        Ok(Self {
            bytes: resident(id, "VmRSS").ok_or("a node has ended")?,
            records: records(node)?,
            descriptors: fs::read_dir(format!("/proc/{id}/fd"))?.count(),
        })
    }
}

/// What the records of others take in a node, as it says itself.
fn records(node: &Node) -> Outcome<u64> {
    let figures = http::get(&format!("{}/metrics", node.gateway), &[])?.text();
    let lines = figures
        .lines()
        .filter(|line| line.starts_with("odfs_dht_record_bytes{"));
    let values = lines.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()));
    let sum: Option<f64> = values.sum();
    Ok(sum.ok_or_else(|| format!("a figure of records is none in {figures}"))? as u64)
}

/// Runs for so many minutes, prints a line a minute, and fails when a node grew.
///
/// # Errors
/// A command failed, a node ended, or one holds more memory or descriptors at the end than after its start.
pub(crate) fn run(args: &[String]) -> Outcome {
    let minutes: usize = match args {
        [] => 30,
        [minutes] => minutes.parse().map_err(|_| "a number of minutes is expected")?,
        _ => return Err("one number of minutes is expected".into()),
    };
    let first = Workspace::new()?;
    let mut members = vec![(first.node()?, first)];
    let known = members[0].0.address.clone();
    for _ in 1..NODES {
        let workspace = Workspace::new()?;
        workspace.configure(&format!(
            "[network]\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\nbootstrap = [{known:?}]\nmdns = false\n\n\
             [gateway]\nlisten = \"127.0.0.1:0\"\n"
        ))?;
        members.push((workspace.node()?, workspace));
    }
    let mut names = Vec::new();
    for (at, (_, workspace)) in members.iter().enumerate().take(PUBLISHERS) {
        names.push(append(workspace, at, 0)?);
    }
    for (at, (_, workspace)) in members.iter().enumerate() {
        for (of, name) in names.iter().enumerate().filter(|(of, _)| *of != at) {
            let mirror: &[&str] = if at % 2 == 0 { &["--mirror"] } else { &[] };
            workspace.odfs([&["follow", name, "--as", &format!("t{of}")], mirror].concat())?;
        }
    }
    let started = Instant::now();
    let mut held: Vec<Vec<Held>> = Vec::new();
    let mut appended = 0u64;
    for minute in 1..=minutes {
        while started.elapsed() < MINUTE * minute as u32 {
            let next = Instant::now() + APPEND_EVERY;
            appended += 1;
            let at = appended as usize % PUBLISHERS;
            append(&members[at].1, at, appended)?;
            if appended.is_multiple_of(NEWCOMER_EVERY) {
                let newcomer = Workspace::new()?;
                newcomer.odfs(["pull", &names[at], "--as", "t", "--peer", &known])?;
            }
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let now: Vec<Held> = members
            .iter()
            .map(|(node, _)| Held::by(node))
            .collect::<Result<_, _>>()?;
        let texts = now.iter().map(|held| {
            format!(
                "{:6.1} {:4.1} {:4}",
                mebi(held.bytes),
                mebi(held.records),
                held.descriptors
            )
        });
        println!(
            "{minute:3} min, {appended:5} rows, MiB, of these records, descriptors:{}",
            texts.collect::<String>()
        );
        held.push(now);
    }
    for (node, workspace) in &members {
        let listed = workspace.list()?;
        if listed.len() != PUBLISHERS {
            return Err(format!("{} has {} datasets", node.peer_id, listed.len()).into());
        }
    }
    let rest = held.get(WARM_UP.min(held.len())..).unwrap_or_default();
    if rest.len() < 2 * WARM_UP {
        println!("too short to tell whether anything grows");
        return Ok(());
    }
    let (early, late) = (&rest[..WARM_UP], &rest[rest.len() - WARM_UP..]);
    let mut grown = Vec::new();
    for at in 0..NODES {
        let mean = |minutes: &[Vec<Held>], of: fn(&Held) -> f64| {
            minutes.iter().map(|now| of(&now[at])).sum::<f64>() / minutes.len() as f64
        };
        let growth = |of: fn(&Held) -> f64| mean(late, of) / mean(early, of);
        let (bytes, descriptors) = (
            growth(|held| held.bytes.saturating_sub(held.records) as f64),
            growth(|held| held.descriptors as f64),
        );
        println!("node {at}: memory {bytes:.2}x, descriptors {descriptors:.2}x");
        if bytes > MAX_GROWTH || descriptors > MAX_GROWTH {
            grown.push(at);
        }
    }
    match grown.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!("of these nodes grew: {grown:?}"))),
    }
}

fn mebi(bytes: u64) -> f64 {
    bytes as f64 / 1048576.0
}

/// Adds one row, and says under which name.
fn append(workspace: &Workspace, at: usize, number: u64) -> Outcome<String> {
    let row = format!("id,reading\n{number},{}\n", number * 31 % 1_000);
    let file = workspace.write("t.csv", row)?.display().to_string();
    let name = format!("t{at}");
    Ok(workspace.publish(&[&file, "--name", &name, "--append-all"])?.name)
}
