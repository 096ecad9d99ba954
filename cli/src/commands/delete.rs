//! `odfs delete`

use clap::Args;
use odf::catalog::Entry;

use super::verify::entries;
use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

/// Delete datasets from the workspace
///
/// Their keys stay (`odfs key list`), and so does whatever others have pulled.
#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    /// Names, ids, or patterns with % for any text
    #[arg(required = true)]
    datasets: Vec<String>,
}

pub(super) fn run(args: &DeleteArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let entries = entries(&args.datasets, session)?;
    let names: Vec<String> = entries.iter().map(shown).collect();
    io.confirm(&format!("Delete {} with all their rows?", names.join(", ")))?;
    for (entry, name) in entries.iter().zip(names) {
        io.check()?;
        let workspace = session.workspace()?;
        workspace.delete(&workspace.catalog().open_entry(entry)?)?;
        io.say(format_args!("Deleted {name}"));
    }
    Ok(())
}

/// What a dataset is called in a message.
pub(super) fn shown(entry: &Entry) -> String {
    entry
        .name
        .as_ref()
        .map_or_else(|| entry.id.to_string(), |name| name.to_string())
}
