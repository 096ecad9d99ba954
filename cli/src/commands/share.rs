//! `odfs share`

use clap::Args;
use odf::dataset::Sharing;
use serde_json::Value;

use super::matching::entries;
use crate::failure::Failure;
use crate::io::Io;
use crate::output::{Cell, Listing, OutputArgs};
use crate::session::Session;

/// Let everybody read a dataset through the gateway and the repository of this node, or no longer
///
/// A dataset that was published, or pulled from a name, is shared by that. One that was only made or pushed here is not:
/// whoever reads it needs a token that may pull it (`odfs repo token add`). What others have fetched already stays with
/// them, and a published name goes on standing for it until its record ends.
#[derive(Args, Debug)]
pub(crate) struct ShareArgs {
    /// Datasets by name, id or a pattern with %
    #[arg(required_unless_present = "list")]
    datasets: Vec<String>,
    /// No longer share them
    #[arg(long, conflicts_with = "list")]
    stop: bool,
    /// Only show what is shared
    #[arg(short, long)]
    list: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &ShareArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let catalog = session.workspace()?.catalog();
    let entries = match args.datasets.is_empty() {
        true => catalog.entries()?,
        false => entries(&args.datasets, session)?,
    };
    let mut listing = Listing::new(&["Name", "Open", "Why", "ID"]).when_empty("no datasets yet");
    for entry in entries {
        io.check()?;
        let dataset = match catalog.open_entry(&entry) {
            // Of all, damaged ones are told by `odfs list`.
            Err(_) if args.datasets.is_empty() => continue,
            opened => opened?,
        };
        let name = dataset.name()?;
        match (args.list, args.stop) {
            (true, _) => {}
            (false, false) => {
                dataset.set_sharing(Sharing::Shared)?;
                io.say(format_args!("{name} is shared: whoever reaches this node can read it"));
            }
            (false, true) => {
                let published = session.workspace()?.is_published(&dataset.id())?;
                dataset.set_sharing(Sharing::Stopped)?;
                io.say(format_args!(
                    "{name} is no longer shared: whoever reads it here needs a token that may pull it"
                ));
                if published {
                    io.say(format_args!(
                        "Its name is published all the same: peers that have it keep it, and `odfs push {name}` shares it again."
                    ));
                }
            }
        }
        let sharing = dataset.sharing()?;
        listing.row([
            name.as_str().into(),
            Cell::shown(dataset.is_shared(), if dataset.is_shared() { "yes" } else { "no" }),
            sharing.map_or_else(|| Value::Null.into(), |sharing| sharing.to_string().into()),
            dataset.id().to_string().into(),
        ]);
    }
    listing.write(args.output.format(io), io)
}
