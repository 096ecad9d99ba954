//! `odfs reset`

use clap::Args;
use odf::dataset::Dataset;
use odf::publish::stands_within;
use odf::pull::name_of;
use serde_json::json;

use super::announce::ReportArgs;
use crate::failure::Failure;
use crate::io::Io;
use crate::output;
use crate::session::Session;

/// Set a dataset back to an earlier block
///
/// Blocks behind it come off, with their rows. What was published stays with those who have it, and here for as long as
/// what is published of it is kept; a name that leads to it is moved only by `odfs push --force`.
#[derive(Args, Debug)]
pub(crate) struct ResetArgs {
    /// Name or id of the dataset
    dataset: String,
    /// The block that becomes the head: its number or hash as `odfs log` shows them, or more of the hash
    block: String,
    #[command(flatten)]
    report: ReportArgs,
}

pub(super) fn run(args: &ResetArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    args.report.begin(io);
    let workspace = session.workspace()?;
    let mut dataset = workspace.catalog().find(&args.dataset)?;
    let name = dataset.name()?;
    let block = *dataset.point(&args.block)?.block.hash();
    let (id, old_head) = (dataset.id().to_string(), *dataset.head());
    let report = |dropped: u64| {
        json!({
            "dataset": name.as_str(),
            "id": id,
            "head": block.to_string(),
            "oldHead": old_head.to_string(),
            "dropped": dropped,
        })
    };
    if old_head == block {
        io.line(format_args!("{name} is at {block} already"))?;
        return args.report.object(io, || report(0));
    }
    io.confirm(&format!(
        "Set {name} back to {block}? What was added since is given up."
    ))?;
    let dropped = workspace.datasets().reset(&mut dataset, &block)?;
    io.line(format_args!(
        "{name} was set back to {block} ({} block(s) came off)",
        output::count(dropped)
    ))?;
    tell_followers(&dataset, session, io)?;
    args.report.object(io, || report(dropped))
}

/// Says what becomes of those who have the history that `dataset` had before, if what was published of it, or pushed, is not of
/// the one that it has now.
pub(super) fn tell_followers(dataset: &Dataset, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let workspace = session.workspace()?;
    let is_elsewhere = match name_of(&dataset.id()) {
        Some(public) if workspace.is_published(&dataset.id())? => {
            !session.wait(io, stands_within(workspace.local(), dataset, &public))?
        }
        _ => false,
    };
    if is_elsewhere || !dataset.remote_aliases()?.push_aliases.is_empty() {
        let name = dataset.name()?;
        io.say(format_args!(
            "What was published or pushed of it before is another history now: `odfs push --force {name}` publishes this one; \
             if somebody has pulled the other, `odfs pull ADDRESS --force` takes this one there"
        ));
    }
    Ok(())
}
