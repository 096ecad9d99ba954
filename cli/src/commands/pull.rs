//! `odfs pull`

use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use odf::dataset::{Dataset, DatasetName};
use odf::metadata::DatasetId;
use odf::pull::{self, Destination, Outcome, Progress, PullError};
use odf_node::block::Cid;
use odf_node::fetch::Fetcher;
use odf_node::ipns::{Freshness, Name, Source};
use odf_node::peer::Node;

use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// Fetch datasets, or what is new of them
///
/// A name is always looked up on the network. What is here already is not fetched again, also after an interruption.
#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    /// What to pull: ipns://K, ipfs://CID, K, did:odf:…, or the name of a dataset that was pulled before
    #[arg(required_unless_present = "all")]
    targets: Vec<String>,
    /// Update every dataset that was pulled before
    #[arg(short, long, conflicts_with_all = ["targets", "name"])]
    all: bool,
    /// Name for the dataset here [default: the last part of the address]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<DatasetName>,
    /// Do not remember where the dataset is from
    #[arg(long)]
    no_alias: bool,
    /// Address of a peer to ask, ending in /p2p/ID; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR")]
    peers: Vec<String>,
}

/// Where a dataset is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Under a name; for a `did:odf:`, only the dataset of that id will do.
    Name(Name, Option<DatasetId>),
    /// At a root, perhaps below it.
    Content(Cid, String),
}

/// One thing to pull.
struct Job {
    place: Place,
    /// The address as it is remembered.
    alias: String,
    dataset: Option<Dataset>,
    name: DatasetName,
}

