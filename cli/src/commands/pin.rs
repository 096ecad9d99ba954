//! `odfs pin`

use std::collections::HashMap;

use clap::Subcommand;

use super::ipfs::path::IpfsPath;
use super::ipfs::pin::{PIN_OWNER, keep, stop_keeping};
use crate::failure::Failure;
use crate::io::Io;
use crate::output::{Cell, Listing, OutputArgs};
use crate::session::Session;

/// Keep content that is no dataset of this workspace, and show what is kept
///
/// What is kept stays when space is given back (`odfs gc`), and is served to others. Datasets keep what they need by themselves.
#[derive(Subcommand, Debug)]
pub(crate) enum PinCommand {
    /// Fetch content with everything below it, and keep it
    Add {
        /// What to keep: a CID, /ipfs/CID/…, or /ipns/NAME/… as it is now
        #[arg(required = true, value_name = "ADDRESS")]
        paths: Vec<IpfsPath>,
    },
    /// List what is kept, and for whom
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Stop keeping content
    Rm {
        /// What was kept
        #[arg(required = true, value_name = "ADDRESS")]
        paths: Vec<IpfsPath>,
    },
}

pub(super) fn run(command: &PinCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    match command {
        PinCommand::Add { paths } => paths.iter().try_for_each(|path| {
            let cid = keep(path, session, io)?;
            io.line(cid)
        }),
        PinCommand::Rm { paths } => paths.iter().try_for_each(|path| {
            let cid = stop_keeping(path, session, io)?;
            io.line(cid)
        }),
        PinCommand::Ls { output } => {
            let workspace = session.workspace()?;
            let named = workspace.catalog().entries()?.into_iter().filter_map(|entry| {
                let name = entry.name.as_ref()?.to_string();
                Some((entry.id.to_string(), name))
            });
            let names: HashMap<String, String> = named.collect();
            let mut pins = workspace.store().pins(None)?;
            pins.sort();
            let mut listing = Listing::new(&["CID", "For", "Dataset"]).when_empty("nothing is kept yet");
            for pin in pins {
                let dataset = names.get(&pin.owner).cloned();
                let whom = match (&dataset, pin.owner.as_str()) {
                    (Some(_), _) => "dataset",
                    (None, PIN_OWNER) => "pin",
                    (None, other) => other,
                };
                let whom = whom.to_owned();
                let dataset = dataset.map_or(Cell::from(serde_json::Value::Null), Cell::from);
                listing.row([pin.cid.to_string().into(), whom.into(), dataset]);
            }
            listing.write(output.format(io), io)
        }
    }
}
