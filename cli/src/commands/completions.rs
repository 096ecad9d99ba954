//! `odfs completions`

use clap::Args;
use clap_complete::Shell;

use crate::failure::Failure;
use crate::io::Io;

/// Print a completion script for a shell
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Shell to write the script for
    shell: Shell,
}

/// Writes the script for the command line that `tree` describes.
pub(super) fn run(args: &CompletionsArgs, mut tree: clap::Command, io: &mut Io) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut tree, "odfs", &mut script);
    io.out().write_all(&script)?;
    Ok(())
}
