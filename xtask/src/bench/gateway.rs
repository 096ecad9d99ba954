//! What gateways give over HTTP: the same content, asked for by the same client, from odfs and from Kubo in turns.

mod client;

use self::client::{Answers, Ask, ask};
use super::import::size;
use super::row::{Beside, Figure, Row, Scale};
use crate::Failure;
use interop_tests::process::{forget_peak, processor_time, resident, run};
use interop_tests::{Kubo, Node, Workspace, content};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long adding may take.
const LIMIT: Duration = Duration::from_secs(600);
/// Clients that ask for the same file at once.
const MANY: usize = 50;
/// Clients that ask for small things.
const FEW: usize = 4;
/// Length of a range.
const RANGE: u64 = 64 << 10;
/// Length of a small block.
const SMALL: u64 = 4 << 10;
/// How often work of seconds is repeated on each side; the fastest run counts.
const REPEATS: u32 = 3;
/// What is wanted of all of them.
const WANTED: &str = "ratio of 2 at least";

/// A gateway.
struct Side {
    at: SocketAddr,
    id: u32,
}

/// What is asked for.
struct Work {
    what: String,
    /// For each client what it asks for.
    lots: Vec<Vec<Ask>>,
    repeats: u32,
}

/// What it took one side.
struct Taken {
    answers: Answers,
    server: Duration,
    client: Duration,
    peak: u64,
}

/// A file by one client and by many, parts of it, blocks, and a CAR: the content is in the page cache for both sides. Both must
/// have given the same bytes before the clock starts.
pub(super) fn rows(scale: &Scale) -> Result<Vec<Row>, Failure> {
    let (workspace, mut kubo) = (Workspace::new()?, Kubo::init()?.ok_or("Kubo is required")?);
    let (large, small) = (workspace.path().join("large"), workspace.path().join("small"));
    let blocks = u64::from(scale.served_blocks);
    content::write(&large, scale.size, 7)?;
    content::write(&small, blocks * SMALL, 8)?;
    let large = added(&workspace, &kubo, &large, None)?;
    let small = added(&workspace, &kubo, &small, Some(SMALL))?;
    let leaves = workspace.odfs(["ipfs", "refs", "-r", "-u", &small])?.text();
    let leaves: Vec<Ask> = leaves
        .lines()
        .filter(|cid| cid.starts_with("bafkrei"))
        .map(|cid| whole(format!("/ipfs/{cid}?format=raw")))
        .collect();
    let ranges = u64::from(scale.ranges);
    let works = [
        Work {
            what: format!("GET {} by one client", size(scale.size)),
            lots: vec![vec![whole(format!("/ipfs/{large}"))]],
            repeats: REPEATS,
        },
        Work {
            what: format!("GET {} by {MANY} clients at once", size(scale.size)),
            lots: vec![vec![whole(format!("/ipfs/{large}"))]; MANY],
            repeats: 1,
        },
        Work {
            what: format!("GET {ranges} ranges of {} by {FEW} clients", size(RANGE)),
            lots: dealt(parts(&large, scale.size, ranges)),
            repeats: REPEATS,
        },
        Work {
            what: format!("GET {} raw blocks of {} by {FEW} clients", leaves.len(), size(SMALL)),
            lots: dealt(leaves),
            repeats: REPEATS,
        },
        Work {
            what: format!("GET a CAR of {blocks} blocks of {}", size(SMALL)),
            lots: vec![vec![whole(format!("/ipfs/{small}?format=car&dag-scope=all"))]],
            repeats: REPEATS,
        },
    ];

    let node: Node = workspace.node()?;
    kubo.start()?;
    let odfs = Side {
        at: address(&node.gateway)?,
        id: node.process.id(),
    };
    let beside = Side {
        at: address(&kubo.gateway()?)?,
        id: kubo.daemon_id().ok_or("no Kubo daemon runs")?,
    };
    let mut rows = Vec::new();
    let mut peaks = (0, 0);
    for work in works {
        let (ours, theirs) = measured(&work, &odfs, &beside)?;
        peaks = (peaks.0.max(ours.peak), peaks.1.max(theirs.peak));
        rows.push(row(work.what, &ours, &theirs));
    }
    rows.push(Row {
        what: "peak memory of the server meanwhile".to_owned(),
        odfs: Figure::Memory(peaks.0),
        beside: Beside::kubo(Figure::Memory(peaks.1)),
        wanted: "",
        more: String::new(),
    });
    Ok(rows)
}

