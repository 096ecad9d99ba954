//! `odfs rename`

use clap::Args;
use odf::dataset::DatasetName;
use serde_json::json;

use super::announce::ReportArgs;
use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

/// Give a dataset another name; its id and its published name stay
#[derive(Args, Debug)]
pub(crate) struct RenameArgs {
    /// Name or id of the dataset
    dataset: String,
    /// New name
    name: DatasetName,
    #[command(flatten)]
    report: ReportArgs,
}

pub(super) fn run(args: &RenameArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let catalog = session.workspace()?.catalog();
    let dataset = catalog.find(&args.dataset)?;
    let before = dataset.name()?;
    catalog.rename(&dataset, &args.name)?;
    io.say(format_args!("Renamed {before} to {}", args.name));
    args.report.object(
        io,
        || json!({ "dataset": args.name.as_str(), "id": dataset.id().to_string(), "oldName": before.as_str() }),
    )
}
