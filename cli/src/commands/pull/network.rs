//! Pulling over IPFS: names and roots.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use odf::metadata::DatasetId;
use odf::publish;
use odf::pull::{Address, Outcome, Progress, PullOptions, Pulled, pull_from};
use odf_node::fetch::Fetcher;

use super::{PullArgs, open};
use crate::commands::repair::{after_pull, peers_at};
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(200);

/// Connects to the peers that were named. One of several that cannot be reached is only told.
pub(in crate::commands) fn dial(
    addresses: &[String],
    session: &Session,
    io: &mut Io,
) -> Result<Vec<odf_node::PeerId>, Failure> {
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
pub(super) fn one(
    address: &Address,
    dataset: Option<DatasetId>,
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
        text: format!("looking for {}", address),
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
        dataset: dataset.map(|id| open(&id, session)).transpose()?,
        name: args.name.clone(),
        alias: !args.no_alias,
        force: args.force,
    };
    let work = pull_from(workspace.local(), node, &fetcher, address, options, &on_progress);
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
        publish::retain(workspace.local(), pulled.outcome.dataset(), keep)?;
    }
    let updated = tell(&pulled, address, io)?;
    let places = || {
        peers_at(address, peers, session).unwrap_or_else(|failure| {
            tracing::warn!(%address, reason = failure.message(), "nobody is asked for what is missing");
            Vec::new()
        })
    };
    after_pull(pulled.outcome.dataset(), &places, session, io)?;
    Ok(updated)
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
