//! `odfs repair`, and what a pull does about files that are missing.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use odf::catalog::Entry;
use odf::dataset::RemoteAliases;
use odf::place::Place;
use odf::pull::{Address, FromPeers, name_of};
use odf::receive::{Received, Source};
use odf::repair::{self, Doing, Lost, Mended, Part, Repaired};
use odf::repository::files::FilesSource;
use odf::repository::http::HttpSource;
use odf_node::PeerId;
use odf_node::fetch::Fetcher;
use odf_node::ipns::Freshness;
use serde_json::{Value, json};

use super::batch::catch_up;
use super::dial::dial;
use super::matching::entries;
use crate::failure::{Failure, Kind};
use crate::io::{Cancel, Io, Progress, Step};
use crate::output::{self, Cell, Listing, OutputArgs};
use crate::session::Session;

/// Mend damaged datasets
///
/// Checks everything as `odfs verify` does, and puts in order what is not: the head from the chain, the blocks that peers
/// are served from the files, and metadata blocks, data files and checkpoints that are missing or damaged from other datasets
/// here, from where the dataset is pulled from and pushed to, and from peers that have it. Everything that comes is checked.
/// What nobody has is told, and nothing is taken away for it: the dataset is listed as damaged, and can be mended later.
#[derive(Args, Debug)]
pub(crate) struct RepairArgs {
    /// Names, ids, or patterns with % for any text
    #[arg(required_unless_present = "all")]
    datasets: Vec<String>,
    /// Mend all datasets
    #[arg(short, long, conflicts_with = "datasets")]
    all: bool,
    /// Address of a peer to ask, ending in /p2p/ID; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR")]
    peers: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &RepairArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let entries = if args.all {
        session.workspace()?.catalog().entries()?
    } else {
        entries(&args.datasets, session)?
    };
    let peers = if args.peers.is_empty() {
        Vec::new()
    } else {
        dial(&args.peers, session, io)?
    };
    let mut listing = Listing::new(&["Dataset", "Result", "Mended", "Lost", "Fault"])
        .when_empty("no datasets yet, so there is nothing to mend");
    let mut first = None;
    for entry in entries {
        io.check()?;
        let name = entry.label();
        match one(&entry, &peers, session, io) {
            Ok(repaired) => {
                tell(&name, &repaired, io);
                first = first.or_else(|| lost(&name, &repaired));
                listing.row(row(&name, &repaired));
            }
            Err(failure) if failure.kind() == Kind::Interrupted => return Err(failure),
            Err(failure) => {
                let nothing = || Cell::shown(json!([]), 0);
                let fault = failure.message().to_owned().into();
                listing.row([name.clone().into(), "damaged".into(), nothing(), nothing(), fault]);
                first.get_or_insert_with(|| failure.about(name));
            }
        }
    }
    listing.write(args.output.format(io), io)?;
    first.map_or(Ok(()), Err)
}

/// As `odfs repair` of one dataset, and says what was mended and what is lost.
///
/// # Errors
/// The dataset cannot be opened, or the store fails; the user stops it.
pub(super) fn heal(entry: &Entry, peers: &[PeerId], session: &Session, io: &mut Io) -> Result<Repaired, Failure> {
    let repaired = one(entry, peers, session, io)?;
    tell(&entry.label(), &repaired, io);
    Ok(repaired)
}

fn one(entry: &Entry, peers: &[PeerId], session: &Session, io: &mut Io) -> Result<Repaired, Failure> {
    let workspace = session.workspace()?;
    // A damaged dataset has nothing that could be made now.
    if let Err(failure) = catch_up(entry, session, io) {
        tracing::debug!(dataset = %entry.label(),
            reason = failure.message(),
            "what is due of a dataset is not made"
        );
    }
    let notes = RefCell::new(Vec::new());
    let watch = Watch::new(entry.label(), io);
    let proxy = io.environment().proxy();
    let places = || places(entry, peers, proxy.as_ref(), session, &notes);
    let repaired = repair::repair(workspace.datasets(), entry, &places, &|doing| watch.hear(doing));
    for note in notes.take() {
        io.say(format_args!("{}: {note}", entry.label()));
    }
    Ok(repaired?)
}

