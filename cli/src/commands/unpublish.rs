//! `odfs unpublish`

use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use odf::dataset::Dataset;
use odf::pull::{Address, name_of};
use odf::unpublish::unpublish;
use odf_node::ipns::{self, Name};
use serde_json::json;

use super::announce::{ReportArgs, ReportFormat};
use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

/// Stop announcing a dataset that was published from here
///
/// Its name is no longer kept alive by this machine, nor told to who asks, nor its rows announced, and the gateway and the
/// repository of this node show the dataset only to whom a token lets read it, or to all if `odfs share` said so. Machines
/// that know its blocks can get them from a node that runs here for as long as they are here: `odfs delete` ends that. What others have pulled
/// stays with them, and they may go on giving it to others: nothing takes that back. The rows here stay, and `odfs publish`
/// or `odfs push` announces them again, under the same name.
#[derive(Args, Debug)]
pub(crate) struct UnpublishArgs {
    /// Name or id of the dataset
    dataset: String,
    #[command(flatten)]
    report: ReportArgs,
}

pub(super) fn run(args: &UnpublishArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let workspace = session.workspace()?;
    let mut dataset = workspace.catalog().find(&args.dataset)?;
    let local = dataset.name()?;
    let _turn = session.turn(&mut dataset, io)?;
    let names = published_names(&dataset, session)?;
    let mut withdrawn = Vec::new();
    let mut shared = dataset.is_shared();
    if !names.is_empty() {
        // What waits to be announced would be announced yet.
        session.batches().forget(&dataset.id());
        let work = unpublish(workspace.local(), session.node()?, &dataset, &names);
        let done = session.wait(io, work)?;
        (withdrawn, shared) = (done.names, done.shared);
    }
    if args.report.output == ReportFormat::Json {
        let names = withdrawn.iter().map(|(name, until)| {
            json!({
                "name": name.to_string(),
                "validUntil": until.map(|at| DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Secs, true)),
            })
        });
        return io.line(json!({
            "dataset": local.as_str(),
            "id": dataset.id().to_string(),
            "names": names.collect::<Vec<_>>(),
            "shared": shared,
        }));
    }
    if withdrawn.is_empty() {
        return io.line(format_args!(
            "{local} is not published from here, so there is nothing to stop"
        ));
    }
    io.line(format_args!("{local} is no longer announced from here"))?;
    for (name, until) in &withdrawn {
        match until.filter(|until| *until > SystemTime::now()) {
            Some(until) => io.line(format_args!(
                "  ipns://{name} stays valid until {} UTC: until then others may find by it what they have",
                DateTime::<Utc>::from(until).format("%Y-%m-%d %H:%M")
            ))?,
            None => io.line(format_args!("  ipns://{name} is not valid any more"))?,
        }
    }
    io.line("  copies that others have pulled stay with them, and they may give them on")?;
    io.line(format_args!(
        "  machines that know its blocks can still get them from a node that runs here: `odfs delete {local}` ends that"
    ))?;
    if shared {
        io.line(format_args!(
            "  whoever reaches this node still reads it, as `odfs share` said: `odfs share {local} --stop` ends that"
        ))?;
    }
    io.say(format_args!(
        "`odfs push {local}` announces it again, under the same name"
    ));
    Ok(())
}

/// The names that the dataset was published under from here: its own, and those of keys that it is pushed to.
fn published_names(dataset: &Dataset, session: &Session) -> Result<Vec<Name>, Failure> {
    let store = session.workspace()?.store();
    let pushed = dataset.remote_aliases()?.push_aliases;
    let pushed = pushed
        .iter()
        .filter_map(|to| to.parse::<Address>().ok()?.name().copied());
    let mut names: Vec<Name> = name_of(&dataset.id()).into_iter().collect();
    for name in pushed {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let is_own = session.workspace()?.key_of(&dataset.id()).is_some();
    let mut published = Vec::new();
    for name in names {
        let Some(known) = ipns::status(store, &name)? else {
            continue;
        };
        // A run that was cut off has withdrawn the name, and may not have done the rest.
        if known.own || known.withdrawn || (known.followed && is_own) {
            published.push(name);
        }
    }
    Ok(published)
}
