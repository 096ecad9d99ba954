//! `odfs verify`

use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use odf::catalog::Entry;
use odf::lineage::Lineage;
use odf::verify::{self, Depth, Verified};
use serde_json::{Value, json};

use super::batch::catch_up;
use super::dial::dial;
use super::matching::entries;
use super::repair;
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output::{self, Cell, Format, Listing, OutputArgs};
use crate::session::Session;
use replay::Found;

mod replay;

/// Check every hash and rule of datasets
///
/// Metadata blocks, the rules of the chain, every byte of data files and checkpoints, and every block that peers are served. For
/// a damaged file the first wrong part of it is told. `odfs repair` mends what is found.
///
/// Hashes say that rows are those that were published, and not that a derivative dataset is what its transform makes of its inputs.
/// With --replay every transformation is executed again over what it read; the first block that gives other rows is told, and
/// which rows those are.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Names, ids, or patterns with % for any text [default: all]
    datasets: Vec<String>,
    /// Check all datasets, as without names
    #[arg(short, long, conflicts_with = "datasets")]
    all: bool,
    /// Decode the rows too and check their logical hashes, not only every byte of the files
    #[arg(long)]
    logical: bool,
    /// Compute derivative datasets again from their inputs, block by block, and compare; checks logical hashes too
    #[arg(long)]
    replay: bool,
    /// Check what the datasets are computed from too, and that first
    #[arg(short, long)]
    recursive: bool,
    /// Mend what is damaged, as `odfs repair` does: from copies here and from wherever the dataset is
    #[arg(long)]
    heal: bool,
    /// Address of a peer to ask, ending in /p2p/ID; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR", requires = "heal")]
    peers: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// A dataset to be verified.
enum Target {
    Here(Entry),
    /// An input that is not.
    Missing {
        label: String,
        failure: Failure,
    },
}

pub(super) fn run(args: &VerifyArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let mut columns = vec![
        "Dataset",
        "Result",
        "Blocks",
        "Slices",
        "Checkpoints",
        "Size",
        "Fault",
        "Served",
    ];
    if args.replay {
        columns.extend(["Replayed", "Difference"]);
    }
    let mut listing = Listing::new(&columns)
        .in_words(&[
            ("Slices", Some("Data files")),
            ("Served", Some("Served to others")),
            ("Replayed", Some("Computed again")),
            ("Difference", None),
        ])
        .when_empty("no datasets yet: `odfs publish FILE` makes one, `odfs pull ADDRESS` fetches one");
    // A chain may have the hash of the right rows beside a file that has others.
    let depth = match args.logical || args.replay {
        true => Depth::Rows,
        false => Depth::Bytes,
    };
    let targets = targets(args, session)?;
    let peers = match args.peers.is_empty() {
        true => Vec::new(),
        false => dial(&args.peers, session, io)?,
    };
    let null = || Cell::from(Value::Null);
    let (mut first, mut differences) = (None, Vec::new());
    for target in targets {
        io.check()?;
        let entry = match target {
            Target::Here(entry) => entry,
            Target::Missing { label, failure } => {
                let fault = failure.message().to_owned().into();
                let figures = std::iter::repeat_with(null);
                let row = [label.into(), "missing".into(), null(), null(), null(), null(), fault];
                listing.row(row.into_iter().chain(figures).take(columns.len()));
                first.get_or_insert(failure);
                continue;
            }
        };
        let name = entry.label();
        // What peers are served may be due, and is not damaged for it.
        if let Err(failure) = catch_up(&entry, session, io) {
            tracing::warn!(
                dataset = %name,
                reason = failure.message(),
                "what is due of a dataset is not made"
            );
        }
        let (mut files, mut served) = one(&entry, &name, depth, session, io);
        if args.heal && (files.is_err() || served.is_err()) {
            repair::heal(&entry, &peers, session, io)?;
            (files, served) = one(&entry, &name, depth, session, io);
        }
        let is_whole = files.is_ok() && served.is_ok();
        // Rows that are not those of the chain are not worth comparing.
        let replayed = match args.replay && files.is_ok() {
            true => Some(replay::one(&entry, &name, session, io)),
            false => None,
        };
        let (figures, mut fault) = match files {
            Ok(verified) => {
                let [blocks, slices, checkpoints] =
                    [verified.blocks, verified.slices, verified.checkpoints].map(Cell::count);
                ([blocks, slices, checkpoints, Cell::bytes(verified.bytes)], null())
            }
            Err(failure) => {
                let fault = failure.message().to_owned().into();
                first.get_or_insert_with(|| failure.about(&name));
                ([null(), null(), null(), null()], fault)
            }
        };
        let served = match served {
            Ok(served) => served,
            Err(failure) => {
                let fault = failure.message().to_owned().into();
                first.get_or_insert_with(|| failure.about(&name));
                fault
            }
        };
        let mut result = if is_whole { "ok" } else { "damaged" };
        let (mut again, mut difference) = (null(), null());
        match replayed.transpose() {
            Ok(None) => {}
            Ok(Some(replayed)) => {
                if let Some(why) = &replayed.why {
                    io.say(format_args!(
                        "{name}: {} block(s) are checked by hash only: {why}",
                        output::count(replayed.by_hash)
                    ));
                }
                again = replay::cell(&replayed);
            }
            Err(failed) => {
                if let Kind::Interrupted = failed.failure.kind() {
                    return Err(failed.failure);
                }
                if is_whole {
                    result = failed.result();
                }
                fault = failed.failure.message().to_owned().into();
                difference = failed.difference.as_ref().map_or_else(null, |found| found.cell.clone());
                differences.extend(failed.difference.map(|found| (name.clone(), found)));
                first.get_or_insert_with(|| failed.failure.about(&name));
            }
        }
        let [blocks, slices, checkpoints, size] = figures;
        let cells = [
            name.into(),
            result.into(),
            blocks,
            slices,
            checkpoints,
            size,
            fault,
            served,
            again,
            difference,
        ];
        listing.row(cells.into_iter().take(columns.len()));
    }
    let format = args.output.format(io);
    listing.write(format, io)?;
    if format == Format::Table {
        show(&differences, io)?;
    }
    first.map_or(Ok(()), Err)
}

