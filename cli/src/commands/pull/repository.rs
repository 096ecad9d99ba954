//! Pulling from directories and servers.

use odf::dataset::RemoteAliases;
use odf::metadata::DatasetId;
use odf::place::Place;
use odf::publish;
use odf::repair::Supply;
use odf::repository::files::FilesSource;
use odf::repository::http::HttpSource;
use odf::repository::smart::{Endpoint, Source};
use odf::repository::{self, Arrived, Destination, FromRepository, Outcome, SimpleSource};

use super::{PullArgs, open};
use crate::commands::repair::after_pull;
use crate::commands::transfer::Watch;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output;
use crate::session::Session;

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
        name,
        aliases,
    };
    match place {
        Place::Files(dir) => {
            let source = FilesSource::new(dir);
            simple(&source, &source, destination, args.force, session, io)
        }
        Place::Http(url) => {
            let token = session.repositories().token_for(place)?;
            let source = HttpSource::new(url, token);
            simple(&source, &source, destination, args.force, session, io)
        }
        Place::Smart(url) => {
            let token = session.repositories().token_for(place)?;
            // The server has the plain files, too; by its protocol it would give what is behind the local head.
            let copies = HttpSource::new(url, token.clone());
            let endpoint = Endpoint::new(url, token);
            let watch = Watch::new(io);
            let source = Source::open(endpoint, destination.dataset.as_ref(), args.force, &|at| watch.hear(at))?;
            simple(&source, &copies, destination, args.force, session, io)
        }
        Place::Ipfs(_) => Err(
            Failure::new(Kind::Refused, format!("{place} is not pulled as a repository"))
                .next("pull it by its name or CID: odfs pull ipns://K"),
        ),
    }
}

/// Pulls by the Simple Transfer Protocol; whether anything was new. `copies` has what is missing of files that came before.
pub(super) fn simple(
    source: &dyn SimpleSource,
    copies: &dyn SimpleSource,
    destination: Destination,
    force: bool,
    session: &Session,
    io: &mut Io,
) -> Result<bool, Failure> {
    let watch = Watch::new(io);
    let outcome = repository::pull(session.workspace()?.datasets(), source, destination, force, &|at| {
        watch.hear(at)
    })?;
    let updated = finish(&outcome, &watch, session, io)?;
    let places = || vec![Box::new(FromRepository(copies)) as Box<dyn Supply + '_>];
    after_pull(outcome.dataset(), &places, session, io)?;
    Ok(updated)
}

/// Tells how a pull ended, and serves what is new; whether anything was.
pub(super) fn finish(outcome: &Outcome, watch: &Watch, session: &Session, io: &mut Io) -> Result<bool, Failure> {
    let name = outcome.dataset().name()?;
    match outcome {
        Outcome::UpToDate { .. } => io.line(format_args!("{name} is up to date"))?,
        Outcome::Ahead { remote, by, .. } => io.line(format_args!(
            "{name} is up to date; it is {by} block(s) ahead of the remote head {remote}"
        ))?,
        Outcome::Updated(Arrived {
            dataset,
            old_head,
            blocks,
            dropped,
        }) => {
            let workspace = session.workspace()?;
            if let Some(keep) = session.settings().retention {
                publish::retain(workspace.local(), dataset, keep)?;
            }
            if let Some(root) = workspace.layout().latest(&dataset.id())? {
                session.added(&root.entities());
            }
            let words = match old_head {
                None => format!("Pulled {name} at"),
                Some(_) => format!("{name}: updated to"),
            };
            io.line(format_args!("{words} {} ({blocks} block(s))", dataset.head()))?;
            if *dropped > 0 {
                io.say(format_args!(
                    "{dropped} local block(s) that the other lacks were dropped; the old head was {}",
                    old_head.map(|head| head.to_string()).unwrap_or_default()
                ));
            }
            io.say(format_args!(
                "{} of slices and checkpoints came",
                output::bytes(watch.bytes())
            ));
        }
    }
    Ok(matches!(outcome, Outcome::Updated(_)))
}
