//! `odfs ipfs pin`

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use odf_node::block::{Cid, RAW};
use odf_node::dag::DepthFirst;
use odf_node::fetch::Fetcher;
use odf_node::store::{Blocks as _, MAX_PIN_NAME_BYTES, PARTIAL_OWNER, Store, StoreError};
use serde::Serialize;

use super::call::Call;
use super::path::IpfsPath;
use super::source::whole_block;
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// Who pins what these commands keep.
pub(in crate::commands) const PIN_OWNER: &str = "ipfs";

/// Keep content from being collected as garbage
#[derive(Subcommand, Debug)]
pub(crate) enum PinCommand {
    /// Fetch content with everything below it, and keep it
    Add {
        /// Paths to the content: /ipfs/CID/…, /ipns/NAME/… or CID/…
        #[arg(required = true, value_name = "IPFS_PATH")]
        paths: Vec<IpfsPath>,
        /// What is below the content, too: it always is
        #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set, hide = true)]
        recursive: bool,
        /// Name of the pins, which `pin ls --names` shows; without it they have none
        #[arg(short, long)]
        name: Option<String>,
        /// Show progress on a terminal
        #[arg(long)]
        progress: bool,
    },
    /// List what is kept, that of datasets included
    Ls {
        /// Only these
        #[arg(value_name = "IPFS_PATH")]
        paths: Vec<IpfsPath>,
        /// Which: recursive are those that were pinned, indirect what is below them
        #[arg(short = 't', long = "type", value_enum, default_value_t = PinType::All, value_name = "TYPE")]
        kind: PinType,
        /// Print CIDs only
        #[arg(short, long)]
        quiet: bool,
        /// Print each as soon as it is met
        #[arg(short, long)]
        stream: bool,
        /// Only those whose names contain this, if no paths are given; shows names, too
        #[arg(short, long)]
        name: Option<String>,
        /// Show the names that they were given (`pin add --name`)
        #[arg(long)]
        names: bool,
    },
    /// Stop keeping content
    Rm {
        /// Paths to the content
        #[arg(required = true, value_name = "IPFS_PATH")]
        paths: Vec<IpfsPath>,
        /// What is below the content, too: it always is
        #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set, hide = true)]
        recursive: bool,
    },
    /// Keep other content in place of some
    Update {
        /// What is kept now, and what is to be kept
        #[arg(num_args = 2, required = true, value_names = ["FROM", "TO"])]
        paths: Vec<IpfsPath>,
        /// Stop keeping the old one
        #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
        unpin: bool,
    },
}

