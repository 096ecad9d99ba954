//! `odfs repo stat`, `verify` and `rebuild`: the store of the workspace.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use clap::Args;
use odf_node::block::{Block, Cid};
use odf_node::exchange;
use odf_node::store::{Bad, Blocks as _, Checked, MAX_TOLD, Missing, Store};
use serde_json::{Value, json};

use super::super::dial::dial;
use super::super::repair;
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output::{self, Format, OutputArgs};
use crate::session::Session;

/// Rounds of asking for what is missing, each of which may show more below it. A DAG is not deeper than what walks follow.
const MAX_ROUNDS: usize = 64;

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Get from peers what is damaged or missing, and put it in its place
    #[arg(long)]
    heal: bool,
    /// Address of a peer to ask, ending in /p2p/ID; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR", requires = "heal")]
    peers: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn stat(output: OutputArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let store = session.workspace()?.store();
    let survey = store.survey()?;
    if output.format(io) == Format::Table {
        let max = survey.max_bytes.map_or_else(
            || "no limit (store.max)".to_owned(),
            |max| format!("{} at most (store.max)", output::bytes(max)),
        );
        io.line(format_args!("holds      {}, {max}", output::bytes(survey.held_bytes)))?;
        io.line(format_args!(
            "kept       {} in {} block(s), for {} pin(s)",
            output::bytes(survey.pinned_bytes),
            output::count(survey.pinned_blocks),
            output::count(survey.pins)
        ))?;
        io.line(format_args!(
            "datasets   {} in {} file(s)",
            output::bytes(survey.file_bytes),
            output::count(survey.files)
        ))?;
        io.line(format_args!(
            "may go     {} in {} block(s) that nothing kept needs",
            output::bytes(survey.passing_bytes),
            output::count(survey.passing_blocks)
        ))?;
        io.line(format_args!(
            "on disk    {} in {} pack(s), and {} of index",
            output::bytes(survey.pack_disk_bytes),
            output::count(survey.packs),
            output::bytes(survey.index_bytes)
        ))?;
        if let Some(cid) = survey.next_to_go {
            io.line(format_args!("goes first {cid}"))?;
        }
        if survey.missing > 0 {
            io.say(format_args!(
                "{} block(s) that pins need are missing: `odfs repo verify --heal` gets them",
                output::count(survey.missing)
            ));
        }
        return Ok(());
    }
    io.object(&json!({
        "maxBytes": survey.max_bytes,
        "heldBytes": survey.held_bytes,
        "pins": survey.pins,
        "pinnedBlocks": survey.pinned_blocks,
        "pinnedBytes": survey.pinned_bytes,
        "passingBlocks": survey.passing_blocks,
        "passingBytes": survey.passing_bytes,
        "files": survey.files,
        "fileBytes": survey.file_bytes,
        "packs": survey.packs,
        "packDiskBytes": survey.pack_disk_bytes,
        "indexBytes": survey.index_bytes,
        "nextToGo": survey.next_to_go.map(|cid| cid.to_string()),
        "missing": survey.missing,
    }))
}

/// Reads every block; the line on the terminal shows how far it is.
///
/// # Errors
/// The store fails, or the user stops it.
pub(in crate::commands) fn check(store: &Store, io: &Io) -> Result<Checked, Failure> {
    let total = store.stats()?.blocks;
    let checked = store.check(&mut |done, bytes| {
        io.progress().show(|| Step {
            text: format!("{} blocks, {}", output::count(done), output::bytes(bytes)),
            done,
            total: Some(total),
        });
        !io.cancel().is_set()
    })?;
    io.progress().clear();
    checked.ok_or_else(Failure::interrupted)
}

