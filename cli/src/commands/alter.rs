//! `odfs alter`: what a dataset says of itself, as new events of its chain.

use clap::Args;
use odf::ingest::{self, IngestError};
use odf::metadata::MetadataEvent;
use odf::yaml;
use serde_json::json;

use super::announce::ReportArgs;
use super::batch::committed;
use super::describe::DescribeArgs;
use super::input::read_text;
use super::newest::{Change, check_newest};
use super::owner::pulled_from;
use super::publish::{Types, parse_types};
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// Change what a dataset says of itself: columns, description, keywords, licence, attached files
///
/// Each change is a block of the chain, with its time, and travels with the dataset. What is not named stays as it is.
/// `odfs push` then announces the new head. Columns that come with rows are taken by `odfs publish --add-columns` and
/// `odfs ingest --add-columns`. The format has no place for a title and a contact: begin the description with the one, and
/// attach a README.md with the other.
#[derive(Args, Debug)]
pub(crate) struct AlterArgs {
    /// Name or id of the dataset
    dataset: String,
    #[command(flatten)]
    describe: DescribeArgs,
    /// Column to add behind the others, with its type, as an optional one: `height DOUBLE`; may be repeated
    #[arg(long = "add-column", value_name = "COLUMN", value_parser = parse_types)]
    columns: Vec<Types>,
    /// Name of an attached file to take away; may be repeated
    #[arg(long = "detach", value_name = "NAME")]
    detached: Vec<String>,
    /// File, http(s) URL or `-` with MetadataEvent manifests, which are appended as they stand
    #[arg(short, long, value_name = "EVENTS")]
    file: Option<String>,
    /// Address of a peer to ask what was published under the name, ending in /p2p/ID; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR")]
    peers: Vec<String>,
    #[command(flatten)]
    report: ReportArgs,
}

pub(super) fn run(args: &AlterArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    args.report.begin(io);
    let mut dataset = session.workspace()?.catalog().find(&args.dataset)?;
    let (id, old_head) = (dataset.id().to_string(), dataset.head().to_string());
    let name = dataset.name()?;
    if let Some(alias) = pulled_from(&dataset, session)? {
        return Err(Failure::new(
            Kind::Refused,
            format!(
                "{name} is pulled from {alias}; a block added here would make its history differ from the one there"
            ),
        )
        .next(format!("alter it where it comes from, then `odfs pull {name}`")));
    }
    let given = match &args.file {
        Some(file) => events_of(file, io)?,
        None => Vec::new(),
    };
    let description = args.describe.read(io)?;
    let turn = session.turn(&mut dataset, io)?;
    check_newest(&dataset, &args.peers, Change::ByHand, session, io)?;
    let mut events = given;
    let columns: Vec<_> = args.columns.iter().flat_map(|types| types.0.clone()).collect();
    if !columns.is_empty() {
        let added = ingest::add_columns(dataset.state(), &columns).map_err(|error| match error {
            IngestError::ColumnThere(_) => Failure::from(error).next(format!(
                "`odfs inspect schema {name}` shows the columns; give the new one another name"
            )),
            IngestError::ColumnsPolled => Failure::from(error).next(format!(
                "`odfs log {name} -o yaml` shows its SetPollingSource and its SetDataSchema; write both into a file, as \
                 MetadataEvents with the column in them, and `odfs alter {name} -f FILE` takes them"
            )),
            error => error.into(),
        });
        events.extend(added?);
    }
    events.extend(description.events(Some(&dataset), &args.detached)?);
    let report = |head: &str, blocks: usize| json!({ "dataset": name.as_str(), "id": id, "head": head, "oldHead": old_head, "blocks": blocks });
    if events.is_empty() {
        return match args.describe.says_something() || !args.detached.is_empty() {
            true => {
                io.line(format_args!("{name} is up to date"))?;
                args.report.object(io, || report(&old_head, 0))
            }
            false => Err(Failure::usage("nothing is said that should change").next(
                "`odfs alter --help` shows what can: --add-column, --description, --keyword, --license, --attach",
            )),
        };
    }
    let time = io.now()?.max(dataset.state().system_time);
    let blocks = dataset.append_events(events, time, None)?;
    committed(&dataset, session, io)?;
    drop(turn);
    io.line(format_args!(
        "{name}: updated to {} ({} block(s))",
        dataset.head(),
        blocks.len()
    ))?;
    if !columns.is_empty() {
        let names: Vec<String> = columns
            .iter()
            .map(|column| format!("`{}`", column.field.name()))
            .collect();
        io.say(format_args!(
            "A CSV file with new rows needs a column {} from now on, with nothing in it where there is no value",
            names.join(" and ")
        ));
    }
    if session.workspace()?.is_published(&dataset.id())? {
        io.say(format_args!("`odfs push {name}` announces it"));
    }
    args.report
        .object(io, || report(&dataset.head().to_string(), blocks.len()))
}

/// The events of a file. Those that only odfs itself can make are none of it.
fn events_of(file: &str, io: &mut Io) -> Result<Vec<MetadataEvent>, Failure> {
    let text = read_text(file, yaml::MAX_MANIFEST_BYTES as u64, io)?;
    let events = yaml::read_events(&text).map_err(|error| Failure::from(error).about(file))?;
    let made = |event: &&MetadataEvent| {
        matches!(
            event,
            MetadataEvent::Seed(_) | MetadataEvent::AddData(_) | MetadataEvent::ExecuteTransform(_)
        )
    };
    if events.iter().find(made).is_some() {
        return Err(
            Failure::usage(format!("{file} holds an event that comes with rows or makes a dataset"))
                .next("rows are added with `odfs ingest DATASET FILE`, datasets with `odfs add FILE`; take the event out of the file"),
        );
    }
    Ok(events)
}