/// Everywhere that may have a copy: where the dataset is pulled from and pushed to, and everybody who has what it stands for
/// on IPFS.
fn places<'a>(
    entry: &Entry,
    peers: &[PeerId],
    proxy: Option<&ureq::Proxy>,
    session: &'a Session,
    notes: &RefCell<Vec<String>>,
) -> Vec<Box<dyn Source + 'a>> {
    let note = |text: String| notes.borrow_mut().push(text);
    let aliases = RemoteAliases::in_directory(&entry.dir).unwrap_or_else(|error| {
        note(error.to_string());
        RemoteAliases::default()
    });
    let repositories = session.repositories();
    let (mut places, mut addresses): (Vec<Box<dyn Source>>, Vec<Address>) = (Vec::new(), Vec::new());
    for alias in aliases.pull_aliases.iter().chain(&aliases.push_aliases) {
        let found = repositories.resolve(alias).map_err(Failure::from);
        let token = |place: &Place| Ok::<_, Failure>(repositories.token_for(place)?);
        let added = found.and_then(|place| {
            match &place {
                Place::Files(dir) => places.push(Box::new(FilesSource::new(dir))),
                // A server that speaks the smart protocol has the plain files, too.
                Place::Http(url) | Place::Smart(url) => {
                    let source = HttpSource::new(url, token(&place)?).through(proxy);
                    places.push(Box::new(source));
                }
                Place::Ipfs(address) => addresses.push(address.clone()),
            }
            Ok(())
        });
        if let Err(failure) = added {
            note(format!("{alias} is passed over: {}", failure.message()));
        }
    }
    // The name under the dataset's own key stands for nothing else.
    addresses.extend(name_of(&entry.id).map(|name| Address::Dataset { id: entry.id, name }));
    match from_peers(entry, &addresses, peers, session, &note) {
        Ok(found) => places.extend(found.into_iter().map(|place| Box::new(place) as Box<dyn Source>)),
        Err(failure) => note(format!("peers are not asked: {}", failure.message())),
    }
    places
}

fn from_peers(
    entry: &Entry,
    addresses: &[Address],
    peers: &[PeerId],
    session: &Session,
    note: &dyn Fn(String),
) -> Result<Vec<FromPeers>, Failure> {
    let (local, node) = (session.workspace()?.local(), session.node()?);
    let fetcher = || {
        let exchange = node.exchange().session();
        peers.iter().for_each(|peer| exchange.add_provider(*peer));
        Fetcher::new(local.store().clone(), Some(exchange))
    };
    let known = local.layout().latest(&entry.id)?;
    session.runtime()?.block_on(async {
        let mut found = Vec::new();
        let mut seen = Vec::new();
        for address in addresses {
            if seen.contains(&address.name()) && address.name().is_some() {
                continue;
            }
            seen.push(address.name());
            match FromPeers::at(local, node, &fetcher(), address, Freshness::Network).await {
                Ok(place) => found.push(place),
                Err(error) => note(format!("{address} is passed over: {error}")),
            }
        }
        if node.peers().await.is_empty() {
            note("nobody on IPFS is in reach; name a peer with --peer".to_owned());
            return Ok(Vec::new());
        }
        // Whoever pulled it has the same blocks under the same root, whatever became of the name.
        if let Some(root) = known {
            let place = format!("ipfs://{}", root.cid);
            match FromPeers::below(local, &fetcher(), root.cid, place.clone()).await {
                Ok(place) => found.push(place),
                Err(error) => note(format!("{place} is passed over: {error}")),
            }
        }
        Ok(found)
    })
}

/// After a pull that brought something, or of a dataset whose files were all seen before, only those of so many newest
/// metadata blocks are looked for: to look for all would make the cost of one block that of the whole history.
const BLOCKS_LOOKED_AT: usize = 64;

/// After a pull: gets files that are missing, or not of their length, from where the dataset came, and does what the last
/// change of the dataset left undone. Where nothing new came, and files came or went otherwise since all were seen, it costs a
/// look at the name of every file.
///
/// # Errors
/// Something is still missing.
pub(super) fn after_pull<'a>(
    received: &Received,
    places: &repair::Supplies<'a>,
    session: &Session,
    io: &mut Io,
) -> Result<(), Failure> {
    let (workspace, dataset) = (session.workspace()?, received.dataset());
    let lacking = match received {
        Received::Updated(_) => dataset.lacking(Some(BLOCKS_LOOKED_AT))?,
        Received::UpToDate { .. } | Received::Ahead { .. } => dataset.lacking_now(BLOCKS_LOOKED_AT)?,
    };
    if lacking.is_empty() && workspace.layout().is_current(dataset)? {
        return Ok(());
    }
    let name = dataset.name()?.to_string();
    let watch = Watch::new(name.clone(), io);
    let repaired = repair::fetch_lacking(workspace.datasets(), dataset, places, &|doing| watch.hear(doing))?;
    tell(&name, &repaired, io);
    lost(&name, &repaired).map_or(Ok(()), Err)
}

