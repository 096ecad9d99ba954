//! Pulling from directories and servers.

use odf::dataset::RemoteAliases;
use odf::metadata::DatasetId;
use odf::place::Place;
use odf::receive::{Destination, Received, Source, receive};
use odf::repository::files::FilesSource;
use odf::repository::http::HttpSource;
use odf::repository::smart::{Endpoint, SmartSource};

use super::beside::{self, Apart};
use super::{PullArgs, open, rebase};
use crate::commands::repair::after_pull;
use crate::commands::transfer::Watch;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output;
use crate::session::{Session, spread_dataset};

/// Pulls one dataset; whether anything was new. `alias` is how a new one remembers where it is from.
pub(super) fn one(
    place: &Place,
    alias: &str,
    dataset: Option<&DatasetId>,
    args: &PullArgs,
    session: &Session,
    io: &mut Io,
) -> Result<bool, Failure> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => place.default_name().ok_or_else(|| {
            Failure::usage(format!("`{place}` gives no name for the dataset")).next("name it with --as")
        })?,
    };
    let mut aliases = RemoteAliases::default();
    if !args.no_alias {
        aliases.pull_aliases.push(alias.to_owned());
    }
    let destination = Destination {
        dataset: dataset.map(|id| open(id, session)).transpose()?,
        aliases,
        force: args.force,
        ..Destination::named(name)
    };
    let proxy = io.environment().proxy();
    match place {
        Place::Files(dir) => {
            let source = FilesSource::new(dir);
            at_place(&source, &source, alias, destination, args, session, io)
        }
        Place::Http(url) => {
            let token = session.repositories().token_for(place)?;
            let source = HttpSource::new(url, token).through(proxy.as_ref());
            at_place(&source, &source, alias, destination, args, session, io)
        }
        Place::Smart(url) => {
            let token = session.repositories().token_for(place)?;
            // The server has the plain files, too; by its protocol it would give what is behind the local head.
            let copies = HttpSource::new(url, token.clone()).through(proxy.as_ref());
            let endpoint = Endpoint::new(url, token).through(proxy.as_ref());
            let watch = Watch::new(io);
            let datasets = session.workspace()?.datasets();
            let local = destination.dataset.as_ref();
            let source = SmartSource::open(endpoint, datasets, local, args.force, &|at| watch.hear(at))?;
            at_place(&source, &copies, alias, destination, args, session, io)
        }
        Place::Ipfs(_) => Err(
            Failure::new(Kind::Refused, format!("{place} is not pulled as a repository"))
                .next("pull it by its name or CID: `odfs pull ADDRESS`"),
        ),
    }
}

/// Receives a dataset that is at `address`, beside the one that is here if that is wanted; whether anything was new.
fn at_place(
    source: &dyn Source,
    copies: &dyn Source,
    address: &str,
    destination: Destination,
    args: &PullArgs,
    session: &Session,
    io: &mut Io,
) -> Result<bool, Failure> {
    if args.rebase {
        return rebase::onto(source, address, session, io);
    }
    if let Some(name) = args.name.as_ref().filter(|_| !args.force)
        && beside::is_copy(Some(name), session)?
    {
        return beside::take(name, source, address, None, session, io);
    }
    let watch = Watch::new(io);
    let datasets = session.workspace()?.datasets();
    let gently = Destination {
        force: false,
        ..destination.clone()
    };
    let apart = match receive(datasets, source, gently, &|at| watch.hear(at)) {
        Ok(Received::Ahead { dataset, by, .. }) if args.force => Apart::ahead(&dataset, by),
        Ok(received) => return received_from(&received, &watch, copies, session, io),
        Err(error) => {
            let (apart, error) = Apart::of(error, session)?;
            match &args.name {
                _ if args.force => {}
                Some(name) if !apart.is_of(name)? => {
                    return beside::take(name, source, address, Some(&apart), session, io);
                }
                _ => return Err(apart.refusal(&error, address, session)?),
            }
            apart
        }
    };
    apart.agree(address, io)?;
    simple(source, copies, destination, session, io)
}

/// Receives a dataset; whether anything was new. `copies` has what is missing of files that came before.
pub(super) fn simple(
    source: &dyn Source,
    copies: &dyn Source,
    destination: Destination,
    session: &Session,
    io: &mut Io,
) -> Result<bool, Failure> {
    let watch = Watch::new(io);
    let workspace = session.workspace()?;
    let received = receive(workspace.datasets(), source, destination, &|at| watch.hear(at))?;
    received_from(&received, &watch, copies, session, io)
}

/// Does and tells what follows when a dataset was received; whether anything was new.
fn received_from(
    received: &Received,
    watch: &Watch,
    copies: &dyn Source,
    session: &Session,
    io: &mut Io,
) -> Result<bool, Failure> {
    let workspace = session.workspace()?;
    finish(received, session)?;
    tell(received, io)?;
    if let Received::Updated(arrived) = received {
        if arrived.dataset.is_shared()
            && let Some(root) = workspace.layout().latest(&arrived.dataset.id())?
            && let Some(node) = session.running_node()
        {
            let runtime = session.runtime()?.handle();
            spread_dataset(workspace.local(), node, runtime, &arrived.dataset.id(), &root);
        }
        io.say(format_args!("{} of data came", output::bytes(watch.bytes())));
    }
    let places = || vec![Box::new(copies) as Box<dyn Source + '_>];
    after_pull(received, &places, session, io)?;
    Ok(matches!(received, Received::Updated(_)))
}

/// Gives up roots that need not be kept any more.
pub(super) fn finish(received: &Received, session: &Session) -> Result<(), Failure> {
    match received {
        Received::Updated(arrived) => session.retain(&arrived.dataset),
        Received::UpToDate { .. } | Received::Ahead { .. } => Ok(()),
    }
}

/// Tells what came of a pull.
pub(super) fn tell(received: &Received, io: &mut Io) -> Result<(), Failure> {
    let name = received.dataset().name()?;
    match received {
        Received::UpToDate { .. } => io.line(format_args!("{name} is up to date"))?,
        Received::Ahead { remote, by, .. } => io.line(format_args!(
            "{name} is up to date; it is {by} block(s) ahead of the remote head {remote}"
        ))?,
        Received::Updated(arrived) => {
            let words = match arrived.old_head {
                None => format!("Pulled {name} at"),
                Some(_) => format!("{name}: updated to"),
            };
            let (head, blocks) = (arrived.dataset.head(), arrived.blocks);
            io.line(format_args!("{words} {head} ({blocks} block(s))"))?;
            if arrived.dropped > 0 {
                io.say(format_args!(
                    "{} local block(s) that the other lacks were dropped; the old head was {}",
                    arrived.dropped,
                    arrived.old_head.map(|head| head.to_string()).unwrap_or_default()
                ));
            }
        }
    }
    Ok(())
}
