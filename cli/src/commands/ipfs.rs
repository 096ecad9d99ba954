//! `odfs ipfs`: the commands of Kubo's `ipfs`, with the same flags and the same output.

use clap::Subcommand;

use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

mod add;
mod block;
mod cat;
mod dag;
mod escape;
mod get;
mod ignore;
mod ls;
mod name;
pub(super) mod path;
pub(super) mod pin;
mod repo;
pub(super) mod source;
mod swarm;

/// IPFS commands with Kubo's flags and output
#[derive(Subcommand, Debug)]
pub(crate) enum IpfsCommand {
    Add(add::AddArgs),
    Cat(cat::CatArgs),
    Get(get::GetArgs),
    Ls(ls::LsArgs),
    #[command(subcommand)]
    Block(block::BlockCommand),
    #[command(subcommand)]
    Dag(dag::DagCommand),
    #[command(subcommand)]
    Name(name::NameCommand),
    #[command(subcommand)]
    Pin(pin::PinCommand),
    #[command(subcommand)]
    Repo(repo::RepoCommand),
    #[command(subcommand)]
    Swarm(swarm::SwarmCommand),
}

pub(super) fn run(command: &IpfsCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    match command {
        IpfsCommand::Add(args) => add::run(args, session, io),
        IpfsCommand::Cat(args) => cat::run(args, session, io),
        IpfsCommand::Get(args) => get::run(args, session, io),
        IpfsCommand::Ls(args) => ls::run(args, session, io),
        IpfsCommand::Block(command) => block::run(command, session, io),
        IpfsCommand::Dag(command) => dag::run(command, session, io),
        IpfsCommand::Name(command) => name::run(command, session, io),
        IpfsCommand::Pin(command) => pin::run(command, session, io),
        IpfsCommand::Repo(command) => repo::run(command, session, io),
        IpfsCommand::Swarm(command) => swarm::run(command, session, io),
    }
}