/// The rows that differ, dataset by dataset.
fn show(differences: &[(String, Found)], io: &mut Io) -> Result<(), Failure> {
    differences.iter().try_for_each(|(name, found)| found.show(name, io))
}

/// What is to be verified, in this order.
fn targets(args: &VerifyArgs, session: &Session) -> Result<Vec<Target>, Failure> {
    let workspace = session.workspace()?;
    let catalog = workspace.catalog();
    let entries = if args.all || args.datasets.is_empty() {
        catalog.entries()?
    } else {
        entries(&args.datasets, session)?
    };
    if !args.recursive {
        return Ok(entries.into_iter().map(Target::Here).collect());
    }
    let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
    let lineage = Lineage::above(catalog, &ids);
    let targets = lineage
        .upstream(&ids)
        .into_iter()
        .map(|id| match catalog.entry_of(&id) {
            Some(entry) => Target::Here(entry),
            None => Target::Missing {
                label: lineage.alias(&id).map_or_else(|| id.to_string(), str::to_owned),
                failure: replay::missing(lineage.alias(&id), id),
            },
        });
    Ok(targets.collect())
}

/// The files of a dataset, and then what peers are served of it. What is wrong with the files is remembered until they are
/// in order again.
fn one(
    entry: &Entry,
    name: &str,
    depth: Depth,
    session: &Session,
    io: &Io,
) -> (Result<Verified, Failure>, Result<Cell, Failure>) {
    let opened = session.workspace().and_then(|workspace| {
        let dataset = workspace.catalog().open_entry(entry)?;
        Ok((workspace, dataset))
    });
    let (workspace, dataset) = match opened {
        Ok(opened) => opened,
        Err(failure) => return (Err(failure), Ok(Value::Null.into())),
    };
    let totals = dataset.state().totals;
    let rows = match depth {
        Depth::Bytes => 0,
        Depth::Rows => totals.data_bytes,
    };
    // The files, their rows if they are decoded, and the same once more as peers are served it.
    let total = rows + 2 * (totals.data_bytes + totals.checkpoint_bytes);
    let (done, progress) = (AtomicU64::new(0), io.progress());
    let show = |bytes| {
        let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let done = done.min(total);
        progress.show(|| Step {
            text: format!("checking {name}: {} of {}", output::bytes(done), output::bytes(total)),
            done,
            total: Some(total),
        });
    };
    let mirror = workspace.datasets().mirror();
    let files = verify::verify(&dataset, mirror, depth, &show);
    if let Err(error) = verify::remember(&dataset, files.as_ref().err()) {
        tracing::warn!(dataset = name, %error, "what was found is not remembered");
    }
    let served = mirror.check(&dataset, &show).map_err(Failure::from);
    let served = served.and_then(|served| match served.is_whole() {
        true => Ok(Cell::shown(
            json!({ "blocks": served.blocks }),
            format_args!("{} blocks", output::count(served.blocks)),
        )),
        // Without its files nothing better can be served, and that is told already.
        false if files.is_err() => Ok(served.fault().into()),
        false => Err(Failure::new(
            Kind::Integrity,
            format!(
                "the files are in order, but not what peers are served: {}",
                served.fault()
            ),
        )
        .next(format!("`odfs repair {name}` makes it again from the files"))),
    });
    (files.map_err(Failure::from), served)
}
