//! `odfs log`

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use odf::catalog::Entry;
use odf::codec::EncodedBlock;
use odf::metadata::MetadataEvent;
use odf::yaml;

use super::as_of::AsOfArgs;
use crate::failure::Failure;
use crate::io::Io;
use crate::output::{self, Cell, Format, Listing};
use crate::session::Session;

mod shell;

/// Show the metadata blocks of a dataset, newest first
#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// Name or id of the dataset
    dataset: String,
    /// Form of the log [default: table on a terminal, json otherwise]
    #[arg(short, long, value_name = "FORMAT", alias = "output-format")]
    output: Option<LogFormat>,
    /// Kinds of events to show, separated by commas
    #[arg(short, long, value_delimiter = ',', value_name = "KINDS")]
    filter: Vec<Filter>,
    /// The most blocks to show
    #[arg(short = 'n', long, default_value_t = 500, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    as_of: AsOfArgs,
}

/// The form of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line a block, for people
    Table,
    /// One JSON array of objects
    Json,
    /// One JSON object a line
    Ndjson,
    /// Comma-separated values with a header
    Csv,
    /// Whole blocks as YAML manifests, as kamu writes them
    Yaml,
    /// Whole blocks for people, as kamu shows them
    Shell,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Filter {
    /// Where data comes from: Seed, sources, transforms, vocabulary
    Source,
    /// Rows: AddData, ExecuteTransform
    Data,
    /// The same, which say up to when rows are complete
    Watermark,
}

impl Filter {
    fn shows(self, event: &MetadataEvent) -> bool {
        use MetadataEvent as E;
        match self {
            Self::Source => matches!(
                event,
                E::Seed(_)
                    | E::SetPollingSource(_)
                    | E::AddPushSource(_)
                    | E::DisablePollingSource(_)
                    | E::DisablePushSource(_)
                    | E::SetTransform(_)
                    | E::SetVocab(_)
            ),
            Self::Data | Self::Watermark => matches!(event, E::AddData(_) | E::ExecuteTransform(_)),
        }
    }
}

pub(super) fn run(args: &LogArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let catalog = session.workspace()?.catalog();
    let dataset = args.as_of.open(&args.dataset, session)?;
    let default = if io.terminal().output {
        LogFormat::Table
    } else {
        LogFormat::Json
    };
    let form = args.output.unwrap_or(default);
    let format = match form {
        LogFormat::Yaml | LogFormat::Shell => None,
        LogFormat::Table => Some(Format::Table),
        LogFormat::Json => Some(Format::Json),
        LogFormat::Ndjson => Some(Format::Ndjson),
        LogFormat::Csv => Some(Format::Csv),
    };
    let mut listing = Listing::new(match format {
        Some(Format::Table) => &["Seq", "Block", "Time", "Event", "Details"],
        _ => &["Sequence", "Hash", "Time", "Event", "Content"],
    });
    let named = |entry: Entry| Some((entry.id, entry.name?.to_string()));
    let names = match form {
        LogFormat::Shell => catalog.entries()?.into_iter().filter_map(named).collect(),
        _ => BTreeMap::new(),
    };
    let mut shown = 0;
    for stored in dataset.blocks()?.rev() {
        if shown == args.limit {
            break;
        }
        io.check()?;
        let block = stored?.block;
        if !args.filter.is_empty() && !args.filter.iter().any(|filter| filter.shows(&block.block().event)) {
            continue;
        }
        shown += 1;
        match format {
            None if form == LogFormat::Shell => io.text(&shell::entry(&block, &names)?)?,
            None => io.text(&yaml::log_entry(&block)?)?,
            Some(format) => listing.row(row(&block, format == Format::Table)?),
        }
    }
    match format {
        Some(format) => listing.write(format, io),
        None => Ok(()),
    }
}

fn row(encoded: &EncodedBlock, for_people: bool) -> Result<[Cell; 5], Failure> {
    let block = encoded.block();
    let at = block.system_time.datetime();
    let event = &block.event;
    Ok([
        block.sequence_number.into(),
        Cell::shown(encoded.hash().to_string(), encoded.hash().short()),
        Cell::shown(
            at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
            output::time(at),
        ),
        event.kind().into(),
        if for_people {
            details(event).into()
        } else {
            yaml::event_to_json(event).map_err(std::io::Error::from)?.into()
        },
    ])
}

/// What a person wants to know of an event at a glance.
fn details(event: &MetadataEvent) -> String {
    let data = |slice: &Option<odf::metadata::DataSlice>, watermark: Option<odf::metadata::Timestamp>| {
        let mut parts = Vec::new();
        if let Some(slice) = slice {
            let range = &slice.offset_interval;
            let rows = range.end.saturating_sub(range.start) + 1;
            parts.push(format!(
                "{} rows ({}..{}), {}",
                output::count(rows),
                range.start,
                range.end,
                output::bytes(slice.size)
            ));
        }
        if let Some(at) = watermark {
            parts.push(format!("complete until {}", output::time(at.datetime())));
        }
        parts.join(", ")
    };
    match event {
        MetadataEvent::Seed(event) => event.dataset_id.to_string(),
        MetadataEvent::AddData(event) => data(&event.new_data, event.new_watermark),
        MetadataEvent::ExecuteTransform(event) => data(&event.new_data, event.new_watermark),
        MetadataEvent::AddPushSource(event) => format!("{}, {}", event.source_name, event.merge.kind()),
        MetadataEvent::SetPollingSource(event) => format!("{}, {}", event.fetch.kind(), event.merge.kind()),
        MetadataEvent::SetDataSchema(event) => match &event.schema {
            Some(schema) => schema
                .fields
                .iter()
                .map(|field| field.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
            None => "an Arrow schema".to_owned(),
        },
        MetadataEvent::SetInfo(event) => event.description.clone().unwrap_or_default(),
        MetadataEvent::SetLicense(event) => event.short_name.clone(),
        MetadataEvent::DisablePushSource(event) => event.source_name.clone(),
        _ => String::new(),
    }
}
