//! The root of the command tree and its dispatch, nothing else: one file a command.

use clap::Subcommand;

use odf::disk::Disk;

use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;
use crate::workspace::WorkspaceDir;

mod add;
mod alter;
mod announce;
mod approve;
mod as_of;
mod audit;
mod batch;
mod bundle;
mod car;
mod completions;
mod config;
mod contact;
mod delete;
mod demo;
mod describe;
mod dial;
mod diff;
mod doctor;
mod effect;
mod export;
mod follow;
mod gc;
mod import;
mod ingest;
mod init;
mod input;
mod inspect;
mod ipfs;
mod key;
mod list;
mod log;
mod matching;
mod new;
mod newest;
pub(crate) mod node;
mod owner;
mod pin;
mod place;
mod publish;
mod pull;
mod push;
mod rename;
mod repair;
mod repo;
mod reset;
mod restore;
mod rival;
pub(crate) mod room;
mod safety;
mod search;
mod share;
mod sql;
mod status;
mod system;
mod tail;
mod target;
mod ticket;
mod transfer;
mod unpublish;
mod verify;

pub(crate) use ipfs::switches as ipfs_switches;
pub(crate) use place::{After, Place};

/// What odfs does.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Demo(demo::DemoArgs),
    Init(init::InitArgs),
    New(new::NewArgs),
    Add(add::AddArgs),
    Publish(publish::PublishArgs),
    Ingest(ingest::IngestArgs),
    Alter(alter::AlterArgs),
    Pull(pull::PullArgs),
    Ticket(ticket::TicketArgs),
    Follow(follow::FollowArgs),
    Unfollow(follow::UnfollowArgs),
    Audit(audit::AuditArgs),
    Approve(approve::ApproveArgs),
    Push(push::PushArgs),
    Unpublish(unpublish::UnpublishArgs),
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    Search(search::SearchArgs),
    Log(log::LogArgs),
    Diff(diff::DiffArgs),
    Tail(tail::TailArgs),
    Sql(sql::SqlArgs),
    Replay(sql::replay::ReplayArgs),
    #[command(subcommand)]
    Inspect(inspect::InspectCommand),
    Verify(verify::VerifyArgs),
    Repair(repair::RepairArgs),
    Export(export::ExportArgs),
    Bundle(bundle::BundleArgs),
    Import(import::ImportArgs),
    #[command(visible_alias = "rm")]
    Delete(delete::DeleteArgs),
    #[command(visible_alias = "mv")]
    Rename(rename::RenameArgs),
    Share(share::ShareArgs),
    Restore(restore::RestoreArgs),
    Reset(reset::ResetArgs),
    #[command(subcommand)]
    Repo(repo::RepoCommand),
    #[command(subcommand)]
    Key(key::KeyCommand),
    #[command(subcommand)]
    Pin(pin::PinCommand),
    Gc(gc::GcArgs),
    Node(node::NodeArgs),
    Status(status::StatusArgs),
    Doctor(doctor::DoctorArgs),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    Completions(completions::CompletionsArgs),
    #[command(subcommand)]
    System(system::SystemCommand),
    #[command(subcommand)]
    Car(car::CarCommand),
    Ipfs(ipfs::IpfsArgs),
}

impl Command {
    /// Where the command runs.
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Completions(_) | Self::Demo(_) | Self::Init(_) | Self::New(_) => Place::Anywhere,
            Self::Sql(args) if args.is_shell() => Place::Anywhere,
            Self::System(command) => command.place(),
            Self::Car(command) => command.place(),
            Self::Ipfs(args) => args.place(),
            Self::Config(_) => Place::Files,
            Self::Node(args) if args.prints_service() => Place::Files,
            Self::Pull(args) if args.stays() => Place::Staying,
            Self::Node(_) => Place::Serving { published: false },
            _ => Place::Owner,
        }
    }

    /// Whether it has programs of its own do what the user asks for, which Ctrl-C is meant for then.
    pub(crate) fn leaves_interrupts(&self) -> bool {
        matches!(self, Self::Sql(args) if args.is_shell())
    }

    /// Whether it may put much into the store.
    fn stores(&self) -> bool {
        matches!(
            self,
            Self::Publish(_) | Self::Ingest(_) | Self::Pull(_) | Self::Import(_)
        )
    }
}

