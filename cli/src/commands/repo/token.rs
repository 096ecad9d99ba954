//! `odfs repo token`

use clap::Subcommand;

use crate::failure::Failure;
use crate::io::Io;
use crate::output::{Listing, OutputArgs};
use crate::session::Session;

/// Let others push to this workspace while `odfs node` runs
///
/// Everybody may read what a node serves. Whoever pushes to it needs one of these tokens: `odfs repo add NAME
/// odf+http://HOST:PORT --token -` with odfs, `kamu login http://HOST:PORT --access-token TOKEN` with kamu.
#[derive(Subcommand, Debug)]
pub(crate) enum TokenCommand {
    /// Make a token and print it; it is shown only now
    Add {
        /// Who or what will use it
        label: String,
    },
    /// List the tokens by their labels
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make tokens worthless, from this moment on
    #[command(visible_alias = "rm")]
    Delete {
        /// Their labels
        #[arg(required = true)]
        labels: Vec<String>,
    },
}

pub(super) fn run(command: &TokenCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let tokens = session.tokens();
    match command {
        TokenCommand::Add { label } => {
            let token = tokens.add(label, io.now()?)?;
            io.say("Keep it, it cannot be shown again. Whoever has it can push to this workspace.");
            io.line(token)
        }
        TokenCommand::List { output } => {
            let mut listing = Listing::new(&["Label", "Added"])
                .when_empty("no tokens yet, so nobody can push here: `odfs repo token add LABEL` makes one");
            for entry in tokens.list()? {
                listing.row([entry.label.into(), entry.added.to_string().into()]);
            }
            listing.write(output.format(io), io)
        }
        TokenCommand::Delete { labels } => {
            for label in labels {
                tokens.delete(label)?;
                io.say(format_args!("Deleted {label}"));
            }
            Ok(())
        }
    }
}