fn whole(target: String) -> Ask {
    Ask { target, range: None }
}

/// Ranges of a file, wherever in it, none of them in order.
fn parts(cid: &str, size: u64, count: u64) -> Vec<Ask> {
    let room = size.saturating_sub(RANGE).max(1);
    (0..count)
        .map(|at| {
            let start = at.wrapping_mul(0x9E37_79B9_7F4A_7C15) % room;
            Ask {
                target: format!("/ipfs/{cid}"),
                range: Some(start..(start + RANGE).min(size)),
            }
        })
        .collect()
}

/// To a few clients, in turns.
fn dealt(asks: Vec<Ask>) -> Vec<Vec<Ask>> {
    let mut lots = vec![Vec::new(); FEW];
    for (at, ask) in asks.into_iter().enumerate() {
        lots[at % FEW].push(ask);
    }
    lots
}

/// Adds a file on both sides and gives its CID.
fn added(workspace: &Workspace, kubo: &Kubo, file: &Path, chunk: Option<u64>) -> Result<String, Failure> {
    let add = |mut command: Command| {
        if let Some(chunk) = chunk {
            command.arg(format!("--chunker=size-{chunk}"));
        }
        command.arg(file);
        Ok::<_, Failure>(run(command, LIMIT)?.success()?.text())
    };
    let odfs = add(workspace.command(["ipfs", "add", "-Q", "--cid-version", "1", "--raw-leaves"])?)?;
    let beside = add(kubo.command(["add", "-Q", "--cid-version", "1", "--raw-leaves"]))?;
    match odfs == beside {
        true => Ok(odfs),
        false => Err(format!("odfs says {odfs} where Kubo says {beside}").into()),
    }
}

fn address(url: &str) -> Result<SocketAddr, Failure> {
    let at = url.trim_start_matches("http://").parse();
    Ok(at.map_err(|error| format!("{url}: {error}"))?)
}

/// The best run of each side, in turns.
fn measured(work: &Work, odfs: &Side, beside: &Side) -> Result<(Taken, Taken), Failure> {
    let mut first = work.lots.clone();
    first.truncate(FEW);
    let given = [odfs, beside].map(|side| ask(side.at, &first, true));
    let [ours, theirs] = given;
    let (ours, theirs) = (ours?, theirs?);
    if (ours.bytes, ours.hash) != (theirs.bytes, theirs.hash) {
        return Err(format!(
            "{}: {} bytes of odfs are not the {} of Kubo",
            work.what, ours.bytes, theirs.bytes
        )
        .into());
    }
    let mut best = (taken(work, odfs)?, taken(work, beside)?);
    for _ in 1..work.repeats {
        let next = (taken(work, odfs)?, taken(work, beside)?);
        best = (best.0.or(next.0), best.1.or(next.1));
    }
    Ok(best)
}

impl Taken {
    fn or(self, other: Self) -> Self {
        match other.answers.took < self.answers.took {
            true => other,
            false => self,
        }
    }
}

fn taken(work: &Work, side: &Side) -> Result<Taken, Failure> {
    let processor = |id| processor_time(id).ok_or("a process has ended");
    forget_peak(side.id)?;
    let (server, client) = (processor(side.id)?, processor(std::process::id())?);
    let answers = ask(side.at, &work.lots, false)?;
    Ok(Taken {
        answers,
        server: processor(side.id)?.saturating_sub(server),
        client: processor(std::process::id())?.saturating_sub(client),
        peak: resident(side.id, "VmHWM").ok_or("a server has ended")?,
    })
}

fn row(what: String, odfs: &Taken, beside: &Taken) -> Row {
    let shown = |taken: &Taken| {
        let rate = taken.answers.bytes as f64 / taken.answers.took.as_secs_f64() / 1e6;
        format!(
            "{rate:.0} MB/s, processor {:.2} s, peak {}",
            taken.server.as_secs_f64(),
            Figure::Memory(taken.peak)
        )
    };
    Row {
        what,
        odfs: Figure::Took(odfs.answers.took),
        beside: Beside::kubo(Figure::Took(beside.answers.took)),
        wanted: WANTED,
        more: format!(
            "{}; Kubo {}; client {:.2} and {:.2} s",
            shown(odfs),
            shown(beside),
            odfs.client.as_secs_f64(),
            beside.client.as_secs_f64()
        ),
    }
}