/// The kinds of pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PinType {
    /// Roots, and what is below them
    All,
    /// Single blocks: there are none here
    Direct,
    /// What is below roots
    Indirect,
    /// Roots
    Recursive,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pins {
    pins: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    keys: BTreeMap<String, Kept>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Kept {
    r#type: String,
    name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Streamed {
    cid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    r#type: String,
}

const RECURSIVE: &str = "recursive";
const INDIRECT: &str = "indirect";

pub(super) fn run(command: &PinCommand, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    match command {
        PinCommand::Add {
            paths, recursive, name, ..
        } => {
            let name = name.as_deref().unwrap_or_default();
            check_name(name)?;
            if !recursive {
                return Err(Failure::usage(
                    "single blocks cannot be pinned, only with what is below them",
                ));
            }
            let mut pins = Vec::new();
            for path in paths {
                let cid = call.cid(&add(path, name, call, io)?);
                if !call.is_json() {
                    io.line(format_args!("pinned {cid} recursively"))?;
                }
                pins.push(cid);
            }
            in_json(pins, call, io)
        }
        PinCommand::Ls {
            paths,
            kind,
            quiet,
            stream,
            name,
            names,
        } => {
            let name = name.as_deref().unwrap_or_default();
            check_name(name)?;
            let form = Form {
                quiet: *quiet,
                stream: *stream,
                names: *names || !name.is_empty(),
            };
            list(paths, *kind, name, form, call, io)
        }
        PinCommand::Rm { paths, .. } => {
            let store = call.session.workspace()?.store();
            let mut pins = Vec::new();
            for path in paths {
                let cid = whole_block(&call.source()?.resolve(path, io)?, path)?;
                unpin(store, &cid)?;
                let cid = call.cid(&cid);
                if !call.is_json() {
                    io.line(format_args!("unpinned {cid}"))?;
                }
                pins.push(cid);
            }
            store.flush()?;
            in_json(pins, call, io)
        }
        PinCommand::Update { paths, unpin: gives_up } => {
            let [from, to] = paths.as_slice() else {
                return Err(Failure::usage(
                    "what is kept now, and what is to be kept, are two paths",
                ));
            };
            let store = call.session.workspace()?.store();
            let old = whole_block(&call.source()?.resolve(from, io)?, from)?;
            if !is_own(store, &old) {
                return Err(Failure::new(
                    Kind::NotFound,
                    "'from' cid was not recursively pinned already",
                ));
            }
            let new = whole_block(&call.source()?.resolve(to, io)?, to)?;
            if old != new {
                if is_own(store, &new) {
                    return Err(Failure::new(Kind::Refused, "'to' cid was already recursively pinned"));
                }
                let name = store.pin_name(PIN_OWNER, &old).unwrap_or_default();
                add(to, &name, call, io)?;
            }
            if *gives_up && old != new {
                unpin(store, &old)?;
                store.flush()?;
            }
            let [old, new] = [old, new].map(|cid| call.cid(&cid));
            match call.is_json() {
                true => in_json(vec![old, new], call, io),
                false => io.line(format_args!("updated {old} to {new}")),
            }
        }
    }
}

fn in_json(pins: Vec<String>, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    match call.is_json() {
        true => call.answer(&Pins { pins }, "", io),
        false => Ok(()),
    }
}

/// Fetches all below the path and pins it, under a name if that is not empty.
///
/// # Errors
/// A block cannot be had, or the store fails.
pub(in crate::commands) fn keep(path: &IpfsPath, name: &str, session: &Session, io: &mut Io) -> Result<Cid, Failure> {
    add(path, name, &Call::plain(session), io)
}

/// Takes a pin of these commands away. Gives its name, too.
///
/// # Errors
/// There is none, or the store fails.
pub(in crate::commands) fn stop_keeping(
    path: &IpfsPath,
    session: &Session,
    io: &mut Io,
) -> Result<(Cid, String), Failure> {
    let cid = whole_block(&Call::plain(session).source()?.resolve(path, io)?, path)?;
    let store = session.workspace()?.store();
    let name = store.pin_name(PIN_OWNER, &cid).unwrap_or_default();
    unpin(store, &cid)?;
    store.flush()?;
    Ok((cid, name))
}

/// As [`keep`], within a call.
fn add(path: &IpfsPath, name: &str, call: &Call<'_>, io: &mut Io) -> Result<Cid, Failure> {
    let store = call.session.workspace()?.store();
    let hold = store.hold();
    let mut source = call.source()?;
    let cid = whole_block(&source.resolve(path, io)?, path)?;
    if call.is_offline() {
        source.below(&cid, io)?;
    } else {
        fetch(cid, store, call, io)?;
    }
    store.pin_named(PIN_OWNER, &[cid], name)?;
    store.flush()?;
    drop(hold);
    call.session.added(&[cid]);
    Ok(cid)
}

fn fetch(cid: Cid, store: &Store, call: &Call<'_>, io: &Io) -> Result<(), Failure> {
    let fetcher = Fetcher::new(store.clone(), Some(call.node()?.exchange().session()));
    let (watched, progress) = (fetcher.clone(), io.progress().clone());
    call.wait(io, async {
        let work = fetcher.dag(cid);
        tokio::pin!(work);
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                done = &mut work => return done.map_err(Failure::from),
                _ = tick.tick() => progress.show(|| {
                    let done = watched.fetched();
                    let text = format!("{} blocks, {}", output::count(done.blocks), output::bytes(done.bytes));
                    Step { text, ..Step::default() }
                }),
            }
        }
    })?;
    Ok(())
}

fn is_own(store: &Store, cid: &Cid) -> bool {
    store.is_pinned(PIN_OWNER, cid)
}

/// Before anything is fetched for a pin of this name.
///
/// # Errors
/// It is too long.
pub(in crate::commands) fn check_name(name: &str) -> Result<(), Failure> {
    match name.len() {
        0..=MAX_PIN_NAME_BYTES => Ok(()),
        bytes => {
            let most = MAX_PIN_NAME_BYTES;
            Err(StoreError::PinNameTooLong { bytes, most }.into())
        }
    }
}

