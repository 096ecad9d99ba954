//! `odfs repo alias`

use clap::Subcommand;
use odf::dataset::{Dataset, RemoteAliases};

use crate::failure::Failure;
use crate::io::Io;
use crate::output::{Listing, OutputArgs};
use crate::session::Session;

/// Work with aliases: where datasets are pulled from and pushed to
#[derive(Subcommand, Debug)]
pub(crate) enum AliasCommand {
    /// List where datasets are pulled from and pushed to
    #[command(visible_alias = "ls")]
    List {
        /// Name or id of one dataset [default: all]
        dataset: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Add a place that a dataset is pulled from or pushed to
    Add {
        /// Name or id of the dataset
        dataset: String,
        /// The place: an address, or REPOSITORY/DATASET
        alias: String,
        /// Push to it
        #[arg(long, required_unless_present = "pull")]
        push: bool,
        /// Pull from it
        #[arg(long)]
        pull: bool,
    },
    /// Drop places that datasets are pulled from and pushed to
    #[command(visible_alias = "rm")]
    Delete {
        /// Name or id of the dataset [default: all, with --all]
        #[arg(required_unless_present = "all")]
        dataset: Option<String>,
        /// The place
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        alias: Option<String>,
        /// All places
        #[arg(short, long)]
        all: bool,
        /// Only as a place to push to
        #[arg(long)]
        push: bool,
        /// Only as a place to pull from
        #[arg(long)]
        pull: bool,
    },
}

pub(super) fn run(command: &AliasCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    match command {
        AliasCommand::List { dataset, output } => list(dataset.as_deref(), *output, session, io),
        AliasCommand::Add {
            dataset,
            alias,
            push,
            pull,
        } => {
            let dataset = session.workspace()?.catalog().find(dataset)?;
            let repositories = session.repositories();
            let place = repositories.resolve(alias)?;
            // An address in the form in which pull and push remember it; a name in a repository as it is.
            let alias = alias
                .parse()
                .map_or_else(|_| alias.clone(), |_: odf::place::Place| place.to_string());
            let added = dataset.change_remote_aliases(|aliases| {
                let mut added = Vec::new();
                for (wanted, kind) in [(*pull, "pull"), (*push, "push")] {
                    let list = of_kind(aliases, kind);
                    if wanted && !list.contains(&alias) {
                        list.push(alias.clone());
                        added.push(kind);
                    }
                }
                added
            })?;
            for kind in added {
                io.say(format_args!("Added: {alias} ({kind})"));
            }
            Ok(())
        }
        AliasCommand::Delete {
            dataset,
            alias,
            push,
            pull,
            ..
        } => {
            let datasets = chosen(dataset.as_deref(), session)?;
            // Neither means both.
            let kinds = [(*pull || !*push, "pull"), (*push || !*pull, "push")];
            let mut count = 0;
            for dataset in datasets {
                count += delete(&dataset, alias.as_deref(), kinds, session)?;
            }
            io.say(format_args!("Deleted {count} alias(es)"));
            Ok(())
        }
    }
}

fn of_kind<'a>(aliases: &'a mut RemoteAliases, kind: &str) -> &'a mut Vec<String> {
    match kind {
        "pull" => &mut aliases.pull_aliases,
        _ => &mut aliases.push_aliases,
    }
}

/// One dataset, or all.
fn chosen(dataset: Option<&str>, session: &Session) -> Result<Vec<Dataset>, Failure> {
    let catalog = session.workspace()?.catalog();
    match dataset {
        Some(dataset) => Ok(vec![catalog.find(dataset)?]),
        None => {
            let entries = catalog.entries()?;
            Ok(entries
                .iter()
                .map(|entry| catalog.open_entry(entry))
                .collect::<Result<_, _>>()?)
        }
    }
}

fn list(dataset: Option<&str>, output: OutputArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let mut listing = Listing::new(&["Dataset", "Kind", "Alias"])
        .when_empty("no aliases yet: `odfs pull ADDRESS` and `odfs push NAME --to ADDRESS` add them");
    for dataset in chosen(dataset, session)? {
        let (name, aliases) = (dataset.name()?, dataset.remote_aliases()?);
        for (kind, aliases) in [("Pull", aliases.pull_aliases), ("Push", aliases.push_aliases)] {
            for alias in aliases {
                listing.row([name.as_str().into(), kind.into(), alias.into()]);
            }
        }
    }
    listing.write(output.format(io), io)
}

/// Drops one alias, however it is written, or all of the wanted kinds.
fn delete(
    dataset: &Dataset,
    alias: Option<&str>,
    kinds: [(bool, &str); 2],
    session: &Session,
) -> Result<usize, Failure> {
    let repositories = session.repositories();
    let place = alias.and_then(|alias| repositories.resolve(alias).ok());
    let is_meant = |known: &str| match alias {
        None => true,
        Some(alias) => known == alias || place.is_some() && repositories.resolve(known).ok() == place,
    };
    let count = dataset.change_remote_aliases(|aliases| {
        let mut count = 0;
        for (wanted, kind) in kinds {
            let list = of_kind(aliases, kind);
            let before = list.len();
            if wanted {
                list.retain(|known| !is_meant(known));
            }
            count += before - list.len();
        }
        count
    })?;
    Ok(count)
}
