//! `odfs init`

use clap::Args;

use crate::failure::Failure;
use crate::io::Io;
use crate::workspace::{Places, WorkspaceDir};

/// Make a workspace in this directory, for what is done here and below; it is not needed
///
/// Without it everything works on the nearest `.odfs` directory upwards from here, else $ODFS_PATH, else the platform's data
/// directory, which is made on first use. A directory that has a workspace keeps it as it is.
#[derive(Args, Debug)]
pub(crate) struct InitArgs {}

pub(super) fn run(_: &InitArgs, io: &mut Io) -> Result<(), Failure> {
    let here = WorkspaceDir::inside(io.cwd());
    let root = here.root().display().to_string();
    if here.root().is_dir() {
        return io.line(format_args!("{root} is the workspace of this directory already"));
    }
    // There is none yet if neither a home nor $ODFS_PATH is set.
    let before = WorkspaceDir::discover(io.cwd(), &Places::of_process()).ok();
    if let Some(word) = here.create()? {
        io.say(word);
    }
    io.line(format_args!(
        "{root} is the workspace of this directory and those below it from now on"
    ))?;
    if let Some(before) = before.filter(|before| before.root().is_dir()) {
        io.say(format_args!(
            "Until now it was {0}, which stays as it is; its datasets are not in the new one. To go back to it, remove {root}",
            before.root().display()
        ));
    }
    io.say("`odfs publish FILE` makes a dataset, `odfs pull ADDRESS` fetches one");
    Ok(())
}
