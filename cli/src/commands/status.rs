//! `odfs status`

use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use odf::catalog::Entry;
use odf::dataset::RemoteAliases;
use odf::metadata::DatasetId;
use odf::pull::{Address, id_of};
use odf_node::ipns::{Name, NameStatus};
use odf_node::peer::Node;
use odf_node::routing::Provided;
use serde_json::{Value, json};

use super::{contact, follow, rival, safety};
use crate::failure::Failure;
use crate::io::Io;
use crate::output::{self, Cell, Format, Listing, OutputArgs};
use crate::session::Session;

/// Tickets that people are shown, each of which has some lines.
const MAX_TICKETS: usize = 3;

/// Show the peer, the names with their age and safety, and the size of the store
///
/// A running node is asked who else has the newest rows, which takes three seconds at most. Without one nobody is asked, and
/// addresses and peers are empty.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Form of the status; csv and ndjson list the names alone
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &StatusArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let workspace = session.workspace()?;
    let node = session.running_node();
    let peer_id = session.own_peer_id()?;
    let (addresses, peers, provided) = match node {
        Some(node) => {
            let asked = async { Ok::<_, Failure>((node.peers().await, node.routing().provided().await?)) };
            let (peers, provided) = session.wait(io, asked)?;
            (node.listen_addrs(), peers, Some(provided))
        }
        None => (Vec::new(), Vec::new(), None),
    };
    let kept = odf_node::ipns::kept(workspace.store())?;
    let stats = workspace.store().stats()?;
    let network_key = session.network_key()?;
    let memory = odf_node::peer::memory(workspace.store(), network_key.as_ref())?;
    let entries = workspace.catalog().entries()?;
    let wishes = session.wishes(io)?;
    let followed: HashSet<Name> = wishes.iter().map(|wish| wish.name).collect();
    let (names, tickets) = names_listing(&kept, &followed, &entries, node.filter(|_| session.is_lasting()));
    let follows = follow::listing(&wishes, session)?;
    let damaged: Vec<&Entry> = entries.iter().filter(|entry| entry.damaged.is_some()).collect();
    let format = args.output.format(io);
    if !matches!(format, Format::Table | Format::Json) {
        return names.write(format, io);
    }
    let mut attention = Vec::new();
    for name in &kept {
        attention.extend(rival::sentence(name, session, io)?);
    }
    attention.extend(follow::sentences(&wishes, session)?);
    let size = stats.pack_bytes + stats.file_bytes + stats.index_bytes;
    if format == Format::Json {
        let peers: Vec<Value> = peers
            .iter()
            .map(|peer| {
                json!({
                    "peerId": peer.peer.to_string(),
                    "addresses": peer.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "agent": peer.agent,
                    "latencyMs": peer.latency.map(|latency| latency.as_secs_f64() * 1000.0),
                })
            })
            .collect();
        let exchange = node.map(|node| node.exchange().stats());
        return io.line(json!({
            "workspace": session.root(),
            "running": node.is_some(),
            "privateNetwork": network_key.map(|key| key.fingerprint()),
            "peerId": peer_id.to_string(),
            "addresses": addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "peers": peers,
            "rememberedPeers": memory.peers,
            "networkReached": memory.reached.map(|at| output::time(DateTime::<Utc>::from(at))),
            "names": names.to_json()?,
            "followed": follows.to_json()?,
            "attention": attention,
            "damaged": damaged
                .iter()
                .map(|entry| json!({ "dataset": entry.label(), "reason": entry.damaged }))
                .collect::<Vec<_>>(),
            "provided": provided.map(|provided| json!({
                "strategy": session.settings().strategy.to_string(),
                "keys": provided.keys,
                "waiting": provided.waiting,
                "lap": provided.lap,
                "behindSeconds": provided.behind.as_secs(),
                "walks": provided.done.walks,
                "regions": provided.done.regions,
                "messages": provided.done.messages,
            })),
            "servedBlocks": exchange.as_ref().map(|stats| stats.blocks_sent),
            "servedBytes": exchange.as_ref().map(|stats| stats.bytes_sent),
            "store": {
                "bytes": size,
                "blocks": stats.blocks,
                "packBytes": stats.pack_bytes,
                "fileBytes": stats.file_bytes,
                "indexBytes": stats.index_bytes,
                "pins": stats.pins,
            },
        }));
    }
    io.line(format_args!("Workspace: {}", session.root().display()))?;
    io.line(format_args!(
        "Peer: {peer_id}{}",
        if node.is_some() {
            ""
        } else {
            " (not running; `odfs node` starts it)"
        }
    ))?;
    if let Some(key) = &network_key {
        io.line(format_args!(
            "Network: private, fingerprint {} of its key",
            key.fingerprint()
        ))?;
    }
    for address in &addresses {
        io.line(format_args!("Address: {address}"))?;
    }
    io.line(format_args!("Peers: {}", peers.len()))?;
    if let Some(at) = memory.reached {
        let ago = SystemTime::now().duration_since(at).unwrap_or_default();
        io.line(format_args!(
            "Remembered: {} peer(s), dialled first; the network was last reached {} ago",
            memory.peers,
            output::duration(ago)
        ))?;
    }
    if let Some(provided) = provided {
        io.line(format_args!("Announced: {}", announced(&provided)))?;
    }
    io.line(format_args!(
        "Store: {} in {} blocks ({} in files of datasets, {} in packs, index {})",
        output::bytes(size),
        output::count(stats.blocks),
        output::bytes(stats.file_bytes),
        output::bytes(stats.pack_bytes),
        output::bytes(stats.index_bytes)
    ))?;
    for entry in damaged {
        let reason = entry.damaged.as_deref().unwrap_or_default();
        io.line(format_args!("Damaged: {} ({reason})", entry.label()))?;
    }
    names.write(Format::Table, io)?;
    if tickets.len() > MAX_TICKETS {
        io.line("Tickets: `odfs ticket DATASET` prints one by which other machines pull from here")?;
    } else {
        for (dataset, ticket) in tickets {
            io.line(format_args!("Ticket of {dataset}: {ticket}"))?;
        }
    }
    if !wishes.is_empty() {
        follows.write(Format::Table, io)?;
    }
    for sentence in attention {
        io.line(sentence)?;
    }
    if kept.iter().any(|name| name.own) {
        // What stands there so far need not wait.
        io.finish()?;
        safety::look(None, safety::LOOK, session)?;
    }
    match safety::of(session)? {
        Some(sentence) => io.line(sentence),
        None => Ok(()),
    }
}

