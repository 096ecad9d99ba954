//! `odfs delete`

use clap::Args;
use odf::catalog::{CatalogError, Entry};
use odf::elsewhere;
use odf::lineage::Lineage;
use odf::metadata::DatasetId;
use odf::pull::name_of;
use odf_node::ipns;
use serde_json::{Value, json};

use super::announce::ReportArgs;
use super::follow;
use super::matching::entries;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// Delete datasets from the workspace
///
/// Their keys stay (`odfs key list`), unless --with-key is said, and so does whatever others have pulled. Publishing under the
/// name of a key that stayed goes on with the rows that were published with it.
#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    /// Names, ids, or patterns with % for any text
    #[arg(required_unless_present = "all")]
    datasets: Vec<String>,
    /// Delete all datasets
    #[arg(short, long, conflicts_with = "datasets")]
    all: bool,
    /// Remove their keys too: without a copy of it, what was published under a key can never be changed again
    #[arg(long)]
    with_key: bool,
    /// Delete what is computed from them too
    #[arg(short, long)]
    recursive: bool,
    #[command(flatten)]
    report: ReportArgs,
}

pub(super) fn run(args: &DeleteArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let mut gone = Vec::new();
    let done = delete(args, &mut gone, session, io);
    // What is gone is told also where something after it stays.
    if done.is_ok() || !gone.is_empty() {
        args.report.object(io, || Value::Array(gone))?;
    }
    done
}

/// Deletes what is asked for; `told` gets a report of each.
fn delete(args: &DeleteArgs, told: &mut Vec<Value>, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let catalog = session.workspace()?.catalog();
    let asked = if args.all {
        catalog.entries()?
    } else {
        let rest = delete_copies(&args.datasets, told, session, io)?;
        if rest.is_empty() {
            return Ok(());
        }
        entries(&rest, session)?
    };
    let ids: Vec<DatasetId> = asked.iter().map(|entry| entry.id).collect();
    let lineage = match args.all {
        true => Lineage::of(catalog)?,
        false => Lineage::below(catalog, &ids)?,
    };
    // What is computed from a dataset goes before it, so nothing is ever left without its input.
    let order = lineage.downstream(&ids);
    if !args.recursive {
        for entry in &asked {
            let left = lineage.dependents(&entry.id).filter(|node| !ids.contains(&node.id));
            let left: Vec<String> = left.map(|node| node.label()).collect();
            if !left.is_empty() {
                let what = format!("{} is an input of {}", entry.label(), left.join(", "));
                return Err(Failure::new(Kind::Refused, what).next("delete those too with --recursive"));
            }
        }
    }
    let order = order.iter().filter(|id| args.recursive || ids.contains(id));
    let gone: Vec<Entry> = order.filter_map(|id| catalog.entry_of(id)).collect();
    if gone.is_empty() {
        io.say("there is nothing to delete");
        return Ok(());
    }
    let names: Vec<String> = gone.iter().map(|entry| entry.label()).collect();
    let keys = match args.with_key {
        true => " and their keys",
        false => "",
    };
    io.confirm(&format!("Delete {} with all their rows{keys}?", names.join(", ")))?;
    for (entry, name) in gone.iter().zip(names) {
        io.check()?;
        let workspace = session.workspace()?;
        workspace.delete(&entry.id)?;
        io.say(format_args!("Deleted {name}"));
        // Or the node would bring it again.
        if let Ok(Some(wish)) = session.follows().of_dataset(&entry.id) {
            follow::end(&wish, session)?;
            io.say("It is followed no longer");
        }
        // In this order: a dataset without its key could not be published by anybody.
        let key = workspace.key_name_of(&entry.id)?;
        let report =
            |removed: bool| json!({ "dataset": name, "id": entry.id.to_string(), "key": key, "keyRemoved": removed });
        told.push(report(false));
        match &key {
            Some(key) if args.with_key => {
                forget_name(entry, session, io)?;
                workspace.keys().remove(key)?;
                told.pop();
                told.push(report(true));
                io.say(format_args!(
                    "The key {key} is gone: without a copy of it, nobody can change what its name stands for"
                ));
            }
            Some(key) => io.say(format_args!(
                "The key {key} stays: publishing the same file again goes on under the same published name, with what somebody in \
                 reach then has of its rows; while nobody is in reach it is refused, and `--as new` publishes under another name. \
                 `odfs key rm {key}` removes it"
            )),
            None => {}
        }
    }
    Ok(())
}

/// Forgets the published name of a dataset whose key goes: nobody can say anything under it any more, so nothing is left to
/// be kept alive.
fn forget_name(entry: &Entry, session: &Session, io: &Io) -> Result<(), Failure> {
    let Some(name) = name_of(&entry.id) else {
        return Ok(());
    };
    let store = session.workspace()?.store();
    match session.running_node() {
        Some(node) => session.wait(io, node.names().forget(&name))?,
        None => ipns::forget(store, &name)?,
    }
    elsewhere::forget(store, &name);
    Ok(store.flush()?)
}

/// Removes those of the names that are only copies; gives the others.
fn delete_copies(
    names: &[String],
    told: &mut Vec<Value>,
    session: &Session,
    io: &mut Io,
) -> Result<Vec<String>, Failure> {
    let (workspace, mut rest) = (session.workspace()?, Vec::new());
    for text in names {
        let is_unknown = || matches!(workspace.catalog().find_entry(text), Err(CatalogError::Unknown { .. }));
        match text.parse() {
            Ok(name) if workspace.copies().holds(&name) && is_unknown() => {
                workspace.copies().remove(&name)?;
                told.push(json!({ "dataset": name.as_str(), "id": null, "key": null, "keyRemoved": false }));
                io.say(format_args!("Deleted {name}, which was a copy"));
            }
            _ => rest.push(text.clone()),
        }
    }
    Ok(rest)
}
