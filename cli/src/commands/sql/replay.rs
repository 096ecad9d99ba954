//! `odfs replay`: an answer that was cited, asked for again.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use odf::citation::Citation;
use odf::digest::LogicalHasher;
use odf::pull::{OnDemand, id_of};
use odf::select::Query;
use odf::tables::WorkspaceTables;
use odf::workspace::Workspace;
use odf_node::block::Block;
use odf_node::fetch::Fetcher;
use odf_node::store::Blocks as _;

use super::cite::answerer;
use super::engine::{batches, engine, failed};
use super::rows::{self, RowFormat};
use crate::commands::car::Opened;
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// What to do with a file that is not what it should be.
const AGAIN: &str = "do not rely on what was cited; get the file again from who cited it";
/// How many bytes of blocks are kept at once.
const LOT_BYTES: usize = 8 << 20;

/// Ask again what a file says was asked and answered, and tell whether the answer is the same
///
/// `odfs sql --cite FILE` wrote it. No network is needed, and none of its datasets has to be here. Checked are each block, the
/// signatures of the owners, the histories of the datasets, and in the end the rows.
#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// The file, or `-` for standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Form of the rows [default: table on a terminal, json otherwise]
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<RowFormat>,
}

pub(in crate::commands) fn run(args: &ReplayArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let scratch = tempfile::Builder::new()
        .prefix("replay-")
        .tempdir_in(session.spool_dir()?)?;
    // A store of its own: that the file has all that it takes is part of what is checked.
    let workspace = Workspace::open(scratch.path(), Default::default())?;
    let citation = load(args, &workspace, io)?;
    let fetcher = Fetcher::new(workspace.store().clone(), None);
    let mut elsewhere = HashMap::new();
    for cited in &citation.datasets {
        let name = &cited.record.name();
        let (local, place) = (workspace.local(), name.to_string());
        let far = session.wait(io, OnDemand::below(local, &fetcher, cited.root, place, id_of(name)))?;
        let head = far.chain().state.head;
        if head != cited.head {
            let reason = format!(
                "{name} is said to be at {}, and what its owner signed is at {head}",
                cited.head
            );
            return Err(not_right(reason));
        }
        elsewhere.insert(cited.table.clone(), far);
    }
    let tables = WorkspaceTables {
        workspace: workspace.clone(),
        elsewhere,
        by_blocks: true,
    };
    let engine = engine(tables, 1, citation.time, session)?;
    let queries = Query::all(&citation.query).map_err(|error| failed(error, session))?;
    let [query] = &queries[..] else {
        return Err(Failure::new(Kind::BadInput, "the file is of several queries or none"));
    };
    let answer = engine.select(query).map_err(|error| failed(error, session))?;
    let schema = answer.schema().clone();
    let (mut hasher, mut count) = (LogicalHasher::new(&schema)?, 0);
    let hashed = batches(answer, session, io).map(|batch| {
        let batch = batch?;
        hasher.update(&batch)?;
        count += batch.num_rows() as u64;
        Ok(batch)
    });
    io.say(format_args!("asked at {} of {}:", citation.time, citation.engine));
    io.say(format_args!("  {}", citation.query));
    for cited in &citation.datasets {
        io.say(format_args!(
            "  {} is {}, at {}",
            cited.table,
            cited.record.name(),
            cited.head
        ));
    }
    rows::write(&schema, hashed, args.output.unwrap_or_else(|| RowFormat::usual(io)), io)?;
    let result = hasher.finish();
    if (result, count) == (citation.result, citation.rows) {
        io.say(format_args!(
            "the answer is the one that was cited: {} row(s), {result}",
            output::count(count)
        ));
        return Ok(());
    }
    let now = answerer();
    let other = Failure::new(
        Kind::Integrity,
        format!(
            "the answer is another one than was cited: {} row(s), {result} instead of {} row(s), {}",
            output::count(count),
            output::count(citation.rows),
            citation.result
        ),
    );
    Err(if now == citation.engine {
        other.next("do not rely on what was cited; a query that asks for chance (random()) never has the same answer")
    } else {
        other.next(format!(
            "this is {now}, and the answer was of {}: replay it with that version",
            citation.engine
        ))
    })
}

/// Reads the file into a workspace of its own.
fn load(args: &ReplayArgs, workspace: &Workspace, io: &mut Io) -> Result<Citation, Failure> {
    let mut car = Opened::new(&args.file, io)?;
    let broken = |car: &Opened, error| car.failed(error).next(AGAIN);
    let first = car.reader.block().map_err(|error| broken(&car, error))?;
    let first = first.filter(|first| car.reader.roots() == [*first.cid()]);
    let first = first.ok_or_else(|| {
        Failure::new(Kind::BadInput, format!("{} is no citation that odfs made", car.what))
            .next("`odfs sql QUERY --cite FILE` writes one; `odfs import` takes bundles")
    })?;
    let citation = Citation::read(&first)?;
    let (mut lot, mut waiting, mut bytes) = (Vec::<Block>::new(), 0, 0u64);
    loop {
        io.check()?;
        let block = car.reader.block().map_err(|error| broken(&car, error))?;
        let is_last = block.is_none();
        if let Some(block) = block {
            waiting += block.data().len();
            bytes += block.data().len() as u64;
            lot.push(block);
        }
        if is_last || waiting >= LOT_BYTES {
            workspace.store().put(&std::mem::take(&mut lot))?;
            waiting = 0;
        }
        io.progress().show(|| Step {
            text: output::bytes(bytes),
            ..Step::default()
        });
        if is_last {
            return Ok(citation);
        }
    }
}

fn not_right(reason: String) -> Failure {
    Failure::new(Kind::Integrity, reason).next(AGAIN)
}
