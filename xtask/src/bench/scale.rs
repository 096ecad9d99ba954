//! What a change of one row costs at chains of very different lengths, and beside very many datasets: it should be the same.
//!
//! The chains are [made] by the library; what is measured is done by the binary, with a node on each workspace, whose
//! time is in the figures. Each time is the median of several runs, bytes are the mean.

mod made;
mod subject;

use self::subject::Follower;
pub(super) use self::subject::{NAME, Strategy, Subject};
use super::row::{Beside, Figure, Row, Scale};
use crate::Failure;
use interop_tests::Workspace;
use interop_tests::process::{resident, run};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long one command may take: one of them moves a whole chain.
const LIMIT: Duration = Duration::from_secs(900);
/// 130 appends in all: the index folds what is new after about a hundred, and each sample is to have a fold in it.
const APPENDS_PER_REPEAT: u32 = 26;
const FLAT: &str = "within 1.5x of the shortest";

/// Appends to chains of datasets that have a key.
pub(super) fn keyed(scale: &Scale) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for strategy in [Strategy::Ledger, Strategy::Snapshot, Strategy::Upsert] {
        let mut subject = Subject::new(strategy)?;
        let mut shortest = Shortest::default();
        for length in &scale.lengths {
            subject.grow_to(*length)?;
            rows.push(shortest.row(appended(&subject, *length, scale)?));
        }
    }
    Ok(rows)
}

/// The figures at the shortest length, by what they are of.
#[derive(Default)]
struct Shortest(BTreeMap<String, Figure>);

/// A figure at a length.
struct Measured {
    what: String,
    at: String,
    figure: Figure,
    more: String,
}

impl Shortest {
    /// The line of a figure; beside it is that at the shortest length.
    fn row(&mut self, measured: Measured) -> Row {
        let Measured { what, at, figure, more } = measured;
        let beside = self.0.get(&what).map(|figure| Beside {
            who: "first",
            figure: *figure,
        });
        if beside.is_none() {
            self.0.insert(what.clone(), figure);
        }
        Row {
            what: format!("{what}, {at}"),
            odfs: figure,
            beside,
            wanted: FLAT,
            more,
        }
    }
}

fn runs(scale: &Scale) -> u32 {
    scale.repeats * 2
}

fn blocks(length: u64) -> String {
    format!("{length} blocks")
}

fn appended(subject: &Subject, length: u64, scale: &Scale) -> Result<Measured, Failure> {
    // The first one after the chain was made lays out what was made.
    subject.append()?;
    let nodes = subject.pack_bytes()?;
    let appends = scale.repeats * APPENDS_PER_REPEAT;
    let measured = (0..appends).map(|_| subject.append()).collect::<Result<Vec<_>, _>>()?;
    let nodes = (subject.pack_bytes()? - nodes) / u64::from(appends);
    let written = measured.iter().map(|run| run.written).sum::<u64>() / u64::from(appends);
    Ok(Measured {
        what: format!("append of one row ({})", subject.strategy.word()),
        at: blocks(length),
        figure: median(measured.into_iter().map(|run| run.took).collect()),
        more: format!("{written} bytes written, {nodes} of them DAG nodes"),
    })
}

fn median(mut times: Vec<Duration>) -> Figure {
    times.sort_unstable();
    Figure::Took(times[times.len() / 2])
}

