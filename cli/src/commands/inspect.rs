//! `odfs inspect`

use clap::Subcommand;

use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

mod about;
mod lineage;
mod query;
mod schema;
mod source;

pub(super) use schema::type_in_words;

/// Look into a dataset
#[derive(Subcommand, Debug)]
pub(crate) enum InspectCommand {
    About(about::AboutArgs),
    Schema(schema::SchemaArgs),
    Source(source::SourceArgs),
    Query(query::QueryArgs),
    Lineage(lineage::LineageArgs),
}

pub(super) fn run(command: &InspectCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    match command {
        InspectCommand::About(args) => about::run(args, session, io),
        InspectCommand::Schema(args) => schema::run(args, session, io),
        InspectCommand::Source(args) => source::run(args, session, io),
        InspectCommand::Query(args) => query::run(args, session, io),
        InspectCommand::Lineage(args) => lineage::run(args, session, io),
    }
}
