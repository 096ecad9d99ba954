//! `odfs verify`

use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use odf::catalog::Entry;
use odf::verify::{self, Depth, Verified};

use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output::{self, Cell, Listing, OutputArgs};
use crate::session::Session;

/// Check every hash and rule of datasets
///
/// Metadata blocks, the rules of the chain, and every byte of slices and checkpoints. For a damaged file the first wrong
/// part of it is told.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Names, ids, or patterns with % for any text
    #[arg(required = true)]
    datasets: Vec<String>,
    /// Decode the rows too and check their logical hashes, not only every byte of the files
    #[arg(long)]
    logical: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &VerifyArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let mut listing = Listing::new(&["Dataset", "Result", "Blocks", "Slices", "Checkpoints", "Size", "Fault"]);
    let depth = if args.logical { Depth::Rows } else { Depth::Bytes };
    let mut first = None;
    for entry in entries(&args.datasets, session)? {
        io.check()?;
        let name = entry
            .name
            .as_ref()
            .map_or_else(|| entry.id.to_string(), |name| name.to_string());
        match one(&entry, &name, depth, session, io) {
            Ok(Verified {
                blocks,
                slices,
                checkpoints,
                bytes,
                ..
            }) => {
                let figures = [blocks, slices, checkpoints].map(Cell::count);
                let [blocks, slices, checkpoints] = figures;
                let fault = serde_json::Value::Null;
                listing.row([
                    name.into(),
                    "ok".into(),
                    blocks,
                    slices,
                    checkpoints,
                    Cell::bytes(bytes),
                    fault.into(),
                ]);
            }
            Err(failure) => {
                let none = || Cell::from(serde_json::Value::Null);
                let fault = failure.message().to_owned().into();
                listing.row([
                    name.clone().into(),
                    "damaged".into(),
                    none(),
                    none(),
                    none(),
                    none(),
                    fault,
                ]);
                first.get_or_insert_with(|| failure.about(name));
            }
        }
    }
    listing.write(args.output.format(io), io)?;
    first.map_or(Ok(()), Err)
}

fn one(entry: &Entry, name: &str, depth: Depth, session: &Session, io: &Io) -> Result<Verified, Failure> {
    let workspace = session.workspace()?;
    let dataset = workspace.catalog().open_entry(entry)?;
    let total = dataset.state().totals.data_bytes + dataset.state().totals.checkpoint_bytes;
    let (done, progress) = (AtomicU64::new(0), io.progress());
    Ok(verify::verify(
        &dataset,
        workspace.datasets().mirror(),
        depth,
        &|bytes| {
            let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            progress.show(|| Step {
                text: format!("{name}: {} of {}", output::bytes(done), output::bytes(total)),
                done,
                total: Some(total),
            });
        },
    )?)
}

/// The datasets that names and patterns stand for, each once.
pub(super) fn entries(names: &[String], session: &Session) -> Result<Vec<Entry>, Failure> {
    let catalog = session.workspace()?.catalog();
    let mut found: Vec<Entry> = Vec::new();
    for name in names {
        let matching = if name.contains('%') {
            catalog.matching(name)?
        } else {
            vec![catalog.find_entry(name)?]
        };
        if matching.is_empty() {
            return Err(Failure::new(Kind::NotFound, format!("no dataset matches {name}"))
                .next("`odfs list` shows all datasets"));
        }
        for entry in matching {
            if !found.contains(&entry) {
                found.push(entry);
            }
        }
    }
    Ok(found)
}
