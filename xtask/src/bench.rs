//! odfs beside other programs, both sides measured in the same run.
//!
//! Each row does the same work with both programs on this machine, one after the other, and prints both figures and
//! their ratio: the other's divided by odfs's, so above 1 odfs is faster or smaller. Where the only program to compare
//! with cannot be installed here (kamu), the row has odfs alone and its bound. Nothing dials anything but loopback.

mod idle;
mod import;
mod ingest;
mod pull;
mod push;
mod start;
mod transfer;
mod verify;

use crate::Failure;
use crate::cargo::release_binary;
use crate::peers;
use interop_tests::peers::{ODFS_BIN, REQUIRE_PEERS};
use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Set in the child that measures: the environment is then complete.
const MEASURING: &str = "ODFS_BENCH";

/// How large the work is.
pub(crate) struct Scale {
    /// Bytes that are imported and moved.
    pub(crate) size: u64,
    /// Chain lengths at which one row is pushed.
    pub(crate) chains: &'static [u32],
    /// Slices of the dataset that is pulled for the first time.
    pub(crate) slices: u32,
    /// Flights that are taken in.
    pub(crate) flights: u64,
    /// A Parquet file with real ones.
    pub(crate) real_flights: Option<PathBuf>,
    /// Earlier rows of the ledger.
    pub(crate) ledger: u64,
    /// How often a short thing is repeated; the fastest counts.
    pub(crate) repeats: u32,
}

const FULL: Scale = Scale {
    size: 1 << 30,
    chains: &[10, 1_000, 10_000],
    slices: 1_000,
    flights: 3_000_000,
    real_flights: None,
    ledger: 10_000_000,
    repeats: 5,
};
const SMALL: Scale = Scale {
    size: 16 << 20,
    chains: &[3, 10],
    slices: 10,
    flights: 30_000,
    real_flights: None,
    ledger: 50_000,
    repeats: 2,
};

/// One line of the table.
pub(crate) struct Row {
    /// What both sides did.
    pub(crate) what: String,
    /// What odfs took.
    pub(crate) odfs: Figure,
    /// What another program took for the same.
    pub(crate) beside: Option<Beside>,
    /// What is wanted of odfs, in words.
    pub(crate) wanted: &'static str,
    /// Rates and sizes that belong to it.
    pub(crate) more: String,
}

/// The other side of a row.
pub(crate) struct Beside {
    /// The program.
    pub(crate) who: &'static str,
    /// What it took.
    pub(crate) figure: Figure,
}

impl Beside {
    /// Kubo's side.
    pub(crate) fn kubo(figure: Figure) -> Option<Self> {
        Some(Self { who: "Kubo", figure })
    }
}

/// What was measured; less is better.
#[derive(Clone, Copy)]
pub(crate) enum Figure {
    /// Time from start to end.
    Took(Duration),
    /// Bytes of memory.
    Memory(u64),
}

type Measure = fn(&Scale) -> Result<Vec<Row>, Failure>;

const ROWS: [(&str, Measure); 8] = [
    ("import", import::rows),
    ("transfer", transfer::rows),
    ("push", push::rows),
    ("pull", pull::rows),
    ("start", start::rows),
    ("idle", idle::rows),
    ("ingest", ingest::rows),
    ("verify", verify::rows),
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
        .filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name))
    {
        for row in measure(&scale)? {
            println!("{row}");
        }
    }
    Ok(())
}

fn parse(args: &[String]) -> Result<(Scale, Option<String>), Failure> {
    let mut scale = if args.iter().any(|arg| arg == "--small") {
        SMALL
    } else {
        FULL
    };
    let mut only = None;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.as_slice().first()) {
            ("--small", _) => continue,
            ("--size", Some(size)) => scale.size = bytes(size).ok_or_else(|| format!("`{size}` is no size"))?,
            ("--flights", Some(file)) => scale.real_flights = Some(file.into()),
            ("--only", Some(name)) if ROWS.iter().any(|(row, _)| row == name) => only = Some(name.clone()),
            _ => return Err(format!("`{arg}` is not understood here; see `cargo xtask`").into()),
        }
        args.next();
    }
    Ok((scale, only))
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

/// The shortest of several runs of the same work.
fn fastest(repeats: u32, mut work: impl FnMut() -> Result<Duration, Failure>) -> Result<Figure, Failure> {
    let mut best = work()?;
    for _ in 1..repeats {
        best = best.min(work()?);
    }
    Ok(Figure::Took(best))
}

impl Figure {
    fn value(self) -> f64 {
        match self {
            Self::Took(time) => time.as_secs_f64(),
            #[allow(clippy::cast_precision_loss)] // for a ratio of two digits
            Self::Memory(bytes) => bytes as f64,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Took(time) if time.as_secs_f64() < 1.0 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
            Self::Took(time) => format!("{:.2} s", time.as_secs_f64()),
            Self::Memory(_) => format!("{:.1} MiB", self.value() / f64::from(1 << 20)),
        };
        f.pad(&text)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<44} {:>11}", self.what, self.odfs)?;
        match &self.beside {
            Some(Beside { who, figure }) => {
                let ratio = figure.value() / self.odfs.value();
                write!(f, " {figure:>11} {who:<7} {ratio:>7.2}x")?;
            }
            None => write!(f, " {:>11} {:<7} {:>8}", "-", "", "")?,
        }
        write!(f, "  {}", self.wanted)?;
        if self.more.is_empty() {
            Ok(())
        } else {
            write!(f, "; {}", self.more)
        }
    }
}
