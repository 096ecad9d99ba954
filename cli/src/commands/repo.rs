//! `odfs repo`

use std::io::{BufRead as _, Read as _};

use clap::Subcommand;
use odf::dataset::DatasetName;
use odf::place::Place;
use odf::registry::MAX_TOKEN_BYTES;
use odf::registry::Repositories;

use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output::{Listing, OutputArgs};
use crate::session::Session;

mod alias;
mod blocks;
mod token;

pub(super) use blocks::check;

/// Work with repositories: places where datasets are exchanged, known by a name; and with the store of this workspace
///
/// A repository is a directory (file://), a web server (http(s)://, only to pull from), or a server that speaks kamu's
/// protocol (odf+http(s)://). Its datasets are then called NAME/DATASET, or NAME/ACCOUNT/DATASET.
#[derive(Subcommand, Debug)]
pub(crate) enum RepoCommand {
    /// Remember a repository
    Add {
        /// What to call it
        name: DatasetName,
        /// Where it is: file:///DIRECTORY, http(s)://HOST/PATH, odf+http(s)://HOST/PATH or ipfs://CID
        url: String,
        /// Token that the server asks for; `-` reads it from standard input, so that it is in no list of processes
        #[arg(long, value_name = "TOKEN")]
        token: Option<String>,
    },
    /// List the repositories
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Forget repositories and their tokens; nothing in them is touched
    #[command(visible_alias = "rm")]
    Delete {
        /// Their names
        #[arg(required_unless_present = "all")]
        names: Vec<String>,
        /// All of them
        #[arg(short, long, conflicts_with = "names")]
        all: bool,
    },
    #[command(subcommand)]
    Alias(alias::AliasCommand),
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Show who pushed what to this workspace, newest first
    Log {
        /// How many at most
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show what the store of this workspace holds, for what, and what goes first when there is no room
    Stat {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Read and hash every block of the store of this workspace, and look whether all that is kept is whole
    Verify(blocks::VerifyArgs),
    /// Make the index of the store of this workspace again from its files
    ///
    /// Blocks and what is kept come from the store's own files, datasets from theirs. What is known of names that are not datasets
    /// here, and what is announced, is found out again. No other process may work on the workspace. An index that is lost or
    /// damaged is made again by itself when the workspace is opened.
    Rebuild {
        #[command(flatten)]
        output: OutputArgs,
    },
}

pub(super) fn run(command: &RepoCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let repositories = session.repositories();
    match command {
        RepoCommand::Add { name, url, token } => add(&repositories, name, url, token.as_deref(), io),
        RepoCommand::List { output } => {
            let mut listing = Listing::new(&["Name", "Url", "Token"])
                .when_empty("no repositories yet: `odfs repo add NAME URL` adds one");
            for repository in repositories.list()? {
                let repository = match repository {
                    Ok(repository) => repository,
                    Err(error) => {
                        io.say(format_args!("{error}; `odfs repo delete NAME` forgets it"));
                        continue;
                    }
                };
                listing.row([
                    repository.name.as_str().into(),
                    repository.place.to_string().into(),
                    repository.has_token.into(),
                ]);
            }
            listing.write(output.format(io), io)
        }
        RepoCommand::Delete { names, all } => {
            let names: Vec<String> = if *all {
                repositories.names()?.iter().map(ToString::to_string).collect()
            } else {
                names.clone()
            };
            // None of them if one is not known.
            names.iter().try_for_each(|name| repositories.known(name).map(drop))?;
            if names.is_empty() {
                io.say("no repositories to delete");
                return Ok(());
            }
            io.confirm(&format!("Forget {}?", names.join(", ")))?;
            for name in names {
                repositories.delete(&name)?;
                io.say(format_args!("Deleted {name}"));
            }
            Ok(())
        }
        RepoCommand::Stat { output } => blocks::stat(*output, session, io),
        RepoCommand::Verify(args) => blocks::verify(args, session, io),
        RepoCommand::Rebuild { output } => blocks::rebuild(*output, session, io),
        RepoCommand::Alias(command) => alias::run(command, session, io),
        RepoCommand::Log { limit, output } => token::log(*limit, *output, session, io),
        RepoCommand::Token(command) => token::run(command, session, io),
    }
}

fn add(
    repositories: &Repositories,
    name: &DatasetName,
    url: &str,
    token: Option<&str>,
    io: &mut Io,
) -> Result<(), Failure> {
    let place: Place = url.parse()?;
    let token = match token {
        Some("-") => Some(read_token(io)?),
        token => token.map(str::to_owned),
    };
    if token.is_some() && place.server_url().is_none() {
        return Err(
            Failure::usage(format!("{place} is no server, so nobody asks for a token")).next("leave --token away"),
        );
    }
    repositories.add(name, &place, token.as_deref())?;
    io.say(format_args!("Added {name}: {place}"));
    Ok(())
}

/// One line of standard input.
fn read_token(io: &mut Io) -> Result<String, Failure> {
    let mut line = String::new();
    io.input().take(MAX_TOKEN_BYTES as u64 + 2).read_line(&mut line)?;
    let token = line.trim();
    if token.is_empty() {
        return Err(Failure::new(Kind::EmptyInput, "there is no token on standard input"));
    }
    Ok(token.to_owned())
}