/// Peers who have what an address stands for, as the one place to ask after a pull from it.
pub(super) fn peers_at<'a>(
    address: &Address,
    peers: &[PeerId],
    session: &'a Session,
) -> Result<Vec<Box<dyn Source + 'a>>, Failure> {
    let (local, node) = (session.workspace()?.local(), session.node()?);
    let exchange = node.exchange().session();
    peers.iter().for_each(|peer| exchange.add_provider(*peer));
    let fetcher = Fetcher::new(local.store().clone(), Some(exchange));
    let place = session
        .runtime()?
        .block_on(FromPeers::at(local, node, &fetcher, address, Freshness::Network))?;
    Ok(vec![Box::new(place)])
}

/// One line for everything that was mended or lost.
fn tell(name: &str, repaired: &Repaired, io: &mut Io) {
    for Mended { part, from } in &repaired.mended {
        io.say(format_args!("{name}: {part} mended, from {from}"));
    }
    for Lost { part, reason } in &repaired.lost {
        io.say(format_args!("{name}: {part} is lost: {reason}"));
    }
}

/// The failure of a repair that did not mend everything.
fn lost(name: &str, repaired: &Repaired) -> Option<Failure> {
    let first = repaired.lost.first()?;
    let others = match repaired.lost.len() - 1 {
        0 => String::new(),
        others => format!(", and {others} more"),
    };
    let what = format!("{name} is damaged: {}{others}", first.part);
    Some(Failure::new(Kind::Integrity, what).next(format!(
        "run `odfs repair {name}` when somebody who has it is in reach (--peer names a peer, `odfs repo alias add` a place); \
         nothing was taken away"
    )))
}

fn row(name: &str, repaired: &Repaired) -> [Cell; 5] {
    let result = match (repaired.lost.is_empty(), repaired.mended.is_empty()) {
        (true, true) => "ok",
        (true, false) => "mended",
        (false, _) => "damaged",
    };
    let mended: Vec<Value> = repaired
        .mended
        .iter()
        .map(|Mended { part, from }| json!({ "part": part.to_string(), "from": from }))
        .collect();
    let lost: Vec<Value> = repaired.lost.iter().map(lost_object).collect();
    let fault = repaired
        .lost
        .first()
        .map(|lost| format!("{}: {}", lost.part, lost.reason));
    [
        name.into(),
        result.into(),
        Cell::shown(mended, repaired.mended.len()),
        Cell::shown(lost, repaired.lost.len()),
        fault.map_or(Value::Null, Value::String).into(),
    ]
}

fn lost_object(lost: &Lost) -> Value {
    let rows = match &lost.part {
        Part::Object {
            rows: Some((first, last)),
            ..
        } => json!([first, last]),
        _ => Value::Null,
    };
    json!({ "part": lost.part.to_string(), "reason": lost.reason, "rows": rows })
}

/// Shows how far a repair is, and ends it when the user wants to stop.
struct Watch {
    name: String,
    cancel: Cancel,
    progress: Progress,
    checked: AtomicU64,
    came: AtomicU64,
    wanted: AtomicU64,
}

impl Watch {
    fn new(name: String, io: &Io) -> Self {
        Self {
            name,
            cancel: io.cancel().clone(),
            progress: io.progress().clone(),
            checked: AtomicU64::new(0),
            came: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
        }
    }

    fn hear(&self, doing: Doing) -> bool {
        match doing {
            Doing::Checked(bytes) => {
                self.checked.fetch_add(bytes, Ordering::Relaxed);
            }
            Doing::Wanted(_, bytes) => self.wanted.store(bytes, Ordering::Relaxed),
            Doing::Came(bytes) => {
                self.came.fetch_add(bytes, Ordering::Relaxed);
            }
            _ => {}
        }
        self.progress.show(|| {
            let [checked, came, wanted] =
                [&self.checked, &self.came, &self.wanted].map(|counter| counter.load(Ordering::Relaxed));
            Step {
                text: match wanted {
                    0 => format!("{}: {} checked", self.name, output::bytes(checked)),
                    _ => format!(
                        "{}: {} of {} mended",
                        self.name,
                        output::bytes(came),
                        output::bytes(wanted)
                    ),
                },
                done: came,
                total: (wanted > 0).then_some(wanted),
            }
        });
        !self.cancel.is_set()
    }
}