/// Appends, looks at the end and pulls along a chain that only grows, and then the move of all of it.
pub(super) fn along(scale: &Scale) -> Result<Vec<Row>, Failure> {
    let (mut rows, mut shortest) = (Vec::new(), Shortest::default());
    let mut subject = Subject::new(Strategy::Append)?;
    let followers = Follower::all(&subject)?;
    for length in &scale.lengths {
        subject.grow_to(*length)?;
        rows.push(shortest.row(appended(&subject, *length, scale)?));
        let looks: [(&str, &[&str]); 2] = [
            ("tail", &["tail", NAME]),
            ("log --limit 5", &["log", NAME, "--limit", "5"]),
        ];
        for (what, args) in looks {
            let look = || Ok(subject.workspace.odfs(args)?.took);
            let looked = (0..runs(scale)).map(|_| look()).collect::<Result<Vec<_>, Failure>>()?;
            rows.push(shortest.row(Measured {
                what: what.to_owned(),
                at: blocks(*length),
                figure: median(looked),
                more: String::new(),
            }));
        }
        subject.publish_in_directory()?;
        for follower in &followers {
            follower.pull(&subject)?;
        }
        let mut pulled: Vec<Vec<Duration>> = vec![Vec::new(); followers.len()];
        for _ in 0..runs(scale) {
            subject.append()?;
            subject.publish_in_directory()?;
            for (follower, pulled) in followers.iter().zip(&mut pulled) {
                pulled.push(follower.pull(&subject)?);
            }
        }
        for (follower, pulled) in followers.iter().zip(pulled) {
            rows.push(shortest.row(Measured {
                what: format!("pull of one new block ({})", follower.word()),
                at: blocks(*length),
                figure: median(pulled),
                more: String::new(),
            }));
        }
    }
    drop(followers);
    rows.extend(moved(&mut subject)?);
    Ok(rows)
}

/// The whole chain to a workspace that has nothing of it, with the most memory of both sides.
fn moved(subject: &mut Subject) -> Result<Vec<Row>, Failure> {
    let blocks = subject.workspace.dataset(NAME)?.blocks;
    let mut rows = Vec::new();
    for (how, scheme) in [("the smart protocol", "odf+"), ("HTTP", "")] {
        // The memory is that of this transfer alone.
        subject.restart()?;
        let node = subject.node()?;
        let to = Workspace::new()?;
        let address = format!("{scheme}{}/{}", node.gateway, NAME);
        let pulled = run(to.command(["pull", &address])?, LIMIT)?.success()?;
        let there = resident(node.process.id(), "VmHWM").ok_or("the node has ended")?;
        rows.push(Row {
            what: format!("pull of all {blocks} blocks by {how}"),
            odfs: Figure::Took(pulled.took),
            beside: None,
            wanted: "200 MiB of memory at most on both sides",
            more: format!(
                "{} here and {} there at most",
                Figure::Memory(pulled.peak_memory),
                Figure::Memory(there)
            ),
        });
    }
    Ok(rows)
}

/// A listing and appends beside many datasets, and beside none.
pub(super) fn beside(scale: &Scale) -> Result<Vec<Row>, Failure> {
    let (mut rows, mut shortest) = (Vec::new(), Shortest::default());
    let mut subject = Subject::new(Strategy::Append)?;
    for count in [0, scale.datasets] {
        if count > 0 {
            subject.beside(count)?;
        }
        subject.append()?;
        subject.workspace.odfs(["list"])?;
        let list = || Ok(run(subject.workspace.command(["list"])?, LIMIT)?.success()?.took);
        let pushed = (0..runs(scale)).map(|_| Ok(subject.append()?.took));
        let pushed = pushed.collect::<Result<Vec<_>, Failure>>()?;
        let ingested = (0..runs(scale)).map(|_| subject.ingest());
        let ingested = ingested.collect::<Result<Vec<_>, Failure>>()?;
        let listed = (0..runs(scale)).map(|_| list()).collect::<Result<Vec<_>, Failure>>()?;
        for (what, times) in [
            ("publish of one row", pushed),
            ("ingest of one row", ingested),
            ("list", listed),
        ] {
            let mut row = shortest.row(Measured {
                what: what.to_owned(),
                at: format!("beside {count} datasets"),
                figure: median(times),
                more: String::new(),
            });
            if what == "list" {
                row.wanted = "0.1 ms for each dataset";
            }
            rows.push(row);
        }
    }
    Ok(rows)
}
