//! `odfs pin`

use std::collections::HashMap;

use clap::Subcommand;
use serde_json::{Value, json};

use super::announce::ReportArgs;
use super::ipfs::path::IpfsPath;
use super::ipfs::pin::{PIN_OWNER, check_name, keep, stop_keeping};
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
        /// Name by which it is listed; without one, a name that it had is forgotten
        #[arg(short, long)]
        name: Option<String>,
        #[command(flatten)]
        report: ReportArgs,
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
        #[command(flatten)]
        report: ReportArgs,
    },
}

pub(super) fn run(command: &PinCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    match command {
        PinCommand::Add { paths, name, report } => {
            let name = name.as_deref().unwrap_or_default();
            check_name(name)?;
            report.begin(io);
            let mut kept = Vec::new();
            for path in paths {
                let cid = keep(path, name, session, io)?;
                io.line(cid)?;
                kept.push(json!({ "cid": cid.to_string(), "name": name }));
            }
            report.object(io, || Value::Array(kept))
        }
        PinCommand::Rm { paths, report } => {
            report.begin(io);
            let mut given_up = Vec::new();
            for path in paths {
                let (cid, name) = stop_keeping(path, session, io)?;
                io.line(cid)?;
                given_up.push(json!({ "cid": cid.to_string(), "name": name }));
            }
            report.object(io, || Value::Array(given_up))
        }
        PinCommand::Ls { output } => {
            let workspace = session.workspace()?;
            let named = workspace.catalog().entries()?.into_iter().filter_map(|entry| {
                let name = entry.name.as_ref()?.to_string();
                Some((entry.id.to_string(), name))
            });
            let names: HashMap<String, String> = named.collect();
            let mut pins = workspace.store().pins(None)?;
            pins.sort();
            let called: HashMap<_, _> = workspace.store().pin_names(PIN_OWNER).into_iter().collect();
            let mut listing = Listing::new(&["CID", "For", "Dataset", "Name"]).when_empty("nothing is kept yet");
            for pin in pins {
                let dataset = names.get(&pin.owner).cloned();
                let whom = match (&dataset, pin.owner.as_str()) {
                    (Some(_), _) => "dataset",
                    (None, PIN_OWNER) => "pin",
                    (None, other) => other,
                };
                let whom = whom.to_owned();
                let dataset = dataset.map_or(Cell::from(Value::Null), Cell::from);
                let name = called.get(&pin.cid).filter(|_| pin.owner == PIN_OWNER);
                let name = name.map_or(Cell::from(Value::Null), |name| name.clone().into());
                listing.row([pin.cid.to_string().into(), whom.into(), dataset, name]);
            }
            listing.write(output.format(io), io)
        }
    }
}