/// How far a peer is with what it announces.
fn announced(provided: &Provided) -> String {
    let mut text = format!("{} key(s)", output::count(provided.keys as u64));
    if provided.waiting > 0 {
        text.push_str(&format!(
            ", {} of them still to nobody or to the local network only",
            output::count(provided.waiting as u64)
        ));
    }
    match provided.behind.as_secs() {
        0 => {}
        _ => text.push_str(&format!(
            "; telling them again is {} late",
            output::duration(provided.behind)
        )),
    }
    text
}

/// The names, and the tickets of those that are published here, with what they are called.
fn names_listing(
    names: &[NameStatus],
    followed: &HashSet<Name>,
    datasets: &[Entry],
    node: Option<&Node>,
) -> (Listing, Vec<(String, String)>) {
    let columns = [
        "Name",
        "Dataset",
        "Role",
        "Value",
        "Sequence",
        "Confirmed",
        "Holders",
        "SafeUntil",
        "ValidUntil",
        "Ticket",
    ];
    let mut listing = Listing::new(&columns)
        .in_words(&[
            ("Value", None),
            ("Sequence", None),
            ("Holders", Some("Known to")),
            ("SafeUntil", Some("Safe until")),
            ("ValidUntil", Some("Valid until")),
            // Too long for a column.
            ("Ticket", None),
        ])
        .when_empty("Names: none published or followed yet");
    let mut tickets = Vec::new();
    let by_id: HashMap<&DatasetId, &Entry> = datasets.iter().map(|entry| (&entry.id, entry)).collect();
    // Nearly always every name is that of a dataset here.
    let by_address = LazyCell::new(|| by_address(datasets));
    for status in names {
        let name = status.name.to_string();
        // A dataset's own name says which dataset it is; another one is known by where the dataset is pushed to, or by the
        // address that it is pulled from.
        let own = id_of(&status.name).and_then(|id| by_id.get(&id));
        let dataset = own.or_else(|| by_address.get(&format!("ipns://{name}")));
        let dataset = dataset.and_then(|entry| entry.name.as_ref());
        let ticket = node
            .filter(|_| status.own || status.followed)
            .and_then(|node| contact::ticket(&Address::Name(status.name), dataset, node))
            .map(|ticket| ticket.to_string());
        if let (true, Some(dataset), Some(ticket)) = (status.own, dataset, &ticket) {
            tickets.push((dataset.to_string(), ticket.clone()));
        }
        let dataset = dataset.map(|name| name.as_str().to_owned());
        let role = match (status.own, status.followed) {
            (true, _) => "published",
            (false, true) if followed.contains(&status.name) => "followed",
            // Kept alive, and brought up to date by whoever asks for that.
            (false, true) => "pulled",
            (false, false) if status.withdrawn => "unpublished",
            (false, false) => "known",
        };
        listing.row([
            name.into(),
            dataset.map_or(Value::Null, Value::String).into(),
            role.into(),
            status.value.clone().map_or(Value::Null, Value::String).into(),
            status.sequence.map_or(Value::Null, Value::from).into(),
            age(status.confirmed),
            Cell::shown(u64::from(status.holders), others(status.holders)),
            time(status.safe_until),
            time(status.valid_until),
            ticket.map_or(Value::Null, Value::String).into(),
        ]);
    }
    (listing, tickets)
}

/// The first dataset that is pushed to an address, or pulled from it.
fn by_address(datasets: &[Entry]) -> HashMap<String, &Entry> {
    let mut found = HashMap::new();
    for entry in datasets {
        // What cannot be read only costs the name of a dataset here.
        let aliases = RemoteAliases::in_directory(&entry.dir).unwrap_or_default();
        for address in aliases.push_aliases.into_iter().chain(aliases.pull_aliases) {
            found.entry(address).or_insert(entry);
        }
    }
    found
}

/// How many other machines know a name.
fn others(holders: u32) -> String {
    match holders {
        0 => "nobody".to_owned(),
        1 => "1 other".to_owned(),
        all => format!("{all} others"),
    }
}

fn time(at: Option<SystemTime>) -> Cell {
    match at.map(DateTime::<Utc>::from) {
        Some(at) => Cell::shown(
            at.to_rfc3339_opts(SecondsFormat::Secs, true),
            at.format("%Y-%m-%d %H:%M"),
        ),
        None => Value::Null.into(),
    }
}

/// When, for programs; how long ago, for people.
fn age(at: Option<SystemTime>) -> Cell {
    match at {
        Some(at) => {
            let ago = SystemTime::now().duration_since(at).unwrap_or_default();
            let at = DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Secs, true);
            Cell::shown(at, format!("{} ago", output::duration(ago)))
        }
        None => Value::Null.into(),
    }
}
