//! `odfs inspect source`

use clap::{Args, ValueEnum};
use odf::metadata::{AddPushSource, MetadataEvent, SetPollingSource};
use odf::yaml;
use serde_json::Value;

use crate::commands::as_of::AsOfArgs;
use crate::failure::Failure;
use crate::io::Io;
use crate::output::{Cell, Format, Listing};
use crate::session::Session;

/// Show where the rows of a dataset come from: the sources in force
#[derive(Args, Debug)]
pub(crate) struct SourceArgs {
    /// Name or id of the dataset
    dataset: String,
    /// Form of the sources [default: table on a terminal, json otherwise]
    #[arg(short, long, value_name = "FORMAT", alias = "output-format")]
    output: Option<SourceFormat>,
    #[command(flatten)]
    as_of: AsOfArgs,
}

/// The form of the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SourceFormat {
    /// One line a source, for people
    Table,
    /// One JSON array of objects
    Json,
    /// One JSON object a line
    Ndjson,
    /// Comma-separated values with a header
    Csv,
    /// The events that define them, as MetadataEvent manifests
    Yaml,
}

pub(super) fn run(args: &SourceArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let dataset = args.as_of.open(&args.dataset, session)?;
    let state = dataset.state();
    let polling = state
        .polling_source
        .iter()
        .cloned()
        .map(MetadataEvent::SetPollingSource);
    let push = state.push_sources.values().cloned().map(MetadataEvent::AddPushSource);
    let transform = state.transform.iter().cloned().map(MetadataEvent::SetTransform);
    let events = polling.chain(push).chain(transform);
    let default = if io.terminal().output {
        SourceFormat::Table
    } else {
        SourceFormat::Json
    };
    let format = match args.output.unwrap_or(default) {
        SourceFormat::Yaml => {
            for event in events {
                io.text(&format!("---\n{}", yaml::write_event(&event)?))?;
            }
            return Ok(());
        }
        SourceFormat::Table => Format::Table,
        SourceFormat::Json => Format::Json,
        SourceFormat::Ndjson => Format::Ndjson,
        SourceFormat::Csv => Format::Csv,
    };
    let mut columns = vec!["Name", "Event", "From", "Read", "Merge"];
    if format != Format::Table {
        columns.push("Content");
    }
    let mut listing = Listing::new(&columns)
        .when_empty("no source is defined: rows come by `odfs publish`, or from where the dataset is pulled");
    for event in events {
        let content = yaml::event_to_json(&event).map_err(std::io::Error::from)?;
        let cells = row(&event)
            .into_iter()
            .chain((format != Format::Table).then(|| content.into()));
        listing.row(cells);
    }
    listing.write(format, io)
}

fn row(event: &MetadataEvent) -> [Cell; 5] {
    let none = || Cell::from(Value::Null);
    match event {
        MetadataEvent::SetPollingSource(SetPollingSource { fetch, read, merge, .. }) => [
            none(),
            event.kind().into(),
            fetch.kind().into(),
            read.kind().into(),
            merge.kind().into(),
        ],
        MetadataEvent::AddPushSource(AddPushSource {
            source_name,
            read,
            merge,
            ..
        }) => [
            source_name.as_str().into(),
            event.kind().into(),
            none(),
            read.kind().into(),
            merge.kind().into(),
        ],
        MetadataEvent::SetTransform(set) => {
            let inputs = set.inputs.iter();
            let inputs: Vec<&str> = inputs
                .map(|input| input.alias.as_deref().unwrap_or(&input.dataset_ref))
                .collect();
            [none(), event.kind().into(), inputs.join(", ").into(), none(), none()]
        }
        other => [none(), other.kind().into(), none(), none(), none()],
    }
}
