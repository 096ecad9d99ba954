//! `odfs pull`

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use odf::dataset::{Dataset, DatasetName};
use odf::publish;
use odf::pull::{Address, Outcome, Progress, PullOptions, Pulled, pull_from};
use odf_node::fetch::Fetcher;

use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(200);

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

/// One thing to pull.
struct Job {
    address: Address,
    dataset: Option<Dataset>,
}

pub(super) fn run(args: &PullArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    if args.name.is_some() && args.targets.len() > 1 {
        return Err(Failure::usage("--as names one dataset, and several are to be pulled"));
    }
    let jobs = if args.all {
        all(session)?
    } else {
        named(&args.targets, session)?
    };
    let peers = dial(&args.peers, session, io)?;
    let several = jobs.len() > 1;
    let (mut updated, mut current) = (0, 0);
    let mut first = None;
    for job in jobs {
        match one(&job, args, &peers, session, io) {
            Ok(true) => updated += 1,
            Ok(false) => current += 1,
            Err(failure) if failure.kind() == Kind::Interrupted || !several => return Err(failure),
            Err(failure) => {
                io.say(format_args!("{}: {}", job.address, failure.message()));
                first.get_or_insert(failure);
            }
        }
    }
    for (count, what) in [(updated, "updated"), (current, "up-to-date")] {
        if several && count > 0 {
            io.say(format_args!("{count} dataset(s) {what}"));
        }
    }
    first.map_or(Ok(()), |first| {
        Err(Failure::new(first.kind(), "not every dataset could be pulled")
            .next("run the command again for those; what arrived is kept"))
    })
}

/// Every dataset that was pulled before.
fn all(session: &Session) -> Result<Vec<Job>, Failure> {
    let catalog = session.workspace()?.catalog();
    let mut jobs = Vec::new();
    for entry in catalog.entries()? {
        let dataset = catalog.open_entry(&entry)?;
        if let Some(alias) = dataset.remote_aliases()?.pull_aliases.first() {
            jobs.push(Job {
                address: alias.parse()?,
                dataset: Some(dataset),
            });
        }
    }
    if jobs.is_empty() {
        return Err(
            Failure::new(Kind::NotFound, "no dataset here was pulled from elsewhere")
                .next("`odfs pull ipns://K` fetches one"),
        );
    }
    Ok(jobs)
}

/// What the user named: addresses, or datasets that remember where they are from.
fn named(targets: &[String], session: &Session) -> Result<Vec<Job>, Failure> {
    targets
        .iter()
        .map(|target| match target.parse::<Address>() {
            Ok(address) => Ok(Job {
                dataset: pulled_from(&address, session)?,
                address,
            }),
            Err(error) if target.contains("://") || target.contains(['/', ':']) => Err(error.into()),
            Err(_) => by_name(target, session),
        })
        .collect()
}

fn by_name(target: &str, session: &Session) -> Result<Job, Failure> {
    let dataset = session.workspace()?.catalog().find(target)?;
    match dataset.remote_aliases()?.pull_aliases.as_slice() {
        [only] => Ok(Job {
            address: only.parse()?,
            dataset: Some(dataset),
        }),
        [] => Err(
            Failure::new(Kind::Refused, format!("{target} was not pulled from anywhere"))
                .next("name the place: odfs pull ipns://K"),
        ),
        several => Err(
            Failure::new(Kind::Refused, format!("{target} is pulled from {}", several.join(", ")))
                .next("name one of them"),
        ),
    }
}

/// The dataset that came from this very place, whatever it is called here.
fn pulled_from(address: &Address, session: &Session) -> Result<Option<Dataset>, Failure> {
    let catalog = session.workspace()?.catalog();
    for entry in catalog.entries()? {
        let dataset = catalog.open_entry(&entry)?;
        let aliases = dataset.remote_aliases()?.pull_aliases;
        if aliases
            .iter()
            .any(|alias| alias.parse::<Address>().is_ok_and(|other| other == *address))
        {
            return Ok(Some(dataset));
        }
    }
    Ok(None)
}

