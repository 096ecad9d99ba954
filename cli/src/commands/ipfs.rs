//! `odfs ipfs`: the commands of Kubo's `ipfs`, with the same flags and the same output; also what a program called `ipfs` runs.

use clap::{ArgAction, Args, Subcommand};
use odf::disk::Disk;

use super::place::{After, Place};
use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;
use crate::workspace::WorkspaceDir;

mod add;
mod archive;
mod block;
mod bootstrap;
mod call;
mod cat;
mod config;
mod daemon;
mod dag;
mod escape;
mod files;
mod get;
mod id;
mod ignore;
mod init;
mod key;
mod ls;
mod name;
pub(super) mod path;
pub(super) mod pin;
mod profile;
mod refs;
mod repo;
mod resolve;
mod routing;
pub(super) mod source;
mod swarm;
mod version;

use call::{Call, Globals};
pub(super) use config::{DEFAULT_API, multiaddr_of};
pub(super) use version::release;

/// IPFS commands with Kubo's flags and output
///
/// The same commands are there when odfs is called by the name `ipfs` (a link to it is enough), for programs that run that:
/// the workspace is then $IPFS_PATH, if it is set, and what fails ends with exit code 1.
#[derive(Args, Debug)]
pub(crate) struct IpfsArgs {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: IpfsCommand,
}

/// What `ipfs` does.
#[derive(Subcommand, Debug)]
enum IpfsCommand {
    Init(init::InitArgs),
    Add(add::AddArgs),
    Cat(cat::CatArgs),
    Get(get::GetArgs),
    Ls(ls::LsArgs),
    Refs(refs::RefsArgs),
    #[command(subcommand)]
    Block(block::BlockCommand),
    #[command(subcommand)]
    Dag(dag::DagCommand),
    #[command(subcommand)]
    Key(key::KeyCommand),
    #[command(subcommand)]
    Name(name::NameCommand),
    Resolve(resolve::ResolveArgs),
    #[command(subcommand)]
    Pin(pin::PinCommand),
    #[command(subcommand)]
    Repo(repo::RepoCommand),
    Id(id::IdArgs),
    #[command(subcommand)]
    Swarm(swarm::SwarmCommand),
    Bootstrap(bootstrap::BootstrapArgs),
    #[command(subcommand)]
    Routing(routing::RoutingCommand),
    Files(files::FilesArgs),
    Config(config::ConfigArgs),
    Daemon(daemon::DaemonArgs),
    Shutdown(daemon::ShutdownArgs),
    Version(version::VersionArgs),
}

impl IpfsArgs {
    /// Where the command runs.
    pub(super) fn place(&self) -> Place {
        match &self.command {
            IpfsCommand::Version(_) => Place::Anywhere,
            IpfsCommand::Init(_) | IpfsCommand::Config(_) | IpfsCommand::Bootstrap(_) => Place::Files,
            IpfsCommand::Daemon(_) => Place::Serving { published: false },
            _ => Place::Owner,
        }
    }
}

/// Switches of Kubo take a value behind `=`, which those of odfs do not.
pub(crate) fn switches(command: clap::Command) -> clap::Command {
    let inner: Vec<String> = command
        .get_subcommands()
        .map(|inner| inner.get_name().to_owned())
        .collect();
    let command = command.mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .value_name("BOOL")
            .value_parser(call::boolean)
            .default_value("false")
            .default_missing_value("true")
            .hide_default_value(true),
        _ => arg,
    });
    inner
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, switches))
}

pub(super) fn run(args: &IpfsArgs, session: &Session, io: &mut Io) -> Result<After, Failure> {
    let call = Call::new(session, &args.globals);
    let call = &call;
    match &args.command {
        IpfsCommand::Add(args) => add::run(args, call, io)?,
        IpfsCommand::Cat(args) => cat::run(args, call, io)?,
        IpfsCommand::Get(args) => get::run(args, call, io)?,
        IpfsCommand::Ls(args) => ls::run(args, call, io)?,
        IpfsCommand::Refs(args) => refs::run(args, call, io)?,
        IpfsCommand::Block(command) => block::run(command, call, io)?,
        IpfsCommand::Dag(command) => dag::run(command, call, io)?,
        IpfsCommand::Key(command) => key::run(command, call, io)?,
        IpfsCommand::Name(command) => name::run(command, call, io)?,
        IpfsCommand::Resolve(args) => resolve::run(args, call, io)?,
        IpfsCommand::Pin(command) => pin::run(command, call, io)?,
        IpfsCommand::Repo(command) => repo::run(command, call, io)?,
        IpfsCommand::Id(args) => id::run(args, call, io)?,
        IpfsCommand::Swarm(command) => swarm::run(command, call, io)?,
        IpfsCommand::Routing(command) => routing::run(command, call, io)?,
        IpfsCommand::Files(args) => files::run(args, call, io)?,
        IpfsCommand::Daemon(args) => return daemon::run(args, call, io),
        IpfsCommand::Shutdown(_) => daemon::stop(call)?,
        IpfsCommand::Init(_) | IpfsCommand::Config(_) | IpfsCommand::Bootstrap(_) | IpfsCommand::Version(_) => {
            return Err(Failure::usage("this command does not run here"));
        }
    }
    Ok(After::Done)
}

/// Runs a command that needs no workspace.
pub(super) fn run_anywhere(args: &IpfsArgs, io: &mut Io) -> Result<(), Failure> {
    match &args.command {
        IpfsCommand::Version(version) => version::run(version, args.globals.encoding, io),
        _ => Err(Failure::usage("this command needs a workspace")),
    }
}

/// Runs a command on the plain files of the workspace. `environment` is `$ODFS_CONFIG`.
pub(super) fn run_on_files(
    args: &IpfsArgs,
    disk: &Disk,
    workspace: &WorkspaceDir,
    environment: Option<&str>,
    io: &mut Io,
) -> Result<(), Failure> {
    match &args.command {
        IpfsCommand::Init(args) => init::run(args, disk, workspace, io),
        IpfsCommand::Config(args) => config::run(args, disk, workspace, environment, io),
        IpfsCommand::Bootstrap(list) => bootstrap::run(list, args.globals.encoding, disk, workspace, environment, io),
        _ => Err(Failure::usage("this command needs the whole workspace")),
    }
}