pub(super) fn run(args: &PullArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    if args.name.is_some() && args.targets.len() > 1 {
        return Err(Failure::usage("--as names one dataset, and several are to be pulled"));
    }
    let jobs = jobs(args, session)?;
    let peers = dial(args, session, io)?;
    let several = jobs.len() > 1;
    let (mut updated, mut current) = (0, 0);
    let mut first = None;
    for job in jobs {
        match one(&job, &peers, args.no_alias, session, io) {
            Ok(true) => updated += 1,
            Ok(false) => current += 1,
            Err(failure) if failure.kind() == Kind::Interrupted => return Err(failure),
            Err(failure) if several => {
                let failure = failure.about(&job.name);
                failure.report(io.messages());
                first.get_or_insert(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    for (count, what) in [(updated, "updated"), (current, "up-to-date")] {
        if several && count > 0 {
            io.say(format_args!("{count} dataset(s) {what}"));
        }
    }
    match first {
        None => Ok(()),
        Some(first) => Err(Failure::new(first.kind(), "not every dataset could be pulled")
            .next("run the command again for those; what arrived is kept")),
    }
}

fn jobs(args: &PullArgs, session: &Session) -> Result<Vec<Job>, Failure> {
    let catalog = session.workspace()?.catalog();
    let mut jobs = Vec::new();
    if args.all {
        for entry in catalog.entries()? {
            let dataset = catalog.open_entry(&entry)?;
            if let Some(alias) = dataset.remote_aliases()?.pull_aliases.first() {
                jobs.push(Job { place: parse(alias)?.0, alias: alias.clone(), name: dataset.name()?, dataset: Some(dataset) });
            }
        }
        if jobs.is_empty() {
            return Err(Failure::new(Kind::NotFound, "no dataset here was pulled from elsewhere")
                .next("`odfs pull ipns://K` fetches one"));
        }
        return Ok(jobs);
    }
    for target in &args.targets {
        jobs.push(match parse(target) {
            Ok((place, host)) => {
                // A dataset that comes from this very place is updated, whatever it is called here.
                let mut known = None;
                for entry in catalog.entries()? {
                    let dataset = catalog.open_entry(&entry)?;
                    let same = dataset.remote_aliases()?.pull_aliases.iter().any(|alias| {
                        parse(alias).is_ok_and(|(other, _)| match (&other, &place) {
                            (Place::Name(a, _), Place::Name(b, _)) => a == b,
                            (a, b) => a == b,
                        })
                    });
                    if same {
                        known = Some(dataset);
                        break;
                    }
                }
                let name = args.name.clone().or_else(|| DatasetName::from_text(&host));
                let name = name.ok_or_else(|| {
                    Failure::usage(format!("{target} does not suggest a name for the dataset")).next("say it with --as")
                })?;
                Job { alias: alias_of(&place), place, dataset: known, name }
            }
            Err(not_an_address) => {
                let looks_like_address = ["://", "did:", "/"].iter().any(|part| target.contains(part));
                let dataset = match catalog.find(target) {
                    Ok(dataset) => dataset,
                    Err(_) if looks_like_address => return Err(not_an_address),
                    Err(error) => return Err(error.into()),
                };
                let aliases = dataset.remote_aliases()?.pull_aliases;
                let alias = match aliases.as_slice() {
                    [only] => only.clone(),
                    [] => {
                        return Err(Failure::new(Kind::Refused, format!("{target} was not pulled from anywhere"))
                            .next("name the place: odfs pull ipns://K"));
                    }
                    several => {
                        return Err(Failure::new(Kind::Refused, format!("{target} is pulled from {}", several.join(", ")))
                            .next("name one of them"));
                    }
                };
                Job { place: parse(&alias)?.0, alias, name: dataset.name()?, dataset: Some(dataset) }
            }
        });
    }
    Ok(jobs)
}

/// Reads an address. Also gives the part that a dataset may be called after.
fn parse(text: &str) -> Result<(Place, String), Failure> {
    let wrong = |reason: String| {
        Failure::usage(format!("{text:?} is no address: {reason}"))
            .next("use ipns://K, ipfs://CID, K, did:odf:…, or the name of a dataset (`odfs list`)")
    };
    if text.starts_with("did:") {
        let id = text.strip_prefix("did:odf:").unwrap_or_default();
        let id = DatasetId::from_multibase(id).map_err(|error| wrong(error.to_string()))?;
        let name = Name::from_ed25519(id.public_key()).map_err(|error| wrong(error.to_string()))?;
        return Ok((Place::Name(name, Some(id)), id.to_multibase()));
    }
    let content = text.strip_prefix("ipfs://").or_else(|| text.strip_prefix("/ipfs/"));
    if let Some(rest) = content {
        let (cid, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_matches('/');
        let host = path.rsplit('/').find(|segment| !segment.is_empty()).unwrap_or(cid).to_owned();
        let cid = Cid::try_from(cid).map_err(|error| wrong(error.to_string()))?;
        return Ok((Place::Content(cid, path.to_owned()), host));
    }
    let name = text.strip_prefix("ipns://").or_else(|| text.strip_prefix("/ipns/")).unwrap_or(text);
    let name = name.trim_end_matches('/');
    if name.contains('/') {
        return Err(wrong("a name holds one dataset and takes no path".to_owned()));
    }
    let parsed: Name = name.parse().map_err(|error| wrong(format!("{error}")))?;
    Ok((Place::Name(parsed, None), name.to_owned()))
}

fn alias_of(place: &Place) -> String {
    match place {
        Place::Name(name, _) => format!("ipns://{name}"),
        Place::Content(cid, path) if path.is_empty() => format!("ipfs://{cid}"),
        Place::Content(cid, path) => format!("ipfs://{cid}/{path}"),
    }
}

/// Connects to the peers that were named. One that cannot be reached is only told.
fn dial(args: &PullArgs, session: &Session, io: &mut Io) -> Result<Vec<odf_node::peer::PeerId>, Failure> {
    let node = session.node()?;
    let mut peers = Vec::new();
    let mut last = None;
    for text in &args.peers {
        let address = text.parse().map_err(|error| {
            Failure::usage(format!("--peer {text:?} is no multiaddr: {error}"))
                .next("`odfs status` on the other machine shows its addresses")
        })?;
        match session.wait(io, node.dial(address)) {
            Ok(peer) => peers.push(peer),
            Err(failure) if failure.kind() == Kind::Interrupted => return Err(failure),
            Err(failure) => {
                io.say(format_args!("{text}: {}", failure.message()));
                last = Some(failure.about(text));
            }
        }
    }
    match last {
        Some(failure) if peers.is_empty() => Err(failure),
        _ => Ok(peers),
    }
}

/// Pulls one dataset; whether anything was new.
fn one(
    job: &Job,
    peers: &[odf_node::peer::PeerId],
    no_alias: bool,
    session: &Session,
    io: &mut Io,
) -> Result<bool, Failure> {
    let workspace = session.workspace()?;
    let node = session.node()?;
    // GC must not take what has no pin yet.
    let hold = workspace.store().hold();
    let exchange = node.exchange().session();
    peers.iter().for_each(|peer| exchange.add_provider(*peer));
    let fetcher = Fetcher::new(workspace.store().clone(), Some(exchange));

    io.progress().show(|| Step { text: format!("looking for {}", job.alias), ..Step::default() });
    let (value, expected) = match &job.place {
        Place::Content(cid, path) => (format!("/ipfs/{cid}/{path}"), None),
        Place::Name(name, id) => (session.wait(io, look_up(node, name))?, *id),
    };
    let destination =
        Destination { dataset: job.dataset.clone(), name: job.name.clone(), expected_id: expected };
    let is_new = job.dataset.is_none();
    let (done, total) = (AtomicU64::new(0), AtomicU64::new(0));
    let (watched, shown) = (fetcher.clone(), io.progress().clone());
    let show = || {
        let (done, total) = (done.load(Ordering::Relaxed), total.load(Ordering::Relaxed));
        shown.show(|| step(&watched, done, total));
    };
    let on_progress = |at: Progress| match at {
        Progress::Planned { bytes, .. } => total.store(bytes, Ordering::Relaxed),
        Progress::Object { bytes } => {
            done.fetch_add(bytes, Ordering::Relaxed);
        }
        _ => {}
    };
    let work = async {
        let root = pull::root_of(&fetcher, value.trim_end_matches('/')).await?;
        let remote = pull::open(&fetcher, root).await?;
        pull::pull(workspace, &fetcher, &remote, destination, &on_progress).await
    };
    let outcome = session.wait(io, async {
        tokio::pin!(work);
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(200));
        loop {
            tokio::select! {
                outcome = &mut work => return outcome.map_err(|error: PullError| Failure::from(error)),
                _ = tick.tick() => show(),
            }
        }
    })?;

    let dataset = outcome.dataset();
    let root = session.wait(io, odf::publish::lay_out(workspace, dataset))?;
    if let Place::Name(name, _) = &job.place {
        session.wait(io, node.names().follow(name))?;
    }
    if is_new && !no_alias {
        let mut aliases = dataset.remote_aliases()?;
        if !aliases.pull_aliases.contains(&job.alias) {
            aliases.pull_aliases.push(job.alias.clone());
            dataset.set_remote_aliases(&aliases)?;
        }
    }
    workspace.store().flush()?;
    drop(hold);
    session.added(&root.entities());
    tell(&outcome, io)
}

fn tell(outcome: &Outcome, io: &mut Io) -> Result<bool, Failure> {
    let name = outcome.dataset().name()?;
    match outcome {
        Outcome::UpToDate { .. } => io.line(format_args!("{name} is up to date"))?,
        Outcome::Ahead { remote, .. } => {
            io.line(format_args!("{name} is up to date; it is ahead of the remote head {remote}"))?;
        }
        Outcome::Updated { dataset, old_head, blocks, fetched, .. } => {
            let words = if old_head.is_none() { format!("Pulled {name} at") } else { format!("{name}: updated to") };
            io.line(format_args!("{words} {} ({blocks} block(s))", dataset.head()))?;
            io.say(format_args!(
                "fetched {} IPLD block(s), {}; {} were here",
                output::count(fetched.blocks),
                output::bytes(fetched.bytes),
                output::count(fetched.local)
            ));
        }
    }
    Ok(matches!(outcome, Outcome::Updated { .. }))
}

/// What a name stands for now, by the word of the network.
async fn look_up(node: &Node, name: &Name) -> Result<String, Failure> {
    let found = node.names().resolve(name, Freshness::Network).await?;
    match found.source {
        Source::Network { .. } => Ok(found.value),
        Source::Cache { .. } if node.names().status(name).await?.is_some_and(|status| status.own) => Ok(found.value),
        Source::Cache { .. } => {
            let age = found.age.map_or_else(String::new, |age| format!(", {} old", output::duration(age)));
            Err(Failure::new(
                Kind::Unreachable,
                format!("nobody who can be asked knows {name}; the last answer is {}{age}", found.value),
            )
            .next("check the connection, or name a peer with --peer"))
        }
    }
}

fn step(fetcher: &Fetcher, done: u64, total: u64) -> Step {
    let fetched = fetcher.fetched();
    let mut text = format!("{}, {} blocks", output::bytes(fetched.bytes), output::count(fetched.blocks));
    if let Some(session) = fetcher.session() {
        let stats = session.stats();
        text.push_str(&format!(", {}/s, {} provider(s)", output::bytes(stats.rate as u64), stats.providers));
    }
    Step { text, done: done.max(fetched.bytes.min(total)), total: (total > 0).then_some(total) }
}
