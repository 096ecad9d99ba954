//! `odfs completions`

use clap::Args;
use clap_complete::Shell;

use crate::args;
use crate::failure::Failure;
use crate::io::Io;

/// Print a completion script for a shell
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Shell to write the script for
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, io: &mut Io) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::tree(), "odfs", &mut script);
    io.out().write_all(&script)?;
    Ok(())
}
