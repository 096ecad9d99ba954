//! `odfs verify`

use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use odf::catalog::Entry;
use odf::verify::{self, Depth, Verified};
use serde_json::{Value, json};

use super::batch::catch_up;
use super::dial::dial;
use super::matching::entries;
use super::repair;
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output::{self, Cell, Listing, OutputArgs};
use crate::session::Session;

/// Check every hash and rule of datasets
///
/// Metadata blocks, the rules of the chain, every byte of data files and checkpoints, and every block that peers are served. For
/// a damaged file the first wrong part of it is told. `odfs repair` mends what is found.
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
    /// Mend what is damaged, as `odfs repair` does: from copies here and from wherever the dataset is
    #[arg(long)]
    heal: bool,
    /// Address of a peer to ask, ending in /p2p/ID; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR", requires = "heal")]
    peers: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &VerifyArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let mut listing = Listing::new(&[
        "Dataset",
        "Result",
        "Blocks",
        "Slices",
        "Checkpoints",
        "Size",
        "Fault",
        "Served",
    ])
    .in_words(&[("Slices", Some("Data files")), ("Served", Some("Served to others"))])
    .when_empty("no datasets yet: `odfs publish FILE` makes one, `odfs pull ADDRESS` fetches one");
    let depth = if args.logical { Depth::Rows } else { Depth::Bytes };
    let entries = if args.all || args.datasets.is_empty() {
        session.workspace()?.catalog().entries()?
    } else {
        entries(&args.datasets, session)?
    };
    let peers = match args.peers.is_empty() {
        true => Vec::new(),
        false => dial(&args.peers, session, io)?,
    };
    let mut first = None;
    for entry in entries {
        io.check()?;
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
        let is_ok = files.is_ok() && served.is_ok();
        let null = || Cell::from(Value::Null);
        let (figures, fault) = match files {
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
        let result = if is_ok { "ok" } else { "damaged" };
        let [blocks, slices, checkpoints, size] = figures;
        listing.row([
            name.into(),
            result.into(),
            blocks,
            slices,
            checkpoints,
            size,
            fault,
            served,
        ]);
    }
    listing.write(args.output.format(io), io)?;
    first.map_or(Ok(()), Err)
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
