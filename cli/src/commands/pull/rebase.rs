//! `odfs pull --rebase`: what was done here put behind what was done elsewhere.

use odf::chain::{Relation, compare_by};
use odf::copies::Copies;
use odf::dataset::{Dataset, DatasetError, DatasetName, RebaseError};
use odf::pull::Address;
use odf::receive::{Destination, FromDataset, Source, receive};

use crate::commands::batch::committed;
use crate::commands::reset::tell_followers;
use crate::commands::transfer::Watch;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output;
use crate::session::Session;

/// Brings what is at `address` here, puts behind it what only the dataset here has, and makes that the dataset, in one step.
/// Whether anything was new.
pub(super) fn onto(source: &dyn Source, address: &str, session: &Session, io: &mut Io) -> Result<bool, Failure> {
    let scratch = session.workspace()?.copies().scratch()?;
    let done = put_behind(source, address, &scratch, session, io);
    let cleared = scratch.clear();
    done.and_then(|is_new| {
        cleared?;
        Ok(is_new)
    })
}

/// Does it by way of a copy in a place of its own, which is made the dataset with the last step.
fn put_behind(
    source: &dyn Source,
    address: &str,
    scratch: &Copies,
    session: &Session,
    io: &mut Io,
) -> Result<bool, Failure> {
    let workspace = session.workspace()?;
    let hold = workspace.store().hold();
    let name: DatasetName = "rebase".parse()?;
    let watch = Watch::new(io);
    let received = scratch.take(&name, source, address, &|at| watch.hear(at))?;
    let mut theirs = received.dataset().clone();
    let mut dataset = workspace.catalog().by_id(&theirs.id())?.ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("the dataset of {address} is not here"))
            .next(format!("bring it here with `odfs pull {address}`"))
    })?;
    let turn = session.turn(&mut dataset, io)?;
    let name = dataset.name()?;
    let (common, ours) = match relation(&dataset, &theirs)? {
        Relation::Equal | Relation::Ahead { .. } => {
            io.line(format_args!(
                "{name} is up to date: {address} has nothing that is not here"
            ))?;
            return Ok(false);
        }
        Relation::Behind { .. } => (dataset.state().blocks(), 0),
        Relation::Diverged { common, ours, .. } => (common, ours),
    };
    let (before, newest) = (*dataset.head(), theirs.head().short());
    let options = session.settings().slice_options();
    let rebased = match ours {
        0 => Ok(Default::default()),
        _ => theirs.rebase(&dataset, common, &options, io.now()?),
    };
    let rebased = rebased.map_err(|error| refusal(error, &name, address, common))?;
    let destination = Destination {
        dataset: Some(dataset),
        force: true,
        ..Destination::named(name.clone())
    };
    let source = FromDataset::new(&theirs, address.to_owned());
    let received = receive(workspace.datasets(), &source, destination, &|at| watch.hear(at))?;
    drop(hold);
    committed(received.dataset(), session, io)?;
    drop(turn);
    io.line(format_args!("{name}: updated to {}", received.dataset().head()))?;
    if ours > 0 {
        io.say(format_args!(
            "{} row(s) of {} block(s) are now behind the newest of {address}, {newest}{}{}",
            output::count(rebased.rows),
            output::count(rebased.commits),
            match rebased.events {
                0 => String::new(),
                events => format!(", and {} block(s) that describe it", output::count(events)),
            },
            match rebased.already {
                0 => String::new(),
                already => format!("; {} change(s) were there already", output::count(already)),
            }
        ));
        io.say(format_args!("The head before was {before}"));
        let is_by_name = address.parse::<Address>().is_ok_and(|address| address.name().is_some());
        match is_by_name {
            true => io.say(format_args!("`odfs push {name}` announces it")),
            // The name may stand for the history from before.
            false => tell_followers(received.dataset(), session, io)?,
        }
    }
    Ok(true)
}

/// How the history here stands to the other.
fn relation(ours: &Dataset, theirs: &Dataset) -> Result<Relation, DatasetError> {
    let hash = |dataset: &Dataset, at: u64| {
        let named = dataset.names_from(at)?.next().transpose()?;
        Ok::<_, DatasetError>(named.map(|(hash, _)| hash))
    };
    compare_by(ours.state().blocks(), theirs.state().blocks(), |at| {
        Ok(hash(ours, at)? == hash(theirs, at)?)
    })
}

/// Why nothing was put behind, with the ways on.
fn refusal(error: RebaseError, name: &DatasetName, address: &str, common: u64) -> Failure {
    let look = format!(
        "`odfs pull {address} --as {name}-there` shows that side, `odfs diff {name} {0}` and `odfs diff {name}-there {0}` what \
         each did",
        common.saturating_sub(1)
    );
    let reason = format!("nothing of {name} was put behind what {address} has: {error}");
    match error {
        RebaseError::Rows { .. } | RebaseError::Event { .. } => Failure::new(Kind::Refused, reason).next(format!(
            "{look}; write out what is here with `odfs export {name} {name}.csv`, take the other with `odfs pull {address} \
             --force`, and put in again what should hold"
        )),
        RebaseError::Computed => Failure::new(Kind::Refused, reason)
            .next(format!("`odfs pull {address} --force` takes that history")),
        RebaseError::TooMany => Failure::new(Kind::Refused, reason).next(look),
        RebaseError::Amend(error) => error.into(),
        _ => Failure::new(Kind::General, reason),
    }
}
