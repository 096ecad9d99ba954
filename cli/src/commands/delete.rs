//! `odfs delete`

use std::path::{Path, PathBuf};

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
        delete(entry, session)?;
        io.say(format_args!("Deleted {name}"));
    }
    Ok(())
}

fn shown(entry: &Entry) -> String {
    entry.name.as_ref().map_or_else(|| entry.id.to_string(), |name| name.to_string())
}

/// References of the block store go first; a crash in between leaves a dataset that can be deleted again.
fn delete(entry: &Entry, session: &Session) -> Result<(), Failure> {
    let workspace = session.workspace()?;
    let store = workspace.store();
    let owner = entry.id.to_string();
    for pin in store.pins(Some(&owner))? {
        store.unpin(&owner, &pin.cid)?;
    }
    workspace.layout().forget(&entry.id)?;
    let mut files = vec![entry.dir.join("chain")];
    for part in ["data", "checkpoints"] {
        files.extend(list(&entry.dir.join(part))?);
    }
    let mut registered = Vec::new();
    for file in files {
        if let Ok(inside) = file.strip_prefix(store.root()) {
            registered.extend(store.file_at(inside)?);
        }
    }
    store.remove_files(&registered)?;
    Ok(workspace.catalog().delete(&entry.id)?)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| Failure::file(dir, &error);
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.map_err(failed)?.map(|entry| Ok(entry.map_err(failed)?.path())).collect(),
    }
}
