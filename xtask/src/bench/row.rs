//! What every benchmark is given and gives: how large the work is, and lines of the table.

use crate::Failure;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How large the work is.
pub(crate) struct Scale {
    /// Bytes that are imported and moved.
    pub(crate) size: u64,
    /// Chain lengths at which one row is pushed.
    pub(crate) chains: &'static [u32],
    /// Slices of the datasets that are pulled for the first time; the first number is that of one that is verified, too.
    pub(crate) slices: &'static [u32],
    /// Small blocks that are moved.
    pub(crate) small_blocks: u32,
    /// Small blocks that a gateway gives.
    pub(crate) served_blocks: u32,
    /// Ranges that a gateway gives.
    pub(crate) ranges: u32,
    /// Blocks of the chain that moves between repositories.
    pub(crate) blocks: u32,
    /// Flights that are taken in.
    pub(crate) flights: u64,
    /// A Parquet file with real ones.
    pub(crate) real_flights: Option<PathBuf>,
    /// A Python that has DuckDB, to take the flights in beside.
    pub(crate) duckdb: Option<PathBuf>,
    /// Earlier rows of the ledger.
    pub(crate) ledger: u64,
    /// Chain lengths at which a change of one row is measured.
    pub(crate) lengths: Vec<u64>,
    /// Datasets beside one that is changed.
    pub(crate) datasets: u32,
    /// How often a short thing is repeated; the fastest counts.
    pub(crate) repeats: u32,
}

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

/// The shortest of several runs of the same work.
pub(crate) fn fastest(repeats: u32, mut work: impl FnMut() -> Result<Duration, Failure>) -> Result<Figure, Failure> {
    let mut best = work()?;
    for _ in 1..repeats {
        best = best.min(work()?);
    }
    Ok(Figure::Took(best))
}

impl Figure {
    pub(super) fn value(self) -> f64 {
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