/// Runs a command whose place is [`Place::Anywhere`]. `tree` is the whole command line.
pub(crate) fn run_anywhere(command: Command, tree: clap::Command, io: &mut Io) -> Result<After, Failure> {
    match command {
        Command::Completions(args) => completions::run(&args, tree, io)?,
        Command::Demo(args) => demo::run(&args, io)?,
        Command::Init(args) => init::run(&args, io)?,
        Command::New(args) => new::run(&args, io)?,
        Command::Sql(args) => sql::run_anywhere(&args, io)?,
        Command::System(command) => system::run_anywhere(&command, io)?,
        Command::Car(command) => car::run_anywhere(&command, io)?,
        Command::Ipfs(args) => ipfs::run_anywhere(&args, io)?,
        other => return Err(misplaced(&other)),
    }
    Ok(After::Done)
}

/// Runs a command whose place is [`Place::Files`]. `environment` is `$ODFS_CONFIG`.
pub(crate) fn run_on_files(
    command: Command,
    disk: &Disk,
    workspace: &WorkspaceDir,
    environment: Option<&str>,
    io: &mut Io,
) -> Result<After, Failure> {
    match command {
        Command::Config(command) => config::run(&command, disk, workspace, environment, io)?,
        Command::Node(_) => node::service::run(workspace, io)?,
        Command::Ipfs(args) => ipfs::run_on_files(&args, disk, workspace, environment, io)?,
        other => return Err(misplaced(&other)),
    }
    Ok(After::Done)
}

/// Runs a command in the process that owns the workspace, for a terminal here or elsewhere.
pub(crate) fn run(command: Command, session: &Session, io: &mut Io) -> Result<After, Failure> {
    if command.stores() {
        room::before(session)?;
    }
    match command {
        Command::Add(args) => add::run(&args, session, io)?,
        Command::Publish(args) => return publish::run(&args, session, io),
        Command::Ingest(args) => ingest::run(&args, session, io)?,
        Command::Alter(args) => alter::run(&args, session, io)?,
        Command::Pull(args) => pull::run(&args, session, io)?,
        Command::Ticket(args) => ticket::run(&args, session, io)?,
        Command::Follow(args) => follow::run(&args, session, io)?,
        Command::Unfollow(args) => follow::stop(&args, session, io)?,
        Command::Audit(args) => audit::run(&args, session, io)?,
        Command::Approve(args) => approve::run(&args, session, io)?,
        Command::Push(args) => push::run(&args, session, io)?,
        Command::Unpublish(args) => unpublish::run(&args, session, io)?,
        Command::Verify(args) => verify::run(&args, session, io)?,
        Command::Repair(args) => repair::run(&args, session, io)?,
        Command::Export(args) => export::run(&args, session, io)?,
        Command::Bundle(args) => bundle::run(&args, session, io)?,
        Command::Import(args) => import::run(&args, session, io)?,
        Command::Delete(args) => delete::run(&args, session, io)?,
        Command::Status(args) => status::run(&args, session, io)?,
        Command::Doctor(args) => doctor::run(&args, session, io)?,
        Command::List(args) => list::run(&args, session, io)?,
        Command::Search(args) => search::run(&args, session, io)?,
        Command::Log(args) => log::run(&args, session, io)?,
        Command::Diff(args) => diff::run(&args, session, io)?,
        Command::Tail(args) => tail::run(&args, session, io)?,
        Command::Sql(args) => sql::run(&args, session, io)?,
        Command::Replay(args) => sql::replay::run(&args, session, io)?,
        Command::Inspect(command) => inspect::run(&command, session, io)?,
        Command::Rename(args) => rename::run(&args, session, io)?,
        Command::Share(args) => share::run(&args, session, io)?,
        Command::Restore(args) => restore::run(&args, session, io)?,
        Command::Reset(args) => reset::run(&args, session, io)?,
        Command::Repo(command) => repo::run(&command, session, io)?,
        Command::Key(command) => key::run(&command, session, io)?,
        Command::Pin(command) => pin::run(&command, session, io)?,
        Command::Gc(args) => gc::run(&args, session, io)?,
        Command::Node(args) => return node::run(&args, session, io),
        Command::Car(command) => car::run(&command, session, io)?,
        Command::Ipfs(args) => return ipfs::run(&args, session, io),
        Command::System(command) => system::run(&command, session, io)?,
        other @ (Command::Config(_)
        | Command::Completions(_)
        | Command::Demo(_)
        | Command::Init(_)
        | Command::New(_)) => {
            return Err(misplaced(&other));
        }
    }
    Ok(After::Done)
}

fn misplaced(command: &Command) -> Failure {
    Failure::usage(format!("{command:?} does not run here"))
}