fn unpin(store: &Store, cid: &Cid) -> Result<(), Failure> {
    if store.unpin(PIN_OWNER, cid)? {
        return Ok(());
    }
    let failure = Failure::new(Kind::NotFound, "not pinned or pinned indirectly");
    let of_others = store.pins(None)?.iter().any(|pin| pin.cid == *cid);
    Err(match of_others {
        true => failure.next("a dataset keeps it: `odfs delete DATASET` gives up what a dataset keeps"),
        false => failure,
    })
}

/// How pins are listed.
#[derive(Clone, Copy)]
struct Form {
    /// CIDs only.
    quiet: bool,
    /// Each as soon as it is met.
    stream: bool,
    /// With their names.
    names: bool,
}

/// Whoever pinned it, and without paths those alone whose names contain `part`. What stays for the tree of `ipfs files` is no pin to Kubo.
fn list(
    paths: &[IpfsPath],
    kind: PinType,
    part: &str,
    form: Form,
    call: &Call<'_>,
    io: &mut Io,
) -> Result<(), Failure> {
    let store = call.session.workspace()?.store();
    let pins = store.pins(None)?.into_iter().filter(|pin| pin.owner != PARTIAL_OWNER);
    let mut roots: Vec<Cid> = pins.map(|pin| pin.cid).collect();
    roots.sort_by_key(Cid::to_string);
    roots.dedup();
    // What was asked for, with how it was asked for until it is met.
    let mut wanted = HashMap::new();
    for path in paths {
        let cid = whole_block(&call.source()?.resolve(path, io)?, path)?;
        wanted.insert(cid, Some(path.typed.clone()));
    }
    let all = wanted.is_empty();
    let names: HashMap<Cid, String> = match form.names {
        true => store.pin_names(PIN_OWNER).into_iter().collect(),
        false => HashMap::new(),
    };
    let mut keys = BTreeMap::new();
    let mut meet = |cid: Cid, through: Option<&Cid>, io: &mut Io| -> Result<(), Failure> {
        let name = names
            .get(&cid)
            .filter(|_| through.is_none())
            .cloned()
            .unwrap_or_default();
        if all && !name.contains(part) {
            return Ok(());
        }
        let kind = match (through, wanted.get_mut(&cid)) {
            (_, None) if !all => return Ok(()),
            (None, asked) => {
                asked.map(Option::take);
                RECURSIVE.to_owned()
            }
            (Some(_), None) => INDIRECT.to_owned(),
            (Some(root), Some(asked)) => {
                *asked = None;
                format!("{INDIRECT} through {}", call.cid(root))
            }
        };
        let cid = call.cid(&cid);
        match (call.is_json(), form.stream) {
            (true, false) => {
                keys.insert(cid, Kept { r#type: kind, name });
                Ok(())
            }
            (true, true) => call.answer(
                &Streamed {
                    cid,
                    name,
                    r#type: kind,
                },
                "",
                io,
            ),
            (false, _) if form.quiet => io.line(cid),
            (false, _) if name.is_empty() => io.line(format_args!("{cid} {kind}")),
            (false, _) => io.line(format_args!("{cid} {kind} {name}")),
        }
    };
    if matches!(kind, PinType::All | PinType::Recursive) {
        for root in &roots {
            meet(*root, None, io)?;
        }
    }
    if matches!(kind, PinType::All | PinType::Indirect) {
        let mut seen: HashSet<Cid> = roots.iter().copied().collect();
        for root in &roots {
            let mut order = DepthFirst::new(*root);
            while let Some(cid) = order.next_block() {
                if cid != *root && !seen.insert(cid) {
                    continue;
                }
                if cid != *root {
                    meet(cid, Some(root), io)?;
                }
                // What is not here is kept when it comes; raw blocks have nothing below them.
                if cid.codec() != RAW
                    && let Some(block) = store.get(&cid)?
                {
                    order.enter(&block)?;
                }
            }
        }
    }
    if let Some(missing) = wanted.into_values().flatten().next() {
        return Err(Failure::new(Kind::NotFound, format!("path '{missing}' is not pinned")));
    }
    match call.is_json() && !form.stream {
        true => call.answer(&Listed { keys }, "", io),
        false => Ok(()),
    }
}
