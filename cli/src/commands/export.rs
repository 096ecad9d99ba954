//! `odfs export`

use std::path::PathBuf;

use clap::Args;
use odf::export;

use crate::failure::Failure;
use crate::io::Io;
use crate::output;
use crate::session::Session;

/// Write a dataset as a plain ODF dataset directory, as kamu and any web server take it
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Name or id of the dataset
    dataset: String,
    /// Directory to write; new, or empty
    dir: PathBuf,
}

pub(super) fn run(args: &ExportArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let dataset = session.workspace()?.catalog().find(&args.dataset)?;
    let exported = export::export(&dataset, &io.resolve(&args.dir))?;
    io.say(format_args!(
        "Exported {} metadata block(s) and {} file(s), {}, to {}",
        output::count(exported.blocks),
        output::count(exported.objects),
        output::bytes(exported.bytes),
        args.dir.display()
    ));
    Ok(())
}
