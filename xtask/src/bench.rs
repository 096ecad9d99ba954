//! odfs beside other programs, both sides measured in the same run.
//!
//! Each row does the same work with both programs on this machine, one after the other, and prints both figures and
//! their ratio: the other's divided by odfs's, so above 1 odfs is faster or smaller. Where the only program to compare
//! with cannot be installed here (kamu), the row has odfs alone and its bound. Nothing dials anything but loopback.

mod gateway;
mod grow;
mod idle;
mod import;
mod ingest;
mod pull;
mod push;
mod repositories;
mod row;
mod scale;
mod start;
mod transfer;
mod verify;

use crate::Failure;
use crate::cargo::release_binary;
use crate::peers;
use interop_tests::peers::{ODFS_BIN, REQUIRE_PEERS};
use row::{Row, Scale};
use std::process::Command;

/// Set in the child that measures: the environment is then complete.
const MEASURING: &str = "ODFS_BENCH";

fn full() -> Scale {
    Scale {
        size: 1 << 30,
        chains: &[10, 1_000, 10_000],
        slices: &[1_000, 10_000],
        small_blocks: 100_000,
        served_blocks: 10_000,
        ranges: 4_000,
        blocks: 5_000,
        flights: 3_000_000,
        real_flights: None,
        duckdb: None,
        ledger: 10_000_000,
        lengths: vec![10, 1_000, 10_000, 100_000],
        datasets: 10_000,
        repeats: 5,
    }
}

fn small() -> Scale {
    Scale {
        size: 16 << 20,
        chains: &[3, 10],
        slices: &[10],
        small_blocks: 500,
        served_blocks: 300,
        ranges: 50,
        blocks: 40,
        flights: 30_000,
        real_flights: None,
        duckdb: None,
        ledger: 50_000,
        lengths: vec![10, 100],
        datasets: 20,
        repeats: 2,
    }
}

type Measure = fn(&Scale) -> Result<Vec<Row>, Failure>;

const ROWS: [(&str, Measure); 14] = [
    ("import", import::rows),
    ("transfer", transfer::rows),
    ("push", push::rows),
    ("pull", pull::rows),
    ("repositories", repositories::rows),
    ("gateway", gateway::rows),
    ("start", start::rows),
    ("idle", idle::rows),
    ("ingest", ingest::rows),
    ("grow", grow::rows),
    ("verify", verify::rows),
    ("scale-keyed", scale::keyed),
    ("scale-along", scale::along),
    ("scale-beside", scale::beside),
];

/// Runs the benchmarks that `args` ask for and prints the table, a row as soon as it is measured.
///
/// # Errors
/// An argument is wrong, a peer or the binary is missing, or either side fails at its work.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let (scale, only) = parse(args)?;
    if std::env::var_os(MEASURING).is_none() {
        let peers = peers::install()?;
        let binary = release_binary()?;
        // The harness finds its programs in the environment, and a process should not change its own.
        return crate::cargo::run(
            Command::new(std::env::current_exe()?)
                .arg("bench")
                .args(args)
                .envs(peers.env())
                .env(ODFS_BIN, binary)
                .env(REQUIRE_PEERS, "1")
                .env(MEASURING, "1"),
        );
    }
    println!(
        "{:<44} {:>11} {:>19} {:>8}  wanted of odfs",
        "", "odfs", "beside", "ratio"
    );
    for (_, measure) in ROWS
        .iter()
        .filter(|(name, _)| only.as_deref().is_none_or(|only| is_named(name, only)))
    {
        for row in measure(&scale)? {
            println!("{row}");
        }
    }
    Ok(())
}

/// Whether rows are those of a name, or a part of them.
fn is_named(rows: &str, name: &str) -> bool {
    rows == name || rows.strip_prefix(name).is_some_and(|part| part.starts_with('-'))
}

fn parse(args: &[String]) -> Result<(Scale, Option<String>), Failure> {
    let mut scale = if args.iter().any(|arg| arg == "--small") {
        small()
    } else {
        full()
    };
    let mut only = None;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.as_slice().first()) {
            ("--small", _) => continue,
            ("--size", Some(size)) => scale.size = bytes(size).ok_or_else(|| format!("`{size}` is no size"))?,
            ("--flights", Some(file)) => scale.real_flights = Some(file.into()),
            ("--duckdb", Some(python)) => scale.duckdb = Some(python.into()),
            ("--lengths", Some(list)) => scale.lengths = lengths(list)?,
            ("--only", Some(name)) if ROWS.iter().any(|(row, _)| is_named(row, name)) => only = Some(name.clone()),
            _ => return Err(format!("`{arg}` is not understood here; see `cargo xtask`").into()),
        }
        args.next();
    }
    Ok((scale, only))
}

/// `10,100000`
fn lengths(list: &str) -> Result<Vec<u64>, Failure> {
    let numbers = list.split(',').map(|number| number.parse().ok());
    let numbers: Option<Vec<u64>> = numbers.collect();
    Ok(numbers.ok_or_else(|| format!("`{list}` are no lengths"))?)
}

/// `1GiB`, `500KB`, `4096`.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match &text[digits..] {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}