pub(super) fn verify(args: &VerifyArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let store = session.workspace()?.store();
    let checked = check(store, io)?;
    let healed = match args.heal && !checked.is_whole() {
        true => heal(&checked, args, session, io)?,
        false => BTreeMap::new(),
    };
    // Below what was missing there may be more that is, and what came may be gone elsewhere.
    let missing = match healed.is_empty() {
        true => checked.missing.clone(),
        false => store.missing(MAX_TOLD)?,
    };
    let from = |cid: &Cid| healed.get(&cid.hash().to_bytes());
    let lost = checked.bad.iter().filter(|bad| from(&bad.cid).is_none()).count();
    if args.output.format(io) == Format::Table {
        for Bad { cid, path, offset, .. } in &checked.bad {
            let healed = from(cid).map_or_else(|| "not healed".to_owned(), |from| format!("healed from {from}"));
            let healed = if args.heal {
                format!("; {healed}")
            } else {
                String::new()
            };
            io.line(format_args!(
                "block {cid} is damaged in {} at {offset}{healed}",
                path.display()
            ))?;
        }
        for missing in checked.missing.iter().filter(|missing| from(&missing.cid).is_some()) {
            io.line(format_args!(
                "block {} was missing; healed from {}",
                missing.cid,
                from(&missing.cid).map_or("", String::as_str)
            ))?;
        }
        for Missing { cid, owner, reason, .. } in &missing {
            io.line(format_args!("block {cid}, which {owner} needs: {reason}"))?;
        }
        io.line(format_args!(
            "{} block(s), {} read; {} damaged, {} missing, {} healed",
            output::count(checked.blocks),
            output::bytes(checked.bytes),
            output::count(checked.bad.len() as u64),
            output::count(missing.len() as u64),
            output::count(healed.len() as u64)
        ))?;
    } else {
        let bad = |bad: &Bad| {
            json!({ "cid": bad.cid.to_string(), "path": bad.path.display().to_string(), "offset": bad.offset,
                    "healedFrom": from(&bad.cid) })
        };
        let gone = |missing: &Missing| {
            json!({ "cid": missing.cid.to_string(), "owner": missing.owner, "reason": missing.reason,
                    "healedFrom": from(&missing.cid) })
        };
        let came = checked.missing.iter().filter(|missing| from(&missing.cid).is_some());
        io.object(&json!({
            "blocks": checked.blocks,
            "bytes": checked.bytes,
            "damaged": checked.bad.iter().map(bad).collect::<Vec<Value>>(),
            "missing": came.chain(&missing).map(gone).collect::<Vec<Value>>(),
        }))?;
    }
    if missing.is_empty() && lost == 0 {
        return Ok(());
    }
    let what = match (lost, missing.len()) {
        (0, missing) => format!("{missing} block(s) that are kept here are missing"),
        (lost, 0) => format!("{lost} block(s) are damaged"),
        (lost, missing) => format!("{lost} block(s) are damaged and {missing} that are kept here are missing"),
    };
    let next = match (args.heal, checked.unindexed.is_empty()) {
        (false, false) => {
            "packs have some of them: `odfs repo verify --heal` takes them from there, and gets the others from peers"
        }
        (false, true) => "`odfs repo verify --heal` gets them from peers; damaged ones are not served any more",
        (true, _) => {
            "run it again when somebody who has them is in reach (--peer names a peer); `odfs gc` takes away what is damaged and \
                      not kept"
        }
    };
    Err(Failure::new(Kind::Integrity, what).next(next))
}

