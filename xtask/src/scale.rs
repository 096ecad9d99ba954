//! `scale [--nodes LIST] [--operations COUNT] [--sweep KEYS] [--keep] [--output json]`, `scale --draw`: what lookups, announcements and
//! names cost among very many peers, and the curves of it.
//!
//! Each number of peers is a process of its own (`simulate/src/bin/scale`), so that memory is its own. What is kept is in
//! `docs/scale/measured.jsonl`, a line for each number of peers, and the curves are drawn from that.

mod curves;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use interop_tests::{Failure, Outcome, repository};
use serde_json::Value;

use crate::cargo;

/// Numbers of peers unless told otherwise.
const NODES: &str = "100,1000,5000";
/// One peer has nobody to ask.
const FEWEST: usize = 2;

#[derive(Default)]
struct Task {
    nodes: Vec<String>,
    passed_on: Vec<String>,
    keep: bool,
    json: bool,
    draw: bool,
}

impl Task {
    fn read(args: &[String]) -> Result<Self, Failure> {
        let mut task = Self::default();
        let mut nodes = NODES.to_owned();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().cloned().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--nodes" => nodes = value()?,
                "--operations" | "--sweep" => task.passed_on.extend([arg.clone(), value()?]),
                "--keep" => task.keep = true,
                "--draw" => task.draw = true,
                "--output" if value()? == "json" => task.json = true,
                _ => return Err(format!("{arg} is not understood").into()),
            }
        }
        task.nodes = nodes.split(',').map(str::to_owned).collect();
        let are_enough = |nodes: &str| nodes.parse::<usize>().is_ok_and(|nodes| nodes >= FEWEST);
        match task.nodes.iter().find(|nodes| !are_enough(nodes.as_str())) {
            Some(nodes) => {
                Err(format!("--nodes wants numbers from {FEWEST} on, as in {NODES}; not \"{nodes}\"").into())
            }
            None => Ok(task),
        }
    }
}

/// Measures, and says what came of it.
///
/// # Errors
/// A run ended before its end, or fewer than 99 of 100 operations of a kind succeeded.
pub(crate) fn run(args: &[String]) -> Outcome {
    let task = Task::read(args)?;
    if task.draw {
        return draw(&kept()?);
    }
    cargo::release_binary()?;
    let program = cargo::built("scale")?;
    let mut failed = Vec::new();
    for nodes in &task.nodes {
        let output = Command::new(&program)
            .args(["--nodes", nodes])
            .args(&task.passed_on)
            .stderr(Stdio::inherit())
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let measured: Value = serde_json::from_str(&text).map_err(|_| format!("nothing came of {nodes} peers"))?;
        match task.json {
            true => print!("{text}"),
            false => print_table(&measured),
        }
        if !output.status.success() {
            failed.push(nodes.as_str());
        }
        if task.keep {
            keep(measured)?;
        }
    }
    if task.keep {
        draw(&kept()?)?;
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "fewer than 99 of 100 succeeded among {} peers",
            failed.join(", ")
        ))),
    }
}

fn print_table(measured: &Value) {
    println!(
        "{} peers, joined in {} s, {} connections and {} peers in the table of each, {} MiB in all",
        measured["nodes"], measured["joined_s"], measured["connections"], measured["table"], measured["resident_mib"]
    );
    println!(
        "{:<36}{:>12}{:>7}{:>10}{:>11}{:>9}",
        "", "succeeded", "hops", "messages", "median ms", "p90 ms"
    );
    for cost in measured["operations"].as_array().into_iter().flatten() {
        println!(
            "{:<36}{:>12}{:>7}{:>10}{:>11}{:>9}",
            cost["operation"].as_str().unwrap_or_default(),
            format!("{} of {}", cost["succeeded"], cost["count"]),
            cost["hops"].to_string(),
            cost["messages"].to_string(),
            cost["median_ms"].to_string(),
            cost["p90_ms"].to_string(),
        );
    }
    if let Some(swept) = measured.get("sweep") {
        println!(
            "sweep of {} keys: {} s, {} regions, {} walks with {} messages, {} records told, {} MiB; {} of {} found",
            swept["keys"],
            swept["took_s"],
            swept["regions"],
            swept["walks"],
            swept["questions"],
            swept["told"],
            swept["memory_mib"],
            swept["found"],
            swept["sampled"]
        );
    }
}

fn directory() -> PathBuf {
    repository().join("docs/scale")
}

/// What was measured and kept, by the number of peers.
fn kept() -> Result<Vec<Value>, Failure> {
    let text = fs::read_to_string(directory().join("measured.jsonl")).unwrap_or_default();
    let mut all: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    all.sort_by_key(|one| one["nodes"].as_u64());
    Ok(all)
}

/// Keeps this in place of what was measured of as many peers.
fn keep(measured: Value) -> Outcome {
    let mut all = kept()?;
    all.retain(|one| one["nodes"] != measured["nodes"]);
    all.push(measured);
    all.sort_by_key(|one| one["nodes"].as_u64());
    let lines: String = all.iter().map(|one| format!("{one}\n")).collect();
    fs::create_dir_all(directory())?;
    fs::write(directory().join("measured.jsonl"), lines)?;
    Ok(())
}

/// Draws the curves.
fn draw(all: &[Value]) -> Outcome {
    for curve in &curves::ALL {
        fs::write(directory().join(curve.file), curve.draw(all))?;
    }
    Ok(())
}