/// Connects to the peers that were named. One of several that cannot be reached is only told.
fn dial(addresses: &[String], session: &Session, io: &mut Io) -> Result<Vec<odf_node::PeerId>, Failure> {
    let node = session.node()?;
    let mut peers = Vec::new();
    let mut last = None;
    for text in addresses {
        let address = text.parse().map_err(|error| {
            Failure::usage(format!("--peer {text:?} is no multiaddr: {error}"))
                .next("`odfs status` on the other machine shows its addresses")
        })?;
        match session.wait(io, node.dial(address)) {
            Ok(peer) => peers.push(peer),
            Err(failure) if failure.kind() == Kind::Interrupted => return Err(failure),
            Err(failure) => last = Some(failure.about(text)),
        }
    }
    match last {
        Some(failure) if peers.is_empty() => Err(failure),
        Some(failure) => {
            io.say(failure.message());
            Ok(peers)
        }
        None => Ok(peers),
    }
}

/// Pulls one dataset; whether anything was new.
fn one(
    job: &Job,
    args: &PullArgs,
    peers: &[odf_node::PeerId],
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
    io.progress().show(|| Step {
        text: format!("looking for {}", job.address),
        ..Step::default()
    });

    let (done, total) = (AtomicU64::new(0), AtomicU64::new(0));
    let on_progress = |at: Progress| match at {
        Progress::Planned { bytes, .. } => total.store(bytes, Ordering::Relaxed),
        Progress::Object { bytes } => {
            done.fetch_add(bytes, Ordering::Relaxed);
        }
        _ => {}
    };
    let progress = io.progress().clone();
    let show = || {
        let (done, total) = (done.load(Ordering::Relaxed), total.load(Ordering::Relaxed));
        progress.show(|| step(&fetcher, done, total));
    };
    let options = PullOptions {
        dataset: job.dataset.clone(),
        name: args.name.clone(),
        alias: !args.no_alias,
    };
    let work = pull_from(workspace, node, &fetcher, &job.address, options, &on_progress);
    let pulled = session.wait(io, async {
        tokio::pin!(work);
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                pulled = &mut work => return pulled,
                _ = tick.tick() => show(),
            }
        }
    })?;
    drop(hold);
    if let Some(keep) = session.settings().retention {
        publish::retain(workspace, pulled.outcome.dataset(), keep)?;
    }
    tell(&pulled, &job.address, io)
}

fn tell(pulled: &Pulled, address: &Address, io: &mut Io) -> Result<bool, Failure> {
    let name = pulled.outcome.dataset().name()?;
    match &pulled.outcome {
        // What was asked for is whether there is something newer, and that nobody knows.
        Outcome::UpToDate { .. } | Outcome::Ahead { .. } if pulled.stale.is_some() => {
            let age = pulled.stale.map(output::duration).unwrap_or_default();
            return Err(Failure::new(
                Kind::Unreachable,
                format!("nobody answered for {address}; {name} is at the head that was known {age} ago"),
            )
            .next("check the connection, or name a peer with --peer"));
        }
        Outcome::UpToDate { .. } => io.line(format_args!("{name} is up to date"))?,
        Outcome::Ahead { remote, .. } => {
            io.line(format_args!(
                "{name} is up to date; it is ahead of the remote head {remote}"
            ))?;
        }
        Outcome::Updated {
            dataset,
            old_head,
            blocks,
            fetched,
            ..
        } => {
            let words = if old_head.is_none() {
                format!("Pulled {name} at")
            } else {
                format!("{name}: updated to")
            };
            io.line(format_args!("{words} {} ({blocks} block(s))", dataset.head()))?;
            io.say(format_args!(
                "{} IPLD block(s) fetched, {}; {} were here",
                output::count(fetched.blocks),
                output::bytes(fetched.bytes),
                output::count(fetched.local)
            ));
            if let Some(age) = pulled.stale {
                io.say(format_args!(
                    "nobody answered for {address}: this is what it stood for {} ago",
                    output::duration(age)
                ));
            }
        }
    }
    Ok(matches!(pulled.outcome, Outcome::Updated { .. }))
}

fn step(fetcher: &Fetcher, done: u64, total: u64) -> Step {
    let fetched = fetcher.fetched();
    let mut text = format!(
        "{}, {} blocks",
        output::bytes(fetched.bytes),
        output::count(fetched.blocks)
    );
    if let Some(session) = fetcher.session() {
        let stats = session.stats();
        text.push_str(&format!(
            ", {}/s, {} provider(s)",
            output::bytes(stats.rate as u64),
            stats.providers
        ));
    }
    Step {
        text,
        done: done.max(fetched.bytes.min(total)),
        total: (total > 0).then_some(total),
    }
}