/// Gets what is damaged or missing from packs that have it after all and from peers, and says by its multihash from whom each
/// came. Then files of datasets are mended.
fn heal(
    checked: &Checked,
    args: &VerifyArgs,
    session: &Session,
    io: &mut Io,
) -> Result<BTreeMap<Vec<u8>, String>, Failure> {
    let workspace = session.workspace()?;
    let store = workspace.store();
    let mut healed = BTreeMap::new();
    for cid in store.take_from_packs(&checked.unindexed)? {
        healed.insert(cid.hash().to_bytes(), "a pack of this store".to_owned());
    }
    let peers = dial(&args.peers, session, io)?;
    let asked = session.node()?.exchange().session();
    peers.iter().for_each(|peer| asked.add_provider(*peer));
    {
        let _hold = store.hold();
        let mut tried = HashSet::new();
        let mut wanted: Vec<Cid> = checked.bad.iter().map(|bad| bad.cid).collect();
        for _ in 0..MAX_ROUNDS {
            wanted.extend(store.missing(MAX_TOLD)?.into_iter().map(|missing| missing.cid));
            wanted.retain(|cid| tried.insert(cid.hash().to_bytes()));
            if wanted.is_empty() {
                break;
            }
            for cid in wanted.drain(..) {
                io.progress().show(|| Step {
                    text: format!("getting {cid}"),
                    ..Step::default()
                });
                if let Some((block, from)) = get(store, &cid, &asked, session, io)? {
                    store.put(&[block])?;
                    healed.insert(cid.hash().to_bytes(), from);
                }
            }
        }
        io.progress().clear();
        store.flush()?;
    }
    let files: Vec<&Path> = checked
        .bad
        .iter()
        .filter(|bad| bad.in_file)
        .map(|bad| bad.path.as_path())
        .collect();
    for entry in workspace.catalog().entries()? {
        let dir: PathBuf = entry.dir.clone();
        if files.iter().any(|file| file.starts_with(&dir)) {
            repair::heal(&entry, &peers, session, io)?;
        }
    }
    Ok(healed)
}

/// A block from another copy here, else from peers, and who gave it.
fn get(
    store: &Store,
    cid: &Cid,
    asked: &exchange::Session,
    session: &Session,
    io: &mut Io,
) -> Result<Option<(Block, String)>, Failure> {
    if let Some(block) = store.get(cid)? {
        return Ok(Some((block, "another copy here".to_owned())));
    }
    let before = asked.stats().blocks;
    match session.wait(io, asked.fetch(cid)) {
        Ok(block) => {
            let stats = asked.stats();
            let peer = stats.last_from.filter(|_| stats.blocks > before);
            Ok(Some((
                block,
                peer.map_or_else(|| "a gateway".to_owned(), |peer| peer.to_string()),
            )))
        }
        Err(failure) if failure.kind() == Kind::Interrupted => Err(failure),
        Err(failure) => {
            tracing::info!(%cid, reason = failure.message(), "a block is not healed");
            Ok(None)
        }
    }
}

pub(super) fn rebuild(output: OutputArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    if !session.set_rebuild() {
        return Err(Failure::new(
            Kind::Busy,
            "the workspace is open, so its index cannot be made again now",
        )
        .next("stop the node that runs on it (or whatever command does), then run `odfs repo rebuild` again"));
    }
    let store = session.workspace()?.store();
    let stats = store.stats()?;
    let skipped = store.skipped();
    if output.format(io) == Format::Table {
        io.line(format_args!(
            "the index is made again: {} block(s), {} in packs and {} in files of datasets, {} pin(s)",
            output::count(stats.blocks),
            output::bytes(stats.pack_bytes),
            output::bytes(stats.file_bytes),
            output::count(stats.pins)
        ))?;
    } else {
        io.object(&json!({
            "blocks": stats.blocks,
            "packBytes": stats.pack_bytes,
            "fileBytes": stats.file_bytes,
            "files": stats.files,
            "pins": stats.pins,
            "skipped": skipped.iter().map(|skipped| json!({ "path": skipped.path.display().to_string(),
                                                            "reason": skipped.reason })).collect::<Vec<Value>>(),
        }))?;
    }
    for skipped in &skipped {
        io.warn(format_args!("{}: {}", skipped.path.display(), skipped.reason));
    }
    match skipped.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Kind::Integrity, "not all of the files could be read")
            .next("`odfs repo verify --heal` gets from peers what is missing; `odfs repair --all` mends datasets")),
    }
}
