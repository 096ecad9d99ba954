//! Moving files between peers on loopback, from a store that holds them to an empty one.

mod slow;

use self::slow::Slow;
use super::import::size;
use super::row::{Beside, Figure, Row, Scale};
use crate::Failure;
use crate::cargo::built;
use interop_tests::process::{Running, run};
use interop_tests::{Kubo, Node, Workspace, content};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long one transfer may take.
const LIMIT: Duration = Duration::from_secs(600);
/// Length of a small block.
const SMALL: u64 = 4 << 10;
/// What a slow provider gives in a second.
const SLOW: u64 = 32 << 20;
/// The file that slow providers give is smaller by this.
const SLOW_PART: u64 = 4;

/// All receivers are running daemons that are connected to the sender before the clock starts, and end with every
/// block stored and pinned. The command line of each is in its figure.
pub(super) fn rows(scale: &Scale) -> Result<Vec<Row>, Failure> {
    let large = Figure::Took(odfs(scale.size, None)?);
    let row = |what, odfs, beside, wanted| Row {
        what,
        odfs,
        beside,
        wanted,
        more: String::new(),
    };
    let stream = Beside {
        who: "stream",
        figure: Figure::Took(bare(scale.size)?),
    };
    let blocks = u64::from(scale.small_blocks);
    let part = scale.size / SLOW_PART;
    let one = Beside {
        who: "one",
        figure: Figure::Took(from_slow(part, 1)?),
    };
    Ok(vec![
        row(
            format!("move {} to a loopback peer", size(scale.size)),
            large,
            Beside::kubo(Figure::Took(kubo(scale.size, None)?)),
            "ratio of 2.5 at least",
        ),
        row(
            format!("the same beside a bare libp2p stream, {}", size(scale.size)),
            large,
            Some(stream),
            "ratio of 0.75 at least",
        ),
        row(
            format!("move {blocks} blocks of {}", size(SMALL)),
            Figure::Took(odfs(blocks * SMALL, Some(SMALL))?),
            Beside::kubo(Figure::Took(kubo(blocks * SMALL, Some(SMALL))?)),
            "ratio of 3 at least",
        ),
        row(
            format!("move {} from two providers of {}/s", size(part), size(SLOW)),
            Figure::Took(from_slow(part, 2)?),
            Some(one),
            "ratio of 1.5 at least",
        ),
    ])
}

/// The options of `add` for chunks of this length.
fn chunked(command: &mut Command, chunk: Option<u64>) {
    if let Some(chunk) = chunk {
        command.arg(format!("--chunker=size-{chunk}"));
    }
}

fn added(to: &Workspace, bytes: u64, chunk: Option<u64>) -> Result<String, Failure> {
    let file = to.path().join("file");
    content::write(&file, bytes, 2)?;
    let mut add = to.command(["ipfs", "add", "-Q", "--cid-version", "1", "--raw-leaves"])?;
    chunked(&mut add, chunk);
    add.arg(&file);
    Ok(run(add, LIMIT)?.success()?.text())
}

fn odfs(bytes: u64, chunk: Option<u64>) -> Result<Duration, Failure> {
    let (from, to) = (Workspace::new()?, Workspace::new()?);
    let cid = added(&from, bytes, chunk)?;
    let (sender, _receiver) = (from.node()?, to.node()?);
    to.odfs(["ipfs", "swarm", "connect", &sender.address])?;
    Ok(run(to.command(["ipfs", "pin", "add", &cid])?, LIMIT)?.success()?.took)
}

fn kubo(bytes: u64, chunk: Option<u64>) -> Result<Duration, Failure> {
    let from = Kubo::daemon()?.ok_or("Kubo is required")?;
    let to = Kubo::daemon()?.ok_or("Kubo is required")?;
    let file = from.path().join("file");
    content::write(&file, bytes, 2)?;
    let mut add = from.command(["add", "-Q", "--cid-version", "1", "--raw-leaves"]);
    chunked(&mut add, chunk);
    add.arg(&file);
    let cid = run(add, LIMIT)?.success()?.text();
    to.connect(&from.address()?)?;
    Ok(run(to.command(["pin", "add", &cid]), LIMIT)?.success()?.took)
}

/// As many bytes over one stream of libp2p's, which are neither hashed nor kept.
fn bare(bytes: u64) -> Result<Duration, Failure> {
    let program = built("bare")?;
    let mut give = Command::new(&program);
    give.args(["give", &bytes.to_string()]);
    let mut giver = Running::start(give)?;
    let address = giver.wait_for(LIMIT, |said| said.lines().next().map(str::to_owned))?;
    let mut take = Command::new(&program);
    take.args(["take", &address]);
    let taken = run(take, LIMIT)?.success()?.text();
    let seconds = taken.split(' ').next().and_then(|seconds| seconds.parse().ok());
    Ok(Duration::from_secs_f64(
        seconds.ok_or_else(|| format!("no time in {taken:?}"))?,
    ))
}

/// From `count` providers that each give [`SLOW`] at most.
fn from_slow(bytes: u64, count: usize) -> Result<Duration, Failure> {
    let to = Workspace::new()?;
    let _receiver = to.node()?;
    let mut providers: Vec<(Workspace, Node, Slow)> = Vec::new();
    let mut cid = String::new();
    for _ in 0..count {
        let from = Workspace::new()?;
        cid = added(&from, bytes, None)?;
        let node = from.node()?;
        let slow = Slow::before(&node.address, SLOW)?;
        to.odfs(["ipfs", "swarm", "connect", &slow.address])?;
        providers.push((from, node, slow));
    }
    let began = Instant::now();
    run(to.command(["ipfs", "pin", "add", &cid])?, LIMIT)?.success()?;
    Ok(began.elapsed())
}
