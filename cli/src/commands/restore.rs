//! `odfs restore`

use clap::Args;
use odf::dataset::Dataset;
use odf::metadata::{DatasetKind, MergeStrategy, Multihash};
use serde_json::{Value, json};

use super::announce::ReportArgs;
use super::batch::committed;
use super::diff::{Counts, count, in_words, point};
use super::newest::{Change, check_newest};
use super::owner::pulled_from;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// Bring back the rows of a dataset as they were at an earlier point, as a new block
///
/// What came since is retracted, what went is appended, what was corrected is corrected back; history stays, and whoever has
/// the dataset gets this as one more change. Columns, description and licence stay as they are now. For datasets with a
/// primary key and a merge strategy that takes rows back: snapshot, upsert, changelog. `odfs diff DATASET POINT` shows what
/// it would undo.
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// Name or id of the dataset
    dataset: String,
    /// The point: a block (its number or hash as `odfs log` shows them, or more of the hash), or a time (RFC 3339; a date
    /// means its first moment in UTC)
    #[arg(value_name = "BLOCK|TIME")]
    point: String,
    /// Address of a peer to ask what was published under the name, ending in /p2p/ID; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR")]
    peers: Vec<String>,
    #[command(flatten)]
    report: ReportArgs,
}

pub(super) fn run(args: &RestoreArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    args.report.begin(io);
    let mut dataset = session.workspace()?.catalog().find(&args.dataset)?;
    let old_head = *dataset.head();
    let name = dataset.name()?;
    if let Some(alias) = pulled_from(&dataset, session)? {
        return Err(Failure::new(
            Kind::Refused,
            format!(
                "{name} is pulled from {alias}; a block added here would make its history differ from the one there"
            ),
        )
        .next(format!(
            "restore it where it comes from, then `odfs pull {name}`; `odfs export {name} FILE.csv --as-of {}` writes the rows \
             as they were",
            args.point
        )));
    }
    if dataset.kind() == DatasetKind::Derivative {
        return Err(Failure::new(
            Kind::Refused,
            format!("{name} is computed from other datasets, so its rows follow from theirs"),
        )
        .next(format!(
            "restore the dataset that it is computed from, then `odfs pull {name}` computes it"
        )));
    }
    let turn = session.turn(&mut dataset, io)?;
    check_newest(&dataset, &args.peers, Change::ByHand, session, io)?;
    let block = dataset.point(&args.point)?.block;
    let sequence = block.block().sequence_number;
    let then = dataset.as_of(sequence)?;
    let counts = match dataset.changes_since(sequence, true)? {
        Some(changes) => count(changes, io)?,
        None => Counts::default(),
    };
    let other = in_words(dataset.state(), then.state())?;
    if counts == Counts::default() {
        io.line(format_args!("{name} has the rows of {} already", point(&then)))?;
        return args.report.object(io, || report(&dataset, &old_head, &counts));
    }
    undoable(&dataset, &args.point)?;
    for line in other {
        io.say(format_args!("Stays as it is now, and was otherwise: {line}"));
    }
    io.confirm(&format!("Restore {name} as of {}: {counts}?", point(&then)))?;
    let Some(undone) = dataset.changes_since(sequence, true)? else {
        return Ok(());
    };
    // How far a file was taken is no longer true of the rows; a source that is asked gives them again when it has news.
    let state = dataset.state().source_state.clone();
    let is_of_file = state
        .as_ref()
        .is_some_and(|state| state.kind == odf::ingest::taken::STATE_KIND);
    let state = state.filter(|state| state.kind != odf::ingest::taken::STATE_KIND);
    dataset.amend(undone, &session.settings().slice_options(), state, io.now()?)?;
    committed(&dataset, session, io)?;
    drop(turn);
    io.line(format_args!(
        "{name}: updated to {}, with the rows of {}: {counts}",
        dataset.head(),
        point(&then)
    ))?;
    if is_of_file {
        io.say(format_args!(
            "The file that {name} is published from has the rows of before: `odfs publish` refuses it until it is corrected"
        ));
    }
    if session.workspace()?.is_published(&dataset.id())? {
        io.say(format_args!("`odfs push {name}` announces it"));
    }
    args.report.object(io, || report(&dataset, &old_head, &counts))
}

/// What was done, for programs. Without new rows the head is the old one.
fn report(dataset: &Dataset, old_head: &Multihash, counts: &Counts) -> Value {
    json!({
        "dataset": dataset.name().map(|name| name.to_string()).unwrap_or_default(),
        "id": dataset.id().to_string(),
        "head": dataset.head().to_string(),
        "oldHead": old_head.to_string(),
        "added": counts.added,
        "corrected": counts.corrected,
        "retracted": counts.retracted,
    })
}

/// Whether rows of the dataset can be taken back.
fn undoable(dataset: &Dataset, point: &str) -> Result<(), Failure> {
    let merge = dataset.state().merge_strategy();
    let reason = match merge {
        Some(
            MergeStrategy::Snapshot { .. } | MergeStrategy::UpsertStream { .. } | MergeStrategy::ChangelogStream { .. },
        ) => return Ok(()),
        Some(merge) => format!(
            "with its merge strategy, {}, rows only come",
            merge.kind().to_lowercase()
        ),
        None => "no source of it says how rows are taken back".to_owned(),
    };
    let name = dataset.name()?;
    Err(Failure::new(Kind::Refused, format!("{name} cannot be restored: {reason}")).next(format!(
        "`odfs export {name} {name}-then.csv --as-of {point}` writes the rows as they were, and `odfs publish {name}-then.csv` makes a \
         dataset of them; `odfs reset {name} {point}` drops the blocks behind, for whoever has it too"
    )))
}
