//! `odfs system compact`

use std::ops::ControlFlow;

use clap::Args;
use odf::catalog::Entry;
use odf::compact::{self, Compacted, DEFAULT_MAX_SLICE_BYTES, DEFAULT_MAX_SLICE_RECORDS, Options, Outcome};
use odf::verify::{Depth, verify};

use super::super::matching::entries;
use super::super::reset::tell_followers;
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output::{self, Cell, Listing, OutputArgs};
use crate::session::Session;

/// Make few large slices of many small ones
///
/// A hard compaction writes the chain again behind its first block, at the time of the compaction, as if the rows had come in
/// large batches. Hashes of blocks change, so that whoever follows the dataset, and every dataset computed from it, has a
/// diverged history. Old slices stay for the roots that were published with them, until `odfs ipfs repo gc` finds nothing
/// that needs them.
#[derive(Args, Debug)]
pub(crate) struct CompactArgs {
    /// Names, ids, or patterns with % for any text
    #[arg(required = true)]
    datasets: Vec<String>,
    /// Write the history again; there is no other way yet
    #[arg(long)]
    hard: bool,
    /// Bytes that the slices which become one have together, at most
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_SLICE_BYTES)]
    max_slice_size: u64,
    /// Rows that a slice made of several has, at most
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_SLICE_RECORDS)]
    max_slice_records: u64,
    /// Drop all data and keep what was declared
    #[arg(long)]
    keep_metadata_only: bool,
    /// Verify the datasets first, rows included
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &CompactArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    if !args.hard {
        return Err(
            Failure::usage("only hard compactions are there, which rewrite the history of a dataset")
                .next("pass --hard if that is what you want"),
        );
    }
    let entries = entries(&args.datasets, session)?;
    let names: Vec<String> = entries.iter().map(Entry::label).collect();
    let loss = if args.keep_metadata_only {
        " and drop their rows"
    } else {
        ""
    };
    io.confirm(&format!("Rewrite the history of {}{loss}?", names.join(", ")))?;
    if args.verify {
        for (entry, name) in entries.iter().zip(&names) {
            io.check()?;
            let dataset = session.workspace()?.catalog().open_entry(entry)?;
            verify(&dataset, session.workspace()?.datasets().mirror(), Depth::Rows, &|_| {})
                .map_err(|error| Failure::from(error).about(format_args!("{name} was not compacted")))?;
        }
    }
    let mut listing = Listing::new(&[
        "Dataset",
        "Result",
        "Blocks",
        "Slices",
        "OldBlocks",
        "OldSlices",
        "Head",
    ])
    .in_words(&[
        ("Slices", Some("Data files")),
        ("OldBlocks", Some("Blocks before")),
        ("OldSlices", Some("Data files before")),
        ("Head", Some("Newest block")),
    ]);
    let mut first: Option<Failure> = None;
    for (entry, name) in entries.iter().zip(names) {
        io.check()?;
        match one(entry, &name, args, session, io) {
            Ok(outcome) => listing.row(row(name, outcome)),
            Err(failure) if failure.kind() == Kind::Interrupted => return Err(failure),
            Err(failure) => {
                let failure = failure.about(name);
                if let Some(first) = &first {
                    io.say(first.message());
                }
                first = Some(failure);
            }
        }
    }
    listing.write(args.output.format(io), io)?;
    first.map_or(Ok(()), Err)
}

fn one(entry: &Entry, name: &str, args: &CompactArgs, session: &Session, io: &mut Io) -> Result<Outcome, Failure> {
    let workspace = session.workspace()?;
    let mut dataset = workspace.catalog().open_entry(entry)?;
    let options = Options {
        max_slice_bytes: args.max_slice_size,
        max_slice_records: args.max_slice_records,
        keep_metadata_only: args.keep_metadata_only,
        slice: session.settings().slice_options(),
    };
    let (progress, cancel) = (io.progress().clone(), io.cancel().clone());
    let outcome = compact::compact(
        workspace.datasets(),
        &mut dataset,
        &options,
        io.now()?,
        &mut |done, total| {
            progress.show(|| Step {
                text: format!("{name}: {} of {}", output::bytes(done), output::bytes(total)),
                done,
                total: Some(total),
            });
            if cancel.is_set() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
    )?;
    if let Outcome::Compacted(_) = outcome {
        tell_followers(&dataset, session, io)?;
    }
    Ok(outcome)
}

fn row(name: String, outcome: Outcome) -> [Cell; 7] {
    let none = || Cell::from(serde_json::Value::Null);
    match outcome {
        Outcome::NothingToDo => [
            name.into(),
            "nothing to do".into(),
            none(),
            none(),
            none(),
            none(),
            none(),
        ],
        Outcome::Compacted(Compacted {
            new_head,
            old_blocks,
            new_blocks,
            old_slices,
            new_slices,
            ..
        }) => [
            name.into(),
            "compacted".into(),
            Cell::count(new_blocks),
            Cell::count(new_slices),
            Cell::count(old_blocks),
            Cell::count(old_slices),
            new_head.to_string().into(),
        ],
    }
}
