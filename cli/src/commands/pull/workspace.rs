//! `odfs pull --from-workspace`: datasets out of a workspace of kamu.

use std::path::Path;

use odf::receive::Destination;
use odf::repository::kamu_workspace::{KamuDataset, KamuWorkspace};

use super::repository::simple;
use super::{PullArgs, Tally};
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// Takes the datasets that the arguments name, or all, with where they are pulled from and pushed to.
pub(super) fn import(path: &Path, args: &PullArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let workspace = KamuWorkspace::open(&io.resolve(path), &session.spool_dir()?)?;
    let datasets: Vec<&KamuDataset> = if args.targets.is_empty() {
        workspace.datasets().iter().collect()
    } else {
        args.targets
            .iter()
            .map(|name| workspace.find(name))
            .collect::<Result<_, _>>()?
    };
    if args.name.is_some() && datasets.len() != 1 {
        return Err(Failure::usage("--as names one dataset, and several are to be taken").next("name the one to take"));
    }
    if datasets.is_empty() {
        io.say(format_args!("{} has no datasets", path.display()));
        return Ok(());
    }
    let several = datasets.len() > 1;
    let (mut tally, mut first) = (Tally::default(), None);
    for dataset in datasets {
        match one(&workspace, dataset, args, session, io) {
            Ok(updated) => tally.count(updated),
            Err(failure) if failure.kind() == Kind::Interrupted || !several => return Err(failure),
            Err(failure) => {
                io.say(format_args!("{}: {}", dataset.full_name(), failure.message()));
                first.get_or_insert(failure);
            }
        }
    }
    tally.tell(io);
    first.map_or(Ok(()), |first| {
        Err(Failure::new(first.kind(), "not every dataset could be taken")
            .next("name those one by one to see what can be done; what was taken stays"))
    })
}

fn one(
    workspace: &KamuWorkspace,
    dataset: &KamuDataset,
    args: &PullArgs,
    session: &Session,
    io: &mut Io,
) -> Result<bool, Failure> {
    io.check()?;
    let name = args.name.clone().unwrap_or_else(|| workspace.local_name(dataset));
    // Not where it is from: it goes on living here, and its rows are added here.
    let aliases = if args.no_alias {
        Default::default()
    } else {
        dataset.aliases()?
    };
    let destination = Destination {
        dataset: session.workspace()?.catalog().by_id(&dataset.id)?,
        expected_id: Some(dataset.id),
        aliases,
        force: args.force,
        ..Destination::named(name)
    };
    let source = dataset.source();
    simple(&source, &source, destination, session, io)
}
